"""What dense frames teach a sparse camera: how long trucks stay, and how the model errs there.

Sparse frames give the share of time in which the model says truck; how many trucks that is follows
from dense frames of the same camera (survey double sampling): the bursts of the sparse plan, and
days on which it was still sampled densely; of the day and of the days before it, never after. There
trucks can be followed one by one, so

    sensitivity, specificity    positive frames inside and outside the stays of these trucks
    stay                        -ln(1 - share of time occupied) · seconds ÷ trucks, zone by zone

and what the model gets wrong on this camera cancels as long as it stays the same. The stretches of
all days are laid end to end on one clock, with pauses between them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline import sampling
from pipeline.domain import Span

if TYPE_CHECKING:
    from pipeline.counting import Classifier, Dwell, ZoneScores
    from pipeline.counting.records import Flags, Floats, Indices
    from pipeline.domain import Camera

DAYS_BACK = 60
LONGEST_S = 3600.0  # of dense footage per zone: a few hundred stays
LEAST_TRUCKS = 5.0
_DENSE_S = 0.5
_PAUSE_S = 120.0
_ANOTHER_ZONE = 0.2  # how well a stay is known from the zones beside it
_LEAST_SPREAD = 0.4  # of positive seconds among trucks, where few stretches cannot tell

Day = tuple[Sequence["ZoneScores"], Sequence[Span]]


@dataclass(frozen=True)
class Dense:
    """One zone's dense stretches: float64[B] seconds, trucks, positive seconds of each.

    bool[n] ``positive`` and ``inside``: frames over the threshold, and in the stay of a truck.
    """

    seconds: Floats
    trucks: Floats
    positive_s: Floats
    positive: Flags
    inside: Flags


def learned(
    camera: Camera,
    days: Sequence[dt.date],
    read: Callable[[dt.date], Day],
    classifier: Classifier,
    looks: float,
) -> tuple[dict[str, Dwell], Classifier]:
    """Return the stay by zone (``CountParams.dwell``) and the classifier to count with.

    For a dense camera: no stays, the same classifier.

    Args:
        camera: as aimed on the last of ``days``.
        days: that day and earlier ones, in order.
        read: gives a day's scores by zone and its covered spans.
        classifier: of the model behind the scores.
        looks: as in ``CountParams``.
    """
    if not sampling.is_sparse(camera.sample_hz):
        return {}, classifier
    kept: dict[str, list[ZoneScores]] = {zone.name: [] for zone in camera.zones}
    for day in reversed([d for d in days if d >= camera.valid_from][-DAYS_BACK:]):
        scores, covered = read(day)
        for one in scores:
            if _length(kept[one.zone]) < LONGEST_S:
                kept[one.zone] += stretches(one, covered)
    dense: dict[str, Dense] = {}
    for movement in sorted({zone.movement for zone in camera.zones}):
        lanes = [kept[zone.name] for zone in camera.zones if zone.movement == movement]
        if all(lanes):
            dense |= followed(lanes, classifier, looks)
    if sum(float(one.trucks.sum()) for one in dense.values()) < LEAST_TRUCKS:
        return {}, classifier
    judge = judged(list(dense.values()), classifier)
    found = {}
    for zone in camera.zones:
        abreast = [z.name for z in camera.zones if z.movement == zone.movement]
        beside = [dense[name] for name in abreast if name in dense]
        own = [dense[zone.name]] if zone.name in dense else []
        stay, shared = _stay(own, judge), _stay(beside, judge)
        if stay is None and shared is not None:
            stay = replace(shared, log_se=max(shared.log_se, _ANOTHER_ZONE))
        if stay is not None:
            found[zone.name] = stay
    return found, judge


def stretches(scores: ZoneScores, covered: Sequence[Span]) -> list[ZoneScores]:
    """Return a day's dense stretches of one zone, each as scores of its own."""
    from pipeline.counting.bursts import dense_stretches

    if scores.at_s.size < 2:
        return []
    spans = dense_stretches(scores.at_s, covered)
    if not spans and float(np.median(np.diff(scores.at_s))) <= _DENSE_S:
        spans = list(covered)
    cuts = [np.searchsorted(scores.at_s, [a, b + 1e-6]) for a, b in spans]
    return [
        replace(scores, at_s=scores.at_s[first:last], p_truck=scores.p_truck[first:last])
        for first, last in cuts
        if last - first > 1
    ]


