"""Which instants deserve a human: the arithmetic. ``sample`` does the reading and writing.

Two shares. The *random* share falls uniformly over the footage and alone estimates prevalence,
sensitivity and specificity. The *enriched* share is drawn from candidate instants with probability
proportional to a measure that favours large moving things, because trucks are rare. Both keep their
sampling weight: the seconds of footage that one frame stands for (1 ÷ inclusion probability per
second), so Horvitz and Thompson's 1952 estimator is unbiased whatever the enrichment.

Pictures are ``uint8[h, w, 3]`` RGB crops of one zone, with their background alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Span

RANDOM_SHARE: Final = 0.3
"""Share of a call's frames that is drawn purely at random."""

LARGEST: Final = 0.1
"""Share of an hour's moving things from which half of its enriched frames come."""

STILL_SHARE: Final = 0.01
"""Share of an hour's enriched frames that goes to still scenes."""

NEAR: Final = 4
"""Perceptual hashes (64 bits) that differ in at most this many are the same picture."""

_LEAST_DIFFERENCE: Final = 22.0
_LEAST_SHARE: Final = 0.012
_MOST_COMMON: Final = 10.0


@dataclass(frozen=True)
class Motion:
    """The largest thing in a crop that is not background. All zero where there is none.

    ``size``: its share of the crop's pixels; ``x``: where its middle lies, 0 left to 1 right;
    ``hash``: perceptual hash of the crop, 64 bits.
    """

    size: float
    x: float
    hash: int


def motion(crop: NDArray[np.uint8], background: NDArray[np.uint8]) -> Motion:
    """Measure the largest connected difference between a crop and its background."""
    import cv2

    difference = np.abs(crop.astype(np.int16) - background).max(axis=2).astype(np.float32)
    # What the whole picture has in common (a cloud, exposure, noise) is not a thing. It is read off
    # the least changed pixels: a truck may fill nearly all of the crop, and must not hide itself.
    floor = min(float(np.quantile(difference, 0.05)), _MOST_COMMON)
    mask = (difference > _LEAST_DIFFERENCE + 2.0 * floor).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    fingerprint = perceptual_hash(crop)
    if count < 2:
        return Motion(0.0, 0.0, fingerprint)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    height, width = mask.shape
    area = float(stats[largest, cv2.CC_STAT_AREA]) / (height * width)
    if area < _LEAST_SHARE:
        return Motion(0.0, 0.0, fingerprint)
    return Motion(area, float(centres[largest][0]) / width, fingerprint)


def perceptual_hash(crop: NDArray[np.uint8]) -> int:
    """Return the 64-bit DCT hash: signs of the 8 × 8 lowest frequencies against their median.

    (C. Zauner, *Implementation and Benchmarking of Perceptual Image Hash Functions*, 2010.)
    """
    import cv2

    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicates(hashes: Sequence[int], radius: int = NEAR) -> NDArray[np.intp]:
    """Return, for each picture, the first picture that it repeats (itself where it is new).

    >>> near_duplicates([0b0, 0b1, 0xFFFF, 0b11], radius=1).tolist()
    [0, 0, 2, 3]
    """
    values = np.array(hashes, dtype=np.uint64)
    first = np.arange(len(values))
    kept: list[int] = []
    for i, value in enumerate(values):
        if kept:
            distance = np.bitwise_count(values[kept] ^ value)
            near = int(np.argmin(distance))
            if distance[near] <= radius:
                first[i] = kept[near]
                continue
        kept.append(i)
    return first


def shares(n: int, sizes: Sequence[float]) -> list[int]:
    """Split ``n`` in proportion to ``sizes``, by largest remainders; nothing to a size of 0.

    >>> shares(10, [1, 1, 1]), shares(5, [3, 0, 1])
    ([4, 3, 3], [4, 0, 1])
    """
    total = float(sum(sizes))
    if total <= 0 or n <= 0:
        return [0] * len(sizes)
    exact = [n * size / total for size in sizes]
    whole = [int(e) for e in exact]
    order = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in order[: n - sum(whole)]:
        whole[i] += 1
    return whole


