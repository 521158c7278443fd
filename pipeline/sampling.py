"""Sampling plans: which instants of a clip to look at. Pure: standard library only.

A plan is a sorted tuple of offsets in seconds after the clip's first frame, every one inside
``[0, duration_s)``. What a plan costs is decided by the codec: a picture costs every picture it
depends on since the last keyframe, so a plan that may move its instants onto keyframes, or onto
pictures shortly after them, is cheaper (``keyframes``, ``anchored``) than one that may not
(``uniform``). ``bursts`` pays for density in a few places, to learn how long trucks stay.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from fractions import Fraction

from pipeline.errors import InputError


def uniform(duration_s: float, hz: float, phase_s: float = 0.0) -> tuple[float, ...]:
    """Return every 1/``hz`` seconds from ``phase_s`` on.

    Each offset is computed from its own index, so 24 hours at 29.97 Hz end where they should.

    >>> uniform(2.0, 2.0)
    (0.0, 0.5, 1.0, 1.5)
    """
    if not hz > 0 or not math.isfinite(hz):
        raise InputError(f"sampling rate {hz!r} is not above 0 Hz.", "Give samples per second.")
    step = 1 / Fraction(hz).limit_denominator(1_000_000)
    count = math.ceil((duration_s - phase_s) / float(step) - 1e-9) if duration_s > phase_s else 0
    # One correctly rounded division per offset: nothing adds up.
    return tuple(phase_s + i * step.numerator / step.denominator for i in range(max(count, 0)))


def keyframes(keyframe_offsets: Sequence[float], min_interval_s: float = 0.0) -> tuple[float, ...]:
    """Return keyframes at least ``min_interval_s`` apart: the pictures that are nearly free.

    >>> keyframes([0.0, 2.0, 4.0, 6.0], min_interval_s=3.0)
    (0.0, 4.0)
    """
    kept: list[float] = []
    for offset in sorted(keyframe_offsets):
        if not kept or offset - kept[-1] >= min_interval_s - 1e-9:
            kept.append(offset)
    return tuple(kept)


def anchored(
    duration_s: float, hz: float, keyframe_offsets: Sequence[float], tolerance_s: float
) -> tuple[float, ...]:
    """Return a near-uniform plan whose instants move back to a keyframe within reach.

    The cheapest picture near an instant is the keyframe itself; failing that, the earliest picture
    after the last keyframe, since everything between has to be decoded to get there. So each
    uniform instant goes to the nearest keyframe at most ``tolerance_s`` away, else
    ``tolerance_s`` earlier (never past its keyframe, never below 0). Order and count are kept;
    two instants that meet on one keyframe become one.

    >>> anchored(4.0, 1.0, [0.0, 2.1], 0.25)
    (0.0, 0.75, 2.1, 2.75)
    """
    keys = sorted(keyframe_offsets)
    plan = {_moved(wanted, keys, tolerance_s) for wanted in uniform(duration_s, hz)}
    return tuple(sorted(offset for offset in plan if offset < duration_s))


def _moved(wanted: float, keys: Sequence[float], tolerance_s: float) -> float:
    after = bisect.bisect_right(keys, wanted)
    near = [key for key in keys[max(after - 1, 0) : after + 1] if abs(key - wanted) <= tolerance_s]
    if near:
        return min(near, key=lambda key: abs(key - wanted))
    return max(wanted - tolerance_s, 0.0)


def bursts(
    duration_s: float, hz: float, length_s: float, n: int, seed: int = 0
) -> tuple[float, ...]:
    """Return ``n`` dense stretches of ``length_s`` at ``hz``, placed at random without overlap.

    The clip is cut into ``n`` equal parts and one burst falls uniformly in each (stratified), so
    bursts spread over the clip. The same arguments always give the same plan. Where a part is
    shorter than ``length_s`` its burst fills the part.

    >>> plan = bursts(60.0, 5.0, 2.0, 3, seed=1)
    >>> len(plan), plan == bursts(60.0, 5.0, 2.0, 3, seed=1)
    (30, True)
    """
    if n < 1 or duration_s <= 0:
        return ()
    draw = random.Random(seed)
    part_s = duration_s / n
    plan: list[float] = []
    for part in range(n):
        stretch_s = min(length_s, part_s)
        start = part * part_s + draw.random() * (part_s - stretch_s)
        plan.extend(start + offset for offset in uniform(stretch_s, hz))
    return tuple(offset for offset in plan if offset < duration_s)


SPARSE_BELOW_HZ = 0.5
BURST_HZ = 5.0
BURST_S = 20.0
BURST_SHARE = 0.02


def is_sparse(hz: float) -> bool:
    """Whether a camera sampled at ``hz`` is read by keyframes, with bursts to time stays by."""
    return hz < SPARSE_BELOW_HZ


def sparse(
    duration_s: float, hz: float, keyframe_offsets: Sequence[float], seed: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the steady instants of a sparse plan, and those of its dense bursts.

    Steady instants go to the nearest keyframe, up to half an interval away. Bursts of
    :data:`BURST_S` seconds take :data:`BURST_SHARE` of the footage: a short clip has one only now
    and then. Each begins on a keyframe where there is one before it, since all from there on is
    decoded anyway. The same arguments always give the same plan.

    >>> steady, dense = sparse(3600.0, 0.1, [2.0 * k for k in range(1800)], seed=1)
    >>> len(steady), len(dense)           # 3600 s · 2% / 20 s = 3.6: here three bursts of 100
    (360, 300)
    """
    draw = random.Random(seed)
    steady = anchored(duration_s, hz, keyframe_offsets, 0.5 / hz)
    wanted = duration_s * BURST_SHARE / BURST_S
    n = math.floor(wanted + draw.random())
    keys = sorted(keyframe_offsets)
    dense: set[float] = set()
    part_s = duration_s / max(n, 1)
    for part in range(n):
        start = part * part_s + draw.random() * max(part_s - BURST_S, 0.0)
        before = bisect.bisect_right(keys, start)
        start = max(keys[before - 1], part * part_s) if before else start
        dense |= {start + offset for offset in uniform(min(BURST_S, part_s), BURST_HZ)}
    return steady, tuple(sorted(offset for offset in dense if offset < duration_s))
