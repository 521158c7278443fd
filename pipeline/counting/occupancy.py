"""The closed-form occupancy law: share of positive frames → share of time occupied → trucks.

Rogan & Gladen (1978), "Estimating prevalence from the results of a screening test", American
Journal of Epidemiology 107(1), corrects the share of positives for the classifier's errors; the
M/G/∞ law P(zone occupied) = 1 - exp(-λd) turns occupancy into arrivals. It needs neither dense
frames nor independent ones, and stands beside the event estimate as a check. Near saturation the
logarithm diverges: the standard error says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.counting.evidence import Evidence
from pipeline.counting.records import Classifier, Dwell, Floats
from pipeline.domain import Span


@dataclass(frozen=True)
class Occupancy:
    """Trucks in the seen time by occupancy, with the standard error, and occupancy by hour."""

    trucks: float
    se: float
    share: float
    by_hour: Floats


def rogan_gladen(positive_share: float, classifier: Classifier) -> tuple[float, float]:
    """Return the corrected share of truck frames and its derivative by the share of positives.

    >>> judge = Classifier(0.5, tp=900, fn=100, fp=50, tn=950)
    >>> round(rogan_gladen(0.2, judge)[0], 3)      # (0.2 + 0.95 - 1) / (0.9 + 0.95 - 1)
    0.176
    """
    gain = max(classifier.sensitivity + classifier.specificity - 1.0, 0.05)
    return (positive_share + classifier.specificity - 1.0) / gain, 1.0 / gain


def arrivals(share: float, dwell_s: float, seconds: float) -> float:
    """Return the trucks that arrive in ``seconds`` where the zone is occupied that share of time.

    >>> round(arrivals(0.5, 10.0, 1000.0), 2)      # -ln(1 - 0.5) / 10 · 1000
    69.31
    """
    return -float(np.log1p(-np.clip(share, 0.0, 0.999))) / dwell_s * seconds


def by_occupancy(
    evidence: Evidence,
    classifier: Classifier,
    dwell: Dwell,
    hours: Sequence[Span],
    seen_s: Floats,
) -> Occupancy:
    """Count by occupancy, hour by hour, so that rush hours are not averaged away.

    Args:
        evidence: Frames of one zone.
        classifier: Held-out confusion counts.
        dwell: Mean stay with its uncertainty.
        hours: The local hours of the day.
        seen_s: float64[H] seconds seen in each.
    """
    edges = np.array([start for start, _ in hours])
    hour = np.clip(np.searchsorted(edges, evidence.at_s, side="right") - 1, 0, len(hours) - 1)
    frames = np.bincount(hour, minlength=len(hours)).astype(float)
    positive = np.bincount(hour, weights=evidence.positive, minlength=len(hours))
    held = frames > 0
    raw = np.divide(positive, frames, out=np.zeros_like(frames), where=held)
    gain = max(classifier.sensitivity + classifier.specificity - 1.0, 0.05)
    share = (raw + classifier.specificity - 1.0) / gain
    effective = np.minimum(frames, np.maximum(seen_s / dwell.mean_s, 1.0))
    # frames within one stay repeat each other: at most one independent look per dwell for trucks
    spread = share.clip(0, 1) * (1 - share.clip(0, 1)) / np.maximum(effective, 1)
    spread += raw * (1 - raw) / gain**2 / np.maximum(frames, 1)
    open_share = np.clip(1 - share, 0.5 / np.maximum(effective, 1), None)
    per_second = (-np.log(open_share) - spread / (2 * open_share**2)) / dwell.mean_s
    trucks = float(np.sum(per_second * seen_s * held))
    slope = seen_s * held / open_share / dwell.mean_s
    shift_sp = float(np.sum(slope * (1 - share) / gain))
    shift_se = float(np.sum(slope * share / gain))
    se_var = _beta_variance(classifier.tp, classifier.fn)
    sp_var = _beta_variance(classifier.tn, classifier.fp)
    variance = float(np.sum(slope**2 * spread))
    variance += shift_sp**2 * sp_var + shift_se**2 * se_var + (trucks * dwell.log_se) ** 2
    mean_share = float(np.sum(share * frames) / max(frames.sum(), 1.0))
    return Occupancy(max(trucks, 0.0), float(np.sqrt(variance)), mean_share, share)


def _beta_variance(yes: float, no: float) -> float:
    """Variance of Beta(yes + 1/2, no + 1/2)."""
    a, b = yes + 0.5, no + 0.5
    return a * b / ((a + b) ** 2 * (a + b + 1))
