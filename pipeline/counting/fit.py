"""Learning one zone's day: arrival rates by hour, stay, and the classifier's errors, together.

Expectation-maximisation over :mod:`pipeline.counting.chain` brings the parameters near; Newton
steps with the observed information finish, and the same information gives the interval. With N the
number of trucks and η the log of the arrival rate, N is the sufficient statistic of η, so the
derivative of E[N | scores] by η *is* Var(N | scores): what is left unknown of the realised count,
given all parameters. The parameters' own uncertainty is added by the delta method.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pipeline.counting.blocks import Work, cut
from pipeline.counting.dwell import cells_pmf
from pipeline.counting.em import any_flicker, by_hour_rates, climb
from pipeline.counting.model import Fit, Theta, ZoneDay
from pipeline.counting.passes import Pass, e_step
from pipeline.counting.records import Flags, Floats

_STEPS = np.array([0.05, 0.03, 0.06, 0.1, 0.1, 0.1])
_LIMIT = np.array([0.5, 0.25, 0.25, 0.5, 0.5, 0.3])
_MOST_COLUMNS = 200


def _information(work: Work, theta: Theta) -> tuple[Floats, Floats]:
    """Return the observed information float64[6, 6] and dE[N]/dθ float64[6], by differences."""
    free = np.flatnonzero(work.day.free)
    steps = [np.where(np.arange(6) == axis, _STEPS, 0.0) for axis in free]
    here, *there = e_step(work, [theta] + [theta.moved(step) for step in steps])
    information, effect = np.zeros((6, 6)), np.zeros(6)
    for axis, other in zip(free, there, strict=True):
        information[axis] = -(other.gradient - here.gradient) / _STEPS[axis]
        effect[axis] = (other.trucks - here.trucks) / _STEPS[axis]
    return (information + information.T) / 2, effect


def _invert(information: Floats, free: Flags, floor: float = 0.1) -> Floats:
    """Return the covariance of the free parameters, zero elsewhere; safe where hardly known."""
    part = information[np.ix_(free, free)]
    values, vectors = np.linalg.eigh(part)
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = (vectors / np.maximum(np.abs(values), floor)) @ vectors.T
    return covariance


def _newton(work: Work, theta: Theta, here: Pass, covariance: Floats) -> tuple[Theta, Pass, bool]:
    """Take a Newton step, shortened until the log-posterior rises; say whether it was small."""
    step = np.clip(covariance @ here.gradient, -_LIMIT, _LIMIT)
    for _ in range(4):
        moved = theta.moved(step)
        (there,) = e_step(work, [moved])
        if there.score >= here.score - 0.01:
            return moved, there, bool(np.max(np.abs(step[:2])) < 3e-3)
        step = step / 3
    return theta, here, True


def learn(day: ZoneDay, rounds: int = 12) -> Fit:
    """Learn a zone's day and count it.

    The number of trucks returned is E[N | scores] over seen cells; its variance has the part left
    unknown by the scores and the part that stems from not knowing the parameters. The approach and
    the information are computed on a share of a long day's blocks, the last steps on all of them.
    """
    theta = climb(
        Work(day, *cut(day, day.start())).sample(_MOST_COLUMNS), day.start(), rounds, _MOST_COLUMNS
    )
    work = Work(day, *cut(day, theta))
    part = work.sample(_MOST_COLUMNS)
    if day.may_flicker:
        theta = replace(theta, brief=any_flicker(part, e_step(part, [theta])[0]))
        if theta.brief.begin > 0:
            theta = climb(part, theta, rounds, _MOST_COLUMNS)
    information, _ = _information(part, theta)
    covariance = _invert(information, day.free)
    spread = 0.0
    for _ in range(2):
        (here,) = e_step(part, [theta])
        theta, here, _ = _newton(part, theta, here, covariance)
        known = float(np.clip(information[0, 0] / max(here.trucks, 1e-9), 0.02, 1.0))
        (here,) = e_step(work, [theta])
        theta, spread = by_hour_rates(day, theta, here, known)
    information, effect = _information(part, theta)
    covariance = _invert(information, day.free)
    known = float(np.clip(information[0, 0] / max(here.trucks, 1e-9), 0.02, 1.0))
    (here,) = e_step(work, [theta])
    for _ in range(4):
        theta, here, small = _newton(work, theta, here, covariance)
        if small:
            break
    (here,) = e_step(work, [theta], by_cell=True)
    variance = variance_of(day, theta, information, effect, covariance)
    pull = np.array([0, 0, 0, 0.5 - theta.sensitivity, 0.5 - theta.specificity, 0])
    shift = float(effect @ covariance @ -pull) / max(here.trucks, 1e-9)
    here = _scaled(here, 1 + float(np.clip(shift, -0.25, 0.25)))
    blur = _blur(part, theta, here) if here.trucks < day.params.few else math.sqrt(variance)
    return _finish(work, theta, here, variance, spread, known, blur)


def _scaled(here: Pass, factor: float) -> Pass:
    """Return a pass with its trucks multiplied.

    The half counts of Jeffreys' prior keep sensitivity and specificity off 0 and 1, but half a
    false positive among the labels, times a day of frames, is several trucks. Their pull on the
    count is taken out again, to first order.
    """
    return replace(
        here,
        trucks=here.trucks * factor,
        hour_trucks=here.hour_trucks * factor,
        arrivals=here.arrivals * np.float32(factor),
    )


def _blur(work: Work, theta: Theta, here: Pass) -> float:
    """Return the standard error a count of ``few`` trucks would have had on this day.

    Where next to nothing is found, the error at what was found says nothing about what could have
    been missed: the question is whether a few trucks would have been seen.
    """
    lift = math.log(work.day.params.few / max(here.trucks, 1e-9))
    raised = theta.moved(np.array([lift, 0, 0, 0, 0, 0]))
    information, effect = _information(work, raised)
    covariance = _invert(information, work.day.free)
    return math.sqrt(variance_of(work.day, raised, information, effect, covariance))


def variance_of(
    day: ZoneDay, theta: Theta, information: Floats, effect: Floats, covariance: Floats
) -> float:
    """Return the count's variance: what the scores leave open, and not knowing the parameters.

    Labels may have weighed more than once in learning (:attr:`ZoneDay.label_weight`). Here each
    counts once: what sensitivity and specificity are known by is the less, and their errors are the
    larger by the root of it.
    """
    judge, weight = day.classifier, day.label_weight
    rates = np.array([theta.sensitivity, theta.specificity])
    by_labels = np.array([judge.tp + judge.fn, judge.tn + judge.fp]) * rates * (1 - rates)
    known = np.maximum(np.diag(information)[3:5], 1e-9)
    once = np.maximum(known - (1 - 1 / weight) * by_labels, known / weight)
    unsure = effect * np.sqrt([1, 1, 1, *(known / once), 1])
    return float(max(effect[0], 0.0) + unsure @ covariance @ unsure)


def _finish(
    work: Work, theta: Theta, here: Pass, variance: float, spread: float, known: float, blur: float
) -> Fit:
    """Lay the block results back onto the day's cells."""
    day, blocks = work.day, work.blocks
    inner = blocks.core > 0
    invisible = cells_pmf(theta.dwell_cells, theta.cv, work.longest)[0]
    arrivals = np.where(day.cells.seen, theta.rate[day.cells.hour] * invisible, 0.0)
    busy = np.zeros(day.cells.seen.size)
    arrivals[blocks.cell[inner]] = here.arrivals[inner]
    busy[blocks.cell[inner]] = here.busy[inner]
    seen = np.bincount(day.cells.hour, weights=day.cells.seen, minlength=day.hours).astype(float)
    return Fit(
        theta, here.trucks, variance, arrivals, busy, here.hour_trucks, seen, spread, known, blur
    )