def uniform_instants(
    spans: Sequence[Span], n: int, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """Draw one instant uniformly in each of ``n`` equal parts of the spans laid end to end.

    Every instant is as likely as any other, and the draw spreads over whatever the spans are
    sorted by.

    Returns:
        ``(span, instant)`` pairs in the order of the spans.
    """
    lengths = np.array([end - start for start, end in spans], float)
    ends = np.cumsum(lengths)
    if n <= 0 or not len(ends) or ends[-1] <= 0:
        return []
    where = (np.arange(n) + rng.random(n)) * (ends[-1] / n)
    index = np.minimum(np.searchsorted(ends, where, side="right"), len(ends) - 1)
    offset = where - (ends - lengths)[index]
    return [(int(i), spans[i][0] + float(o)) for i, o in zip(index, offset, strict=True)]


def measure(
    sizes: NDArray[np.float64], strata: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what the chance of each candidate is proportional to, and which ones are large.

    A moving thing's chance falls with its rank r (0 the largest, 1 the smallest of its hour) as
    1 / (1 + (r / 0.1)²): half of the draw comes from the largest tenth, where most trucks are, a
    quarter from the next, and the rest keeps small trucks and hard cases in. Ranks, not sizes, so
    that neither night's headlights nor a long lens decides. An hour gets in proportion to the
    square root of its candidates, so that quiet hours are not lost.
    """
    chance = np.zeros(len(sizes))
    rank = np.ones(len(sizes))
    for stratum in np.unique(strata):
        moving = np.flatnonzero((strata == stratum) & (sizes > 0))
        still = np.flatnonzero((strata == stratum) & (sizes == 0))
        order = moving[np.argsort(-sizes[moving], kind="stable")]
        rank[order] = (np.arange(len(order)) + 0.5) / max(len(order), 1)
        weight = 1.0 / (1.0 + (rank[order] / LARGEST) ** 2)
        hour = np.sqrt(len(moving) + len(still))
        if len(moving):
            chance[order] = (1.0 - STILL_SHARE) * hour * weight / weight.sum()
        chance[still] = STILL_SHARE * hour / max(len(still), 1)
    return chance, (sizes > 0) & (rank < 2 * LARGEST)


def measure_by_model(p_truck: NDArray[np.float64], strata: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return what the chance of each candidate is proportional to once a model can tell trucks.

    Half goes to what the model takes for a truck, in proportion to p; half to what it is unsure
    about, in proportion to the variance p (1 − p). An hour gets in proportion to the square root
    of its candidates. A little is added to each, so that what the model misses can still be drawn.
    """
    chance = np.zeros(len(p_truck))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        p = p_truck[own]
        unsure = p * (1.0 - p) + 1e-3
        likely = p + 1e-3
        chance[own] = np.sqrt(len(own)) * (likely / likely.sum() + unsure / unsure.sum()) / 2.0
    return chance


def inclusion(chance: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Scale ``chance`` to inclusion probabilities that sum to ``n``, none above 1.

    >>> inclusion(np.array([8.0, 1.0, 1.0]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    if n >= np.count_nonzero(chance > 0):
        return np.where(chance > 0, 1.0, 0.0)
    certain = np.zeros(len(chance), bool)
    while True:
        left = n - int(certain.sum())
        rest = chance[~certain].sum()
        probability = np.where(certain, 1.0, chance * (left / rest if rest > 0 else 0.0))
        over = (probability > 1.0) & ~certain
        if not over.any():
            return probability
        certain |= over


def systematic(probability: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw with the given inclusion probabilities (Madow 1949): a fixed number, spread in order."""
    total = round(float(probability.sum()))
    edges = np.cumsum(probability)
    marks = rng.random() + np.arange(total)
    picked = np.searchsorted(edges, np.minimum(marks, edges[-1] - 1e-9) if total else marks)
    return np.unique(picked)
