"""Parked trucks: stays far longer than any likely queue, one passage each at most.

A stay belongs to the day in which its middle falls. Where the footage begins or ends with it the
middle is out of sight, here as likely as there: it counts by half, by nothing where both ends are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.counting.evidence import Cells
from pipeline.counting.passages import runs
from pipeline.counting.records import Classifier, CountParams, Dwell, Flags, Floats, Passage


def set_parked_aside(
    cells: Cells, classifier: Classifier, dwell: Dwell, params: CountParams
) -> tuple[Cells, list[Passage]]:
    """Take stays far beyond any likely queue of trucks out of the cells: one passage each.

    A stay is parked when nearly unbroken presence lasts ``parked_dwells`` mean busy periods; an
    M/G/∞ zone is busy for (e^ρ - 1) / ρ dwells at a time, ρ being the load of the hours around.
    """
    width = max(1, round(dwell.mean_s / cells.width_s))
    full = classifier.sensitivity - 0.15 * (classifier.sensitivity + classifier.specificity - 1)
    surplus = (1 - full) * cells.positives - full * cells.negatives
    vote = np.convolve(surplus, np.ones(2 * width + 1), mode="same")
    starts, ends = runs(vote > 1e-9)
    longest = params.parked_dwells * dwell.mean_s / cells.width_s
    around = round(7200.0 / cells.width_s)
    calm = np.concatenate(([0], np.cumsum(cells.seen)))
    taken: Floats = np.zeros(vote.size)
    for first, last in zip(starts, ends, strict=True):
        if last - first <= longest:
            taken[first:last] = 1.0
    taken = np.concatenate(([0.0], np.cumsum(taken)))
    parked: list[tuple[int, int]] = []
    for first, last in zip(starts, ends, strict=True):
        if last - first <= longest:
            continue
        low, high = max(first - around, 0), min(last + around, vote.size)
        rest = max(calm[high] - calm[low] - (last - first), 1)
        load = -np.log1p(-min((taken[high] - taken[low] + width) / (rest + width), 0.9))
        if last - first > longest * np.expm1(load) / load:
            parked.append((int(first), int(last)))
    present = cells.positives > cells.negatives
    parked = [_widened(present, first, last, 2 * width) for first, last in parked]
    parked = [_filmed(cells.seen, *one) for one in _joined(present, parked, width, longest)]
    if not parked:
        return cells, []
    free = np.ones(vote.size)
    for first, last in parked:
        free[max(first - 1, 0) : last + 1] = 0.0
    kept = replace(
        cells,
        positives=cells.positives * free,
        negatives=cells.negatives * free,
        beyond=cells.beyond * free,
        seen=cells.seen & (free > 0),
    )
    return kept, [_passage(cells, first, last) for first, last in parked]


def _passage(cells: Cells, first: int, last: int) -> Passage:
    """The passage of a parked truck; its zone and its probabilities are not known here."""
    start, step = cells.start_s, cells.width_s
    cut = (first == 0 or not cells.seen[first - 1]) + (not cells.seen[last])
    flags = ("parked", "cut") if cut else ("parked",)
    return Passage("", start + first * step, start + last * step, 1.0, 1.0, 1.0 - 0.5 * cut, flags)


def _filmed(seen: Flags, first: int, last: int) -> tuple[int, int]:
    """Return a stretch less what smoothing added to its ends beyond the footage."""
    held = np.flatnonzero(seen[first:last])
    return first + int(held[0]), first + int(held[-1]) + 1


def _widened(present: Flags, first: int, last: int, most: int) -> tuple[int, int]:
    """Return a stretch grown over the positive cells that smoothing left at its ends."""
    begin, end = first, last
    while begin > max(first - most, 0) and present[begin - 1]:
        begin -= 1
    while end < min(last + most, present.size) and present[end]:
        end += 1
    return begin, end


def _joined(
    present: Flags, parked: list[tuple[int, int]], width: int, longest: float
) -> list[tuple[int, int]]:
    """Join stretches that missed frames have cut apart: between two, absence never lasts a stay."""
    joined = parked[:1]
    for first, last in parked[1:]:
        between = present[joined[-1][1] : first]
        starts, ends = runs(~between)
        if between.size <= longest and max(ends - starts, default=0) < width:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined
