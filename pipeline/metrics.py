"""How good a yes/no classifier is, with 95% intervals, and how true its probabilities are.

Pure: numpy only. ``truth`` is 0 or 1 ``[n]``, ``p`` the probability of a truck ``[n]``, ``weights``
(optional ``[n]``) say how many instants of the real world a row stands for, so that figures hold at
the camera's own prevalence although labelled frames were chosen otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Z95 = 1.959963984540054


def sigmoid(z: ArrayLike) -> Floats:
    """Return 1 ÷ (1 + exp(−z)), safe at the ends."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z, -60.0, 60.0))), dtype=np.float64)


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval."""

    value: float
    lo: float
    hi: float

    def as_json(self) -> dict[str, float | None]:
        """Return ``{"value", "lo", "hi"}``; what cannot be told (no rows) is null."""
        known = {"value": self.value, "lo": self.lo, "hi": self.hi}
        return {k: (None if math.isnan(v) else round(v, 6)) for k, v in known.items()}


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Confusion:
    """Counts of truth against decision (whole numbers unless weighted)."""

    tp: float
    fn: float
    fp: float
    tn: float

    def as_json(self) -> dict[str, float]:
        """Return the four counts, whole numbers as such."""
        counts = {"tp": self.tp, "fn": self.fn, "fp": self.fp, "tn": self.tn}
        return {k: int(v) if float(v).is_integer() else round(v, 3) for k, v in counts.items()}


def confusion(
    truth: ArrayLike, p: ArrayLike, threshold: float = 0.5, weights: ArrayLike | None = None
) -> Confusion:
    """Count truth against ``p >= threshold``.

    >>> confusion([1, 1, 0, 0], [0.9, 0.2, 0.6, 0.1])
    Confusion(tp=1.0, fn=1.0, fp=1.0, tn=1.0)
    """
    y, q, w = _columns(truth, p, weights)
    yes = q >= threshold
    return Confusion(
        tp=float(w[y & yes].sum()),
        fn=float(w[y & ~yes].sum()),
        fp=float(w[~y & yes].sum()),
        tn=float(w[~y & ~yes].sum()),
    )


def wilson(successes: float, n: float) -> Estimate:
    """Return a proportion with Wilson's score interval (E. B. Wilson, 1927, JASA 22: 209-212).

    It stays within 0-1 and is honest at 0 and at ``n``. ``n`` may be an effective size.

    >>> e = wilson(8, 10); round(e.value, 2), round(e.lo, 3), round(e.hi, 3)
    (0.8, 0.49, 0.943)
    """
    if n <= 0:
        return UNKNOWN
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def share(hits: ArrayLike, weights: ArrayLike | None = None) -> Estimate:
    """Return the weighted share of true ``hits``, Wilson's interval at Kish's effective size.

    Kish (1965): n_eff = (Σw)² ÷ Σw².
    """
    hit = np.asarray(hits, dtype=bool)
    if not hit.size:
        return UNKNOWN
    w = np.ones(hit.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.sum() <= 0:
        return UNKNOWN
    n = float(w.sum() ** 2 / (w**2).sum())
    return wilson(float(w[hit].sum() / w.sum()) * n, n)


def auc(truth: ArrayLike, p: ArrayLike) -> Estimate:
    """Return the area under the ROC curve with DeLong's interval on the logit scale.

    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44: 837-845. Ties count one half.

    >>> round(auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 2)
    0.75
    """
    y, q, _ = _columns(truth, p, None)
    positive, negative = np.sort(q[y]), np.sort(q[~y])
    m, n = len(positive), len(negative)
    if not m or not n:
        return UNKNOWN
    over = _placements(q[y], negative)
    under = 1.0 - _placements(q[~y], positive)
    area = float(over.mean())
    variance = _mean_variance(over) + _mean_variance(under)
    if not 0.0 < area < 1.0 or variance <= 0:
        # A perfect order says nothing of its own spread: the rule of three on the rarer class.
        slack = min(1.0, 3.0 / min(m, n))
        return Estimate(area, max(0.0, area - slack), min(1.0, area + slack))
    logit = math.log(area / (1 - area))
    half = Z95 * math.sqrt(variance) / (area * (1 - area))
    return Estimate(area, *sigmoid([logit - half, logit + half]).tolist())


def brier(truth: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> Estimate:
    """Return the mean squared error of probabilities with a normal interval, kept above 0.

    >>> brier([1, 0], [0.8, 0.2]).value.__round__(3)
    0.04
    """
    y, q, w = _columns(truth, p, weights)
    if not w.sum():
        return UNKNOWN
    errors = (q - y) ** 2
    mean = float(np.average(errors, weights=w))
    n = float(w.sum() ** 2 / (w**2).sum())
    half = Z95 * math.sqrt(float(np.average((errors - mean) ** 2, weights=w)) / max(n - 1, 1.0))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half))


def reliability(
    truth: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None, bins: int = 15
) -> list[dict[str, float]]:
    """Return, per bin of equal width in ``p``, its weight, mean ``p`` and share of trucks."""
    y, q, w = _columns(truth, p, weights)
    which = np.clip((q * bins).astype(int), 0, bins - 1)
    rows = []
    for b in range(bins):
        inside = which == b
        weight = float(w[inside].sum())
        if weight > 0:
            said = float(np.average(q[inside], weights=w[inside]))
            was = float(np.average(y[inside], weights=w[inside]))
            rows.append({"weight": weight, "p_truck": said, "trucks": was})
    return rows


def ece(truth: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None, bins: int = 15) -> float:
    """Return the expected calibration error: mean |said − was| over bins (Guo et al. 2017).

    >>> ece([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5])
    0.0
    """
    rows = reliability(truth, p, weights, bins)
    total = sum(row["weight"] for row in rows)
    if not total:
        return math.nan
    return sum(row["weight"] * abs(row["p_truck"] - row["trucks"]) for row in rows) / total


def fit_temperature(logits: ArrayLike, truth: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the temperature T that makes ``sigmoid(logit / T)`` most likely (Guo et al. 2017).

    One parameter, so it cannot overfit a small validation set; kept within 0.2-10. A small weight
    towards T = 1 stands in for the errors a perfectly separated set cannot show.
    """
    y, z, w = _columns(truth, logits, weights)
    w = w / max(w.mean(), 1e-12) if w.size else w

    def cost(log_t: float) -> float:
        s = z / math.exp(log_t)
        nll = float((w * (np.logaddexp(0.0, s) - y * s)).sum())
        return nll + 2.0 * log_t**2

    return math.exp(_lowest(cost, math.log(0.2), math.log(10.0)))


