"""Dense bursts among sparse frames: survey double sampling.

Sparse frames say how much of the time a zone is occupied; a few dense bursts say how long a truck
stays. Together they count, at a small part of the cost of looking densely all day.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.counting.records import Flags, Floats
from pipeline.domain import Span

_DENSER = 4.0
_LEAST_FRAMES = 20


def dense_stretches(at_s: Floats, covered: Sequence[Span]) -> list[Span]:
    """Return bursts: stretches at least four times denser than most covered time is sampled.

    >>> at_s = np.concatenate((np.arange(0, 6, 0.2), np.arange(10.0, 300.0, 10.0)))
    >>> [(first, round(last, 3)) for first, last in dense_stretches(at_s, [(0.0, 300.0)])]
    [(0.0, 5.8)]
    """
    if at_s.size < _LEAST_FRAMES or not covered:
        return []
    gap = np.diff(np.interp(at_s, *_clock(covered)))  # time between clips is not sampled at all
    order = np.argsort(gap)
    half = np.searchsorted(np.cumsum(gap[order]), gap.sum() / 2)
    usual = float(gap[order[min(int(half), gap.size - 1)]])  # half of the time lies in longer gaps
    near = gap * _DENSER <= usual
    edge = np.diff(np.concatenate(([0], near.astype(np.int8), [0])))
    firsts, lasts = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    return [
        (float(at_s[first]), float(at_s[last]))
        for first, last in zip(firsts, lasts, strict=True)
        if last - first + 1 >= _LEAST_FRAMES
    ]


def _clock(covered: Sequence[Span]) -> tuple[Floats, Floats]:
    """Return edges of the spans, and the covered seconds up to each."""
    edges = np.array(sorted(covered), dtype=np.float64)
    length = edges[:, 1] - edges[:, 0]
    upto = np.concatenate(([0.0], np.cumsum(length)))
    return edges.ravel(), np.stack((upto[:-1], upto[1:]), axis=1).ravel()


def thinned(at_s: Floats, bursts: Sequence[Span]) -> Flags:
    """Return bool[n]: frames to keep so that bursts are sampled like the rest of the time."""
    keep = np.ones(at_s.size, dtype=bool)
    inside = np.zeros(at_s.size, dtype=bool)
    for start, end in bursts:
        inside[np.searchsorted(at_s, start) : np.searchsorted(at_s, end, side="right")] = True
    outside = at_s[~inside]
    step = float(np.median(np.diff(outside))) if outside.size > 2 else np.inf
    last = -np.inf
    for index in np.flatnonzero(inside):
        keep[index] = at_s[index] - last >= step
        if keep[index]:
            last = at_s[index]
    return keep
