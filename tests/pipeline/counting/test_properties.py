"""What must hold whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.counting import Classifier, CountParams, Dwell, MovementCount, ZoneScores, count_day

JUDGE = Classifier(0.2, tp=470, fn=30, fp=15, tn=1485)
KNOWN = CountParams(dwell={"*": Dwell(5.0, 0.3, 0.05)})
HOURS = [(3600.0 * k, 3600.0 * (k + 1)) for k in range(24)]


def day_of(starts: list[int], size: int = 900, name: str = "a", shift: float = 0.0) -> ZoneScores:
    """Frames each second; a truck of five seconds at each start."""
    p_truck = np.full(size, 0.01)
    for start in starts:
        p_truck[start : start + 5] = 0.96
    return ZoneScores(name, "out", np.arange(size) + 0.5 + shift, p_truck)


def count(zones: list[ZoneScores], until: float = 900.0, shift: float = 0.0) -> MovementCount:
    """Count the one movement of a fully seen stretch."""
    span = [(shift, until + shift)]
    hours = [(start + shift, end + shift) for start, end in HOURS]
    return count_day(zones, span, span, hours, JUDGE, KNOWN).movements[0]


trucks = st.lists(st.integers(10, 85), max_size=12, unique=True).map(
    lambda slots: [10 * slot for slot in sorted(slots)]
)


@settings(max_examples=25, deadline=None)
@given(trucks)
def test_separate_trucks_are_counted_one_by_one(starts: list[int]) -> None:
    row = count([day_of(starts)])
    assert row.truck_count is not None
    assert row.lo is not None
    assert row.hi is not None
    assert 0 <= row.lo <= row.truck_count <= row.hi
    assert row.truck_count == pytest.approx(len(starts), abs=0.05 * len(starts) + 0.35)
    assert len(row.passages) == len(starts)
    assert sum(hour.truck_count or 0.0 for hour in row.hourly) == pytest.approx(row.truck_count)


@settings(max_examples=10, deadline=None)
@given(trucks, st.integers(-50, 50))
def test_the_clock_does_not_matter(starts: list[int], days: int) -> None:
    shift = 86_400.0 * days
    here, there = count([day_of(starts)]), count([day_of(starts, shift=shift)], shift=shift)
    assert there.truck_count == pytest.approx(here.truck_count, abs=1e-3)
    assert (there.lo, there.hi) == pytest.approx((here.lo, here.hi), abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(trucks, trucks)
def test_the_order_of_zones_does_not_matter(left: list[int], right: list[int]) -> None:
    one, other = day_of(left, name="a"), day_of(right, name="b")
    assert count([one, other]).truck_count == count([other, one]).truck_count


@settings(max_examples=10, deadline=None)
@given(trucks, st.integers(1, 600))
def test_certain_emptiness_adds_nothing(starts: list[int], more: int) -> None:
    short, long = count([day_of(starts)]), count([day_of(starts, 900 + more)], 900.0 + more)
    assert long.truck_count == pytest.approx(short.truck_count, abs=0.25)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_any_scores_give_an_ordered_interval_or_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 800))
    at_s = np.cumsum(rng.uniform(0.05, 3.0, size))
    scores = ZoneScores("a", "out", at_s, rng.random(size) ** rng.uniform(0.2, 5))
    row = count([scores], float(at_s[-1]) + 1)
    if row.truck_count is not None:
        assert row.lo is not None
        assert row.hi is not None
        assert 0 <= row.lo <= row.truck_count <= row.hi
