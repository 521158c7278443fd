"""From posterior presence to single passages: the receipts behind a count.

A passage is a stretch in which a truck is more likely on the zone than not. Its ends are moved to
the mid-point between the frames that best part "no truck" from "truck".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pipeline.counting.evidence import Cells, Evidence
from pipeline.counting.model import Fit
from pipeline.counting.records import Flags, Floats, Indices, Passage, ZoneScores

LIKELY, POSSIBLE = 0.5, 0.05


def runs(flag: Flags) -> tuple[Indices, Indices]:
    """Return first and one-past-last indices of each stretch of True.

    >>> runs(np.array([False, True, True, False, True]))
    (array([1, 4]), array([3, 5]))
    """
    change = np.diff(np.concatenate(([0], flag.astype(np.int8), [0])))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _edge(at_s: Floats, strength: Floats, lower: float, upper: float, rising: bool) -> float:
    """Return the instant in [lower, upper] that best parts negative from positive frames."""
    first, last = np.searchsorted(at_s, [lower, upper])
    if last - first < 2:
        return (lower + upper) / 2
    part = strength[first:last] if rising else -strength[first:last]
    turn = int(np.argmin(np.concatenate(([0.0], np.cumsum(part)))))
    before, after = max(first + turn - 1, 0), min(first + turn, at_s.size - 1)
    # The nearest frame may lie on the far side of an hour that nobody filmed.
    return float(np.clip((at_s[before] + at_s[after]) / 2, lower, upper))


def list_passages(
    scores: ZoneScores, evidence: Evidence, cells: Cells, fit: Fit
) -> tuple[list[Passage], list[Passage]]:
    """List the passages of one zone in order of time, and its glimpses.

    A glimpse is a stretch in which a truck is possible (more than 5%), and nowhere likely.
    """
    strength = np.where(evidence.positive, 1.0, -1.0)
    total = np.concatenate(([0.0], np.cumsum(fit.arrivals)))
    stretches = [(first, last) for first, last in zip(*runs(fit.busy > LIKELY), strict=True)]
    for first, last in zip(*runs(fit.busy > POSSIBLE), strict=True):
        if fit.busy[first:last].max() <= LIKELY:
            stretches.append((first, last))
    stretches.sort()
    passages: list[Passage] = []
    glimpses: list[Passage] = []
    for (first, last), (start, end) in zip(stretches, _hills(fit, stretches), strict=True):
        left = cells.start_s + first * cells.width_s
        right = cells.start_s + last * cells.width_s
        entered, exited = left, right
        begun, goes_on = first == 0 or not cells.seen[first - 1], not cells.seen[last]
        if cells.width_s > 1.5 * evidence.interval_s:
            half = min(cells.width_s, (right - left) / 2)
            early, late = cells.width_s * (not begun), cells.width_s * (not goes_on)
            entered = _edge(evidence.at_s, strength, left - early, left + half, True)
            exited = _edge(evidence.at_s, strength, right - half, right + late, False)
        most = float(fit.busy[first:last].max())
        flags = []
        trucks = float(total[end] - total[start])
        if begun or goes_on:
            flags.append("cut")
        if trucks > 1.5:
            flags.append("merged")
        if most < 0.9:
            flags.append("weak")
        one = Passage(scores.zone, entered, exited, most, most, max(trucks, 0.0), tuple(flags))
        (passages if most > LIKELY else glimpses).append(as_scored(scores, one))
    return passages, glimpses


def as_scored(scores: ZoneScores, one: Passage) -> Passage:
    """Return a passage with the highest and the mean score of its frames, where it has any."""
    inside = scores.p_truck[slice(*np.searchsorted(scores.at_s, [one.entered_s, one.exited_s]))]
    if not inside.size:
        return one
    return replace(one, peak_p=float(inside.max()), mean_p=float(inside.mean()))


def _hills(fit: Fit, stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return first and one-past-last cell in which the trucks of each stretch may have entered.

    When a truck entered is less sure than that it is there, so what the chain makes of its entry
    begins before the stretch: down to where presence is least between it and the one before, and
    at most a stay away. Left out, it would be a truck that no passage shows.
    """
    reach, size = int(np.ceil(fit.theta.dwell_cells)), fit.busy.size
    valleys = [
        last + int(np.argmin(fit.busy[last : first + 1]))
        for (_, last), (first, _) in pairwise([(0, 0), *stretches, (size, size)])
    ]
    return [
        (max(start, first - reach), min(end, last + reach))
        for (first, last), (start, end) in zip(stretches, pairwise(valleys), strict=True)
    ]


def in_order(passages: Iterable[Passage]) -> list[Passage]:
    """Return passages by entry, and by zone where that is the same."""
    return sorted(passages, key=lambda one: (one.entered_s, one.zone))


def straddling(
    ordered: Sequence[Passage], alike: float = 0.75, weak: float = 0.75, strong: float = 0.9
) -> list[Passage]:
    """Flag what is the second sight of a truck that fills two zones.

    Passages come :func:`in_order`, and stay so. Two of them, in different zones of a movement, are
    one truck when their times coincide nearly entirely (intersection over union at least ``alike``)
    and one is only weakly seen (mean score at most ``weak``) while the other is plain (at least
    ``strong``): two trucks abreast are both plain.
    """
    echo: set[int] = set()
    for i, one in enumerate(ordered):
        for j in range(i + 1, len(ordered)):
            other = ordered[j]
            if other.entered_s >= one.exited_s:
                break
            if other.zone == one.zone or i in echo or j in echo:
                continue
            both = min(one.exited_s, other.exited_s) - other.entered_s
            either = max(one.exited_s, other.exited_s) - one.entered_s
            low, high = sorted((i, j), key=lambda k: ordered[k].mean_p)
            if (
                both / either >= alike
                and ordered[low].mean_p <= weak
                and ordered[high].mean_p >= strong
            ):
                echo.add(low)
    return [
        replace(one, flags=(*one.flags, "straddle"), trucks=0.0) if i in echo else one
        for i, one in enumerate(ordered)
    ]
