"""What goes into a day's count and what comes out: frozen records, no arithmetic.

Times are POSIX seconds in float64; probabilities and shares are fractions; counts are trucks.
A count that cannot be made is ``None``, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Method = Literal["events", "occupancy", "none", "events+audit", "occupancy+audit"]
Quality = Literal["ok", "estimated", "drift", "view_changed", "insufficient"]


@dataclass(frozen=True)
class ZoneScores:
    """One zone's frame scores.

    Attributes:
        zone: Name of the zone.
        movement: The direction it belongs to; zones of one movement are summed.
        at_s: float64[n] POSIX seconds, ascending and unique.
        p_truck: float64[n] calibrated probabilities at ``Classifier.prevalence``.
    """

    zone: str
    movement: str
    at_s: Floats
    p_truck: Floats

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        if self.at_s.shape != self.p_truck.shape or self.at_s.ndim != 1:
            raise ValueError(f"zone {self.zone!r}: at_s and p_truck must be equally long vectors")
        if self.at_s.size > 1 and not bool(np.all(np.diff(self.at_s) > 0)):
            raise ValueError(f"zone {self.zone!r}: at_s must be ascending and unique")


@dataclass(frozen=True)
class Calibrated:
    """How well the log odds of ``p_truck`` are known: few labels leave them in doubt all together.

    Log odds are raw ones ÷ temperature + ``offset``. ``log_t_var``, ``covariance``, ``offset_var``:
    the covariance of the errors of log temperature and offset. The defaults know them exactly.
    """

    offset: float = 0.0
    log_t_var: float = 0.0
    covariance: float = 0.0
    offset_var: float = 0.0

    def moves(self, odds: Floats) -> Floats:
        """Return float64[2, n]: how far log odds ``[n]`` may be off, in two independent ways.

        Each is one standard error along an axis of the errors' covariance: a log temperature that
        is off by e moves log odds by e (offset - odds), an offset moves all alike.

        >>> Calibrated(-1.0, log_t_var=0.01, offset_var=0.04).moves(np.array([3.0])).round(2)
        array([[-0.4],
               [ 0.2]])
        """
        square = [[self.log_t_var, self.covariance], [self.covariance, self.offset_var]]
        spread, axes = np.linalg.eigh(square)
        ways = axes * np.sqrt(np.maximum(spread, 0.0))
        return np.asarray(ways[0][:, None] * (self.offset - odds) + ways[1][:, None], np.float64)


@dataclass(frozen=True)
class Classifier:
    """What held-out labels say about the frame classifier.

    ``prevalence`` is the share of truck frames for which ``p_truck`` is calibrated; ``tp``, ``fn``,
    ``fp``, ``tn`` are held-out confusion counts at ``threshold`` (a random share of the labels);
    ``calibrated`` says how well its log odds are known.

    >>> Classifier(0.2, tp=95, fn=5, fp=4, tn=396).sensitivity
    0.9455445544554455
    """

    prevalence: float
    tp: float
    fn: float
    fp: float
    tn: float
    threshold: float = 0.5
    calibrated: Calibrated = Calibrated()

    @property
    def sensitivity(self) -> float:
        """P(positive | truck), posterior mean under Jeffreys' prior Beta(1/2, 1/2)."""
        return (self.tp + 0.5) / (self.tp + self.fn + 1.0)

    @property
    def specificity(self) -> float:
        """P(negative | no truck), posterior mean under Jeffreys' prior."""
        return (self.tn + 0.5) / (self.tn + self.fp + 1.0)

    def weighing(self, frames: float) -> Classifier:
        """Return the same classifier, each of its labels worth so many frames.

        >>> round(Classifier(0.2, tp=9, fn=1, fp=0, tn=99).weighing(50).sensitivity, 3)
        0.899
        """
        tp, fn, fp, tn = (frames * n for n in (self.tp, self.fn, self.fp, self.tn))
        return replace(self, tp=tp, fn=fn, fp=fp, tn=tn)


