"""One pass over a zone's day: sufficient statistics, log-posterior and its slope."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.counting.blocks import Work
from pipeline.counting.chain import Blocks, Expectation, Singles, expect
from pipeline.counting.dwell import cells_pmf
from pipeline.counting.model import Theta, ZoneDay
from pipeline.counting.records import Floats


@dataclass(frozen=True)
class Pass:
    """One forward-backward pass with what learning needs from it.

    float64[H] ``hour_trucks``; ``exposure``: cells by hour, occupied ones weighed by ``clump``, and
    the prior's calm ones;
    ``positives``, ``negatives``: frames with a truck by their side of the threshold
    (``clear_``: without); ``score`` the
    log-posterior (up to a constant) and ``gradient`` float64[6] its slope on the working scale.
    """

    busy: Singles
    arrivals: Singles
    trucks: float
    hour_trucks: Floats
    exposure: Floats
    stays: Floats
    positives: float
    negatives: float
    busy_trucks: float
    busy_expected: float
    clear_positives: float
    clear_negatives: float
    flickers: Floats
    gradient: Floats
    score: float


def e_step(work: Work, thetas: list[Theta], by_cell: bool = False) -> list[Pass]:
    """Run the chain under each parameter set, side by side; collect sufficient statistics."""
    held, many = work.blocks, len(thetas)
    columns = held.group.size
    stay = np.array([cells_pmf(one.dwell_cells, one.cv, work.longest) for one in thetas])
    blocks = Blocks(
        np.concatenate([work.day.cell_llr(one)[held.cell] for one in thetas], axis=1),
        np.tile(held.core, (1, many)),
        held.cell,
        held.group,
        held.lead,
    )
    rate = np.concatenate([one.rate[held.group] for one in thetas])
    clump = np.repeat([one.clump for one in thetas], columns)
    found = expect(
        blocks,
        rate,
        clump,
        np.repeat(stay.T, columns, axis=1),
        thetas[0].brief,
        work.day.still,
        by_cell,
    )
    return [
        _collect(work, one, stay[k], found, slice(k * columns, (k + 1) * columns))
        for k, one in enumerate(thetas)
    ]


def _collect(work: Work, theta: Theta, stay: Floats, found: Expectation, own: slice) -> Pass:
    """Sum one parameter set's columns to the day."""
    day, held, scale = work.day, work.blocks, work.scale
    outside = work.outside
    invisible = theta.rate * outside * stay[0]
    idle, busy = found.arrivals_idle[own], found.arrivals_busy[own]
    by_hour = np.bincount(held.group, weights=idle + busy, minlength=day.hours)
    time = found.time_idle[own] + theta.clump * found.time_busy[own]
    hour_trucks = invisible + scale * by_hour
    weight = found.busy[:, own] * held.core
    brief = found.flicker[:, own] * held.core
    stays = scale * found.stays[:, own].sum(axis=1)
    stays[0] += invisible.sum()
    rate = theta.rate[held.group]
    frames = work.frames
    here = Pass(
        found.busy[:, own],
        found.arrivals[:, own],
        float(hour_trucks.sum()),
        hour_trucks,
        day.calm + outside + scale * np.bincount(held.group, weights=time, minlength=day.hours),
        stays,
        scale * float(np.sum(weight * day.cells.positives[held.cell])),
        scale * float(np.sum(weight * day.cells.negatives[held.cell])),
        scale * float(busy.sum()),
        scale * float(theta.clump * np.sum(rate * found.time_busy[own])),
        frames[0] - scale * float(np.sum((weight + brief) * day.cells.positives[held.cell])),
        frames[1] - scale * float(np.sum((weight + brief) * day.cells.negatives[held.cell])),
        scale * found.flickers[:, own].sum(axis=1),
        np.zeros(6),
        scale * float(found.loglik[own].sum())
        - float(np.sum(theta.rate * outside)) * (1 - stay[0])
        - float(np.sum(theta.rate * day.calm))
        + day.log_prior(theta, frames),
    )
    return replace(here, gradient=_gradient(day, theta, here))


def _gradient(day: ZoneDay, theta: Theta, here: Pass) -> Floats:
    """Gradient of the log-posterior on the working scale, by Fisher's identity."""
    judge = day.classifier
    clear_pos, clear_neg = here.clear_positives, here.clear_negatives
    slope = stay_slope(theta, here.stays.size - 1) @ here.stays + day.prior_slope(theta)
    se, sp = theta.sensitivity, theta.specificity
    sd = max(day.params.clump_sd, 1e-3)
    return np.array(
        [
            here.trucks - float(np.sum(theta.rate * here.exposure)),
            slope[0],
            slope[1],
            (here.positives + judge.tp + 0.5) * (1 - se) - (here.negatives + judge.fn + 0.5) * se,
            (clear_neg + judge.tn + 0.5) * (1 - sp) - (clear_pos + judge.fp + 0.5) * sp,
            here.busy_trucks - here.busy_expected - np.log(theta.clump / day.params.clump) / sd**2,
        ]
    )


def stay_slope(theta: Theta, longest: int) -> Floats:
    """Derivatives of log P(stay covers k cells) by log dwell and log cv: float64[2, K + 1]."""
    rows = []
    for axis, by in ((1, 0.01), (2, 0.02)):
        step = np.zeros(6)
        step[axis] = by
        up, down = theta.moved(step), theta.moved(-step)
        high = np.log(cells_pmf(up.dwell_cells, up.cv, longest))
        low = np.log(cells_pmf(down.dwell_cells, down.cv, longest))
        rows.append((high - low) / (2 * by))
    return np.array(rows)
