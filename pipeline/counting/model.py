"""What is learned about a zone's day, and what is known before: parameters, priors, evidence.

Working scale: log of the rate, dwell, spread and clump; logit of sensitivity and specificity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.counting.chain import Flicker, Standstill
from pipeline.counting.evidence import Cells
from pipeline.counting.records import Classifier, CountParams, Dwell, Floats

_FRAME_CAP = 8.0
# What stands is one truck: two in a thousand stop, for four stays on average, unless the scores
# say otherwise. With fewer cells to a stay a stop cannot be told.
_STOPS, _STOP_DWELLS = 0.002, 4.0
_LEAST_CELLS = 2.0
# How much more a labelled vehicle tells of the classifier than one that nobody judged.
_LABELS_SAY = 4.0


@dataclass(frozen=True)
class Theta:
    """Parameters: float64[H] trucks per cell by hour, and five numbers."""

    rate: Floats
    dwell_cells: float
    cv: float
    sensitivity: float
    specificity: float
    clump: float
    brief: Flicker = field(default_factory=Flicker)

    def moved(self, step: Floats) -> Theta:
        """Return the parameters after a step on the working (log or logit) scale."""

        def logit(p: float, by: float) -> float:
            odds = p / (1 - p) * np.exp(by)
            return float(np.clip(odds / (1 + odds), 1e-5, 1 - 1e-6))

        return Theta(
            self.rate * np.exp(step[0]),
            float(self.dwell_cells * np.exp(step[1])),
            float(np.clip(self.cv * np.exp(step[2]), 0.06, 1.1)),
            logit(self.sensitivity, step[3]),
            logit(self.specificity, step[4]),
            float(self.clump * np.exp(step[5])),
            self.brief,
        )


@dataclass(frozen=True)
class Fit:
    """A zone's day, learned.

    ``trucks`` and ``variance`` are of the number of trucks entering seen cells; float64[C]
    ``arrivals`` and ``busy`` by cell; float64[H] ``hour_trucks``, ``hour_cells`` (seen);
    ``spread`` the relative variance of rates between hours beside the profile, ``known`` the share
    of a truck that the scores reveal, ``blur`` the standard error that a few trucks would have had.
    """

    theta: Theta
    trucks: float
    variance: float
    arrivals: Floats
    busy: Floats
    hour_trucks: Floats
    hour_cells: Floats
    spread: float
    known: float
    blur: float


def _standstill(dwell_cells: float) -> Standstill:
    """Return the law of stops in a zone of such stays; it is not learned."""
    if dwell_cells < _LEAST_CELLS:
        return Standstill()
    back = max(1, round(dwell_cells / 2))
    return Standstill(_STOPS / dwell_cells, 1 / (_STOP_DWELLS * dwell_cells), back)


class ZoneDay:
    """The cells of a zone's day with the priors: everything that stays fixed while learning."""

    def __init__(
        self,
        cells: Cells,
        classifier: Classifier,
        params: CountParams,
        dwell: Dwell,
        shape: Floats,
    ) -> None:
        held = cells.positives + cells.negatives
        per_cell = float(held.sum()) / max(float(np.count_nonzero(held)), 1.0)
        frames_a_stay = per_cell * dwell.mean_s / cells.width_s
        self.cells = cells
        # All frames of a day's vehicle err together, and what it is nobody said: taken one by one,
        # cars that look a little like trucks outvote every label. Sparse frames err by themselves.
        self.label_weight = 1.0
        if params.looks is not None and frames_a_stay >= params.flicker_samples:
            self.label_weight = max(_LABELS_SAY * frames_a_stay / params.looks, 1.0)
        self.classifier = classifier.weighing(self.label_weight)
        self.params = params
        self.dwell = dwell
        self.shape = shape
        self.hours = shape.size
        self.cv_sd = float(np.clip(dwell.log_se / dwell.cv / np.sqrt(2), 0.04, 0.35))
        seen = np.bincount(cells.hour, weights=cells.seen, minlength=shape.size)
        # A prior for rates: one stay without a truck, in the hours that were seen. A zone that was
        # never seen empty would otherwise have any number of trucks.
        self.calm = dwell.mean_s / cells.width_s * seen / max(float(seen.sum()), 1.0)
        self.free = np.ones(6, dtype=bool)
        self.free[5] = params.clump_sd > 0
        self.still = _standstill(dwell.mean_s / cells.width_s)
        self.may_flicker = frames_a_stay >= params.flicker_samples

    def start(self) -> Theta:
        """Return a first guess: Rogan-Gladen prevalence over dwell."""
        cells, judge = self.cells, self.classifier
        total = float(cells.positives.sum() + cells.negatives.sum())
        share = cells.positives.sum() / max(total, 1.0)
        gain = max(judge.sensitivity + judge.specificity - 1, 0.05)
        p = float(np.clip((share + judge.specificity - 1) / gain, 1e-7, 0.97))
        mean = self.dwell.mean_s / cells.width_s
        p = min(max(p, 5.0 * mean / max(cells.seen.sum(), 1)), 0.97)
        return Theta(
            self.shape * (-np.log1p(-p) / mean),
            mean,
            self.dwell.cv,
            judge.sensitivity,
            judge.specificity,
            self.params.clump,
            Flicker(),
        )

    def cell_llr(self, theta: Theta) -> Floats:
        """Return float64[C] log-likelihood ratio (truck : no truck) of each cell, bounded."""
        up = np.log(theta.sensitivity / (1 - theta.specificity))
        down = np.log((1 - theta.sensitivity) / theta.specificity)
        cells = self.cells
        llr = (
            cells.positives * np.clip(up, 0.0, _FRAME_CAP)
            + cells.negatives * np.clip(down, -_FRAME_CAP, 0.0)
            + cells.beyond
        )
        return np.asarray(np.clip(llr, -30.0, 30.0))

    def prior_slope(self, theta: Theta) -> Floats:
        """Slope of the log-prior by log dwell and log cv, float64[2]."""
        off = np.log(theta.dwell_cells * self.cells.width_s / self.dwell.mean_s)
        return np.array(
            [-off / self.dwell.log_se**2, -np.log(theta.cv / self.dwell.cv) / self.cv_sd**2]
        )

    def log_prior(self, theta: Theta, frames: tuple[float, float]) -> float:
        """Log-prior, and log-likelihood of all frames if there were never a truck."""
        judge = self.classifier
        off = np.log(theta.dwell_cells * self.cells.width_s / self.dwell.mean_s)
        sd = max(self.params.clump_sd, 1e-3)
        squares = (off / self.dwell.log_se) ** 2
        squares += (np.log(theta.cv / self.dwell.cv) / self.cv_sd) ** 2
        squares += (np.log(theta.clump / self.params.clump) / sd) ** 2
        return float(
            (frames[0] + judge.fp + 0.5) * np.log(1 - theta.specificity)
            + (frames[1] + judge.tn + 0.5) * np.log(theta.specificity)
            + (judge.tp + 0.5) * np.log(theta.sensitivity)
            + (judge.fn + 0.5) * np.log(1 - theta.sensitivity)
            - squares / 2
        )
