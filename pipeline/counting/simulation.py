"""Does the interval hold? Simulated days with known truth, counted by the very code that counts.

Arrays only: trucks arrive as a Poisson stream (flat, or with two rush hours), stay for log-normal
times, and a frame classifier of stated sensitivity and specificity errs independently in each
frame. What the estimator knows is what a user has: the scores; held-out confusion counts from
:data:`TRUCK_LABELS` + :data:`CLEAR_LABELS` labelled frames, drawn afresh for each day; a mean stay
timed on :data:`TIMED` earlier passages, drawn afresh likewise; and, where rush hours are simulated,
a profile learned from :data:`PAST_DAYS` earlier simulated days. Unseen time is lost in pieces of
15 minutes at random. An oracle runs the same chain knowing every parameter.

Figures per cell of the grid are fractions: ``bias`` (mean of count - truth over mean truth),
``bias_se`` its simulation standard error, ``coverage`` the share of intervals that hold the truth,
``width_ratio`` the mean number of whole counts in the interval over that in the oracle's (every
:data:`ORACLE_EVERY`-th day).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cores
from pipeline.counting.blocks import Work, cut
from pipeline.counting.day import count_day
from pipeline.counting.evidence import grid, weigh
from pipeline.counting.interval import truck_interval
from pipeline.counting.model import Theta, ZoneDay
from pipeline.counting.passes import e_step
from pipeline.counting.profile import learn_profile
from pipeline.counting.records import (
    Classifier,
    CountParams,
    Dwell,
    Flags,
    Floats,
    PastHour,
    Profile,
    ZoneScores,
)
from pipeline.counting.spans import by_hour
from pipeline.counting.zone import CELLS_PER_DWELL
from pipeline.domain import Span
from pipeline.errors import InputError

TRUCK_LABELS = 500
CLEAR_LABELS = 1500
TIMED = 300
PAST_DAYS = 28
STAY_CV = 0.35
DAY_S = 86_400.0
ORACLE_EVERY = 5
_PIECE_S = 900.0


@dataclass(frozen=True)
class Setting:
    """One cell of the grid."""

    trucks_per_day: int
    dwell_s: float
    sample_hz: float
    sensitivity: float
    specificity: float
    seen: float = 1.0
    profile: str = "flat"

    @property
    def samples_per_dwell(self) -> float:
        """Frames per mean stay."""
        return self.dwell_s * self.sample_hz


@dataclass(frozen=True)
class SimulatedDay:
    """What the estimator is given, and the truth it is not."""

    truth: int
    scores: ZoneScores
    covered: tuple[Span, ...]
    classifier: Classifier
    dwell: Dwell
    profile: Profile | None
    rate: Floats
    """float64[24] true trucks per second, for the oracle."""


HOURS: tuple[Span, ...] = tuple((3600.0 * k, 3600.0 * (k + 1)) for k in range(24))


def rates(setting: Setting) -> Floats:
    """Return float64[24] true trucks per second by hour; the rush hours are 8 and 17 o'clock."""
    hour = np.arange(24)
    shape: Floats = np.ones(24)
    if setting.profile == "peaks":
        rush = [np.exp(-0.5 * ((hour - peak) / 2.0) ** 2) for peak in (8, 17)]
        shape = 0.25 + np.sum(rush, axis=0)
    return np.asarray(shape / shape.sum() * setting.trucks_per_day / 3600.0)


def _lost(setting: Setting, rng: np.random.Generator) -> tuple[Span, ...]:
    """Return the seen stretches: pieces of 15 minutes are lost at random."""
    pieces = int(DAY_S / _PIECE_S)
    kept = np.sort(rng.choice(pieces, round(pieces * setting.seen), replace=False))
    return tuple((float(k) * _PIECE_S, float(k + 1) * _PIECE_S) for k in kept)


