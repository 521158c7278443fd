"""A camera-day: zones counted one by one, summed to movements and hours, with the arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.counting.doubt import sure_trucks
from pipeline.counting.interval import truck_interval
from pipeline.counting.passages import in_order, straddling
from pipeline.counting.profile import shape_of
from pipeline.counting.records import (
    Classifier,
    CountParams,
    DayCount,
    Floats,
    HourCount,
    MovementCount,
    Passage,
    Profile,
    Quality,
    ZoneCount,
    ZoneScores,
)
from pipeline.counting.spans import by_hour, common, merged, total
from pipeline.counting.zone import ZoneResult, count_zone
from pipeline.domain import Span

_DRIFT_Z = 3.5
_FILLED = 0.005
_MUCH_UNSEEN = 0.02
_NOTHING = 1e-6  # trucks that are the arithmetic's, not the road's


def count_day(
    zones: Sequence[ZoneScores],
    covered: Sequence[Span],
    scheduled: Sequence[Span],
    hours: Sequence[Span],
    classifier: Classifier,
    params: CountParams | None = None,
    profile: Profile | None = None,
    hour_of_week: Sequence[int] | None = None,
) -> DayCount:
    """Count a camera-day.

    Args:
        zones: Scores by zone.
        covered: Stretches truly seen, POSIX seconds.
        scheduled: Stretches in which the camera was meant to film.
        hours: The local hours of the day, in order: 23, 24 or 25 of them.
        classifier: Held-out confusion counts of the model behind the scores.
        params: How to count.
        profile: What earlier days say about hours; only of use with ``hour_of_week``.
        hour_of_week: For each of ``hours`` its place in the local week, 0 = Monday 00:00.

    Returns:
        One row per movement and per zone. ``truck_count`` is the expected number of passages: whole
        where the interval is a single number, otherwise a mean with a fraction.
    """
    params = params or CountParams()
    wanted = common(scheduled, merged(hours))
    held = common(covered, wanted)
    coverage = total(held) / total(wanted) if total(wanted) > 0 else 0.0
    results = []
    lanes = Counter(scores.movement for scores in zones)
    for scores in sorted(zones, key=lambda one: one.zone):
        shape = shape_of(profile, (scores.zone, scores.movement), len(hours), hour_of_week)
        rules = params.for_lanes() if lanes[scores.movement] > 1 else params
        results.append(count_zone(scores, held, wanted, hours, classifier, rules, shape))
    rows, zone_rows = [], []
    for movement in sorted({one.scores.movement for one in results}):
        group = [one for one in results if one.scores.movement == movement]
        rows.append(_movement(movement, group, held, wanted, hours, coverage, params))
        zone_rows += [_zone_row(one, rows[-1].quality, params) for one in group]
    return DayCount(tuple(rows), tuple(zone_rows))


def _count(
    mean: float, variance: float, sure: float, params: CountParams
) -> tuple[float, float, float] | None:
    """Return (count, lo, hi), or None where the interval says that nothing is known."""
    lo, hi = truck_interval(mean, variance, sure, params.level)
    if hi - lo > max(params.widest * mean, params.few):
        return None
    if lo == hi:
        return lo, lo, hi
    mean = mean if mean > _NOTHING else 0.0
    return mean, min(lo, mean), max(hi, mean)


def _zone_row(one: ZoneResult, quality: Quality, params: CountParams) -> ZoneCount:
    """One zone's row."""
    variance = one.variance + float((one.off**2).sum())
    made = _count(one.trucks, variance, one.sure, params) if one.method != "none" else None
    value, lo, hi = made if made and quality != "insufficient" else (None, None, None)
    return ZoneCount(
        one.scores.zone,
        one.scores.movement,
        value,
        lo,
        hi,
        one.method,
        one.check.trucks if one.check and one.method == "events" else None,
        one.dwell.mean_s if one.dwell else None,
        one.prevalence,
        quality if made else "insufficient",
    )


