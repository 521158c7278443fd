"""The report's coverage section: per camera a calendar, and its latest days hour by hour.

Every gap is worded with its length and its reason. Also where a day's receipts lie, as both the
report and the receipts need it.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import daily, store
from pipeline.pages import coverage, parts, strips

if TYPE_CHECKING:
    from markupsafe import Markup

    from pipeline.cameras import Registry
    from pipeline.domain import Camera
    from pipeline.pages.coverage import DayCoverage
    from pipeline.store import Workspace

Row = dict[str, Any]

MOST_STRIPS = 21
"""Days a camera's hour strips go back; a calendar shows the days before as well."""


SEAMS_TOLD_S = 0.05


def section(
    ws: Workspace, registry: Registry, rows: Sequence[Row], most: int, base: Path
) -> list[Row]:
    """Return, per camera, its latest days with what was seen and every gap's reason."""
    counted = {(r["camera_id"], r["date"]): r["coverage"] for r in rows}
    known = [c for c in registry.ids if ws.days("clips", c) or any(k[0] == c for k in counted)]
    if not known:
        return []
    each = min(MOST_STRIPS, max(1, most // len(known)))
    shown = []
    for camera_id in known[:most]:
        held = set(ws.days("clips", camera_id)) | {d for c, d in counted if c == camera_id}
        latest = sorted(held)[-each:]
        covers = [_day_cover(ws, registry, camera_id, day) for day in latest]
        camera = registry.camera(camera_id)
        days = [_seen_day(ws, c, counted.get((camera_id, c.day)), camera, base) for c in covers]
        scale = _scale(covers, camera.timezone)
        shown.append(
            {
                "camera": camera,
                "days": days,
                "scale": scale,
                "calendar": _calendar(camera_id, rows) if len(held) > len(latest) else None,
            }
        )
    return shown


def strangers(registry: Registry, rows: Sequence[Row]) -> list[str]:
    """Word, a line each, the cameras that are counted but that the registry no longer has."""
    lines = []
    for camera_id in sorted({r["camera_id"] for r in rows} - set(registry.ids)):
        shares = {r["date"]: r["coverage"] for r in rows if r["camera_id"] == camera_id}
        mean = parts.percent(sum(shares.values()) / len(shares))
        days = parts.plural(len(shares), "day")
        lines.append(
            f"{camera_id} is no longer in cameras.toml: its schedule is not known here; as "
            f"published, {mean} of it was seen on average over {days}."
        )
    return lines


def _seen_day(
    ws: Workspace, cover: DayCoverage, published: float | None, camera: Camera, base: Path
) -> Row:
    """Return one line of the coverage table; ``published`` is the row's coverage, if counted."""
    forgotten = bool(published) and not ws.clips(camera.id, cover.day).is_file()
    told = ["the clips of this day are no longer listed in the workspace"]
    return {
        "cover": cover,
        "share": published if forgotten else cover.share,
        "strip": strips.strip(cover) if cover.scheduled and not forgotten else None,
        "gaps": told if forgotten else _worded(cover, camera.timezone),
        "counted": published is not None,
        "receipt": receipt(ws, camera.id, cover.day, base),
    }


def _day_cover(ws: Workspace, registry: Registry, camera_id: str, day: dt.date) -> DayCoverage:
    return coverage.of_day(
        registry.camera(camera_id, day), day, daily.clip_rows(ws, camera_id, day)
    )


def _worded(cover: DayCoverage, timezone: str) -> list[str]:
    """Word a day's gaps by reason: when, how long, and why."""
    by_reason: dict[str, list[coverage.Gap]] = defaultdict(list)
    for gap in cover.gaps:
        name = {"partial": "broken off", "quarantined": "set aside"}.get(gap.kind, "")
        by_reason[f"clip {name}: {gap.reason}" if name else gap.reason].append(gap)
    lines = []
    for reason, gaps in by_reason.items():
        length = parts.duration(sum(g.seconds for g in gaps))
        if len(gaps) <= 2:
            when = parts.listed([between(g.start_s, g.end_s, timezone) for g in gaps])
        else:
            when = parts.plural(len(gaps), "stretch", "stretches")
        lines.append(f"{when} ({length}): {reason}")
    if cover.seams_s >= SEAMS_TOLD_S:
        lines.append(f"{parts.duration(cover.seams_s)} at seams between clips")
    return lines


def between(start_s: float, end_s: float, timezone: str) -> str:
    """Word a stretch of local time; midnight at its end is 24:00.

    >>> between(1772604000.0, 1772690400.0, "America/Chicago")
    '00:00:00–24:00:00'
    """
    end = parts.clock(end_s, timezone)
    return f"{parts.clock(start_s, timezone)}–{'24:00:00' if end == '00:00:00' else end}"


def _calendar(camera_id: str, rows: Sequence[Row]) -> Markup | None:
    shares = {r["date"]: r["coverage"] for r in rows if r["camera_id"] == camera_id}
    title = f"Coverage of {camera_id}, day by day"
    return strips.heat_map(sorted(shares.items()), title) if shares else None


def _scale(covers: Sequence[DayCoverage], timezone: str) -> list[Row]:
    """Return the clock's marks above the strips, in percent of the latest day's width."""
    latest = next((c for c in reversed(covers) if c.scheduled), None)
    if latest is None:
        return []
    marks = strips.Scale(latest.scheduled).marks(latest.day, timezone, 7)
    several = len(latest.scheduled) > 1
    return [
        {
            "at": round(place * 100, 1),
            "text": words,
            "edge": "first" if several or place < 0.03 else "last" if place > 0.97 else "",
        }
        for place, words in marks
    ]


def receipt(ws: Workspace, camera: str, day: dt.date, base: Path) -> str | None:
    """Return the address of a day's receipts, as seen from the report; None where not written."""
    path = receipt_path(ws, camera, day)
    return Path(os.path.relpath(path, base)).as_posix() if path.is_file() else None


def receipt_path(ws: Workspace, camera: str, day: dt.date) -> Path:
    """Return where a camera-day's receipts page lies."""
    return ws.reports / "explain" / store.checked_name(camera, "camera") / f"{day}.html"
