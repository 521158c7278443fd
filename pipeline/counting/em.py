"""Expectation-maximisation: better parameters from one pass's expectations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.counting.blocks import Work, cut
from pipeline.counting.chain import Flicker
from pipeline.counting.dwell import cells_pmf
from pipeline.counting.model import Theta, ZoneDay
from pipeline.counting.passes import Pass, e_step, stay_slope
from pipeline.counting.records import Floats

_CALM = 300.0  # cells without flicker, before any are seen


def m_step(day: ZoneDay, theta: Theta, here: Pass) -> Theta:
    """One step of expectation-maximisation."""
    judge = day.classifier
    rate = theta.rate * here.trucks / max(float(np.sum(theta.rate * here.exposure)), 1e-9)
    clear_pos, clear_neg = here.clear_positives, here.clear_negatives
    truck_frames = here.positives + here.negatives
    se = (here.positives + judge.tp + 0.5) / (truck_frames + judge.tp + judge.fn + 1)
    sp = (clear_neg + judge.tn + 0.5) / (clear_pos + clear_neg + judge.tn + judge.fp + 1)
    sd = max(day.params.clump_sd, 1e-3)
    clump = np.log(theta.clump) + here.gradient[5] / (here.busy_expected + 1 / sd**2)
    return replace(
        _dwell_step(day, theta, here),
        rate=np.maximum(rate, 1e-12),
        sensitivity=float(np.clip(se, 0.02, 1 - 1e-4)),
        specificity=float(np.clip(sp, 0.02, 1 - 1e-6)),
        clump=float(np.exp(np.clip(clump, -1.5, 1.5))) if day.free[5] else theta.clump,
        brief=_flicker_step(day, theta, here),
    )


def _flicker_step(day: ZoneDay, theta: Theta, here: Pass) -> Flicker:
    """Re-estimate flicker; it must stay far shorter than a truck's stay to be told apart."""
    if theta.brief.begin == 0.0:
        return theta.brief
    begun, gone_on = here.flickers
    calm = float(here.exposure.sum()) + _CALM
    most = max(1 - 2.5 / theta.dwell_cells, 0.1)
    return Flicker(
        float(np.clip(begun / calm, 1e-9, 0.05)),
        float(min((gone_on + 1) / (begun + gone_on + 3), most)),
    )


def _dwell_step(day: ZoneDay, theta: Theta, here: Pass) -> Theta:
    """Improve dwell and its spread by scoring steps on the expected stays."""
    longest = here.stays.size - 1
    for _ in range(2):
        slope = stay_slope(theta, longest)
        stay = cells_pmf(theta.dwell_cells, theta.cv, longest)
        information = (slope * stay) @ slope.T * here.stays.sum()
        information += np.diag([1 / day.dwell.log_se**2, 1 / day.cv_sd**2])
        gradient = slope @ here.stays + day.prior_slope(theta)
        step = np.zeros(6)
        step[1:3] = np.clip(np.linalg.solve(information, gradient), -0.3, 0.3)
        theta = theta.moved(step)
    return theta


def climb(work: Work, theta: Theta, rounds: int, most: int) -> Theta:
    """Approach the maximum of the log-posterior by expectation-maximisation."""
    last = -1.0
    for turn in range(rounds):
        (here,) = e_step(work, [theta])
        if turn > 3 and abs(here.trucks - last) < 1e-3 * (here.trucks + 0.05):
            break
        last = here.trucks
        theta = m_step(work.day, theta, here)
        if turn in (1, 4) and work.blocks.group.size > 0:
            work = Work(work.day, *cut(work.day, theta)).sample(most)
    return theta


def any_flicker(work: Work, here: Pass) -> Flicker:
    """Look for flicker: false positives that come in company, where frames err one by one.

    Compares pairs of positive frames in the same or neighbouring cells of an empty zone with what
    independent errors would give; only twice as many and more counts.
    """
    held, cells = work.blocks, work.day.cells
    empty = held.core * (here.busy < 0.1)
    positive = cells.positives[held.cell] * empty
    frames = (cells.positives + cells.negatives)[held.cell] * empty
    share = float(positive.sum()) / max(float(frames.sum()), 1.0)

    def pairs(one: Floats) -> float:
        return float(np.sum(one * (one - 1)) / 2 + np.sum(one[1:] * one[:-1]))

    found, chance = work.scale * pairs(positive), work.scale * share**2 * pairs(frames)
    if found < 2 * chance + 8:
        return Flicker()
    return Flicker(
        float(np.clip((found - chance) / max(work.scale * empty.sum(), 1.0), 1e-6, 0.02)), 0.3
    )


def by_hour_rates(day: ZoneDay, theta: Theta, here: Pass, known: float) -> tuple[Theta, float]:
    """Let rates differ by hour as far as the scores show that they do.

    ``known`` is the share of a truck that the scores reveal (observed information over trucks). The
    count an hour implies, expected + (found - expected) / known, has variance expected / known;
    what exceeds that is true difference between hours: gamma distributed rates with relative
    variance ``spread``, towards whose mean each hour is shrunk. Returns parameters and ``spread``.
    """
    scale = here.trucks / max(float(np.sum(day.shape * here.exposure)), 1e-9)
    expected = day.shape * scale * here.exposure
    current = theta.rate * here.exposure
    implied = np.maximum(current + (here.hour_trucks - current) / known, 0.0)
    excess = float(np.sum((implied - expected) ** 2 - expected / known))
    spread = max(excess, 0.0) / max(float(np.sum(expected**2)), 1e-12)
    if spread < 1e-4:
        factor: Floats = np.ones(day.hours)
    else:
        factor = (1 / spread + known * implied) / (1 / spread + known * expected)
    rate = np.maximum(day.shape * scale * factor, 1e-12)
    rate *= here.trucks / max(float(np.sum(rate * here.exposure)), 1e-12)
    return replace(theta, rate=rate), spread