def followed(
    lanes: Sequence[Sequence[ZoneScores]], classifier: Classifier, looks: float
) -> dict[str, Dense]:
    """Follow single trucks through the dense stretches of a movement's zones, by zone name.

    A truck in two neighbouring zones at once is one truck, though positive in both.
    """
    from pipeline.counting import CountParams, count_day

    laid = [_end_to_end(parts) for parts in lanes]
    zones, spans = [zone for zone, _ in laid], laid[0][1]
    hours = [(0.0, spans[-1][1] + _PAUSE_S)]
    day = count_day(zones, spans, spans, hours, classifier, CountParams(looks=looks))
    (count,) = day.movements
    single = [one for one in count.passages if "straddle" not in one.flags]
    listed = sum(one.trucks for one in single)
    scale = (count.truck_count or listed) / listed if listed > 0 else 0.0
    found = {}
    for zone in zones:
        inside = np.zeros(zone.at_s.size, dtype=bool)
        for one in count.passages:
            if one.zone == zone.zone:
                inside |= (zone.at_s >= one.entered_s) & (zone.at_s <= one.exited_s)
        own = [one for one in single if one.zone == zone.zone]
        middles = [(one.entered_s + one.exited_s) / 2 for one in own]
        trucks = np.zeros(len(spans))
        np.add.at(trucks, _owner(middles, spans), [one.trucks * scale for one in own])
        found[zone.zone] = _dense(zone, spans, trucks, inside, classifier.threshold)
    return found


def _end_to_end(parts: Sequence[ZoneScores]) -> tuple[ZoneScores, list[Span]]:
    """Return stretches on one clock, with pauses between them, and their spans."""
    at, spans, clock = [], [], 0.0
    for one in parts:
        at.append(one.at_s - one.at_s[0] + clock)
        spans.append((clock, float(at[-1][-1])))
        clock = spans[-1][1] + _PAUSE_S
    p_truck = np.concatenate([one.p_truck for one in parts])
    return replace(parts[0], at_s=np.concatenate(at), p_truck=p_truck), spans


def _owner(instants: Sequence[float] | Floats, spans: Sequence[Span]) -> Indices:
    """Return int64[n]: the stretch that each instant belongs to."""
    starts = np.array([start for start, _ in spans])
    return np.maximum(np.searchsorted(starts, instants, side="right") - 1, 0)


def _dense(
    zone: ZoneScores, spans: Sequence[Span], trucks: Floats, inside: Flags, threshold: float
) -> Dense:
    positive = zone.p_truck >= threshold
    owner = _owner(zone.at_s, spans)
    frames = np.bincount(owner, minlength=len(spans))
    hits = np.bincount(owner, weights=positive, minlength=len(spans))
    seconds = np.array([end - start for start, end in spans])
    return Dense(seconds, trucks, hits / np.maximum(frames, 1) * seconds, positive, inside)


def judged(dense: Sequence[Dense], classifier: Classifier) -> Classifier:
    """Return the classifier as it does on this camera; a truck is one look, not one per frame."""
    positive = np.concatenate([one.positive for one in dense])
    inside = np.concatenate([one.inside for one in dense])
    trucks = float(sum(one.trucks.sum() for one in dense))
    hit, false = float(positive[inside].mean()), float(positive[~inside].mean())
    clear = trucks * float((~inside).sum()) / float(inside.sum())
    return replace(
        classifier,
        tp=trucks * hit,
        fn=trucks * (1 - hit),
        fp=clear * false,
        tn=clear * (1 - false),
    )


def two_valued(scores: ZoneScores, judge: Classifier) -> ZoneScores:
    """Return scores that say only on which side of the threshold each frame lies.

    A truck seen once has no other frames to make up for a weak score, and what a frame's side is
    worth is known from dense frames; each side gets the probability that these give it.
    """
    base, hit, clear = judge.prevalence, judge.sensitivity, judge.specificity
    above = base * hit / (base * hit + (1 - base) * (1 - clear))
    below = base * (1 - hit) / (base * (1 - hit) + (1 - base) * clear)
    side = scores.p_truck >= judge.threshold
    high, low = max(above, judge.threshold), min(below, judge.threshold - 1e-6)
    return replace(scores, p_truck=np.where(side, high, low))


def _stay(dense: Sequence[Dense], judge: Classifier) -> Dwell | None:
    """Return the stay that agrees with the trucks followed; None for too few of them."""
    from pipeline.counting import Dwell
    from pipeline.counting.occupancy import arrivals, rogan_gladen

    if not dense:
        return None
    seconds = np.concatenate([one.seconds for one in dense])
    trucks = np.concatenate([one.trucks for one in dense])
    positive_s = np.concatenate([one.positive_s for one in dense])
    number = float(trucks.sum())
    share = rogan_gladen(float(positive_s.sum() / seconds.sum()), judge)[0]
    if number < LEAST_TRUCKS or share <= 0:
        return None
    beyond = positive_s - positive_s.sum() / number * trucks
    m = max(len(beyond), 2)
    spread = float(np.sqrt(np.sum(beyond**2) * m / (m - 1))) / float(positive_s.sum())
    mean_s = arrivals(share, 1.0, float(seconds.sum())) / number
    return Dwell(mean_s, log_se=max(spread, _LEAST_SPREAD / number**0.5))


def _length(parts: Sequence[ZoneScores]) -> float:
    return float(sum(one.at_s[-1] - one.at_s[0] for one in parts))
