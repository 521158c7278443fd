"""Audit windows of a workspace, beside what the model counted in each.

People count trucks in windows drawn at random (``labels/<campaign>/audit.parquet``, schema AUDIT).
A camera's day is corrected by the windows of that day and of its earlier days, as far as the same
model has counted them and the camera was aimed alike: a window of a later day was not known then.

The model's count in a window is the trucks of the passages whose middle falls into it, times the
trucks it saw that day over those its passages show; where it shows no passages (sparse sampling),
the trucks it saw that hour, by time.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import accounts, exposure, localtime, schemas, store
from pipeline.domain import Span
from pipeline.errors import StoreError

if TYPE_CHECKING:
    from pipeline.counting import AuditWindows, DayCount
    from pipeline.domain import Camera
    from pipeline.store import Workspace

Row = dict[str, Any]


@dataclass(frozen=True)
class Counted:
    """A day as the model counted it, before any audit.

    ``passages``: (middle, trucks) of each; ``hours``: (span, trucks seen, seconds seen) of each.
    """

    passages: tuple[tuple[float, float], ...]
    hours: tuple[tuple[Span, float, float], ...]

    def within(self, window: Span) -> float:
        """Return the trucks the model counted in a window."""
        listed = sum(trucks for _, trucks in self.passages)
        if listed > 0:
            seen = sum(trucks for _, trucks, _ in self.hours)
            inside = sum(n for middle, n in self.passages if window[0] <= middle < window[1])
            return inside * seen / listed
        return sum(
            trucks / seconds * max(min(window[1], end) - max(window[0], start), 0.0)
            for (start, end), trucks, seconds in self.hours
            if seconds > 0
        )


def tables(ws: Workspace) -> list[Path]:
    """Return the workspace's tables of audit windows."""
    return sorted((ws.root / "labels").glob("*/audit.parquet"))


def brought(ws: Workspace) -> dict[str, list[tuple[dt.datetime, int]]]:
    """Return, per camera, each table's first window of it and when that table was written (ns).

    Cameras with too few windows to correct anything are left out, and damaged tables: counting will
    tell of those.
    """
    from pipeline.counting.audit import LEAST_WINDOWS

    found: dict[str, list[tuple[dt.datetime, int]]] = {}
    windows: Counter[str] = Counter()
    for path in tables(ws):
        try:
            table = store.read_table(path, schemas.AUDIT)
        except StoreError:
            continue
        wanted = [("started_at", "min"), ("window_id", "count_distinct")]
        for row in table.group_by("camera_id").aggregate(wanted).to_pylist():
            written = row["started_at_min"], path.stat().st_mtime_ns
            found.setdefault(row["camera_id"], []).append(written)
            windows[row["camera_id"]] += row["window_id_count_distinct"]
    return {camera: told for camera, told in found.items() if windows[camera] >= LEAST_WINDOWS}


def debiased(
    ws: Workspace, camera: Camera, day: dt.date, model_id: str, result: DayCount
) -> DayCount:
    """Correct a day's movements by the audit windows known by then; without any, change nothing."""
    from pipeline.counting import audited

    rows = list(_known(ws, camera, day))
    if not rows:
        return result
    today = _of_result(result)
    windows = {m: _windows(ws, camera, day, model_id, m, rows, today) for m in today}
    corrected = [
        audited(one, windows[one.movement]) if one.movement in windows else one
        for one in result.movements
    ]
    return replace(result, movements=tuple(corrected))


def _known(ws: Workspace, camera: Camera, day: dt.date) -> Iterator[tuple[dt.date, Row]]:
    """Yield the camera's windows up to ``day``, each with its local day.

    The counts hold scheduled time only, so a window that reaches out of it corrects nothing. One
    that several campaigns have drawn is one window, counted by the people of all.
    """
    found: dict[tuple[str, str], Row] = {}
    for path in tables(ws):
        for row in store.read_table(path, schemas.AUDIT).to_pylist():
            if row["camera_id"] == camera.id:
                key = row["window_id"], row["movement"]
                found[key] = _pooled(found[key], row) if key in found else row
    for row in found.values():
        local = localtime.local_day(row["started_at"], camera.timezone)
        span = row["started_at"].timestamp(), row["ended_at"].timestamp()
        scheduled = exposure.intersection([span], localtime.scheduled_spans(camera, local))
        if (
            camera.valid_from <= local <= day
            and exposure.seconds(scheduled) > span[1] - span[0] - 1
        ):
            yield local, row


