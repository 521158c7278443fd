"""Counting a day: hand-worked sequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.counting import (
    Calibrated,
    Classifier,
    CountParams,
    Dwell,
    PastHour,
    ZoneScores,
    count_day,
    learn_profile,
)

JUDGE = Classifier(0.2, tp=480, fn=20, fp=10, tn=1490)


def hours(count: int = 24) -> list[tuple[float, float]]:
    """Local hours of a day that starts at 0."""
    return [(3600.0 * k, 3600.0 * (k + 1)) for k in range(count)]


def zone(positive: np.ndarray, hz: float, name: str = "exit", start: float = 0.0) -> ZoneScores:
    """Scores 0.97 where a truck is seen and 0.01 elsewhere, frames at half-interval instants."""
    at_s = start + (np.arange(positive.size) + 0.5) / hz
    return ZoneScores(name, "out", at_s, np.where(positive, 0.97, 0.01))


def test_zeros_ones_zeros_is_one_passage_with_edges_half_way() -> None:
    positive = np.zeros(600, dtype=bool)
    positive[300:304] = True
    known = CountParams(dwell={"exit": Dwell(4.0, 0.35, 0.05)})
    (row,) = count_day(
        [zone(positive, 1.0)], [(0, 600)], [(0, 600)], hours(), JUDGE, known
    ).movements
    assert (row.truck_count, row.lo, row.hi) == (1.0, 1.0, 1.0)
    assert row.method == "events"
    assert row.quality == "ok"
    (passage,) = row.passages
    assert passage.entered_s == pytest.approx(300.0)  # half-way between 299.5 and 300.5
    assert passage.exited_s == pytest.approx(304.0)
    assert passage.peak_p == pytest.approx(0.97)


def test_no_truck_is_zero_not_none() -> None:
    (row,) = count_day(
        [zone(np.zeros(2000, dtype=bool), 5.0)], [(0, 400)], [(0, 400)], hours(), JUDGE
    ).movements
    assert row.truck_count == 0.0
    assert row.lo == 0.0
    assert row.hi is not None
    assert row.hi <= 1.0


def test_half_a_day_without_a_truck_does_not_say_that_there_was_none() -> None:
    """No truck in 12 hours: up to three in 12 others is within 95% (e^-3 = 5%)."""
    scores = zone(np.zeros(12 * 3600, dtype=bool), 1.0)
    seen, day = [(0.0, 12 * 3600.0)], [(0.0, 24 * 3600.0)]
    (row,) = count_day([scores], seen, day, hours(), JUDGE).movements
    assert row.hi is not None
    assert (row.truck_count, row.lo) == (pytest.approx(0.0, abs=0.1), 0.0)
    assert 1.0 <= row.hi <= 4.0
    assert row.quality == "estimated"


def test_a_quiet_night_tells_nothing_of_a_busy_day() -> None:
    past = [
        PastHour("out", h, 3600.0, 10.0 if 6 <= h < 18 else 0.02)
        for _ in range(28)
        for h in range(24)
    ]
    scores = zone(np.zeros(12 * 3600, dtype=bool), 1.0)
    night = [(0.0, 6 * 3600.0), (18 * 3600.0, 24 * 3600.0)]
    scores = replace(scores, at_s=np.where(scores.at_s < 21_600, scores.at_s, scores.at_s + 43_200))
    (row,) = count_day(
        [scores], night, [(0.0, 86_400.0)], hours(), JUDGE,
        profile=learn_profile(past), hour_of_week=range(24),
    ).movements  # fmt: skip
    assert (row.truck_count, row.quality) == (None, "insufficient")


def test_a_dark_camera_is_none_not_zero() -> None:
    (row,) = count_day(
        [zone(np.zeros(0, dtype=bool), 5.0)], [], [(0, 400)], hours(), JUDGE
    ).movements
    assert row.truck_count is None
    assert row.lo is None
    assert row.quality == "insufficient"
    assert row.coverage == 0.0
    assert all(hour.truck_count is None for hour in row.hourly)


@pytest.mark.parametrize("count", [23, 24, 25])
def test_hours_add_up_to_the_day(count: int) -> None:
    rng = np.random.default_rng(4)
    positive = np.zeros(3600 * count, dtype=bool)
    for start in rng.choice(3600 * count - 20, 60, replace=False):
        positive[start : start + 5] = True
    seen = [(0.0, 3600.0 * count * 0.7)]
    scores = zone(positive[: int(3600 * count * 0.7)], 1.0)
    (row,) = count_day([scores], seen, [(0.0, 3600.0 * count)], hours(count), JUDGE).movements
    assert len(row.hourly) == count
    assert row.truck_count is not None
    assert sum(hour.truck_count or 0 for hour in row.hourly) == pytest.approx(row.truck_count)
    assert row.coverage == pytest.approx(0.7)
    assert row.quality == "estimated"
    assert row.arithmetic[-1] == ("truck_count", row.truck_count)
    parts = [value for _, value in row.arithmetic[:-1] if value is not None]
    assert sum(parts) == pytest.approx(row.truck_count, abs=0.5)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_truck_in_a_cell_across_the_opening_is_of_the_hour_that_is_looked_at(
    offset: float,
) -> None:
    # One frame a second, two to a cell, as trucks stay for nine: of two windows that begin in the
    # hour's first second, one begins in the middle of a cell.
    at_s = np.concatenate([np.arange(offset, 3600.0), np.arange(7200.0, 10800.0)])
    there = np.zeros(at_s.size, dtype=bool)
    for start in (*range(100, 3000, 600), *range(7200, 10500, 600)):
        there |= (at_s >= start) & (at_s < start + 9)
    filmed = [(0.0, 3600.0), (7200.0, 10800.0)]
    scores = ZoneScores("exit", "out", at_s, np.where(there, 0.97, 0.01))
    known = CountParams(dwell={"exit": Dwell(9.0, 0.35, 0.05)})
    (row,) = count_day([scores], filmed, filmed, hours(3), JUDGE, known).movements
    assert row.truck_count is not None
    counts = [hour.truck_count for hour in row.hourly]
    assert counts[1] is None
    assert sum(count or 0.0 for count in counts) == pytest.approx(row.truck_count)


@pytest.mark.parametrize("trucks", [(600, 1200, 4200), ()])
def test_an_hour_of_which_nothing_is_scheduled_has_no_count(trucks: tuple[int, ...]) -> None:
    """Filmed from 01:00 to 02:30: two trucks in the first hour, one in the half hour after."""
    positive = np.zeros(5400, dtype=bool)
    for start in trucks:
        positive[start : start + 4] = True
    filmed = [(3600.0, 9000.0)]
    known = CountParams(dwell={"exit": Dwell(4.0, 0.35, 0.05)})
    scores = zone(positive, 1.0, start=3600.0)
    (row,) = count_day([scores], filmed, filmed, hours(4), JUDGE, known).movements
    counts = [hour.truck_count for hour in row.hourly]
    assert (counts[0], counts[3]) == (None, None)
    assert counts[1:3] == pytest.approx([2.0, 1.0] if trucks else [0.0, 0.0], abs=0.01)
    assert [(h.lo is None, h.scheduled_s) for h in row.hourly] == [
        (True, 0.0), (False, 3600.0), (False, 1800.0), (True, 0.0),
    ]  # fmt: skip
    assert row.truck_count == pytest.approx(len(trucks), abs=0.01)


def test_below_the_floor_is_insufficient() -> None:
    positive = np.zeros(400, dtype=bool)
    positive[100:105] = True
    (row,) = count_day([zone(positive, 1.0)], [(0, 400)], [(0, 1000)], hours(), JUDGE).movements
    assert row.truck_count is None
    assert row.quality == "insufficient"
    assert "below 50%" in row.arithmetic[-2][0]


@pytest.mark.parametrize("hz", [5.0, 10.0, 25.0])
def test_a_lorry_that_fills_all_of_a_short_clip_is_hardly_more_than_one(hz: float) -> None:
    """Rates of any height explain a zone that was never seen empty; a few stays' worth do not."""
    scores = zone(np.ones(int(5 * hz), dtype=bool), hz)
    (row,) = count_day([scores], [(0.0, 5.0)], [(0.0, 5.0)], hours(), JUDGE).movements
    assert row.truck_count is not None
    assert 0.9 <= row.truck_count <= 2.5
    assert row.lo is not None
    assert row.hi is not None
    assert row.lo <= 1.0 < row.hi