def shift_prior(p: ArrayLike, was: float, becomes: float) -> Floats:
    """Re-weigh probabilities from the prevalence ``was`` they were learned at to ``becomes``.

    Bayes' rule on the odds (Saerens, Latinne & Decaestecker 2002, Neural Computation 14: 21-41).

    >>> shift_prior([0.5], 0.5, 0.05).round(3).tolist()
    [0.05]
    """
    q = np.clip(np.asarray(p, dtype=np.float64), 1e-9, 1 - 1e-9)
    odds = q / (1 - q) * (becomes / (1 - becomes)) * ((1 - was) / was)
    return np.asarray(odds / (1 + odds), dtype=np.float64)


def estimate_prior(p: ArrayLike, was: float, rounds: int = 200) -> float:
    """Return the prevalence of unlabelled rows from ``p`` learned at prevalence ``was``.

    Expectation-maximisation of Saerens et al. (2002): re-weigh, average, repeat.
    """
    prior = was
    for _ in range(rounds):
        new = float(np.clip(shift_prior(p, was, prior).mean(), 1e-6, 1 - 1e-6))
        if abs(new - prior) < 1e-9:
            break
        prior = new
    return prior


def evaluation(
    truth: ArrayLike, p: ArrayLike, threshold: float = 0.5, weights: ArrayLike | None = None
) -> dict[str, Any]:
    """Return accuracy, sensitivity, specificity, AUC and Brier score with intervals, ECE and n.

    Sensitivity, specificity and confusion are those at ``threshold``, which may be chosen for
    counting; accuracy is how often the likelier answer is right, whatever that is.

    >>> found = evaluation([1, 1, 0, 0], [0.9, 0.6, 0.2, 0.1], threshold=0.8)
    >>> found["accuracy"]["value"], found["sensitivity"]["value"]
    (1.0, 0.5)
    """
    y, q, w = _columns(truth, p, weights)
    right = (q >= threshold) == y
    return {
        "n": len(y),
        "accuracy": share((q >= 0.5) == y, w).as_json(),
        "sensitivity": share(right[y], w[y]).as_json(),
        "specificity": share(right[~y], w[~y]).as_json(),
        "auc": auc(y, q).as_json(),
        "brier": brier(y, q, w).as_json(),
        "ece": round(ece(y, q, w), 6) if len(y) else None,
        "confusion": confusion(y, q, threshold).as_json(),
        "threshold": round(threshold, 6),
    }


def _columns(
    truth: ArrayLike, p: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.bool_], Floats, Floats]:
    y = np.asarray(truth, dtype=bool)
    q = np.asarray(p, dtype=np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    return y, q, w


def _placements(values: Floats, ordered: Floats) -> Floats:
    """Return, for each value, the share of ``ordered`` below it, ties counting one half."""
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    return np.asarray((below + upto) / (2.0 * len(ordered)), dtype=np.float64)


def _mean_variance(values: Floats) -> float:
    """Return the variance of the mean; one value alone tells nothing, so the worst case."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.25


def _lowest(cost: Callable[[float], float], low: float, high: float, rounds: int = 80) -> float:
    """Return where a one-dipped function is lowest, by golden section."""
    golden = (math.sqrt(5.0) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    cost_a, cost_b = cost(a), cost(b)
    for _ in range(rounds):
        if cost_a <= cost_b:
            high, b, cost_b = b, a, cost_a
            a = high - golden * (high - low)
            cost_a = cost(a)
        else:
            low, a, cost_a = a, b, cost_b
            b = low + golden * (high - low)
            cost_b = cost(b)
    return (low + high) / 2
