"""How far a passage's vehicle is believed to be a truck, and what that leaves of the count.

A network errs on a vehicle, not on a frame: ten frames of one bus are wrong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pipeline.counting.records import Calibrated, Floats, Indices, Passage, ZoneScores
from pipeline.domain import Span
from pipeline.metrics import sigmoid

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
_EXACT = Calibrated()


def log_odds(scores: ZoneScores, one: Passage, looks: float) -> float:
    """Return the log odds of a truck by a passage's frames, which do not err independently.

    The frames of the middle half have mean log odds z; they are ``looks`` independent looks.
    """
    first, last = np.searchsorted(scores.at_s, [one.entered_s, one.exited_s])
    quarter = (last - first) // 4
    p = np.clip(scores.p_truck[first + quarter : last - quarter], 0.002, 0.998)
    return looks * float(np.mean(np.log(p / (1 - p)))) if p.size else 0.0


def stay_evidence(passages: Sequence[Passage], looked: Floats, hour: Indices) -> Floats:
    """Return what the length of each stay says, as a log likelihood ratio (truck : other).

    Trucks of a zone stay about equally long; most of what only looks like one, cars and vans, is
    gone sooner. How long trucks stay is learned from the passages themselves, each as far as it is
    believed (expectation and maximisation in turn, Dempster, Laird & Rubin 1977): for the day, and
    apart for its hours as far as they differ, for in a queue everything stays longer. How much of
    the rest stays as long as a truck is learned from what is in doubt. A stay cut by the edge of
    the footage says nothing, a long one no more than a usual one: it may be two trucks.

    Args:
        passages: of one zone and day.
        looked: float64[n] log odds of a truck by what each looks like.
        hour: int64[n] the hour of each.

    >>> stays = [2.0, 2.2, 1.8, 2.1, 1.9, 2.0, 0.8]
    >>> road = [Passage("z", 0.0, stay, 0.9, 0.9) for stay in stays]
    >>> looked = np.array([5.0] * 6 + [0.4])
    >>> stay_evidence(road, looked, np.zeros(7, dtype=np.int64)).round(1).tolist()
    [0.7, 0.7, 0.6, 0.7, 0.7, 0.7, -1.9]
    """
    told: Floats = np.zeros(len(passages))
    whole = np.array(["cut" not in one.flags for one in passages], dtype=np.bool_)
    single = whole & np.array(["merged" not in one.flags for one in passages], dtype=np.bool_)
    x = np.log([max(one.exited_s - one.entered_s, _BRIEFEST_S) for one in passages])
    q = sigmoid(looked)
    unsure, long_others = q * (1 - q) * whole, _USUALLY_LONG
    for _ in range(4):
        p = sigmoid(looked + told) * single
        if p.sum() < _LEAST_TIMED:
            return np.zeros(len(passages))
        usual, spread = _usual(x, p, hour)
        less = np.minimum(x - usual, 0.0)
        alike = _normal(less, spread)
        short = _normal(less + _SHORTER, np.hypot(spread, _VARIES))
        share = long_others * alike / (long_others * alike + (1 - long_others) * short)
        known = _LEAST_TIMED / 4  # what is in doubt by one half weighs a quarter
        long_others = float((unsure * share).sum() + known * _USUALLY_LONG) / float(
            unsure.sum() + known
        )
        as_truck = (1 - _IN_PART) * alike + _IN_PART * short
        as_other = long_others * alike + (1 - long_others) * short
        told = np.where(whole, np.log(as_truck / as_other), 0.0)
    return told


def _usual(x: Floats, p: Floats, hour: Indices) -> tuple[Floats, Floats]:
    """Return mean and spread of trucks' log stays ``x`` about each passage, both float64[n].

    ``p`` is how far each is a truck. Hours have means of their own, shrunk to the day's by how far
    they vary beyond what chance makes of them (one-way random effects, moments as in DerSimonian &
    Laird 1986); what is not known of an hour's mean adds to its spread.
    """
    n = np.bincount(hour, weights=p)
    means = np.bincount(hour, weights=p * x) / np.maximum(n, 1e-9)
    day = float((p * x).sum() / p.sum())
    square = float((p * (x - means[hour]) ** 2).sum()) + _LEAST_TIMED * _USUAL_CV**2
    within = square / (max(p.sum() - np.count_nonzero(n > 0) + 1, 1.0) + _LEAST_TIMED)
    surplus = float((n * (means - day) ** 2).sum()) - (np.count_nonzero(n > 0) - 1) * within
    between = max(surplus, 0.0) / max(float(n.sum() - (n**2).sum() / n.sum()), 1.0)
    own = between / (between + within / np.maximum(n, 1e-9))
    usual, spread = day + own * (means - day), np.sqrt(within + between * (1 - own))
    return usual[hour], spread[hour]


def _normal(x: Floats, sd: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * (x / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), dtype=np.float64)


def doubted(
    scores: ZoneScores,
    passages: Sequence[Passage],
    glimpses: Sequence[Passage],
    seen: Floats,
    hours: Sequence[Span],
    looks: float,
    calibrated: Calibrated = _EXACT,
) -> tuple[list[Passage], Floats, float, Floats]:
    """Weigh each passage, and each glimpse, by the belief q in its vehicle.

    Belief is what its frames look like (:func:`log_odds`), and how long a passage stays
    (:func:`stay_evidence`). Of the trucks that the chain makes of it q is left; of a glimpse, of
    which the chain makes little, next to nothing.

    Returns:
        Passages and glimpses as :func:`counted_as` has them, glimpses all unlikely; float64[H]
        trucks seen by hour; the variance this adds: of each vehicle, and of all together (on
        another day their odds may be off by a factor e^0.6); and float64[2] by how many trucks
        the sum is off by what labels leave open of the calibration (:meth:`Calibrated.moves`),
        which all zones share.
    """
    listed, believed, doubt = np.zeros(seen.size), np.zeros(seen.size), 0.0
    every = (*passages, *(replace(one, flags=(*one.flags, "unlikely")) for one in glimpses))
    starts = [start for start, _ in hours]
    # As the chain, which counts entries by cells about a frame: the first cell of a window that
    # opens on the hour begins a moment before it.
    frame = np.searchsorted(scores.at_s, [one.entered_s for one in every])
    entered = scores.at_s[np.minimum(frame, scores.at_s.size - 1)]
    hour = np.clip(np.searchsorted(starts, entered, side="right") - 1, 0, seen.size - 1)
    odds = np.array([log_odds(scores, one, looks) for one in every])
    moves = looks * calibrated.moves(odds / looks)
    n = len(passages)
    odds[:n] += stay_evidence(passages, odds[:n], hour[:n])
    beliefs = sigmoid(odds)
    for one, h, q in zip(every, hour, beliefs.tolist(), strict=True):
        listed[h] += one.trucks
        believed[h] += one.trucks * q
        doubt += one.trucks * q * (1 - q)
    # What the chain saw beyond them is doubted as they are.
    overall = believed.sum() / listed.sum() if listed.sum() >= 0.5 else _mean(beliefs[:n])
    seen = np.maximum(believed + overall * (seen - listed), 0.0)
    weighed = [counted_as(one, z) for one, z in zip(every, odds.tolist(), strict=True)]
    swing = (sigmoid(odds + moves) - sigmoid(odds - moves)) / 2
    off = swing @ np.array([one.trucks for one in every])
    return weighed, seen, doubt + (_ODDS_SD * doubt) ** 2, off


def _mean(beliefs: Floats) -> float:
    return float(beliefs.mean()) if beliefs.size else 1.0


def counted_as(one: Passage, odds: float) -> Passage:
    """Return a passage that counts as far as its vehicle is believed a truck, by its log odds.

    It is "weak" unless surely a truck, and "unlikely" where it is more likely none.
    """
    q = float(sigmoid(odds))
    more = ("weak",) * (q <= _SURE) + ("unlikely",) * (q < 0.5)
    flags = tuple(dict.fromkeys((*one.flags, *more)))
    return replace(one, trucks=one.trucks * q, flags=flags)


def sure_trucks(passages: Iterable[Passage]) -> float:
    """Return how many trucks are beyond doubt: of each passage at most one.

    None of a passage that is weak, nor of a parked truck that is cut: its middle may be elsewhere.
    """
    return float(sum(min(one.trucks, 1.0) for one in passages if _is_sure(set(one.flags))))


def _is_sure(flags: set[str]) -> bool:
    return "weak" not in flags and not {"parked", "cut"} <= flags
