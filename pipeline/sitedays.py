"""A site's daily totals as they were known at an instant, replayed publication by publication.

A site is the cameras that watch its roads, each road once: their counts add, one movement at a time
(a truck that enters and leaves is not two trucks). A day counts only when every active camera gave
a count: a dark camera makes the site's day unknown, not smaller.

Cameras counted by one model share its errors, so within a model the distances to the interval's
ends add up (full covariance, the cautious end); those of different models add in quadrature.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = dict[str, Any]

SILENT_DAYS = 7
"""A camera without any row for longer is taken to be gone, and the site goes on without it."""

NIGHT_HOURS = frozenset({22, 23, 0, 1, 2, 3, 4, 5})

_ORDER = ("ok", "estimated", "drift", "view_changed", "insufficient")


@dataclass(frozen=True)
class SiteTotals:
    """Totals by calendar day: ``n`` days from ``first`` on, NaN where not known.

    ``total``, ``lo``, ``hi`` trucks; ``coverage`` mean share of the schedule observed; ``cameras``
    how many were active.
    """

    first: dt.date
    total: Floats
    lo: Floats
    hi: Floats
    coverage: Floats
    cameras: NDArray[np.int64]


class KnownSite:
    """What has been published of one site and movement so far; rows go in by ``as_of``."""

    def __init__(self, cameras: Iterable[str], first: dt.date, last: dt.date) -> None:
        self.cameras = {camera: i for i, camera in enumerate(sorted(cameras))}
        self.first, days = first, (last - first).days + 1
        shape = (len(self.cameras), days)
        self.count, self.lo, self.hi, self.coverage = (np.full(shape, np.nan) for _ in range(4))
        self.model = np.full(shape, -1)
        self.models: dict[str, int] = {}
        self.quality: dict[tuple[int, int], str] = {}
        self.hours: dict[tuple[int, int], dict[dt.datetime, tuple[float, bool]]]
        self.hours = defaultdict(dict)
        self.as_of: dt.datetime | None = None

    def publish(self, row: Row) -> None:
        """Take one published row of ``schemas.DAILY``."""
        at = self._place(row)
        self.count[at] = _number(row["truck_count"])
        self.lo[at] = _number(row["truck_count_lo"])
        self.hi[at] = _number(row["truck_count_hi"])
        self.coverage[at] = row["coverage"]
        self.model[at] = self.models.setdefault(row["model_id"], len(self.models))
        self.quality[at] = row["quality"]
        self.as_of = row["as_of"]

    def publish_hour(self, row: Row) -> None:
        """Take one published row of ``schemas.HOURLY_PUBLISHED`` with its ``local_hour``."""
        night = row["local_hour"] in NIGHT_HOURS
        hour = (_number(row["truck_count"]), night)
        self.hours[self._place(row)][row["hour_start_at"]] = hour

    def _place(self, row: Row) -> tuple[int, int]:
        return self.cameras[row["camera_id"]], (row["date"].date() - self.first).days

    def active(self) -> NDArray[np.bool_]:
        """Tell per camera and day whether it was there: ``bool[cameras, days]``."""
        rows = self.model >= 0
        days = np.arange(rows.shape[1])
        begins = np.where(rows.any(axis=1), rows.argmax(axis=1), rows.shape[1])
        ends = rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1) + SILENT_DAYS
        return np.asarray((days >= begins[:, None]) & (days <= ends[:, None]))

    def totals(self) -> SiteTotals:
        """Add the cameras up."""
        active = self.active()
        known = active.any(axis=0) & ~(active & np.isnan(self.count)).any(axis=0)
        total = np.where(known, np.where(active, self.count, 0.0).sum(axis=0), np.nan)
        below, above = np.zeros_like(total), np.zeros_like(total)
        for model in range(len(self.models)):
            own = active & (self.model == model)
            below += np.where(own, self.count - self.lo, 0.0).sum(axis=0) ** 2
            above += np.where(own, self.hi - self.count, 0.0).sum(axis=0) ** 2
        cameras = active.sum(axis=0)
        coverage = np.where(active, np.nan_to_num(self.coverage), 0.0).sum(axis=0)
        return SiteTotals(
            first=self.first,
            total=total,
            lo=total - np.sqrt(below),
            hi=total + np.sqrt(above),
            coverage=coverage / np.maximum(cameras, 1),
            cameras=cameras,
        )

    def worst_quality(self, day: int) -> str:
        """Return the worst quality among the cameras of a day, the last where none is known."""
        found = [quality for (_, d), quality in self.quality.items() if d == day]
        return max(found, key=_ORDER.index, default=_ORDER[-1])

    def night_share(self, day: int) -> float:
        """Return the share of a day's trucks between 22:00 and 06:00 local; NaN if not known."""
        hours = [
            hour
            for camera in range(len(self.cameras))
            for hour in self.hours.get((camera, day), {}).values()
        ]
        trucks = sum(n for n, _ in hours)
        return sum(n for n, night in hours if night) / trucks if hours and trucks > 0 else np.nan


def _number(value: float | None) -> float:
    return np.nan if value is None else value
