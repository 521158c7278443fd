"""What footage does and Poisson streams do not: flicker, parking, gaps, lanes, merged trucks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.counting import Classifier, CountParams, Dwell, MovementCount, ZoneScores, count_day
from pipeline.counting.evidence import Evidence
from pipeline.counting.passages import list_passages
from pipeline.counting.records import Passage
from pipeline.counting.zone import guess_dwell

JUDGE = Classifier(0.2, tp=480, fn=20, fp=10, tn=1490)
HOURS = [(3600.0 * k, 3600.0 * (k + 1)) for k in range(24)]
HZ = 5.0


def scores(trucks: list[tuple[float, float]], until: float, name: str = "a") -> ZoneScores:
    """Score 0.97 while a truck is there, 0.01 elsewhere, five frames a second."""
    at_s = (np.arange(int(until * HZ)) + 0.5) / HZ
    p_truck = np.full(at_s.size, 0.01)
    for begin, end in trucks:
        p_truck[(at_s >= begin) & (at_s < end)] = 0.97
    return ZoneScores(name, "out", at_s, p_truck)


def count(
    zones: list[ZoneScores],
    covered: list[tuple[float, float]],
    until: float,
    dwell: float = 3.0,
    looks: float | None = None,
) -> MovementCount:
    """Count with a dwell known from before."""
    known = CountParams(dwell={"*": Dwell(dwell, 0.25, 0.03)}, looks=looks)
    return count_day(zones, covered, [(0.0, until)], HOURS, JUDGE, known).movements[0]


def test_a_frame_of_a_van_is_no_truck() -> None:
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 12)]
    flicker = [(100.0 * k + 50, 100.0 * k + 50.2) for k in range(1, 12)]
    row = count([scores(trucks + flicker, 1200)], [(0, 1200)], 1200)
    assert row.truck_count == pytest.approx(11, abs=0.5)
    assert len(row.passages) == 11


def test_a_parked_truck_is_one_passage_flagged() -> None:
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 6)]
    row = count([scores([*trucks, (700.0, 1100.0)], 1200)], [(0, 1200)], 1200)
    assert row.truck_count == pytest.approx(6, abs=0.5)
    (parked,) = [one for one in row.passages if "parked" in one.flags]
    assert parked.entered_s == pytest.approx(700, abs=2)
    assert parked.exited_s == pytest.approx(1100, abs=2)


def test_a_parked_truck_that_is_missed_for_a_moment_is_still_one() -> None:
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 6)]
    stands = [(700.0, 900.0), (902.0, 1100.0)]  # two seconds, less than the three of a stay
    row = count([scores([*trucks, *stands], 1200)], [(0, 1200)], 1200)
    assert row.truck_count == pytest.approx(6, abs=0.5)
    (parked,) = [one for one in row.passages if "parked" in one.flags]
    assert (parked.entered_s, parked.exited_s) == pytest.approx((700, 1100), abs=2)
    apart = [(700.0, 900.0), (910.0, 1100.0)]
    row = count([scores([*trucks, *apart], 1200)], [(0, 1200)], 1200)
    assert row.truck_count == pytest.approx(7, abs=0.5)
    assert [one.flags for one in row.passages].count(("parked",)) == 2


def test_a_truck_that_stands_over_midnight_is_one_truck_of_two_days() -> None:
    """Five pass on each day; one stands from 700 s of the first to 400 s of the second."""
    five = [(100.0 * k, 100.0 * k + 3) for k in range(1, 6)]
    late = [(begin + 500, end + 500) for begin, end in five]
    first = count([scores([*five, (700.0, 1200.0)], 1200)], [(0, 1200)], 1200)
    second = count([scores([(0.0, 400.0), *late], 1200)], [(0, 1200)], 1200)
    for row, stay in ((first, (700.0, 1200.0)), (second, (0.0, 400.0))):
        assert row.truck_count == pytest.approx(5.5, abs=0.1)
        assert (row.lo, row.hi) == (5.0, 7.0)  # half a truck that is not sure, its variance 1/4
        (parked,) = [one for one in row.passages if "parked" in one.flags]
        assert (parked.entered_s, parked.exited_s) == pytest.approx(stay, abs=0.01)
        assert (parked.trucks, "cut" in parked.flags) == (0.5, True)
        lines = [value for name, value in row.arithmetic if name != "truck_count"]
        assert sum(v for v in lines if v is not None) == pytest.approx(row.truck_count)
    # Nor is it two where footage is missing while it stands.
    road = scores([*five, (700.0, 1100.0)], 1200)
    filmed = (road.at_s < 800) | (road.at_s > 900)
    held = replace(road, at_s=road.at_s[filmed], p_truck=road.p_truck[filmed])
    row = count([held], [(0, 800), (900, 1200)], 1200)
    assert sum(one.trucks for one in row.passages) == pytest.approx(6, abs=0.1)


def test_a_day_on_which_a_truck_stands_all_the_time_has_no_count() -> None:
    row = count([scores([(0.0, 1200.0)], 1200)], [(0, 1200)], 1200)
    assert (row.truck_count, row.method, row.quality) == (None, "none", "insufficient")
    assert ("a truck stood there all the time", None) in row.arithmetic


def test_a_parked_truck_shows_its_own_scores_and_its_echo_is_no_second_one() -> None:
    """Thirty pass on each of two lanes, one stands on the left for 1,000 s: 0.7 on the right."""
    left = scores([*((100.0 * k, 100.0 * k + 3) for k in range(1, 31)), (4000.0, 5000.0)], 7200)
    right = scores([(100.0 * k + 50, 100.0 * k + 53) for k in range(1, 31)], 7200, "b")
    stands = (right.at_s >= 4000) & (right.at_s < 5000)
    right = replace(right, p_truck=np.where(stands, 0.7, right.p_truck))
    row = count([left, right], [(0, 7200)], 7200, looks=1.0)
    parked = {one.zone: one for one in row.passages if "parked" in one.flags}
    assert [parked[zone].peak_p for zone in "ab"] == pytest.approx([0.97, 0.7])
    assert [parked[zone].trucks for zone in "ab"] == pytest.approx([0.97, 0.0])
    assert "straddle" in parked["b"].flags
    assert ("one truck in two neighbouring zones", pytest.approx(-0.7)) in row.arithmetic


def test_a_parked_truck_is_no_drift() -> None:
    """Ten minutes of standing are 200 stays of three seconds, and no disagreement."""
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 31)]
    row = count([scores([*trucks, (3010.0, 3610.0)], 7200)], [(0, 7200)], 7200)
    assert row.truck_count == pytest.approx(31, abs=1)
    assert row.quality == "ok"
    often = [(30.0 * k, 30.0 * k + 3) for k in range(1, 30)]  # what is left is no hour's rate
    row = count([scores([*often, (1000.0, 7190.0)], 7200)], [(0, 7200)], 7200)
    assert row.truck_count == pytest.approx(30, abs=1)
    assert row.quality == "ok"


def test_a_glimpse_counts_as_far_as_it_looks_like_a_truck(monkeypatch: pytest.MonkeyPatch) -> None:
    trucks = scores([(100.0 * k, 100.0 * k + 3) for k in range(1, 6)], 600)
    road = replace(
        trucks, p_truck=np.where(trucks.at_s > 450, trucks.p_truck * 0.6, trucks.p_truck)
    )

    def the_last_a_glimpse(*given: Any) -> tuple[list[Passage], list[Passage]]:
        found, _ = list_passages(*given)
        return found[:-1], found[-1:]

    monkeypatch.setattr("pipeline.counting.zone.list_passages", the_last_a_glimpse)
    row = count([road], [(0, 600)], 600, looks=1.0)
    assert row.truck_count == pytest.approx(4 * 0.97 + 0.58, abs=0.1)
    assert len(row.passages) == 4


def test_a_run_as_long_as_two_stays_is_likely_two_trucks() -> None:
    alone = [(60.0 * k, 60.0 * k + 3) for k in range(1, 20)]
    double = [(60.0 * k, 60.0 * k + 5.6) for k in range(20, 30)]
    row = count([scores(alone + double, 1860)], [(0, 1860)], 1860)
    assert row.truck_count is not None
    assert 32 <= row.truck_count <= 42  # plain runs: 29; trucks: 39


def test_a_truck_that_stops_at_a_light_is_one_truck() -> None:
    # Every five minutes a truck of 2.5 s; four of the sixty stand for 8 to 14 s more, too short to
    # be parked (12 stays). Three more trucks nose to tail: (2.5 / 300)³, one in two million. That a
    # truck stops is taken for two in a thousand.
    stood = {15: 8.0, 30: 10.0, 45: 12.0, 60: 14.0}
    road = [(300.0 * k, 300.0 * k + 2.5 + stood.get(k, 0.0)) for k in range(1, 61)]
    row = count([scores(road, 18_600)], [(0, 18_600)], 18_600, dwell=2.5)
    assert row.truck_count == pytest.approx(60, abs=0.6)
    long = [one for one in row.passages if one.exited_s - one.entered_s > 8]
    assert [one.trucks for one in long] == pytest.approx([1.0] * 4, abs=0.1)
    assert not any("merged" in one.flags for one in long)
    assert row.quality == "ok"


def test_those_that_pass_count_where_every_second_truck_stands_at_a_red_light() -> None:
    # One in 150 s: 60 pass in 2.5 s, 60 stand 20 s besides. Mean square over mean is 20 s, and half
    # of it would be flicker beside such stays.
    road = [(150.0 * k, 150.0 * k + (2.5 if k % 2 else 22.5)) for k in range(1, 121)]
    until = 18_300.0
    day = count_day([scores(road, until)], [(0, until)], [(0, until)], HOURS, JUDGE, CountParams())
    assert day.movements[0].truck_count == pytest.approx(120, rel=0.03)

    # But what only half looks like a truck, for a tenth of a truck's stay, is none.
    trucks = [(150.0 * k, 150.0 * k + 6) for k in range(1, 61)]
    seen = scores(trucks, 9300)
    brief = np.isin(np.round(seen.at_s % 150, 1), [75.1, 75.3, 75.5]) & (seen.at_s < 9000)
    road = replace(seen, p_truck=np.where(brief, 0.55, seen.p_truck))
    day = count_day([road], [(0, 9300)], [(0, 9300)], HOURS, JUDGE, CountParams())
    assert day.movements[0].truck_count == pytest.approx(60, rel=0.05)


def test_an_hour_of_queues_changes_nothing_in_free_hours() -> None:
    # 120 trucks of 2 s, and 20 that stand for 30 s: mean square over mean is 22 s.
    free = [(50.0 * k, 50.0 * k + 2) for k in range(1, 121)]
    queue = [(6600.0 + 150 * k, 6630.0 + 150 * k) for k in range(20)]
    road = scores(free + queue, 9900)
    day = count_day([road], [(0, 9900)], [(0, 9900)], HOURS, JUDGE, CountParams(looks=1.0))
    free_hours = [hour.truck_count for hour in day.movements[0].hourly[:2]]
    assert free_hours[0] == pytest.approx(71, rel=0.05)  # those that enter before 3,600 s
    assert sum(hour.truck_count or 0 for hour in day.movements[0].hourly) < 1.25 * 140


def test_a_classifier_that_errs_often_does_not_make_stays_short() -> None:
    # 60 trucks of 20 s in an hour at 10 Hz; of a hundred frames without one, 15 say truck, so that
    # hundreds of runs of three and more are no truck at all.
    rng = np.random.default_rng(3)
    at_s = (np.arange(36_000) + 0.5) / 10
    there = at_s % 60 < 20
    positive = np.where(there, rng.random(at_s.size) < 0.9, rng.random(at_s.size) < 0.15)
    guess = guess_dwell(Evidence(at_s, positive, np.zeros(at_s.size), 1 / 3))
    assert guess is not None
    assert guess.mean_s == pytest.approx(20, rel=0.4)
    # Without errors, a few that queue for a minute do not lengthen the two seconds of the others.
    queued = (at_s % 30 < 2) | ((at_s > 3000) & (at_s % 120 < 60))
    guess = guess_dwell(Evidence(at_s, queued, np.zeros(at_s.size), 0.1))
    assert guess is not None
    assert guess.mean_s == pytest.approx(2, rel=0.1)


def test_a_stay_cut_by_the_edge_counts_by_half() -> None:
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 6)]
    row = count([scores([*trucks, (598.5, 604.0)], 600)], [(0, 600)], 600)
    assert row.truck_count == pytest.approx(5.5, abs=0.3)
    assert any("cut" in one.flags for one in row.passages)


def test_a_passage_never_begins_or_ends_in_an_hour_that_was_not_filmed() -> None:
    at_the_edges = [(598.0, 605.0), (4195.0, 4202.0)]  # filmed until 600 s, again from 4,200 s
    road = scores([*((100.0 * k, 100.0 * k + 3) for k in range(1, 6)), *at_the_edges], 5000)
    seen = [(0.0, 600.0), (4200.0, 5000.0)]
    filmed = (road.at_s < 600) | (road.at_s > 4200)
    held = replace(road, at_s=road.at_s[filmed], p_truck=road.p_truck[filmed])
    row = count([held], seen, 5000)
    first, second = (one for one in row.passages if "cut" in one.flags)
    assert (first.entered_s, first.exited_s) == (pytest.approx(598, abs=0.2), pytest.approx(600))
    assert second.entered_s == pytest.approx(4200, abs=0.11)  # its first frame is 0.1 s later
    assert second.exited_s == pytest.approx(4202, abs=0.2)


def test_adjoining_clips_do_not_count_a_truck_twice() -> None:
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 6)] + [(598.5, 601.5)]
    whole = scores(trucks, 1200)
    row = count([whole], [(0.0, 600.0), (600.0, 1200.0)], 1200)
    assert row.truck_count == pytest.approx(6, abs=0.3)


def test_half_a_dark_day_is_filled_and_says_so() -> None:
    rng = np.random.default_rng(8)
    trucks = [(float(t), float(t) + 3) for t in np.sort(rng.choice(860, 40, replace=False)) * 5.0]
    row = count([scores(trucks, 4300)], [(0, 4300)], 7200)
    assert row.truck_count is not None
    assert row.lo is not None
    assert row.hi is not None
    assert row.quality == "estimated"
    assert row.coverage == pytest.approx(4300 / 7200)
    assert row.truck_count == pytest.approx(40 * 7200 / 4300, rel=0.12)
    assert row.hi - row.lo > 15  # 27 unseen trucks are Poisson, and their rate is not known


def test_two_abreast_stay_two_and_a_straddling_truck_is_one() -> None:
    trucks = [(100.0 * k, 100.0 * k + 3) for k in range(1, 6)]
    left = scores(trucks, 600, "left")
    abreast = count([left, scores(trucks[:2], 600, "right")], [(0, 600)], 600)
    assert abreast.truck_count == pytest.approx(7, abs=0.5)
    echo = scores(trucks[:2], 600, "right")
    weak = ZoneScores("right", "out", echo.at_s, np.where(echo.p_truck > 0.5, 0.6, 0.01))
    straddled = count([left, weak], [(0, 600)], 600)
    assert straddled.truck_count == pytest.approx(5, abs=0.6)
    # Where vehicles are believed as far as they look like trucks, an echo is no more than that.
    # Nor does it stay in the count where that is less than half: of three frames two say 0.65, one
    # 0.1, mean log odds (2 · 0.62 - 2.20) / 3 = -0.32.
    in_turn = np.where(np.arange(echo.at_s.size) % 3, 0.65, 0.1)
    for looks_like in (0.6, in_turn):
        p_truck = np.where(echo.p_truck > 0.5, looks_like, 0.01)
        right = replace(weak, p_truck=p_truck)
        believed = count([left, right], [(0, 600)], 600, looks=1.0)
        assert believed.truck_count == pytest.approx(5 * 0.97, abs=0.15)
        assert all(one.trucks > 0.5 or "straddle" in one.flags for one in believed.passages)
        # Two doubtful echoes were never among the five that are sure, and none of these is lost.
        assert believed.lo is not None
        assert believed.lo > 4.5
    lines = [value for name, value in believed.arithmetic if name != "truck_count"]
    assert sum(v for v in lines if v is not None) == pytest.approx(believed.truck_count, abs=0.1)


@pytest.mark.parametrize("stands", [0.97, 0.6])
def test_a_parked_truck_is_doubted_by_itself_and_not_because_others_are(stands: float) -> None:
    at_s = (np.arange(int(7200 * HZ)) + 0.5) / HZ
    p_truck = np.full(at_s.size, 0.01)
    p_truck[(at_s >= 600) & (at_s < 1000)] = stands
    for k in range(20):  # one half each: believed as ten
        p_truck[(at_s >= 3700 + 100 * k) & (at_s < 3703 + 100 * k)] = 0.5
    row = count([ZoneScores("a", "out", at_s, p_truck)], [(0, 7200)], 7200, looks=1.0)
    hours = [hour.truck_count for hour in row.hourly]
    assert hours[0] == pytest.approx(stands, abs=0.06)
    (parked,) = [one for one in row.passages if "parked" in one.flags]
    assert parked.trucks == pytest.approx(stands)
    assert ("weak" in parked.flags) == (stands < 0.95)
    assert hours[1] == pytest.approx(10.0, abs=1.5)


def test_what_stands_and_is_hardly_a_truck_is_not_listed_and_leaves_a_doubt() -> None:
    at_s = (np.arange(int(3600 * HZ)) + 0.5) / HZ
    p_truck = np.where((at_s >= 600) & (at_s < 1000), 0.3, 0.001)
    span, sharp = [(0.0, 3600.0)], Classifier(0.1, 99_990, 10, 10, 99_990, threshold=0.2)
    params = CountParams(dwell={"*": Dwell(3.0, 0.25, 0.03)}, looks=1.0)
    zone = ZoneScores("a", "out", at_s, p_truck)
    (row,) = count_day([zone], span, span, HOURS[:1], sharp, params).movements
    assert row.truck_count == pytest.approx(0.3, abs=0.03)
    assert (row.lo, row.hi) == (0.0, 2.0)  # 0.3 · 0.7 is its variance
    assert row.passages == ()


def test_cars_that_look_a_little_like_trucks_do_not_outvote_the_labels() -> None:
    """Labels: 22 of 30 trucks found. 8 trucks at 0.96, and 80 cars at 0.02: 1.6 trucks more.

    Where that cannot be told there is no count; not ten or more, as when frames were independent.
    """
    span = [(0.0, 720.0)]
    judge = Classifier(0.057, tp=22.0, fn=8.2, fp=0.4, tn=246.6)
    counts = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        p_truck = np.full(3600, 0.003) * np.exp(rng.normal(0, 0.3, 3600))
        slots = rng.permutation(np.arange(20, 3560, 40))[:88]
        for i, first in enumerate(slots):
            looks_like = np.log(24.0) if i < 8 else np.log(0.02 / 0.98)
            frames = int(rng.integers(9, 15))
            logit = looks_like + rng.normal(0, 0.6) + rng.normal(0, 0.4, frames)
            p_truck[first : first + frames] = 1 / (1 + np.exp(-logit))
        road = ZoneScores("a", "out", (np.arange(3600) + 0.5) / HZ, p_truck)
        (row,) = count_day([road], span, span, HOURS[:1], judge, CountParams(looks=1.0)).movements
        if row.truck_count is not None:
            assert row.lo is not None
            assert row.hi is not None
            assert row.lo <= 8 <= row.hi
            counts.append(row.truck_count)
    assert len(counts) >= 4
    assert min(counts) > 7.5
    assert max(counts) < 9.6


def test_three_graded_frames_a_stay_are_enough() -> None:
    """900 trucks of 3 s at 1 Hz. Logits are normal: d' = 5.2, so 97.9% and 99.92% at one half."""
    rng = np.random.default_rng(0)
    entered = rng.uniform(20, 86_380, 900)
    stays = 3 * np.exp(
        rng.normal(-0.058, 0.34, 900)
    )  # mean 3 s, a coefficient of variation of 0.35
    at_s = np.arange(86_400) + 0.5
    on = np.zeros(at_s.size, dtype=bool)
    for begin, stay in zip(entered, stays, strict=True):
        on[(at_s >= begin) & (at_s < begin + stay)] = True
    logit = 5.2 * rng.normal(np.where(on, 2.6, -2.6)) + np.log(0.05 / 0.95)
    seen = ZoneScores("a", "out", at_s, 1 / (1 + np.exp(-logit)))
    judge = Classifier(0.05, tp=979, fn=21, fp=8, tn=9992)
    known = CountParams(dwell={"*": Dwell(3.0, 0.35, 0.02)})
    day = [(0.0, 86_400.0)]
    (row,) = count_day([seen], day, day, HOURS, judge, known).movements
    assert row.truck_count == pytest.approx(900, rel=0.012)
    assert row.lo is not None
    assert row.hi is not None
    assert row.lo <= 900 <= row.hi


def test_sparse_frames_need_a_known_dwell() -> None:
    at_s = np.arange(0.0, 86_400.0, 10.0) + 5
    p_truck = np.where(np.arange(at_s.size) % 40 == 0, 0.97, 0.01)
    zone = ZoneScores("a", "out", at_s, p_truck)
    span = [(0.0, 86_400.0)]
    (row,) = count_day([zone], span, span, HOURS, JUDGE).movements
    assert row.truck_count is None
    sharp = Classifier(0.2, tp=9990, fn=10, fp=2, tn=19998)
    known = CountParams(dwell={"*": Dwell(4.0, 0.3, 0.05)})
    (row,) = count_day([zone], span, span, HOURS, sharp, known).movements
    assert row.method == "occupancy"
    # 216 of 8640 frames: -ln(1 - 0.025) / 4 · 86,400 = 547, less what false positives explain
    assert row.truck_count == pytest.approx(547, rel=0.06)
