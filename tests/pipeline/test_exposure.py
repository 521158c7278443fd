"""Spans against hand-worked cases, and against counting whole seconds on random ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import exposure
from pipeline.domain import Span

_ENDS = st.integers(0, 40)
_SPANS = st.lists(st.tuples(_ENDS, _ENDS).map(lambda e: (float(min(e)), float(max(e)))), max_size=8)


def _held(spans: list[Span]) -> set[int]:
    """The whole seconds that integer spans hold."""
    return {t for start, end in spans for t in range(int(start), int(end))}


@settings(deadline=None)  # a busy machine is no failure
@given(_SPANS, _SPANS)
def test_set_algebra_agrees_with_counting_seconds(left: list[Span], right: list[Span]) -> None:
    a, b = _held(left), _held(right)
    assert _held(list(exposure.union(left, right))) == a | b
    assert _held(list(exposure.intersection(left, right))) == a & b
    assert _held(list(exposure.subtract(left, right))) == a - b
    assert _held(list(exposure.overlaps([left, right]))) == a & b
    assert exposure.seconds(left) == len(a)


@settings(deadline=None)  # a busy machine is no failure
@given(_SPANS, _SPANS)
def test_results_are_sorted_and_disjoint(left: list[Span], right: list[Span]) -> None:
    for result in (
        exposure.union(left, right),
        exposure.intersection(left, right),
        exposure.subtract(left, right),
    ):
        edges = [edge for span in result for edge in span]
        assert edges == sorted(edges)
        assert all(end > start for start, end in result)


def test_an_instant_filmed_twice_counts_once() -> None:
    clips = [[(0.0, 60.0)], [(55.0, 115.0)]]
    assert exposure.seconds(exposure.union(*clips)) == 115.0
    assert exposure.overlaps(clips) == ((55.0, 60.0),)


def test_missing_segment_is_a_gap() -> None:
    assert exposure.gaps([(0.0, 60.0), (120.0, 180.0)], [(0.0, 200.0)]) == (
        (60.0, 120.0),
        (180.0, 200.0),
    )


@pytest.mark.parametrize(
    ("times", "interval", "covered"),
    [
        ([], 0.04, ()),
        ([0.0], 0.04, ((0.0, 0.04),)),
        ([0.0, 0.5], 0.04, ((0.0, 0.54),)),  # a stall of exactly the limit is still watching
        ([0.0, 0.51], 0.04, ((0.0, 0.04), (0.51, 0.55))),
        ([0.0, 4.9, 10.0], 1.0, ((0.0, 5.9), (10.0, 11.0))),  # 1 Hz: the limit is 5 s
    ],
)
def test_a_frame_covers_until_the_next(
    times: list[float], interval: float, covered: tuple[Span, ...]
) -> None:
    found = exposure.clip_covered(times, interval)
    assert [edge for span in found for edge in span] == pytest.approx(
        [edge for span in covered for edge in span]
    )
