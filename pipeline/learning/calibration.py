"""From logits to probabilities that are true at the camera's own prevalence. Pure.

p = sigmoid(logit ÷ temperature + offset): the temperature cures over-confidence, the offset puts
right the prior shift between what the network was shown (often half trucks) and the road (5%).

Crowd labels err, and at 5% prevalence one wrong label in fifty among pictures without a truck is
as frequent as half of the trucks. So a label enters as what it is, a likelihood ratio: of the
votes given a truck, to the votes given none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline import metrics

THRESHOLD = 0.5
CLEARLY = 0.8  # a threshold takes the place of one half only with so much of its variance or less
FRAMES_A_DAY = 8_640  # one every ten seconds, as counts by occupancy look
_THRESHOLDS = (0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.05, 0.95, 0.02)  # ties: nearest to a half
SUREST = 0.995  # no label, however unanimous, is surer than this
_FLAWS = (0.002, 0.01, 0.02, 0.04, 0.07, 0.1)
_USUAL_FLAW = 0.005  # mean of the exponential prior: wrong and sure of itself are few labels
_SURER = (1.5, 2.0, 4.0)  # votes may also say more than they claim: one vote of a careful person

Floats = NDArray[np.float64]
Square = tuple[tuple[float, float], tuple[float, float]]
Cost = Callable[[float, float], float]  # of log temperature and bias


@dataclass(frozen=True)
class Calibration:
    """Temperature and prevalences: ``shown`` while learning, ``natural`` on the road.

    ``bias`` is what held-out rows still ask to be added to the log odds; ``flaw`` the share of
    labels that are wrong however sure their votes made them; ``surer`` how many times their log
    odds say what they claim. ``covariance`` of the errors of log temperature and bias that the
    held-out rows leave, by row; none is known where they are 0.
    """

    temperature: float = 1.0
    shown: float = 0.5
    natural: float = 0.5
    bias: float = 0.0
    flaw: float = 0.002
    surer: float = 1.0
    covariance: Square = ((0.0, 0.0), (0.0, 0.0))

    @property
    def offset(self) -> float:
        """What is added to the log odds: prior shift and bias.

        >>> round(Calibration(shown=0.5, natural=0.05).offset, 3)
        -2.944
        """
        return _log_odds(self.natural) - _log_odds(self.shown) + self.bias

    def p_truck(self, logits: ArrayLike, more: ArrayLike = 0.0) -> Floats:
        """Return probabilities at the natural prevalence, ``more`` being added to the log odds.

        >>> Calibration(shown=0.5, natural=0.05).p_truck([0.0]).round(3).tolist()
        [0.05]
        """
        z = np.asarray(logits, dtype=np.float64) / self.temperature + self.offset
        return metrics.sigmoid(z + np.asarray(more, dtype=np.float64))

    def told_at(self, natural: float) -> Calibration:
        """Return the same probabilities, told as those of another natural prevalence.

        >>> told = Calibration(shown=0.5, natural=0.5).told_at(0.05)
        >>> told.natural, told.p_truck([0.0]).round(3).tolist()
        (0.05, [0.5])
        """
        bias = self.offset - _log_odds(natural) + _log_odds(self.shown)
        return replace(self, natural=natural, bias=bias)

    @classmethod
    def of_card(cls, card: dict[str, Any]) -> Calibration:
        """Return the calibration a model card holds."""
        prior = card["prior"]
        held = cls(
            float(card["temperature"]),
            float(prior["shown"]),
            float(prior["natural"]),
            float(prior.get("bias", 0.0)),
        )
        (t, both), (_, bias) = card.get("calibration_covariance", held.covariance)
        return replace(held, covariance=((float(t), float(both)), (float(both), float(bias))))


def calibrate(
    logits: ArrayLike,
    label_p: ArrayLike,
    weights: ArrayLike,
    *,
    shown: float,
    prior: float,
    more: ArrayLike = 0.0,
) -> Calibration:
    """Fit a calibration to held-out logits, at the prevalence that the weights make of the rows.

    Args:
        logits: ``[n]``, by networks that never saw the rows.
        label_p: ``[n]`` probability of a truck as the labels alone have it.
        weights: ``[n]`` how often each row stands for what the probabilities are to hold for.
        shown: prevalence the networks learned at, by balancing.
        prior: prevalence among the labelled rows, which ``label_p`` assumes.
        more: what is added to the log odds of rows that show trucks more often than others of the
            same logit: number or ``[n]``.
    """
    z, w = np.asarray(logits, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    shown, prior = (min(max(v, 1e-3), 1 - 1e-3) for v in (shown, prior))
    if not len(z):
        return Calibration(shown=shown, natural=prior)
    w = np.minimum(w, np.quantile(w, 0.98))
    w = w * (w.sum() / (w**2).sum())  # as many rows as they are worth (Kish 1965)
    natural = float(np.clip((w * np.asarray(label_p)).sum() / w.sum(), 1e-3, 1 - 1e-3))
    to_road = _log_odds(natural) - _log_odds(shown) + np.asarray(more, dtype=np.float64)

    def cost_of(flaw: float, surer: float) -> Cost:
        odds = likelihood_ratio(label_p, prior, flaw, surer)
        said, unsaid = odds / (1 + odds), 1 / (1 + odds)

        def cost(log_t: float, bias: float) -> float:
            p = metrics.sigmoid(z / math.exp(log_t) + to_road + bias)
            likelihood = (w * np.log(p * said + (1 - p) * unsaid)).sum()
            # Two rows' worth of belief that nothing is to be mended.
            return float(-likelihood) + 0.5 * log_t**2 + 0.1 * bias**2

        return cost

    # Few wrong labels believed to be certain would pass for a network that knows nothing for sure,
    # certain ones believed to be doubtful for one that knows everything.
    tries = [(flaw, 1.0) for flaw in _FLAWS] + [(_FLAWS[0], surer) for surer in _SURER]
    costs = {tried: cost_of(*tried) for tried in tries}
    places = {tried: _lowest(cost) for tried, cost in costs.items()}
    # And labels sure of themselves are seldom wrong: a few hard frames must not say otherwise.
    best = min(tries, key=lambda tried: costs[tried](*places[tried]) + tried[0] / _USUAL_FLAW)
    log_t, bias = places[best]
    covariance = _inverse_curvature(costs[best], log_t, bias)
    return Calibration(math.exp(log_t), shown, natural, bias, *best, covariance)


def likelihood_ratio(
    label_p: ArrayLike, prior: float, flaw: float = 0.002, surer: float = 1.0
) -> Floats:
    """Return how much likelier the votes are of a truck than of none.

    With probability ``flaw`` a label is the wrong way round, however sure its votes made it; its
    log odds say ``surer`` times what they claim.

    >>> likelihood_ratio([0.5, 0.999], 0.5, 0.01).round(1).tolist()
    [1.0, 66.1]
    >>> likelihood_ratio([0.75], 0.5, 0.0, 2.0).round(1).tolist()
    [9.0]
    """
    q = np.clip(np.asarray(label_p, dtype=np.float64), 1 - SUREST, SUREST)
    prior = min(max(prior, 1e-3), 1 - 1e-3)
    odds = (q / (1 - q) * ((1 - prior) / prior)) ** surer
    said = odds / (1 + odds)
    return np.asarray(
        ((1 - flaw) * said + flaw * (1 - said)) / ((1 - flaw) * (1 - said) + flaw * said),
        dtype=np.float64,
    )


def believed(
    p: ArrayLike, label_p: ArrayLike, prior: float, flaw: float = 0.002, surer: float = 1.0
) -> Floats:
    """Return the probability of a truck given both a held-out prediction ``p`` and the votes.

    Bayes' rule: the prediction is the prior, the votes the evidence.

    >>> believed([0.01, 0.99], [0.8, 0.8], prior=0.5).round(2).tolist()
    [0.04, 1.0]
    """
    q = np.clip(np.asarray(p, dtype=np.float64), 0.002, 0.998)
    odds = q / (1 - q) * likelihood_ratio(label_p, prior, flaw, surer)
    return np.asarray(odds / (1 + odds), dtype=np.float64)


def natural_prevalence(
    fitted: Calibration,
    logits: ArrayLike,
    label_p: ArrayLike,
    prior: float,
    free_logits: ArrayLike = (),
) -> float:
    """Return the prevalence on the road from rows drawn at random: the mean belief in a truck.

    Votes speak where there are any. ``free_logits`` are unlabelled instants drawn at random; they
    come in runs of neighbours, so each counts a quarter. Two rows' worth of ``fitted.natural``
    steady it.
    """
    p = fitted.p_truck(logits)
    seen = believed(p, label_p, prior, fitted.flaw, fitted.surer)
    free = fitted.p_truck(free_logits)
    total = seen.sum() + 0.25 * free.sum() + 2 * fitted.natural
    return float(np.clip(total / (len(seen) + 0.25 * len(free) + 2), 1e-3, 1 - 1e-3))


def effective_counts(
    truth: ArrayLike, p: ArrayLike, weights: ArrayLike, threshold: float = THRESHOLD
) -> metrics.Confusion:
    """Return the confusion counts that carry the weighted error rates at Kish's effective sizes.

    Sensitivity and specificity read off them hold at natural prevalence, and they claim no more
    certainty than the weighted sample has. With equal weights they are the plain counts. ``truth``
    may be soft: a row believed to be a truck by 0.8 counts 0.8 as one.

    >>> effective_counts([1, 1, 0, 0], [0.9, 0.2, 0.6, 0.1], [1, 1, 1, 1])
    Confusion(tp=1.0, fn=1.0, fp=1.0, tn=1.0)
    """
    y = np.asarray(truth, dtype=np.float64)
    yes = np.asarray(p, dtype=np.float64) >= threshold
    w = np.asarray(weights, dtype=np.float64)

    def parts(mass: Floats, belief: Floats) -> tuple[float, float]:
        if not mass.sum():
            return 0.0, 0.0
        # Half-believed rows are half a row each: sizes in rows, not in squares of beliefs.
        n = float(belief.sum() * (mass.sum() / belief.sum()) ** 2 / _mean(w**2, belief))
        hit = n * float(mass[yes].sum() / mass.sum())
        return hit, n - hit

    (tp, fn), (fp, tn) = parts(w * y, y), parts(w * (1 - y), 1 - y)
    return metrics.Confusion(*(max(round(v, 3), 0.0) for v in (tp, fn, fp, tn)))


def counting_threshold(
    truth: ArrayLike, p: ArrayLike, weights: ArrayLike, prevalence: float
) -> float:
    """Return the threshold whose share of frames above it tells a day's share of trucks best.

    With q of the frames above, the trucks' share is (q - 1 + specificity) / J with J = sensitivity
    + specificity - 1 (Rogan & Gladen 1978). Its variance is that of q over a day's frames and of
    both rates over the held-out ones, by the delta method. ``truth`` and ``weights`` as in
    :func:`effective_counts`, ``p`` calibrated at ``prevalence``. Few held-out trucks say little, so
    one half gives way only to what is clearly better.

    >>> trucks, others = [0.25] * 10, [0.05] * 90  # never above one half, and yet told apart
    >>> counting_threshold([1] * 10 + [0] * 90, trucks + others, [1] * 100, 0.1)
    0.2
    """

    def variance(threshold: float) -> float:
        counts = effective_counts(truth, p, weights, threshold)
        (se, se_var), (sp, sp_var) = _rate(counts.tp, counts.fn), _rate(counts.tn, counts.fp)
        above = prevalence * se + (1 - prevalence) * (1 - sp)
        noise = above * (1 - above) / FRAMES_A_DAY
        noise += prevalence**2 * se_var + (1 - prevalence) ** 2 * sp_var
        return noise / max(se + sp - 1, 1e-6) ** 2

    best = min(_THRESHOLDS, key=variance)
    return best if variance(best) < CLEARLY * variance(THRESHOLD) else THRESHOLD


def _rate(hits: float, misses: float) -> tuple[float, float]:
    """Return a rate and its variance; half a hit and half a miss are added (Jeffreys)."""
    n = hits + misses + 1
    rate = (hits + 0.5) / n
    return rate, rate * (1 - rate) / (n + 1)


def _mean(values: Floats, weights: Floats) -> float:
    return float((values * weights).sum() / weights.sum())


def _lowest(cost: Cost) -> tuple[float, float]:
    """Minimise over log temperature and bias: a coarse grid, then ever finer about the best."""
    best, reach = (0.0, 0.0), (2.0, 3.0)
    for _ in range(7):
        tries = [
            (
                min(max(best[0] + reach[0] * i / 4, math.log(0.2)), math.log(10.0)),
                best[1] + reach[1] * j / 4,
            )
            for i in range(-4, 5)
            for j in range(-4, 5)
        ]
        best = min(tries, key=lambda tried: cost(*tried))
        reach = (reach[0] / 3, reach[1] / 3)
    return best


def _inverse_curvature(cost: Cost, log_t: float, bias: float) -> Square:
    """Return the covariance of both by the curvature at the lowest place (Laplace).

    Doubtful labels may leave it flat one way; the priors bend it there, by 0.2 at the least.
    """
    h = 0.02
    here = cost(log_t, bias)

    def bend(i: float, j: float) -> float:
        return float(cost(log_t + i, bias + j) - 2 * here + cost(log_t - i, bias - j)) / h**2

    t, b = bend(h, 0), bend(0, h)
    crossed = (bend(h, h) - t - b) / 2
    bends, ways = np.linalg.eigh(np.array([[t, crossed], [crossed, b]]))
    inverse = (ways / np.maximum(bends, 0.2)) @ ways.T
    return (
        (float(inverse[0, 0]), float(inverse[0, 1])),
        (float(inverse[1, 0]), float(inverse[1, 1])),
    )


def _log_odds(p: float) -> float:
    return math.log(p / (1 - p))
