"""One zone's day: choose the estimator, learn, count, fill what was not seen.

Both estimators rest on the same M/G/∞ chain (:mod:`pipeline.counting.chain`). With two or more
frames per stay it follows single trucks (*events*) and learns stays from the day; below, it has
only occupancy to go by and takes the stay from dense bursts or earlier days (*occupancy*).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.counting.bursts import dense_stretches, thinned
from pipeline.counting.doubt import counted_as, doubted, log_odds, sure_trucks
from pipeline.counting.evidence import Cells, Evidence, grid, weigh, within
from pipeline.counting.fit import learn
from pipeline.counting.model import Fit, ZoneDay
from pipeline.counting.occupancy import Occupancy, by_occupancy
from pipeline.counting.parked import set_parked_aside
from pipeline.counting.passages import as_scored, list_passages, runs
from pipeline.counting.records import (
    Classifier,
    CountParams,
    Dwell,
    Floats,
    Method,
    Passage,
    ZoneScores,
)
from pipeline.counting.spans import by_hour
from pipeline.domain import Span

CELLS_PER_DWELL = 9.0  # half as many hide short stays, which begin and end within a cell
# A few seconds of dense footage say nothing of stays, but a lane zone is crossed in about two.
_PLAINLY_DENSE_S = 0.5
_ORDINARY_STAY_S = 2.0
_FINE = 20.0  # cells to a stay where the stay itself is wanted: coarse ones lengthen it
_LEAST_TIMED = 5.0
_QUEUES = 3.0  # a mean so many times the usual run is that of trucks that stood in a queue
_LEAST_RUNS, _BEYOND_CHANCE = 10, 20.0
# The quickest fifth of like stays takes 0.75 of the median (log-normal, spread 0.35). Where others
# stand, those are trucks all the same if they look it: as strong, but for what their ends weaken.
_FIFTH, _AS_STRONG = 0.75, 1.0
_CURVATURE = (
    1.1  # what first-order error propagation leaves out: 94% of simulated days held without
)


@dataclass(frozen=True)
class ZoneResult:
    """A zone's day with its parts, before zones are summed.

    float64[H] ``seen`` and ``filled`` trucks by hour; ``variance`` of their sum; ``sure`` trucks
    beyond doubt; ``off`` float64[2] how many they may be off by the classifier's calibration
    (:meth:`Calibrated.moves`), not in ``variance``. ``passages`` are all there are, unlikely ones,
    too: one may be the echo of a truck in the next zone. ``method`` is ``"none"`` where no count
    can be made, for ``reason``.
    """

    scores: ZoneScores
    method: Method
    reason: str
    seen: Floats
    filled: Floats
    variance: float
    sure: float
    off: Floats
    passages: tuple[Passage, ...]
    edges: float
    frames: int
    prevalence: float | None
    dwell: Dwell | None
    check: Occupancy | None
    fit: Fit | None

    @property
    def trucks(self) -> float:
        """Seen and filled trucks."""
        return float(self.seen.sum() + self.filled.sum())


def guess_dwell(evidence: Evidence) -> Dwell | None:
    """Guess the mean stay from the day's own autocovariance; ``None`` where frames are too sparse.

    The autocovariance of presence falls from its value at 0 to nothing over the longest stay and
    its integral is half the mean square stay; extrapolating from lags 1 and 2 keeps errors out.
    """
    if evidence.at_s.size < 50:
        return None
    step = evidence.interval_s
    size = int(min(round((evidence.at_s[-1] - evidence.at_s[0]) / step) + 1, 4_000_000))
    place = np.minimum(np.round((evidence.at_s - evidence.at_s[0]) / step).astype(int), size - 1)
    series = np.zeros(size)
    series[place] = evidence.positive - evidence.positive.mean()
    lags = int(min(size // 4, max(60.0 / step, 20)))
    length = 1 << int(np.ceil(np.log2(size + lags)))
    power = np.abs(np.fft.rfft(series, length)) ** 2
    covariance = np.fft.irfft(power, length)[: lags + 1] / size
    if covariance[1] <= 0:
        return None
    zero = max(2 * covariance[1] - covariance[2], covariance[1])
    below = np.flatnonzero(covariance[1:] < 0.05 * zero)
    end = int(below[0]) + 1 if below.size else lags
    area = zero / 2 + covariance[1:end].sum()
    mean = 2 * area / zero * step / (1 + 0.35**2)
    usual = _usual_run_s(evidence)
    if usual is not None and mean > _QUEUES * usual:
        mean = usual
    return Dwell(float(max(mean, step)), 0.35, 0.5)


def _usual_run_s(evidence: Evidence) -> float | None:
    """Return the usual length of runs of positive frames; ``None`` where they say nothing.

    Trucks that stand make the mean square stay, and where many do even the median, but not the
    usual one: that is told by the quickest fifth, unless it looks less like trucks than the rest.
    One or two negative frames do not end a run, and two positive ones do not make one. Runs say
    nothing where there are few, or where errors as frequent as lone positive frames would make a
    twentieth.
    """
    at_s = evidence.at_s[evidence.positive]
    if at_s.size < 3:
        return None
    ends = np.flatnonzero(np.diff(at_s) > 3.5 * evidence.interval_s)
    first, last = np.append(0, ends + 1), np.append(ends, at_s.size - 1)
    is_run = last - first >= 2
    alone = float((last - first + 1)[~is_run].sum()) / evidence.at_s.size
    chance = evidence.at_s.size * alone * (1 - (1 - alone) ** 3) ** 2
    if is_run.sum() < max(_LEAST_RUNS, _BEYOND_CHANCE * chance):
        return None
    length = at_s[last] - at_s[first] + evidence.interval_s
    strong = np.add.reduceat(evidence.beyond[evidence.positive], first) / (last - first + 1)
    length, strong = length[is_run], strong[is_run]
    usual = float(np.median(length))
    quick = float(np.quantile(length, 0.2)) / _FIFTH
    alike = strong[length < quick].mean() > strong.mean() - _AS_STRONG
    return min(usual, quick) if alike else usual


def count_zone(
    scores: ZoneScores,
    covered: Sequence[Span],
    scheduled: Sequence[Span],
    hours: Sequence[Span],
    classifier: Classifier,
    params: CountParams,
    shape: Floats,
) -> ZoneResult:
    """Count one zone. ``covered`` lies within ``scheduled``; ``shape`` is float64[H], mean 1."""
    known = params.known_dwell(scores.zone)
    bursts = dense_stretches(scores.at_s, covered)
    if bursts:
        known = known or _timed(scores, bursts, hours, classifier, params)
        keep = thinned(scores.at_s, bursts)
        scores = replace(scores, at_s=scores.at_s[keep], p_truck=scores.p_truck[keep])
    evidence = weigh(scores, covered, classifier)
    dwell = known or (guess_dwell(evidence) if evidence.at_s.size else None)
    step = evidence.interval_s
    if dwell is None and step <= _PLAINLY_DENSE_S:
        dwell = Dwell(max(_ORDINARY_STAY_S, 4 * step), 0.35, 1.0)
    if evidence.at_s.size < 2:
        return _nothing(scores, evidence, hours, "no frames were scored")
    if classifier.sensitivity + classifier.specificity < 1.1:
        return _nothing(scores, evidence, hours, "the classifier cannot tell trucks apart")
    if dwell is None:
        if evidence.positive.any() and not known:
            return _nothing(scores, evidence, hours, "sparse frames and no dwell known")
        dwell = Dwell(4 * step, 0.35, 1.0)
    fit, cells, parked = _learn(evidence, covered, hours, classifier, params, dwell, shape)
    if not cells.seen.any():
        return _nothing(scores, evidence, hours, "a truck stood there all the time")
    stay = fit.theta.dwell_cells * cells.width_s
    method: Method = "events" if stay / step >= params.samples_per_dwell else "occupancy"
    if method == "occupancy" and known is None:
        return _nothing(scores, evidence, hours, "sparse frames and no dwell known")
    passages: list[Passage] = []
    glimpses: list[Passage] = []
    if method == "events":
        passages, glimpses = list_passages(scores, evidence, cells, fit)
    learned = Dwell(_mean_stay(passages, stay), fit.theta.cv, dwell.log_se)
    if fit.trucks < params.few and fit.blur > 0.35 * params.few:
        reason = "the classifier's errors would hide a few trucks"
        return replace(_nothing(scores, evidence, hours, reason), dwell=learned)
    seen_s, wanted_s = by_hour(covered, hours), by_hour(scheduled, hours)
    seen, edges = _seen(fit, cells)
    parked = [as_scored(scores, one) for one in parked]
    doubt = 0.0
    off: Floats = np.zeros(2)
    if params.looks is not None:
        passages, seen, doubt, off = doubted(
            scores, passages, glimpses, seen, hours, params.looks, classifier.calibrated
        )
        parked = [counted_as(one, log_odds(scores, one, params.looks)) for one in parked]
    seen = seen + _standing(parked, cells, len(hours))
    # Whether the middle of a stay that is cut lies within the footage is anyone's guess.
    doubt += sum(0.25 if "cut" in one.flags else one.trucks * (1 - one.trucks) for one in parked)
    filled, variance = _fill(fit, seen, seen_s, np.maximum(wanted_s - seen_s, 0.0), shape)
    stood_s = by_hour([(one.entered_s, one.exited_s) for one in parked], hours)
    free_s = np.maximum(seen_s - stood_s, 0.0)
    passages = sorted((*passages, *parked), key=lambda one: one.entered_s)
    return ZoneResult(
        scores,
        method,
        "",
        seen,
        filled,
        variance + doubt,
        sure_trucks(passages),
        off,
        tuple(passages),
        edges,
        evidence.at_s.size,
        evidence.prevalence,
        learned,
        by_occupancy(_without(evidence, parked), classifier, learned, hours, free_s),
        fit,
    )


def _without(evidence: Evidence, parked: Sequence[Passage]) -> Evidence:
    """Leave out the frames in which a truck is parked: they tell nothing of those that pass."""
    free = ~within(evidence.at_s, [(one.entered_s, one.exited_s) for one in parked])
    return Evidence(
        evidence.at_s[free], evidence.positive[free], evidence.beyond[free], evidence.prevalence
    )


def _mean_stay(passages: Sequence[Passage], fallback: float) -> float:
    """Return the mean stay in seconds of trucks seen singly and whole, where there are a few."""
    single = [
        one.exited_s - one.entered_s for one in passages if not one.flags and one.trucks < 1.2
    ]
    return float(np.mean(single)) if len(single) >= _LEAST_TIMED else fallback


def _timed(
    scores: ZoneScores,
    bursts: Sequence[Span],
    hours: Sequence[Span],
    classifier: Classifier,
    params: CountParams,
) -> Dwell | None:
    """Learn the mean stay from dense bursts alone; ``None`` where they show too few trucks."""
    evidence = weigh(scores, bursts, classifier)
    first = guess_dwell(evidence)
    if first is None:
        return None
    flat = np.ones(len(hours))
    fit, cells, _ = _learn(evidence, bursts, hours, classifier, params, first, flat, _FINE)
    if fit.trucks < _LEAST_TIMED:
        return None
    spread = fit.theta.cv / float(np.sqrt(fit.trucks))
    return Dwell(fit.theta.dwell_cells * cells.width_s, fit.theta.cv, max(spread, 0.01))


def learn_dwell(
    zones: Sequence[ZoneScores],
    covered: Sequence[Span],
    hours: Sequence[Span],
    classifier: Classifier,
    params: CountParams | None = None,
) -> dict[str, Dwell]:
    """Learn each zone's mean stay from dense frames (bursts, or earlier days), by zone name.

    Zones with fewer than a handful of trucks are left out. For :attr:`CountParams.dwell`.
    """
    found = {
        one.zone: _timed(one, covered, hours, classifier, params or CountParams()) for one in zones
    }
    return {zone: dwell for zone, dwell in found.items() if dwell is not None}


def _nothing(
    scores: ZoneScores, evidence: Evidence, hours: Sequence[Span], reason: str
) -> ZoneResult:
    """A zone that cannot be counted, and why."""
    none = np.zeros(len(hours))
    size = evidence.at_s.size
    share = evidence.prevalence if size else None
    return ZoneResult(
        scores,
        "none",
        reason,
        none,
        none,
        0.0,
        0.0,
        np.zeros(2),
        (),
        0.0,
        size,
        share,
        None,
        None,
        None,
    )


def _learn(
    evidence: Evidence,
    covered: Sequence[Span],
    hours: Sequence[Span],
    classifier: Classifier,
    params: CountParams,
    dwell: Dwell,
    shape: Floats,
    cells_per_dwell: float = CELLS_PER_DWELL,
) -> tuple[Fit, Cells, list[Passage]]:
    """Learn at a resolution that suits the stay; once more where the stay was misjudged."""
    fine = cells_per_dwell if params.clump_sd == 0 else 2 * cells_per_dwell
    for _ in range(3):
        per_cell = max(1, round(dwell.mean_s / evidence.interval_s / fine))
        cells = grid(evidence, covered, hours, per_cell)
        cells, parked = set_parked_aside(cells, classifier, dwell, params)
        fit = learn(ZoneDay(cells, classifier, params, dwell, shape))
        stay = fit.theta.dwell_cells * cells.width_s
        suits = max(1, round(stay / evidence.interval_s / fine))
        if 0.6 <= suits / per_cell <= 1.7 or dwell.log_se < 0.2:
            break
        dwell = replace(dwell, mean_s=stay)
    return fit, cells, parked


def _seen(fit: Fit, cells: Cells) -> tuple[Floats, float]:
    """Return trucks by hour whose middle lies in seen cells, and the correction for cut stays.

    The chain counts entries; a stay cut at the start of a seen stretch has its middle inside half
    of the time though its entry is not, one cut at the end the other way round.
    """
    hours = fit.hour_cells.size
    trucks = np.bincount(cells.hour, weights=fit.arrivals * cells.seen, minlength=hours)
    starts, ends = runs(cells.seen)
    load = fit.theta.rate * fit.theta.dwell_cells
    many = np.maximum(load, 1e-9) / -np.expm1(-np.maximum(load, 1e-9))
    edge = np.zeros(hours)
    np.add.at(edge, cells.hour[starts], 0.5 * fit.busy[starts] * many[cells.hour[starts]])
    np.add.at(edge, cells.hour[ends - 1], -0.5 * fit.busy[ends - 1] * many[cells.hour[ends - 1]])
    return np.maximum(trucks + edge, 0.0), float(edge.sum())


def _standing(parked: Sequence[Passage], cells: Cells, hours: int) -> Floats:
    """Return parked trucks by the hour of their middle. The chain knows none of them."""
    trucks = np.zeros(hours)
    for one in parked:
        middle = int(((one.entered_s + one.exited_s) / 2 - cells.start_s) // cells.width_s)
        trucks[cells.hour[min(max(middle, 0), cells.hour.size - 1)]] += one.trucks
    return trucks


def _fill(
    fit: Fit, seen: Floats, seen_s: Floats, unseen_s: Floats, shape: Floats
) -> tuple[Floats, float]:
    """Return float64[H] trucks expected in the unseen seconds, and the variance of the day's sum.

    Each hour's rate is the profile's, shrunk towards what the hour itself showed; the hours' own
    relative variance was learned with the rates. Unseen trucks are Poisson given the rate.
    """
    trucks = float(seen.sum())
    known = fit.known if trucks >= 0.5 else 1.0  # where none was seen there is none to be unsure of
    exposure = float(np.sum(shape * seen_s))
    gap = float(np.sum(shape * unseen_s)) / max(exposure, 1e-9)
    scale = trucks / max(exposure, 1e-9)
    expected = shape * scale * seen_s
    prior = 1 / max(fit.spread, 1e-6)
    weight = 1 / (prior + known * expected)
    rate = shape * scale * (prior + known * seen) * weight
    filled = rate * unseen_s
    pooled = float(np.sum(filled * prior * weight))
    blind = trucks * (1 - known) / known
    parameters = max(fit.variance - blind, 0.0)
    variance = (
        blind
        + parameters * (1 + filled.sum() / max(trucks, 1.0)) ** 2
        + float(filled.sum() + np.sum(filled**2 * weight))
        + pooled**2 / max(known * trucks, 1e-6)
        + 2 * pooled * (1 - known) / known
        + 0.5 * ((1 - known) / known**2 + gap * (1 + gap))
    )
    return filled, float(variance) * _CURVATURE