def _pooled(one: Row, other: Row) -> Row:
    """Return one window as counted by the workers of two tables."""
    n, more = one["n_workers"], other["n_workers"]
    mean = (n * one["truck_count"] + more * other["truck_count"]) / (n + more)
    return {**one, "truck_count": mean, "n_workers": n + more}


def _windows(
    ws: Workspace,
    camera: Camera,
    day: dt.date,
    model_id: str,
    movement: str,
    rows: Iterable[tuple[dt.date, Row]],
    today: Mapping[str, Counted],
) -> AuditWindows:
    import numpy as np

    from pipeline.counting import AuditWindows

    counted: dict[dt.date, Counted | None] = {day: today[movement]}
    model, human, own = [], [], []
    for local, row in rows:
        if row["movement"] != movement:
            continue
        if local not in counted:
            counted[local] = _of_files(ws, camera, local, model_id, movement)
        of_day = counted[local]
        if of_day is not None:
            model.append(
                of_day.within((row["started_at"].timestamp(), row["ended_at"].timestamp()))
            )
            human.append(row["truck_count"])
            own.append(local == day)
    return AuditWindows(np.array(model, float), np.array(human, float), np.array(own, bool))


def _of_result(result: DayCount) -> dict[str, Counted]:
    """Return each movement of a day just counted; none for one without a count."""
    return {
        m.movement: Counted(
            tuple(((p.entered_s + p.exited_s) / 2, p.trucks) for p in m.passages),
            tuple(
                (
                    (h.start_s, h.end_s),
                    _seen(h.truck_count, h.exposure_s, h.scheduled_s),
                    h.exposure_s,
                )
                for h in m.hourly
            ),
        )
        for m in result.movements
        if m.truck_count is not None
    }


def _seen(trucks: float | None, exposure_s: float, scheduled_s: float) -> float:
    """Return an hour's trucks less those filled in for what was not seen."""
    return (trucks or 0.0) * min(exposure_s / scheduled_s, 1.0) if scheduled_s > 0 else 0.0


def _of_files(
    ws: Workspace, camera: Camera, day: dt.date, model_id: str, movement: str
) -> Counted | None:
    """Return an earlier day as this model counted it; None where it has no count of it."""
    hourly = ws.counts_hourly(camera.id, day, model_id)
    if not hourly.is_file():
        return None
    rows = [
        row
        for row in store.read_table(hourly, schemas.HOURLY).to_pylist()
        if row["movement"] == movement and row["coverage"] is not None
    ]
    total = sum(row["truck_count"] or 0.0 for row in rows)
    if not rows or rows[0]["truck_count"] is None:
        return None
    before = total - _correction(ws, camera.id, day, model_id, movement)
    scale = before / total if total > 0 else 0.0
    ends = dict(localtime.hour_spans(day, camera.timezone))  # some clocks move by half an hour
    hours = []
    for row in rows:
        start = row["hour_start_at"].timestamp()
        seen = row["truck_count"] * scale * min(row["coverage"] or 0.0, 1.0)
        hours.append(((start, ends.get(start, start + 3600.0)), seen, row["exposure_s"]))
    zones = {zone.name for zone in camera.zones if zone.movement == movement}
    path = ws.passages(camera.id, day, model_id)
    listed = store.read_table(path, schemas.PASSAGES).to_pylist() if path.is_file() else []
    passages = tuple(
        ((p["entered_at"].timestamp() + p["exited_at"].timestamp()) / 2, p["trucks"])
        for p in listed
        if p["zone"] in zones
    )
    return Counted(passages, tuple(hours))


def _correction(ws: Workspace, camera: str, day: dt.date, model_id: str, movement: str) -> float:
    """Return what an audit has added to a day's count, as its arithmetic says."""
    from pipeline.counting import audit

    account = accounts.read(ws, camera, day, model_id)
    told = account.get("arithmetic", {}).get(movement, [])
    added = (value for label, value in told if value and label.startswith(audit.CORRECTED))
    return float(sum(added))
