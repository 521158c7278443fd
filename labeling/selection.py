"""Which instants deserve a human: the arithmetic. ``sample`` does the reading and writing.

Two shares. The *random* share falls uniformly over the footage and alone estimates prevalence,
sensitivity and specificity. The *enriched* share is drawn from candidate instants with probability
proportional to a measure that favours large moving things, because trucks are rare. Both keep their
sampling weight: the seconds of footage that one frame stands for (1 ÷ inclusion probability per
second), so Horvitz and Thompson's 1952 estimator is unbiased whatever the enrichment.

Pictures are ``uint8[h, w, 3]`` RGB crops of one zone, with their background alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Span

RANDOM_SHARE: Final = 0.3
"""Share of a call's frames that is drawn purely at random."""

LARGEST: Final = 0.05
"""Share of an hour's moving things from which half of its enriched frames come."""

EVEN_SHARE: Final = 0.1
"""Share of an hour's moving frames drawn evenly, so that no frame stands for too much footage."""

SECOND_LOOK: Final = 0.25
"""Chance of another look at a vehicle, beside what it would have alone."""

STILL_SHARE: Final = 0.01
"""Share of an hour's enriched frames that goes to still scenes."""

NEAR: Final = 4
"""Perceptual hashes (64 bits) that differ in at most this many are the same picture."""

_LEAST_DIFFERENCE: Final = 22.0
_LEAST_SHARE: Final = 0.012
_MOST_COMMON: Final = 10.0
_LEAST_EDGE: Final = 40.0
_STRAY_EDGES: Final = 20


@dataclass(frozen=True)
class Motion:
    """The largest thing in a crop that is not background. All zero where there is none.

    ``size``: its share of the crop's pixels; ``bulk``: 0 to 1, how far a thing of that size with
    edges of its own reaches through the crop; ``hash``: perceptual hash of the crop, 64 bits.
    """

    size: float
    bulk: float
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
    fingerprint = perceptual_hash(crop)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    area = float(stats[1:, cv2.CC_STAT_AREA].max()) / mask.size if count > 1 else 0.0
    if area < _LEAST_SHARE:
        return Motion(0.0, 0.0, fingerprint)
    return Motion(area, bulk(area, crop, background), fingerprint)


def bulk(size: float, crop: NDArray[np.uint8], background: NDArray[np.uint8]) -> float:
    """Return extent × √(size × share of edges): large for a truck, small for a pool of light.

    ``extent`` is the convex hull of the edges that the background does not have, as a share of the
    crop. Headlights on a wet road change as many pixels as a truck does, but smoothly.
    """
    import cv2

    new = _gradient(crop) - _gradient(background)
    edges = np.hypot(new[0], new[1]) > _LEAST_EDGE
    y, x = np.nonzero(edges)
    if len(x) < _STRAY_EDGES:
        return 0.0
    hull = cv2.convexHull(np.stack([x, y], axis=1).astype(np.int32))
    extent = float(cv2.contourArea(hull) / edges.size)
    return extent * math.sqrt(size * float(edges.mean()))


def _gradient(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (3, 3), 0)
    return np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)])


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
    bulks: NDArray[np.float64], moving: NDArray[np.bool_], strata: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what the chance of each candidate is proportional to, and which ones are large.

    A moving thing's chance falls with its rank r (0 the bulkiest, 1 the least of its hour) as
    1 / (1 + (r / 0.05)²), a tenth being shared evenly: half of the draw comes from the bulkiest
    twentieth, where most trucks are, and the rest keeps small trucks and hard cases in. Ranks, not
    sizes, so that neither night's headlights nor a long lens decides. An hour gets in proportion to
    the square root of its candidates, so that quiet hours are not lost.
    """
    chance = np.zeros(len(bulks))
    rank = np.ones(len(bulks))
    for stratum in np.unique(strata):
        going = np.flatnonzero((strata == stratum) & moving)
        still = np.flatnonzero((strata == stratum) & ~moving)
        order = going[np.argsort(-bulks[going], kind="stable")]
        rank[order] = (np.arange(len(order)) + 0.5) / max(len(order), 1)
        weight = 1.0 / (1.0 + (rank[order] / LARGEST) ** 2)
        hour = np.sqrt(len(going) + len(still))
        if len(going):
            weight = (1.0 - EVEN_SHARE) * weight / weight.sum() + EVEN_SHARE / len(going)
            chance[order] = (1.0 - STILL_SHARE) * hour * weight
        chance[still] = STILL_SHARE * hour / max(len(still), 1)
    return chance, moving & (rank < 2 * LARGEST)


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


def first_looks(chance: NDArray[np.float64], vehicles: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the chances with all looks at a vehicle but the likeliest worth less.

    Another look at a truck teaches less than a first one at another truck, but more than most cars.
    ``vehicles`` numbers the vehicle of each candidate.

    >>> first_looks(np.array([2.0, 4.0, 4.0, 1.0]), np.array([7, 7, 7, 8])).tolist()
    [0.5, 4.0, 1.0, 1.0]
    """
    order = np.lexsort((-chance, vehicles))
    first = np.zeros(len(chance), bool)
    first[order[np.unique(vehicles[order], return_index=True)[1]]] = True
    return np.where(first, chance, SECOND_LOOK * chance)


def spread(places: NDArray[np.float64], strata: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return an order of candidates, by stratum, in which neighbours look alike.

    Each stratum is halved at the median of its widest axis, and so on. A systematic draw in this
    order takes from every part of the space, as many as its chances add up to, and leaves each
    candidate's chance as it is (the aim of Stevens and Olsen's 2004 spatially balanced samples).

    Args:
        places: float[n, d] in embedding space.
        strata: int[n].
    """

    def halved(own: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        extent = np.ptp(places[own], axis=0) if len(own) > 1 else np.zeros(1)
        if extent.max(initial=0.0) <= 0.0:
            return [own]
        order = own[np.argsort(places[own, int(np.argmax(extent))], kind="stable")]
        half = len(order) // 2
        return halved(order[:half]) + halved(order[half:])

    parts = [part for s in np.unique(strata) for part in halved(np.flatnonzero(strata == s))]
    return np.concatenate(parts) if parts else np.empty(0, np.intp)


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
