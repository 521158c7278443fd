"""A site's daily totals as they were known at an instant, replayed publication by publication.

A site is the cameras that watch its roads, each road once: their counts add, one movement at a time
(a truck that enters and leaves is not two trucks). A day counts only when every active camera gave
a count: a dark camera makes the site's day unknown, not smaller.

Days are compared on one basis (:meth:`KnownSite.on_basis_of`): those cameras and models that
counted the later of them. A gate that gets a camera has no more trucks than before, nor has a road
whose camera gets a better model. A camera aimed anew sees another road, and one with another
schedule other hours.

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
"""A camera of which nothing later has been published for longer is taken to be gone, and the site
goes on without it, as many days after its last row."""

LATE_DAYS = 28
"""How far a camera's days may lag behind the others' before it is taken to be gone in any case."""

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
        self.view = np.full(shape, -1)
        self.views: dict[str, int] = {}
        self.models: dict[str, int] = {}
        self.rows: dict[tuple[int, int], Row] = {}
        self.hours: dict[tuple[int, int], dict[dt.datetime, tuple[float, bool]]]
        self.hours = defaultdict(dict)
        self.factors: dict[int, dict[tuple[int, int], tuple[int, Floats]]] = defaultdict(dict)
        """By camera, by old and new model: days, and the factor with the ends of its interval."""
        self.newest: dict[int, tuple[int, dt.datetime]] = {}
        """By camera: its latest day, and when that was first published."""
        self.as_of: dt.datetime | None = None

    def publish(self, row: Row, view: str = "") -> None:
        """Take one published row of ``schemas.DAILY``, and where and when its camera looked."""
        at = camera, day = self._place(row)
        self.count[at] = _number(row["truck_count"])
        self.lo[at] = _number(row["truck_count_lo"])
        self.hi[at] = _number(row["truck_count_hi"])
        self.coverage[at] = row["coverage"]
        self.model[at] = self._model(row["model_id"])
        self.view[at] = self.views.setdefault(view, len(self.views))
        self.rows[at] = row
        if camera not in self.newest or self.newest[camera][0] < day:
            self.newest[camera] = day, row["as_of"]
        self._heard(row)

    def withdraw(self, row: Row) -> None:
        """Take out a camera-day that has been published anew for another site or movement."""
        at = self._place(row)
        if self.rows.pop(at, None) is not None:
            for values in (self.count, self.lo, self.hi, self.coverage):
                values[at] = np.nan
            self.model[at] = -1
            self.hours.pop(at, None)
            self._heard(row)
            left = [(d, r["as_of"]) for (camera, d), r in self.rows.items() if camera == at[0]]
            self.newest.pop(at[0])
            if left:
                self.newest[at[0]] = max(left)

    def publish_hour(self, row: Row) -> None:
        """Take one published row of ``schemas.HOURLY_PUBLISHED`` with its ``local_hour``.

        An hour outside the schedule, which has no coverage, tells nothing of its trucks; nor does
        one of a day that was taken out.
        """
        at = self._place(row)
        hours = self.hours[at]
        hours.pop(row["hour_start_at"], None)
        if row["coverage"] is not None and at in self.rows:
            night = row["local_hour"] in NIGHT_HOURS
            hours[row["hour_start_at"]] = _number(row["truck_count"]), night
        self._heard(row)

    def publish_change(self, row: Row) -> None:
        """Take one published row of ``schemas.MODEL_CHANGES``."""
        by = np.array([_number(row[f"factor{end}"]) for end in ("", "_lo", "_hi")])
        old, new = self._model(row["old_model_id"]), self._model(row["new_model_id"])
        steps = self.factors[self.cameras[row["camera_id"]]]
        days, _ = steps.get((old, new), (0, by))
        # A day revised later on may give no factor, one without an interval, or one of a few days.
        if np.isfinite(by).all() and row["days"] >= days:
            steps[old, new] = row["days"], by

    def _heard(self, row: Row) -> None:
        self.as_of = max(self.as_of or row["as_of"], row["as_of"])

    def _model(self, model_id: str) -> int:
        return self.models.setdefault(model_id, len(self.models))

    def _place(self, row: Row) -> tuple[int, int]:
        return self.cameras[row["camera_id"]], (row["date"].date() - self.first).days

    def active(self) -> NDArray[np.bool_]:
        """Tell per camera and day whether it was there: ``bool[cameras, days]``.

        One whose days come late, a week after the others', is not gone: it is waited for, but not
        for ever.
        """
        rows = self.model >= 0
        days = np.arange(rows.shape[1])
        begins = np.where(rows.any(axis=1), rows.argmax(axis=1), rows.shape[1])
        ends = np.full(len(rows), rows.shape[1])
        latest = max((day for day, _ in self.newest.values()), default=0)
        for camera, (day, told_at) in self.newest.items():
            silent = self.as_of is not None and self.as_of - told_at > dt.timedelta(SILENT_DAYS)
            if silent or latest - day > LATE_DAYS:
                ends[camera] = rows.shape[1] - 1 - rows[camera, ::-1].argmax() + SILENT_DAYS
        return np.asarray((days >= begins[:, None]) & (days <= ends[:, None]))

    def totals(self) -> SiteTotals:
        """Add the cameras up, each as it was counted."""
        return self._added(self.active(), np.ones((3, *self.count.shape)))

    def on_basis_of(self, day: int) -> SiteTotals:
        """Add up the cameras of that day only, all days as if counted by that day's models.

        Counts of another model are multiplied by the factor published with the change, the ends of
        intervals by its ends; where it has none, the days can't be compared and are not known. Nor
        can those of a camera that had other zones.
        """
        needed = np.repeat(self.active()[:, day : day + 1], self.count.shape[1], axis=1)
        scale = np.ones((3, *self.count.shape))
        for camera in np.flatnonzero(needed[:, day]):
            for model in np.unique(self.model[camera]):
                by = self._factor(camera, model, self.model[camera, day])
                scale[:, camera, self.model[camera] == model] = by[:, None]
            scale[:, camera, self.view[camera] != self.view[camera, day]] = np.nan
        return self._added(needed, scale)

    def _factor(self, camera: int, old: int, new: int) -> Floats:
        """Return what makes counts of one model comparable with another's, by steps known.

        Of several ways it is the one whose poorest step rests on the most days, then the shortest:
        a late day of the model before last must not replace two steps of 28 days each.
        """
        ways: dict[int, tuple[float, int, Floats]] = {new: (np.inf, 0, np.ones(3))}
        news = old != new
        while news:
            news = False
            for (before, after), (days, step) in self.factors[camera].items():
                if after not in ways:
                    continue
                least, left, by = ways[after]
                way = min(least, days), left - 1
                if before not in ways or way > ways[before][:2]:
                    ways[before], news = (*way, by * step), True
        return ways[old][2] if old in ways else np.full(3, np.nan)

    def _added(self, needed: NDArray[np.bool_], scale: Floats) -> SiteTotals:
        """Add up the cameras ``needed`` on each day, scaled; all of them must have counted."""
        count, lo, hi = scale * (self.count, self.lo, self.hi)
        known = needed.any(axis=0) & ~(needed & np.isnan(count)).any(axis=0)
        total = np.where(known, np.where(needed, count, 0.0).sum(axis=0), np.nan)
        below, above = np.zeros_like(total), np.zeros_like(total)
        for model in range(len(self.models)):
            own = needed & (self.model == model)
            below += np.where(own, count - lo, 0.0).sum(axis=0) ** 2
            above += np.where(own, hi - count, 0.0).sum(axis=0) ** 2
        cameras = needed.sum(axis=0)
        coverage = np.where(needed, np.nan_to_num(self.coverage), 0.0).sum(axis=0)
        return SiteTotals(
            first=self.first,
            total=total,
            lo=total - np.sqrt(below),
            hi=total + np.sqrt(above),
            coverage=coverage / np.maximum(cameras, 1),
            cameras=cameras,
        )

    def _of_day(self, day: int) -> list[Row]:
        places = ((camera, day) for camera in self.cameras.values())
        return [self.rows[at] for at in places if at in self.rows]

    def made_by(self, day: int, column: str) -> str:
        """Return the ``model_id`` or ``label_set_id`` of a day's counts, each named once."""
        return ", ".join(sorted({row[column] for row in self._of_day(day)}))

    def worst_quality(self, day: int) -> str:
        """Return the worst quality among the cameras of a day, the last where none is known."""
        found = [row["quality"] for row in self._of_day(day)]
        return max(found, key=_ORDER.index, default=_ORDER[-1])

    def night_share(self, day: int) -> float:
        """Return the share of a day's trucks between 22:00 and 06:00 local; NaN if not known.

        A camera that has none of those hours in its schedule tells nothing of them: it is left out.
        """
        by_camera = [self.hours.get((c, day), {}).values() for c in self.cameras.values()]
        hours = [hour for own in by_camera if any(night for _, night in own) for hour in own]
        trucks = sum(n for n, _ in hours)
        return sum(n for n, night in hours if night) / trucks if trucks > 0 else np.nan


def _number(value: float | None) -> float:
    return np.nan if value is None else value