def test_what_is_open_of_the_calibration_moves_all_zones_together() -> None:
    # Twelve vehicles a zone that nobody can tell, apart in time, beside twelve trucks.
    def lane(name: str, start: float) -> ZoneScores:
        at_s = (np.arange(5 * 7200) + 0.5) / 5
        since = (at_s - start) % 300.0
        p = np.where(since < 2.0, 0.5, np.where((since >= 100.0) & (since < 102.0), 0.97, 0.001))
        return ZoneScores(name, "out", at_s, p)

    def width(zones: list[ZoneScores], offset_var: float) -> float:
        judge = replace(JUDGE, threshold=0.4, calibrated=Calibrated(offset_var=offset_var))
        span, params = [(0.0, 7200.0)], CountParams(looks=1.0)
        (row,) = count_day(zones, span, span, hours(2), judge, params).movements
        assert row.lo is not None
        assert row.hi is not None
        return row.hi - row.lo

    left, right = lane("left", 20.0), lane("right", 170.0)
    added = [width(z, 0.5) ** 2 - width(z, 0.0) ** 2 for z in ([left], [right], [left, right])]
    assert min(added) > 0
    # Twice as far off is four times the variance; zones on their own would make it twice.
    assert added[2] == pytest.approx(4 * np.mean(added[:2]), rel=0.2)


def test_the_steps_of_a_count_add_up_to_it_even_where_it_is_rounded() -> None:
    positive = np.zeros(20_000, dtype=bool)
    for start in range(500, 20_000, 1000):
        positive[start : start + 12] = True
    span = [(0.0, 4000.0)]
    (row,) = count_day([zone(positive, 5.0)], span, span, hours(), JUDGE).movements
    *steps, (last, count) = row.arithmetic
    assert (last, count, row.lo, row.hi) == ("truck_count", 20.0, 20.0, 20.0)
    assert steps[-1][0].startswith("rounded")
    assert steps[-1][1] != 0.0
    assert sum(value for _, value in steps if value is not None) == pytest.approx(20.0, abs=1e-9)
