"""Sampling plans against hand-worked cases and their own promises."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import sampling
from pipeline.errors import InputError

_DURATIONS = st.floats(0.0, 60.0)
_RATES = st.floats(0.05, 10.0)


def test_uniform_does_not_drift_over_a_day() -> None:
    plan = sampling.uniform(86_400.0, 29.97)
    assert len(plan) == math.ceil(86_400 * 29.97)  # 2,589,408
    assert plan[-1] == pytest.approx((len(plan) - 1) / 29.97, abs=1e-6)


def test_uniform_takes_a_phase() -> None:
    assert sampling.uniform(2.0, 1.0, phase_s=0.25) == (0.25, 1.25)
    assert sampling.uniform(0.0, 1.0) == ()


@pytest.mark.parametrize("hz", [0.0, -1.0, math.nan, math.inf])
def test_uniform_refuses_a_rate_that_is_none(hz: float) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        sampling.uniform(1.0, hz)


@settings(deadline=None)  # a busy machine is no failure
@given(_DURATIONS, _RATES, st.lists(st.floats(0.0, 60.0), max_size=9), st.floats(0.0, 1.0))
def test_plans_stay_inside_the_clip_in_order(
    duration: float, hz: float, keys: list[float], tolerance: float
) -> None:
    for plan in (
        sampling.uniform(duration, hz),
        sampling.anchored(duration, hz, keys, tolerance),
        sampling.bursts(duration, hz, 2.0, 3, seed=5),
    ):
        assert all(a < b for a, b in pairwise(plan))
        assert all(0.0 <= offset < duration for offset in plan)


@settings(deadline=None)  # a busy machine is no failure
@given(_DURATIONS, _RATES, st.lists(st.floats(0.0, 60.0), max_size=9), st.floats(0.0, 1.0))
def test_anchored_moves_no_instant_further_than_allowed(
    duration: float, hz: float, keys: list[float], tolerance: float
) -> None:
    plan = sampling.anchored(duration, hz, keys, tolerance)
    for wanted in sampling.uniform(duration, hz):
        near = min((abs(offset - wanted) for offset in plan), default=0.0)
        assert near <= tolerance + 1e-9 or wanted + tolerance >= duration


def test_anchored_prefers_keyframes() -> None:
    assert sampling.anchored(6.0, 0.5, [0.0, 2.1, 3.8], 0.25) == (0.0, 2.1, 3.8)


def test_keyframes_keep_their_distance() -> None:
    assert sampling.keyframes([6.0, 0.0, 2.0, 4.0], 4.0) == (0.0, 4.0)


def test_bursts_are_dense_spread_and_repeatable() -> None:
    plan = sampling.bursts(300.0, 10.0, 3.0, 3, seed=2)
    assert len(plan) == 90
    for part in range(3):
        burst = plan[part * 30 : part * 30 + 30]
        assert part * 100.0 <= burst[0] <= burst[-1] < (part + 1) * 100.0
        assert burst[-1] - burst[0] == pytest.approx(2.9)
    assert plan != sampling.bursts(300.0, 10.0, 3.0, 3, seed=3)
