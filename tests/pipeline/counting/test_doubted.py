"""Frames of one vehicle err together: a passage counts as much as its vehicle is believed."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.counting.day import count_day
from pipeline.counting.records import Classifier, CountParams, Passage, ZoneScores
from pipeline.counting.zone import doubted, shift_of_day

HOURS = [(0.0, 3600.0), (3600.0, 7200.0)]


def zone(*stays: tuple[float, float]) -> tuple[ZoneScores, tuple[Passage, ...]]:
    """Scores at 5 Hz over two hours: ``p`` during two seconds from ``start``, else 0.001."""
    at_s = np.arange(0.0, 7200.0, 0.2)
    p = np.full(at_s.size, 0.001)
    for start, value in stays:
        p[(at_s >= start) & (at_s < start + 2.0)] = value
    passages = tuple(Passage("z", start - 0.1, start + 1.9, v, v) for start, v in stays)
    return ZoneScores("z", "out", at_s, p), passages


def test_an_even_chance_counts_half_a_truck():
    scores, passages = zone((100.0, 0.5))
    kept, seen, doubt = doubted(scores, passages, np.array([1.0, 0.0]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([0.5, 0.0])
    # q (1 - q) of one vehicle, and (0.6 · q (1 - q))² of all together
    assert doubt == pytest.approx(0.25 + (0.6 * 0.25) ** 2)
    assert kept[0].trucks == pytest.approx(0.5)


def test_a_bus_that_is_a_third_likely_all_the_while_is_dropped_and_a_truck_stays():
    # looks 3: odds (1/3 ÷ 2/3)³ = 1/8, q = 1/9; odds 0.9 ÷ 0.1 to the third = 729, q = 0.9986
    scores, passages = zone((100.0, 1 / 3), (4000.0, 0.9))
    kept, seen, _ = doubted(scores, passages, np.array([1.0, 1.0]), HOURS, looks=3.0)
    assert [one.entered_s for one in kept] == [pytest.approx(3999.9)]
    assert seen.tolist() == pytest.approx([1 / 9, 729 / 730])
    assert "weak" not in kept[0].flags


def test_what_no_passage_shows_is_doubted_as_the_passages_are():
    scores, passages = zone((100.0, 1 / 3))
    _, seen, _ = doubted(scores, passages, np.array([1.5, 0.3]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([1.5 / 9, 0.3 / 9])


def scores_of_a_day(share: float, labelled: float, seed: int) -> ZoneScores:
    """An hour at 5 Hz of stays of 2 s, ``share`` of them trucks; scores assume ``labelled``.

    Logits are normal about 2 and −2 with variance 4, so that log likelihood ratios are the logits.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(np.where(rng.random(1800) < share, 2.0, -2.0), 2.0)
    p = 1 / (1 + np.exp(-logits - np.log(labelled / (1 - labelled))))
    return ZoneScores("z", "out", np.arange(0.0, 3600.0, 0.2), np.repeat(p, 10))


@pytest.mark.parametrize("share", [0.03, 0.06, 0.12])
def test_a_day_has_a_prevalence_of_its_own(share):
    # Of 6% on the days of the labels; 1,800 looks tell the log odds within about 0.2.
    zones = [scores_of_a_day(share, 0.06, seed) for seed in (1, 2)]
    wanted = np.log(share / (1 - share)) - np.log(0.06 / 0.94)
    classifier = Classifier(0.06, 90, 10, 10, 90)
    assert shift_of_day(zones, [(0.0, 3600.0)], classifier) == pytest.approx(wanted, abs=0.25)
    unseen = shift_of_day(zones, [], classifier)
    assert unseen == 0.0


def test_a_day_without_trucks_does_not_run_away():
    quiet = ZoneScores("z", "out", np.arange(0.0, 3600.0, 0.2), np.full(18_000, 0.001))
    shift = shift_of_day([quiet], [(0.0, 3600.0)], Classifier(0.06, 90, 10, 10, 90))
    assert -4.0 < shift < -1.0
    alone = ZoneScores("z", "out", np.array([5.0]), np.array([0.9]))
    assert shift_of_day([alone], [(0.0, 10.0)], Classifier(0.06, 90, 10, 10, 90)) == 0.0


def test_a_doubtful_vehicle_is_a_truck_as_often_as_trucks_pass_that_day():
    scores, passages = zone((100.0, 0.5))
    _, seen, _ = doubted(scores, passages, np.array([1.0, 0.0]), HOURS, 1.0, shift=-np.log(3.0))
    assert seen.tolist() == pytest.approx([0.25, 0.0])


def test_a_quiet_day_lists_fewer_of_the_doubtful():
    # Nine sure trucks and one even chance in two hours: 0.3% of instants, where labels had 20%.
    stays = [(300.0 + 600.0 * i, 0.9999) for i in range(9)] + [(6000.0, 0.5)]
    scores, _ = zone(*stays)
    spans, classifier = [(0.0, 7200.0)], Classifier(0.2, 990, 10, 10, 990)
    params = CountParams(looks=1.0, coverage_floor=0.0)
    (row,) = count_day([scores], spans, spans, HOURS, classifier, params).movements
    assert row.truck_count == pytest.approx(9.0, abs=0.3)  # 9.5 at the labels' prevalence
    assert len(row.passages) == 9