def _stays(rate: Floats, dwell_s: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw entries and exits over the day and a margin on either side."""
    margin = 40 * dwell_s
    edges = np.concatenate(([-margin], 3600.0 * np.arange(1, 24), [DAY_S + margin]))
    count = rng.poisson(rate * np.diff(edges))
    start = np.repeat(edges[:-1], count)
    entered = start + rng.random(count.sum()) * np.repeat(np.diff(edges), count)
    sigma = math.sqrt(math.log1p(STAY_CV**2))
    stay = dwell_s * np.exp(rng.normal(-(sigma**2) / 2, sigma, entered.size))
    return entered, entered + stay


def _presence(entered: Floats, exited: Floats, hz: float) -> Flags:
    """Return bool[n]: whether any truck is on the zone at each frame."""
    frames = int(DAY_S * hz)
    change = np.zeros(frames + 1, dtype=np.int64)
    np.add.at(change, np.clip(np.ceil(entered * hz - 0.5), 0, frames).astype(int), 1)
    np.add.at(change, np.clip(np.ceil(exited * hz - 0.5), 0, frames).astype(int), -1)
    return np.asarray(np.cumsum(change[:-1]) > 0)


def _past(setting: Setting, rng: np.random.Generator) -> Profile | None:
    """Learn a profile from earlier simulated days; none where the day is flat."""
    if setting.profile == "flat":
        return None
    counts = rng.poisson(rates(setting) * 3600.0, (PAST_DAYS, 24))
    return learn_profile(
        PastHour("out", day % 7 * 24 + hour, 3600.0, float(counts[day, hour]))
        for day in range(PAST_DAYS)
        for hour in range(24)
    )


def simulate(setting: Setting, rng: np.random.Generator) -> SimulatedDay:
    """Draw one day."""
    rate = rates(setting)
    entered, exited = _stays(rate, setting.dwell_s, rng)
    middle = (entered + exited) / 2
    truth = int(np.count_nonzero((middle >= 0) & (middle < DAY_S)))
    truck = _presence(entered, exited, setting.sample_hz)
    chance = rng.random(truck.size, dtype=np.float32)
    positive = np.where(truck, chance < setting.sensitivity, chance > setting.specificity)
    tp = int(rng.binomial(TRUCK_LABELS, setting.sensitivity))
    tn = int(rng.binomial(CLEAR_LABELS, setting.specificity))
    share = TRUCK_LABELS / (TRUCK_LABELS + CLEAR_LABELS)
    judge = Classifier(share, tp, TRUCK_LABELS - tp, CLEAR_LABELS - tn, tn)
    hit = share * judge.sensitivity, (1 - share) * (1 - judge.specificity)
    miss = share * (1 - judge.sensitivity), (1 - share) * judge.specificity
    p_truck = np.where(positive, hit[0] / sum(hit), miss[0] / sum(miss))
    at_s = np.asarray((np.arange(truck.size) + 0.5) / setting.sample_hz, dtype=np.float64)
    covered = _lost(setting, rng)
    sigma = STAY_CV / math.sqrt(TIMED)
    dwell = Dwell(setting.dwell_s * math.exp(rng.normal(0, sigma)), STAY_CV, sigma)
    scores = ZoneScores("exit", "out", at_s, p_truck)
    return SimulatedDay(truth, scores, covered, judge, dwell, _past(setting, rng), rate)


def oracle_interval(setting: Setting, day: SimulatedDay) -> tuple[float, float]:
    """The interval of one who knows every parameter and sees the same frames."""
    judge = Classifier(day.classifier.prevalence, 1, 1, 1, 1)
    evidence = weigh(day.scores, day.covered, day.classifier)
    per_cell = max(1, round(setting.samples_per_dwell / CELLS_PER_DWELL))
    cells = grid(evidence, day.covered, HOURS, per_cell)
    truth = Dwell(setting.dwell_s, STAY_CV, 0.01)
    zone = ZoneDay(cells, judge, CountParams(), truth, np.ones(24))
    theta = Theta(
        day.rate * cells.width_s,
        setting.dwell_s / cells.width_s,
        STAY_CV,
        setting.sensitivity,
        setting.specificity,
        1.0,
    )
    part = Work(zone, *cut(zone, theta)).sample(260)
    up = theta.moved(np.array([0.05, 0, 0, 0, 0, 0]))
    low, high = e_step(part, [theta, up])
    unseen = float(np.sum(day.rate * np.maximum(3600.0 - by_hour(day.covered, HOURS), 0)))
    variance = max((high.trucks - low.trucks) / 0.05, 0.0) + unseen
    return truck_interval(day.truth, variance, 0.0)


def one_day(
    setting: Setting, seed: Sequence[int]
) -> tuple[float, float, float, float, float, float]:
    """Simulate and count a day: (truth, count, lo, hi, oracle lo, oracle hi); NaN where refused."""
    day = simulate(setting, np.random.default_rng(list(seed)))
    counted = count_day(
        [day.scores],
        day.covered,
        [(0.0, DAY_S)],
        HOURS,
        day.classifier,
        CountParams(dwell={"*": day.dwell}),
        day.profile,
        hour_of_week=range(24),
    ).movements[0]
    oracle = (math.nan, math.nan) if seed[-1] % ORACLE_EVERY else oracle_interval(setting, day)
    if counted.truck_count is None or counted.lo is None or counted.hi is None:
        return day.truth, math.nan, math.nan, math.nan, *oracle
    return day.truth, counted.truck_count, counted.lo, counted.hi, *oracle


def summarise(setting: Setting, days: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Turn a cell's days into its row."""
    table = np.array(days, dtype=np.float64)
    made = table[~np.isnan(table[:, 1])]
    row: dict[str, Any] = {"setting": asdict(setting), "days": len(table)}
    row["refused"] = 1.0 - len(made) / len(table)
    if len(made) < max(2, 0.5 * len(table)):
        return row | {"bias": None, "bias_se": None, "coverage": None, "width_ratio": None}
    truth, count, lo, hi, oracle_lo, oracle_hi = made.T
    error, level = count - truth, float(truth.mean())
    return row | {
        "bias": float(error.mean()) / level,
        "bias_se": float(error.std(ddof=1)) / math.sqrt(len(made)) / level,
        "coverage": float(np.mean((lo <= truth) & (truth <= hi))),
        "width_ratio": _width_ratio(hi - lo, oracle_hi - oracle_lo),
    }


def _width_ratio(width: Floats, oracle: Floats) -> float | None:
    """Mean number of whole counts held, over the oracle's on the days it was asked."""
    asked = ~np.isnan(oracle)
    if not asked.any():
        return None
    return float(np.mean(width[asked] + 1) / np.mean(oracle[asked] + 1))


def run_cell(cell: int, days: int, seed: int = 0) -> dict[str, Any]:
    """Simulate and count ``days`` days of a cell of :data:`GRID`, on all cores; return its row.

    The same seed gives the same row.
    """
    setting = GRID[cell]
    seeds = [(seed, cell, day) for day in range(days)]
    made = dict(cores.each(partial(one_day, setting), seeds, f"cell {cell}"))
    return summarise(setting, [made[day] for day in range(days)])


def chosen(cells: str | None) -> Sequence[int]:
    """Return the numbers of the cells asked for: all, ``ci`` (a few quick ones), or one.

    Raises:
        InputError: there is no such cell.
    """
    numbers = range(len(GRID))
    if cells in (None, "all"):
        return numbers
    if cells == "ci":
        return CI_CELLS
    if cells not in map(str, numbers):
        last = numbers[-1]
        raise InputError(f"there is no cell {cells!r}.", f"Name ci, all, or a number up to {last}.")
    return [int(cells)]


def code_id() -> str:
    """Return eight digits that change with the code that simulates and counts."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def as_text(rows: Iterable[dict[str, Any]]) -> str:
    """Lay rows out as a table, shares in percent; a cell without figures is refused."""
    lines = [
        "trucks  stay s     Hz  sens.  spec.  seen  profile   bias     ±   holds  width  refused"
    ]
    for row in rows:
        day = Setting(**row["setting"])
        line = (
            f"{day.trucks_per_day:6d} {day.dwell_s:7g} {day.sample_hz:6g} {day.sensitivity:6g} "
            f"{day.specificity:6g} {day.seen:5.0%}  {day.profile:<7}"
        )
        if row["bias"] is None:
            line += f"{'-':>7} {'-':>5} {'-':>7} {'-':>6}"
        else:
            line += f" {row['bias']:+6.1%} {row['bias_se']:5.1%} {row['coverage']:7.1%}"
            line += f" {row['width_ratio']:6.2f}"
        lines.append(f"{line} {row['refused']:8.1%}")
    return "\n".join(lines)


GRID: tuple[Setting, ...] = (
    # events: two or more frames per stay
    Setting(5, 5, 5, 0.99, 0.995),
    Setting(5, 20, 1, 0.95, 0.99),
    Setting(5, 2, 10, 0.95, 0.99),
    Setting(20, 1, 10, 0.95, 0.98),
    Setting(20, 10, 1, 0.9, 0.95),
    Setting(20, 5, 2, 0.9, 0.98, 0.8),
    Setting(50, 2, 5, 0.97, 0.99),
    Setting(50, 10, 0.5, 0.95, 0.98, 0.7, "peaks"),
    Setting(50, 20, 0.5, 0.85, 0.85),
    Setting(100, 5, 1, 0.99, 0.99, 1.0, "peaks"),
    Setting(100, 1, 5, 0.97, 0.99),
    Setting(100, 20, 0.2, 0.95, 0.98),
    Setting(200, 5, 5, 0.99, 0.99, 0.9, "peaks"),
    Setting(200, 10, 2, 0.85, 0.85, 0.5),
    Setting(200, 2, 2, 0.97, 0.99),
    Setting(200, 2, 10, 0.9, 0.9),
    Setting(500, 5, 2, 0.95, 0.95, 0.8, "peaks"),
    Setting(500, 2, 5, 0.99, 0.99, 0.6, "peaks"),
    Setting(500, 20, 1, 0.9, 0.95),
    Setting(500, 10, 0.2, 0.95, 0.97, 0.9),
    Setting(500, 2, 10, 0.97, 0.99, 1.0, "peaks"),
    Setting(1000, 2, 1, 0.95, 0.98),
    Setting(1000, 10, 1, 0.85, 0.9, 1.0, "peaks"),
    Setting(1000, 5, 5, 0.97, 0.98, 0.7),
    Setting(2000, 1, 10, 0.99, 0.99),
    Setting(2000, 5, 0.5, 0.95, 0.95),
    Setting(2000, 10, 1, 0.97, 0.97, 0.5, "peaks"),
    Setting(2000, 20, 0.5, 0.95, 0.97, 1.0, "peaks"),
    # occupancy: fewer than two frames per stay
    Setting(5, 5, 0.1, 0.85, 0.85),
    Setting(5, 20, 0.05, 0.95, 0.99),
    Setting(50, 1, 0.1, 0.95, 0.95),
    Setting(100, 5, 0.1, 0.99, 0.999),
    Setting(200, 10, 0.1, 0.97, 0.999, 1.0, "peaks"),
    Setting(200, 20, 0.05, 0.95, 0.99, 0.8),
    Setting(500, 5, 0.2, 0.97, 0.99, 1.0, "peaks"),
    Setting(500, 10, 0.1, 0.9, 0.98),
    Setting(500, 20, 0.1, 0.99, 0.99, 0.5, "peaks"),
    Setting(1000, 8, 0.2, 0.95, 0.995),
    Setting(1000, 5, 0.1, 0.97, 0.995, 0.9),
    Setting(1000, 10, 0.1, 0.85, 0.95, 1.0, "peaks"),
    Setting(1000, 20, 0.05, 0.95, 0.97),
    Setting(2000, 5, 0.3, 0.97, 0.995),
    Setting(2000, 5, 0.1, 0.95, 0.98, 0.7, "peaks"),
    Setting(2000, 10, 0.1, 0.9, 0.95),
    Setting(2000, 20, 0.1, 0.95, 0.95, 0.8),
)

CI_CELLS: tuple[int, ...] = (9, 11, 32, 36, 44)
