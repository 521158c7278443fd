"""Sparse cameras: what dense frames teach, and a day at 0.1 Hz counted from simulated scores."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from pipeline import sampling, stays
from pipeline.cameras import parse
from pipeline.counting import Classifier, CountParams, ZoneScores, count_day

DAY_S = 86_400.0
HOURS = [(3600.0 * k, 3600.0 * (k + 1)) for k in range(24)]
WHOLE = [(0.0, DAY_S)]
KEYS = [2.0 * k for k in range(int(DAY_S / 2))]
DAYS = [dt.date(2026, 3, 2) + dt.timedelta(days=i) for i in range(3)]
# The card is wrong about this camera: on it the model finds 80% of truck frames.
CARD = Classifier(0.2, tp=990, fn=10, fp=2, tn=998)


def camera(camera_entry, hz: float = 0.1, **other):
    return parse({"camera": [camera_entry(sample_hz=hz, **other)]}).entries[0]


def simulated(seed: int, trucks: int, at_s: np.ndarray) -> ZoneScores:
    """Trucks that stay 4 s on average, a model that sees 80% of their frames and 0.2% of others."""
    rng = np.random.default_rng(seed)
    entered = rng.uniform(0, DAY_S, trucks)
    exited = np.sort(entered + 4.0 * rng.lognormal(-0.04, 0.28, trucks))
    came = np.searchsorted(np.sort(entered), at_s, side="right")
    present = came > np.searchsorted(exited, at_s, side="right")
    said = rng.random(at_s.size) < np.where(present, 0.8, 0.002)
    return ZoneScores("exit", "out", at_s, np.where(said, 0.95, 0.02))


def plan(seed: int) -> np.ndarray:
    return np.unique(np.concatenate(sampling.sparse(DAY_S, 0.1, KEYS, seed)))


def test_a_sparse_plan_stays_on_keyframes_but_for_its_bursts() -> None:
    steady, dense = sampling.sparse(DAY_S, 0.1, KEYS, seed=3)
    assert len(steady) == 8640
    assert set(steady) <= set(KEYS)
    # 2% of a day in bursts of 20 s at 5 Hz: 86.4 of them, so 86 or 87, of 100 frames each.
    assert len(dense) in (8600, 8700)
    assert sampling.sparse(DAY_S, 0.1, KEYS, seed=3) == (steady, dense)
    assert sampling.sparse(DAY_S, 0.1, KEYS, seed=4)[1] != dense
    first = np.array(dense)[np.diff(dense, prepend=-9) > 1]
    assert set(first.tolist()) <= set(KEYS)
    # A clip of 60 s has a burst of 20 s six times in a hundred, and none else.
    short = [len(sampling.sparse(60.0, 0.1, KEYS[:30], seed)[1]) for seed in range(1000)]
    assert set(short) == {0, 100}
    assert np.mean(short) == pytest.approx(6.0, abs=2.6 * 100 * (0.06 * 0.94 / 1000) ** 0.5)


def test_a_dense_camera_is_left_alone(camera_entry) -> None:
    found = stays.learned(camera(camera_entry, 5.0), DAYS, lambda _: pytest.fail("read"), CARD, 3.0)
    assert found == ({}, CARD)


def test_too_few_trucks_teach_nothing(camera_entry) -> None:
    def read(day: dt.date) -> stays.Day:
        return [simulated(day.day, 20, plan(day.day))], WHOLE

    assert stays.learned(camera(camera_entry), DAYS[:1], read, CARD, 3.0) == ({}, CARD)


@pytest.fixture(scope="module")
def three_days() -> dict[dt.date, stays.Day]:
    return {day: ([simulated(i, 2400, plan(i))], WHOLE) for i, day in enumerate(DAYS)}


def test_bursts_of_three_days_teach_the_stay_and_the_errors(camera_entry, three_days) -> None:
    dwell, judge = stays.learned(camera(camera_entry), DAYS, three_days.__getitem__, CARD, 3.0)
    # 2400 a day for three days, of which bursts see 2%: 144 trucks.
    assert judge.tp + judge.fn == pytest.approx(144, rel=0.35)
    assert 0.985 < judge.specificity < 0.999  # the edges of stays count as outside
    # Stay and sensitivity only have to agree: together they are the positive seconds of a truck.
    assert dwell["exit"].mean_s * judge.sensitivity == pytest.approx(4.0 * 0.8, rel=0.15)
    assert 0.03 < dwell["exit"].log_se < 0.2


def test_days_at_one_frame_in_ten_seconds_are_counted(camera_entry, three_days) -> None:
    dwell, judge = stays.learned(camera(camera_entry), DAYS, three_days.__getitem__, CARD, 3.0)
    counted = []
    for day in DAYS:
        zones = [stays.two_valued(one, judge) for one in three_days[day][0]]
        (row,) = count_day(zones, WHOLE, WHOLE, HOURS, judge, CountParams(dwell=dwell)).movements
        assert row.method == "occupancy"
        assert row.lo <= 2400 <= row.hi
        counted.append(row.truck_count)
    assert sum(counted) == pytest.approx(3 * 2400, rel=0.10)


def test_a_day_that_was_dense_teaches_too_and_another_aim_does_not(camera_entry) -> None:
    dense = np.arange(0.0, 1800.0, 0.2)
    half_hour = [(0.0, 1800.0)]

    def read(day: dt.date) -> stays.Day:
        return [simulated(1, 2400, dense)], half_hour

    (dwell, judge) = stays.learned(camera(camera_entry), DAYS[:1], read, CARD, 3.0)
    assert dwell["exit"].mean_s * judge.sensitivity == pytest.approx(4.0 * 0.8, rel=0.2)
    moved = camera(camera_entry, valid_from=DAYS[1])
    assert stays.learned(moved, DAYS[:1], read, CARD, 3.0) == ({}, CARD)


def test_scores_keep_their_side_of_the_threshold() -> None:
    given = ZoneScores("exit", "out", np.arange(4.0), np.array([0.51, 0.99, 0.49, 0.0]))
    found = stays.two_valued(given, Classifier(0.1, tp=80, fn=20, fp=90, tn=910))
    # 0.1·0.797 / (0.1·0.797 + 0.9·0.090) = 0.495 lies below the threshold: raised to it
    assert found.p_truck[:2] == pytest.approx([0.5, 0.5])
    assert found.p_truck[2:] == pytest.approx([0.0242, 0.0242], abs=1e-3)
