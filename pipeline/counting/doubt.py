"""How far a passage's vehicle is believed to be a truck, and what that leaves of the count.

A network errs on a vehicle, not on a frame: ten frames of one bus are wrong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pipeline.counting.records import Floats, Passage, ZoneScores
from pipeline.domain import Span

UNLIKELY = "unlikely"
_ODDS_SD = 0.6
_SURE = 0.95
# Stays: fewer trucks than this say nothing, and as many more are thought to be as usual, which is
# that trucks vary by 35%, and that of what is no truck 30% stay as long (buses), the rest (cars
# and vans) a bit over half as long. Of trucks a tenth are seen in part only.
_LEAST_TIMED = 5.0
_USUAL_CV, _USUALLY_LONG = 0.35, 0.3
_SHORTER, _VARIES = 0.6, 0.4  # in natural logarithms
_IN_PART = 0.1
_BRIEFEST_S = 0.1


def belief(scores: ZoneScores, one: Passage, looks: float) -> float:
    """Return how likely a passage's vehicle is a truck; its frames do not err independently.

    The frames of the middle half have mean log odds z; as ``looks`` independent looks they make
    1 / (1 + exp(-looks z)).
    """
    first, last = np.searchsorted(scores.at_s, [one.entered_s, one.exited_s])
    quarter = (last - first) // 4
    p = np.clip(scores.p_truck[first + quarter : last - quarter], 0.002, 0.998)
    odds = float(np.mean(np.log(p / (1 - p)))) if p.size else 0.0
    return float(1 / (1 + np.exp(-looks * odds)))


def stay_evidence(passages: Sequence[Passage], q: Floats) -> Floats:
    """Return what the length of each stay says, as a log likelihood ratio (truck : other).

    Trucks of a zone stay about equally long; most of what only looks like one, cars and vans, is
    gone sooner. How long trucks stay, and how much of the rest stays as long, is learned from the
    passages themselves, each as far as it is believed (expectation and maximisation in turn,
    Dempster, Laird & Rubin 1977). A stay cut by the edge of the footage says nothing, a long one no
    more than a usual one: it may be two trucks, or a queue.

    Args:
        passages: of one zone and day.
        q: float64[n] how far each is believed a truck by what it looks like.

    >>> stays = [2.0, 2.2, 1.8, 2.1, 1.9, 2.0, 0.8]
    >>> road = [Passage("z", 0.0, stay, 0.9, 0.9) for stay in stays]
    >>> stay_evidence(road, np.array([0.99] * 6 + [0.6])).round(1).tolist()
    [0.7, 0.7, 0.6, 0.7, 0.7, 0.7, -1.9]
    """
    told: Floats = np.zeros(len(passages))
    long_others = _USUALLY_LONG
    whole = np.array(["cut" not in one.flags for one in passages], dtype=np.bool_)
    single = whole & np.array(["merged" not in one.flags for one in passages], dtype=np.bool_)
    x = np.log([max(one.exited_s - one.entered_s, _BRIEFEST_S) for one in passages])
    for _ in range(4):
        p = q / (q + (1 - q) * np.exp(-told))
        trucks, others = float(p[single].sum()), float((1 - p)[whole].sum())
        if trucks < _LEAST_TIMED:
            return np.zeros(len(passages))
        usual = float((p * x)[single].sum()) / trucks
        square = float((p * (x - usual) ** 2)[single].sum()) + _LEAST_TIMED * _USUAL_CV**2
        spread = float(np.sqrt(square / (trucks + _LEAST_TIMED)))
        less = np.minimum(x - usual, 0.0)
        alike = _normal(less, spread)
        short = _normal(less + _SHORTER, float(np.hypot(spread, _VARIES)))
        share = long_others * alike / (long_others * alike + (1 - long_others) * short)
        long_others = float(((1 - p) * share)[whole].sum()) + _LEAST_TIMED * _USUALLY_LONG
        long_others /= others + _LEAST_TIMED
        as_truck = (1 - _IN_PART) * alike + _IN_PART * short
        as_other = long_others * alike + (1 - long_others) * short
        told = np.where(whole, np.log(as_truck / as_other), 0.0)
    return told


def _normal(x: Floats, sd: float) -> Floats:
    return np.asarray(np.exp(-0.5 * (x / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), dtype=np.float64)


def doubted(
    scores: ZoneScores,
    passages: Sequence[Passage],
    glimpses: Sequence[Passage],
    seen: Floats,
    hours: Sequence[Span],
    looks: float,
) -> tuple[list[Passage], Floats, float]:
    """Weigh each passage, and each glimpse, by the belief q in its vehicle: it counts q trucks.

    Belief is what its frames look like (:func:`belief`), and how long a passage stays
    (:func:`stay_evidence`).

    Returns:
        Passages and glimpses as :func:`counted_as` has them, glimpses all unlikely; float64[H]
        trucks seen by hour; and the variance this adds: of each vehicle, and of all together (their
        odds may be off by a factor e^0.6).
    """
    listed, believed, doubt = np.zeros(seen.size), np.zeros(seen.size), 0.0
    starts = np.array([start for start, _ in hours])
    every = (*passages, *(replace(one, flags=(*one.flags, UNLIKELY)) for one in glimpses))
    looked = np.array([belief(scores, one, looks) for one in every])
    odds = looked / (1 - looked)
    odds[: len(passages)] *= np.exp(stay_evidence(passages, looked[: len(passages)]))
    beliefs = (odds / (1 + odds)).tolist()
    for one, q in zip(every, beliefs, strict=True):
        middle = (one.entered_s + one.exited_s) / 2
        hour = int(np.clip(np.searchsorted(starts, middle, side="right") - 1, 0, seen.size - 1))
        listed[hour] += one.trucks
        believed[hour] += one.trucks * q
        doubt += one.trucks * q * (1 - q)
    # What the chain saw beyond them is doubted as they are.
    overall = believed.sum() / listed.sum() if listed.sum() > 0 else 1.0
    seen = np.maximum(believed + overall * (seen - listed), 0.0)
    weighed = [counted_as(one, q) for one, q in zip(every, beliefs, strict=True)]
    return weighed, seen, doubt + (_ODDS_SD * doubt) ** 2


def counted_as(one: Passage, q: float) -> Passage:
    """Return a passage that counts as far as its vehicle is believed.

    It is "weak" unless surely a truck, and "unlikely" where it is more likely none.
    """
    more = ("weak",) * (q <= _SURE) + (UNLIKELY,) * (q < 0.5)
    flags = tuple(dict.fromkeys((*one.flags, *more)))
    return replace(one, trucks=one.trucks * q, flags=flags)


def sure_trucks(passages: Iterable[Passage]) -> float:
    """Return how many trucks are beyond doubt: no passage that is weak, and of each at most one."""
    return float(sum(min(one.trucks, 1.0) for one in passages if "weak" not in one.flags))
