"""Observed stretches of time, their sums and their holes. Pure: standard library only.

Exposure is what a count is measured against, so it has to be exact: a stretch seen by two
overlapping clips counts once, and a stretch nobody saw is a gap, not a quiet road.

A *span* is a half-open ``(start, end)`` in seconds (within a clip, or POSIX). Functions take spans
in any order, overlapping or not, and give them back sorted and disjoint (*normalised*).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pipeline.domain import Span

STALL_S = 0.5
"""A step between two frames longer than this (and than 5 nominal intervals) is a gap."""

STALL_INTERVALS = 5.0


def union(*groups: Iterable[Span]) -> tuple[Span, ...]:
    """Merge spans into sorted disjoint ones; touching spans join, empty ones vanish.

    >>> union([(5.0, 7.0), (0.0, 2.0)], [(1.0, 3.0), (3.0, 4.0)])
    ((0.0, 4.0), (5.0, 7.0))
    """
    merged: list[Span] = []
    for start, end in sorted(span for group in groups for span in group if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def intersection(left: Iterable[Span], right: Iterable[Span]) -> tuple[Span, ...]:
    """Return what lies in both.

    >>> intersection([(0.0, 4.0), (6.0, 9.0)], [(3.0, 7.0)])
    ((3.0, 4.0), (6.0, 7.0))
    """
    ours, theirs = union(left), union(right)
    found: list[Span] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        start, end = max(ours[i][0], theirs[j][0]), min(ours[i][1], theirs[j][1])
        if start < end:
            found.append((start, end))
        if ours[i][1] <= theirs[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def subtract(spans: Iterable[Span], without: Iterable[Span]) -> tuple[Span, ...]:
    """Return what lies in ``spans`` and not in ``without``.

    >>> subtract([(0.0, 10.0)], [(2.0, 3.0), (9.0, 12.0)])
    ((0.0, 2.0), (3.0, 9.0))
    """
    kept: list[Span] = []
    holes = union(without)
    first = 0
    for start, end in union(spans):
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        at = start
        for hole_start, hole_end in holes[first:]:
            if hole_start >= end:
                break
            if hole_start > at:
                kept.append((at, hole_start))
            at = max(at, hole_end)
        if at < end:
            kept.append((at, end))
    return tuple(kept)


def gaps(seen: Iterable[Span], wanted: Iterable[Span]) -> tuple[Span, ...]:
    """Return the stretches of ``wanted`` that were not ``seen``: footage that is missing."""
    return subtract(wanted, seen)


def overlaps(groups: Iterable[Iterable[Span]]) -> tuple[Span, ...]:
    """Return the stretches that two or more groups hold, e.g. clips that were filmed twice.

    >>> overlaps([[(0.0, 10.0)], [(8.0, 20.0)], [(19.0, 30.0)]])
    ((8.0, 10.0), (19.0, 20.0))
    """
    seen: tuple[Span, ...] = ()
    twice: tuple[Span, ...] = ()
    for group in groups:
        spans = union(group)
        twice = union(twice, intersection(seen, spans))
        seen = union(seen, spans)
    return twice


def seconds(spans: Iterable[Span]) -> float:
    """Return the total length in seconds; an instant held twice counts once.

    >>> seconds([(0.0, 2.0), (1.0, 3.0)])
    3.0
    """
    return float(sum(end - start for start, end in union(spans)))


def shift(spans: Iterable[Span], by_s: float) -> tuple[Span, ...]:
    """Move spans in time, e.g. from seconds within a clip to POSIX seconds."""
    return tuple((start + by_s, end + by_s) for start, end in spans)


def stall_limit_s(nominal_interval_s: float) -> float:
    """Return the longest step between two frames that still counts as watching.

    >>> stall_limit_s(1 / 25), stall_limit_s(1.0)
    (0.5, 5.0)
    """
    return max(STALL_S, STALL_INTERVALS * nominal_interval_s)


def clip_covered(frame_times: Sequence[float], nominal_interval_s: float) -> tuple[Span, ...]:
    """Return what a clip's frames cover, given their presentation times in seconds.

    A frame covers the time until the next one. Where the next one is further away than
    :func:`stall_limit_s` the camera or its link stood still: the frame then covers one nominal
    interval and the rest is a gap. The last frame covers one nominal interval.

    >>> clip_covered([0.0, 0.5, 1.0, 9.0, 9.5], 0.5)
    ((0.0, 1.5), (9.0, 10.0))
    """
    if not len(frame_times):
        return ()
    limit_s = stall_limit_s(nominal_interval_s)
    spans: list[Span] = []
    start = frame_times[0]
    for at, following in pairwise(frame_times):
        if following - at > limit_s:
            spans.append((start, at + nominal_interval_s))
            start = following
    spans.append((start, frame_times[-1] + nominal_interval_s))
    return union(spans)
