"""From calibrated scores to evidence: which frames are positive, how strongly, in which cell.

A score enters as a likelihood ratio, odds(p) / odds(prevalence), split in two: whether it lies
above the classifier's threshold (a binary channel whose sensitivity and specificity are measured on
held-out labels and re-learned on the day), and how far. A score near the threshold may weaken its
side's evidence by up to e^2.5, one far from it strengthens it by up to e^3; neither by all that it
says, because networks are over-confident (README, Decisions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.counting.records import Classifier, Flags, Floats, Indices, ZoneScores
from pipeline.domain import Span

_STRONGER, _WEAKER = 3.0, 2.5


@dataclass(frozen=True)
class Evidence:
    """Frames that may be used: times, the side of the threshold, and the strength beyond it.

    ``at_s`` float64[n], ``positive`` bool[n], ``beyond`` float64[n] log-likelihood ratio within the
    side, ``prevalence`` the share of truck frames by expectation-maximisation (EMQ).
    """

    at_s: Floats
    positive: Flags
    beyond: Floats
    prevalence: float

    @cached_property
    def interval_s(self) -> float:
        """The usual distance between frames in seconds."""
        return float(np.median(np.diff(self.at_s))) if self.at_s.size > 1 else 1.0


def within(at_s: Floats, spans: Sequence[Span], slack_s: float = 1e-6) -> Flags:
    """Return bool[n]: which of the ascending instants lie in one of the spans."""
    change = np.zeros(at_s.size + 1, dtype=np.int64)
    if spans:
        np.add.at(change, np.searchsorted(at_s, [start - slack_s for start, _ in spans]), 1)
        np.add.at(change, np.searchsorted(at_s, [end + slack_s for _, end in spans]), -1)
    return np.asarray(np.cumsum(change[:-1]) > 0)


def _steps(p_truck: Floats, prevalence: float) -> Indices:
    """Return int64[n] log-likelihood ratios of calibrated probabilities in steps of _STEP."""
    p = np.clip(p_truck, 1e-5, 1 - 1e-5)
    base = float(np.clip(prevalence, 1e-5, 1 - 1e-5))
    ratio = np.log(p / (1 - p)) - np.log(base / (1 - base))
    return np.asarray(np.rint(np.clip(ratio, -_CAP, _CAP) / _STEP) + _HALF, dtype=np.int64)


_CAP = 9.0
_STEP = 0.05
_HALF = int(_CAP / _STEP)
_RATIO = (np.arange(2 * _HALF + 1) - _HALF) * _STEP


def emq_prevalence(p_truck: Floats, prevalence: float) -> float:
    """Return today's share of truck frames by expectation-maximisation.

    Saerens, Latinne & Decaestecker (2002), "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14(1). ``p_truck`` is calibrated at ``prevalence``.
    """
    count = np.bincount(_steps(p_truck, prevalence), minlength=_RATIO.size)
    return _emq(count, prevalence)


def _emq(count: Indices, prevalence: float, rounds: int = 300) -> float:
    """EMQ on a histogram over likelihood-ratio steps."""
    held = np.flatnonzero(count)
    if held.size == 0:
        return 0.0
    odds, weight = np.exp(_RATIO[held]), count[held] / count.sum()
    now = float(np.clip(prevalence, 1e-4, 1 - 1e-4))
    for _ in range(rounds):
        new = float(np.sum(weight * now * odds / (now * odds + 1 - now)))
        new = min(max(new, 1e-9), 1 - 1e-9)
        if abs(new - now) < 1e-6 * new:
            return new
        now = new
    return now


def weigh(scores: ZoneScores, covered: Sequence[Span], classifier: Classifier) -> Evidence:
    """Keep the frames inside the covered spans and turn their scores into evidence."""
    keep = within(scores.at_s, covered)
    at_s, p_truck = scores.at_s[keep], scores.p_truck[keep]
    step = _steps(p_truck, classifier.prevalence)
    positive = p_truck >= classifier.threshold
    total = np.bincount(step, minlength=_RATIO.size)
    above = np.bincount(step[positive], minlength=_RATIO.size)
    prevalence = _emq(total, classifier.prevalence)
    truck = prevalence * np.exp(_RATIO)
    truck /= truck + 1 - prevalence
    tables = []
    for count, sign in ((total - above, -1.0), (above, 1.0)):
        level = np.log(np.sum(count * truck) + 1e-12) - np.log(np.sum(count * (1 - truck)) + 1e-12)
        level -= np.log(max(prevalence, 1e-9) / (1 - prevalence))
        tables.append(sign * np.clip(sign * (_RATIO - level), -_WEAKER, _STRONGER))
    beyond = np.where(positive, tables[1][step], tables[0][step])
    return Evidence(at_s, positive, beyond, prevalence)


@dataclass(frozen=True)
class Cells:
    """A day as equally long cells: frames summed per cell. The last cell is empty: padding.

    ``start_s`` the left edge of cell 0, ``width_s`` a cell; float64[C] ``positives``, ``negatives``
    (frames), ``beyond`` (summed strength); bool[C] ``seen``; int64[C] ``hour``.
    """

    start_s: float
    width_s: float
    positives: Floats
    negatives: Floats
    beyond: Floats
    seen: Flags
    hour: Indices


def grid(
    evidence: Evidence,
    covered: Sequence[Span],
    hours: Sequence[Span],
    frames_per_cell: int,
) -> Cells:
    """Sum the evidence into cells of ``frames_per_cell`` frame intervals.

    Cells are centred on frames when there is one frame to a cell, so that cell edges are the
    mid-points between frames.
    """
    step = evidence.interval_s
    width = step * frames_per_cell
    start = float(evidence.at_s[0]) - step / 2
    place = np.floor((evidence.at_s - start) / width).astype(np.int64)
    count = int(place[-1]) + 2
    positives = np.bincount(place, weights=evidence.positive, minlength=count)
    total = np.bincount(place, minlength=count).astype(np.float64)
    centre = np.asarray(start + (np.arange(count) + 0.5) * width, dtype=np.float64)
    seen = within(centre, covered, width / 2) if frames_per_cell == 1 else within(centre, covered)
    edges = np.array([begin for begin, _ in hours])
    return Cells(
        start,
        width,
        positives.astype(np.float64),
        total - positives,
        np.bincount(place, weights=evidence.beyond, minlength=count).astype(np.float64),
        (seen | (total > 0)) & (np.arange(count) < count - 1),
        np.clip(np.searchsorted(edges, centre, side="right") - 1, 0, len(hours) - 1),
    )
