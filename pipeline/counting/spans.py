"""Arithmetic on stretches of time: ``[start, end)`` in POSIX seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.counting.records import Floats
from pipeline.domain import Span


def merged(spans: Sequence[Span]) -> list[Span]:
    """Return the union as sorted, disjoint spans: overlaps count once.

    >>> merged([(5, 8), (0, 2), (1, 3)])
    [(0, 3), (5, 8)]
    """
    out: list[Span] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """Return the stretches that lie in both.

    >>> common([(0, 10)], [(5, 12), (-3, 1)])
    [(0, 1), (5, 10)]
    """
    out: list[Span] = []
    left, right = merged(one), merged(other)
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i][0], right[j][0])
        end = min(left[i][1], right[j][1])
        if start < end:
            out.append((start, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return out


def total(spans: Sequence[Span]) -> float:
    """Return the summed length of disjoint spans in seconds."""
    return float(sum(end - start for start, end in spans))


def by_hour(spans: Sequence[Span], hours: Sequence[Span]) -> Floats:
    """Return float64[H]: seconds of the spans in each hour."""
    return np.array([total(common(spans, [hour])) for hour in hours])