def _movement(
    movement: str,
    group: Sequence[ZoneResult],
    held: Sequence[Span],
    wanted: Sequence[Span],
    hours: Sequence[Span],
    coverage: float,
    params: CountParams,
) -> MovementCount:
    """Sum the zones of one movement."""
    named = in_order(passage for one in group for passage in _named(one))
    told = straddling(named)
    echoes = [one for one, now in zip(named, told, strict=True) if "straddle" in now.flags]
    passages = [one for one in told if "unlikely" not in one.flags]
    # An echo was counted as far as its zone believed it, and no further is it taken off.
    doubled = float(sum(one.trucks for one in echoes))
    seen = np.sum([one.seen for one in group], axis=0)
    filled = np.sum([one.filled for one in group], axis=0)
    raw = float(seen.sum() + filled.sum())
    seen = seen * (max(seen.sum() - doubled, 0.0) / seen.sum() if seen.sum() > 0 else 1.0)
    mean = float(seen.sum() + filled.sum())
    variance = float(sum(one.variance for one in group)) + 0.25 * doubled
    variance += float((np.sum([one.off for one in group], axis=0) ** 2).sum())
    sure = sum(one.sure for one in group) - sure_trucks(echoes)
    made = _count(mean, variance, sure, params) if group else None
    lines = _arithmetic(group, passages, seen, filled, doubled, raw)
    reason = next((one.reason for one in group if one.method == "none"), "")
    if reason or coverage < params.coverage_floor or made is None:
        made = None
        lines.append((reason or _why(coverage, params), None))
    value, lo, hi = made or (None, None, None)
    if value is not None and value != mean:
        lines.append(("rounded, where the interval is a single number", value - mean))
    lines.append(("truck_count", value))
    quality = _quality(group, made is not None, filled, mean, coverage)
    rows = _hourly(hours, seen + filled, value, variance, held, wanted, params)
    prevalences = [one.prevalence for one in group if one.prevalence is not None]
    methods = [one.method for one in group]
    return MovementCount(
        movement,
        value,
        lo,
        hi,
        "none" if "none" in methods or not methods else min(set(methods), key=methods.index),
        quality,
        tuple(passages),
        total(held),
        total(wanted),
        coverage,
        sum(one.frames for one in group),
        float(np.mean(prevalences)) if prevalences else None,
        rows,
        tuple(lines),
    )


def _named(one: ZoneResult) -> list[Passage]:
    """The zone's passages, each with the zone's name."""
    return [replace(passage, zone=one.scores.zone) for passage in one.passages]


def _why(coverage: float, params: CountParams) -> str:
    """Say why no count is given."""
    if coverage < params.coverage_floor:
        return f"seen {coverage:.0%} of the scheduled time, below {params.coverage_floor:.0%}"
    return "too few trucks for the classifier's errors: not identified"


def _arithmetic(
    group: Sequence[ZoneResult],
    passages: Sequence[Passage],
    seen: Floats,
    filled: Floats,
    doubled: float,
    raw: float,
) -> list[tuple[str, float | None]]:
    """Every step from passages to the count, as lines whose corrections add up."""
    single = [one for one in passages if "straddle" not in one.flags]
    listed = float(len(passages))
    edges = float(sum(one.edges for one in group))
    merged_in = float(sum(one.trucks - 1.0 for one in single)) - (len(passages) - len(single))
    before = float(seen.sum()) + doubled
    lines: list[tuple[str, float | None]] = [("passages found", listed)]
    lines.append(("trucks merged in one passage, and doubtful passages", merged_in))
    lines.append(("cut at the edge of the footage: middle outside", edges))
    rest = before - listed - merged_in - edges - doubled
    lines.append(("trucks no passage shows (missed, or between frames)", rest))
    if doubled:
        lines[1] = ("trucks merged in one passage, and doubtful passages", merged_in + doubled)
        lines.append(("one truck in two neighbouring zones", -doubled))
    lines.append(("unseen scheduled time, filled", float(filled.sum())))
    return lines


def _quality(
    group: Sequence[ZoneResult], made: bool, filled: Floats, mean: float, coverage: float
) -> Quality:
    """Grade a row."""
    if not made:
        return "insufficient"
    if any(_drifted(one) for one in group):
        return "drift"
    # Few trucks seen in part of the time fill the rest with next to none: that is an estimate, too.
    much = filled.sum() > _FILLED * max(mean, 1.0)
    return "estimated" if much or 1 - coverage > _MUCH_UNSEEN else "ok"


def _drifted(one: ZoneResult) -> bool:
    """Whether two ways of counting, or of measuring prevalence, disagree beyond their errors."""
    if one.check is None or one.method != "events":
        return False
    seen = float(one.seen.sum())
    spread = math.sqrt(one.check.se**2 + one.variance + seen * 0.02 + 4.0)
    return abs(one.check.trucks - seen) > _DRIFT_Z * spread + 0.1 * seen


def _hourly(
    hours: Sequence[Span],
    trucks: Floats,
    value: float | None,
    variance: float,
    held: Sequence[Span],
    wanted: Sequence[Span],
    params: CountParams,
) -> tuple[HourCount, ...]:
    """Hours that add up to the day; each hour's variance is its share of the day's.

    An hour of which nothing is scheduled has no count: nobody looks then.
    """
    seen_s, wanted_s = by_hour(held, hours), by_hour(wanted, hours)
    looked = wanted_s > 0
    trucks = np.where(looked, trucks, 0.0)  # a cell across the opening may count before it
    sum_all = float(trucks.sum())
    rows = []
    for k, (start, end) in enumerate(hours):
        if value is None or not looked[k]:
            rows.append(HourCount(start, end, None, None, None, seen_s[k], wanted_s[k]))
            continue
        share = trucks[k] / sum_all if sum_all > 0 else 1 / np.count_nonzero(looked)
        count = value * share
        lo, hi = truck_interval(count, variance * share, 0.0, params.level)
        rows.append(
            HourCount(
                start,
                end,
                count,
                min(lo, count),
                max(hi, count),
                float(seen_s[k]),
                float(wanted_s[k]),
            )
        )
    return tuple(rows)