@dataclass(frozen=True)
class Dwell:
    """How long trucks stay in a zone: mean, coefficient of variation, and how sure we are.

    ``log_se`` is the standard error of ``log(mean_s)``: for a mean over n timed passages about
    ``cv / sqrt(n)``.
    """

    mean_s: float
    cv: float = 0.35
    log_se: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no dwell."""
        if not (self.mean_s > 0 and self.cv > 0 and self.log_se > 0):
            raise ValueError(f"dwell must be positive throughout, got {self}")


@dataclass(frozen=True)
class CountParams:
    """How to count. The defaults are meant for everyone.

    Attributes:
        level: Probability that an interval should hold the truth.
        coverage_floor: Below this share of the scheduled time seen, a count is ``None``.
        samples_per_dwell: From this many samples per dwell on, events; below, occupancy.
        widest: A count whose interval is wider than this many times the count itself, and wider
            than ``few`` trucks, is not identified: ``None``.
        few: Interval width, in trucks, that is always acceptable.
        dwell: What is known about dwell beforehand, by zone name (``"*"`` for any zone):
            from dense bursts, or from earlier days. Needed for sparse sampling.
        parked_dwells: A stay this many times the dwell may be a parked truck.
        clump, clump_sd: Arrival rate while the zone is occupied over that while it is empty: prior
            mean, and prior standard deviation of its logarithm. (1, 0) is a strict Poisson stream.
        lane_clump: The same for a movement with several zones: these are lanes, in which trucks
            keep their distance.
        flicker_samples: From this many samples per dwell on, false sights far briefer than a truck
            are told apart from trucks.
        looks: How many independent looks at a vehicle its frames are worth. A network errs on a
            vehicle, not on a frame: ten frames of one bus are wrong together. So labels say more
            of the network than a day's dense frames do. ``None``: as many as there are frames.
    """

    level: float = 0.95
    coverage_floor: float = 0.5
    samples_per_dwell: float = 2.0
    widest: float = 1.6
    few: float = 12.0
    dwell: Mapping[str, Dwell] = field(default_factory=dict)
    parked_dwells: float = 12.0
    clump: float = 1.0
    clump_sd: float = 0.0
    lane_clump: tuple[float, float] = (0.3, 0.4)
    flicker_samples: float = 5.0
    looks: float | None = None

    def for_lanes(self) -> CountParams:
        """Return the same rules for zones that are lanes."""
        clump, sd = self.lane_clump
        return replace(self, clump=clump, clump_sd=sd)

    def known_dwell(self, zone: str) -> Dwell | None:
        """Return what is known about dwell in ``zone``."""
        return self.dwell.get(zone, self.dwell.get("*"))


@dataclass(frozen=True)
class PastHour:
    """One local hour of an earlier day, as it was counted then."""

    key: str
    """Zone name, or movement name where zones are not told apart."""
    hour_of_week: int
    """0 is Monday 00:00-01:00 local time."""
    exposure_s: float
    truck_count: float


@dataclass(frozen=True)
class Profile:
    """Trucks per hour by key and hour of the week (168 rates each), learned from the past only."""

    rates: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Passage:
    """One stay of a truck (or of several that could not be told apart) in a zone."""

    zone: str
    entered_s: float
    exited_s: float
    peak_p: float
    mean_p: float
    trucks: float = 1.0
    """Expected number of trucks in this stay."""
    flags: tuple[str, ...] = ()
    """``parked``, ``merged``, ``cut`` (by a gap or an edge of footage), ``weak``, ``straddle``; and
    ``unlikely``, which is not listed."""


@dataclass(frozen=True)
class Count:
    """A number of passages with its interval; all three ``None`` where it cannot be made."""

    truck_count: float | None
    lo: float | None
    hi: float | None


@dataclass(frozen=True)
class HourCount:
    """One local hour of one movement; the hours add up to the day.

    ``truck_count`` is None where the day has none, and where nothing of the hour is scheduled.
    """

    start_s: float
    end_s: float
    truck_count: float | None
    lo: float | None
    hi: float | None
    exposure_s: float
    scheduled_s: float


@dataclass(frozen=True)
class ZoneCount:
    """One zone of one day, before zones are summed."""

    zone: str
    movement: str
    truck_count: float | None
    lo: float | None
    hi: float | None
    method: Method
    other: float | None
    """The other estimator's count, where both were possible."""
    dwell_s: float | None
    prevalence: float | None
    quality: Quality


@dataclass(frozen=True)
class MovementCount:
    """One movement of one day: what becomes a row of the daily table."""

    movement: str
    truck_count: float | None
    lo: float | None
    hi: float | None
    method: Method
    quality: Quality
    passages: tuple[Passage, ...]
    exposure_s: float
    scheduled_s: float
    coverage: float
    frames_scored: int
    prevalence: float | None
    hourly: tuple[HourCount, ...]
    arithmetic: tuple[tuple[str, float | None], ...]
    """Ordered lines from raw passages to ``truck_count``; every correction is one line."""


@dataclass(frozen=True)
class DayCount:
    """A camera-day: one :class:`MovementCount` per movement, one :class:`ZoneCount` per zone."""

    movements: tuple[MovementCount, ...]
    zones: tuple[ZoneCount, ...]

    def movement(self, name: str) -> MovementCount:
        """Return the movement called ``name``; raise ``KeyError`` where there is none."""
        for row in self.movements:
            if row.movement == name:
                return row
        raise KeyError(name)
