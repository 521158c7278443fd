"""How far a passage's vehicle is believed to be a truck, and what that leaves of the count.

A network errs on a vehicle, not on a frame: ten frames of one bus are wrong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.counting.records import Floats, Passage, ZoneScores
from pipeline.domain import Span

_ODDS_SD = 0.6
_SURE = 0.95


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


def doubted(
    scores: ZoneScores,
    passages: Sequence[Passage],
    seen: Floats,
    hours: Sequence[Span],
    looks: float,
) -> tuple[tuple[Passage, ...], Floats, float]:
    """Weigh each passage by the :func:`belief` q in its vehicle: it counts q trucks.

    Returns:
        The passages more likely a truck than not, float64[H] trucks seen by hour, and the variance
        this adds: of each vehicle, and of all together (their odds may be off by a factor e^0.6).
    """
    kept: list[Passage] = []
    listed, believed, doubt = np.zeros(seen.size), np.zeros(seen.size), 0.0
    starts = np.array([start for start, _ in hours])
    for one in passages:
        q = belief(scores, one, looks)
        middle = (one.entered_s + one.exited_s) / 2
        hour = int(np.clip(np.searchsorted(starts, middle, side="right") - 1, 0, seen.size - 1))
        listed[hour] += one.trucks
        believed[hour] += one.trucks * q
        doubt += one.trucks * q * (1 - q)
        if q >= 0.5:
            kept.append(counted_as(one, q))
    # What the chain saw beyond its passages is doubted as they are.
    overall = believed.sum() / max(float(listed.sum()), 1e-9)
    share = np.where(listed > 0.5, believed / np.maximum(listed, 0.5), overall)
    seen = seen * np.minimum(share, 1.0)
    return tuple(kept), seen, doubt + (_ODDS_SD * doubt) ** 2


def counted_as(one: Passage, q: float) -> Passage:
    """Return a passage that counts as far as its vehicle is believed; "weak" unless surely so."""
    flags = one.flags if q > _SURE else tuple(dict.fromkeys((*one.flags, "weak")))
    return replace(one, trucks=one.trucks * q, flags=flags)
