"""What the report says first: what was counted in all, how it compares with the truth, caveats."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline import exposure, localtime
from pipeline.pages import parts

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.pages.evidence import Campaign

Row = dict[str, Any]
CameraDay = tuple[str, dt.date]


def headline(rows: Sequence[Row], registry: Registry) -> Row:
    """Sum up what was counted: the first thing read, and perhaps the only one."""
    counted = [r for r in rows if r["truck_count"] is not None]
    seen = {(r["camera_id"], r["date"]): r for r in rows}.values()
    scheduled = sum(_scheduled_s(r, registry) for r in seen)
    days = [r["date"] for r in rows]
    movements = sorted({r["movement"] for r in counted})
    return {
        "totals": [
            {
                "movement": movement if len(movements) > 1 else "",
                "trucks": _sum("truck_count", counted, movement),
                "lo": _sum("truck_count_lo", counted, movement),
                "hi": _sum("truck_count_hi", counted, movement),
            }
            for movement in movements
        ],
        "cameras": parts.plural(len({r["camera_id"] for r in rows}), "camera"),
        "sites": parts.plural(len({r["site"] for r in rows}), "site"),
        "days": parts.plural(len({(r["camera_id"], r["date"]) for r in counted}), "camera-day"),
        "dates": parts.day_range(min(days), max(days)),
        "exposure_s": sum(r["exposure_s"] for r in seen),
        "share": sum(r["exposure_s"] for r in seen) / scheduled if scheduled else None,
        "no_count": len(rows) - len(counted),
    }


def _sum(column: str, rows: Sequence[Row], movement: str) -> float:
    """Add up one movement: a truck that enters and leaves is not two trucks."""
    return float(sum(row[column] for row in rows if row["movement"] == movement))


def _scheduled_s(row: Row, registry: Registry) -> float:
    """Return a row's scheduled seconds: a dark day has them too, though its row cannot tell."""
    if row["camera_id"] not in registry.ids:
        return float(row["exposure_s"] / row["coverage"]) if row["coverage"] else 0.0
    camera = registry.camera(row["camera_id"], row["date"])
    return exposure.seconds(localtime.scheduled_spans(camera, row["date"]))


def beside_truth(rows: Sequence[Row], truth: dict[CameraDay, float]) -> Row | None:
    """Compare with the truth over the camera-days that have a count in every movement."""
    by_day: dict[CameraDay, list[Row]] = defaultdict(list)
    for row in rows:
        by_day[row["camera_id"], row["date"]].append(row)
    both = {
        key: day
        for key, day in by_day.items()
        if key in truth and all(r["truck_count"] is not None for r in day)
    }
    if not both:
        return None
    held = [
        sum(r["truck_count_lo"] for r in day) <= truth[key] <= sum(r["truck_count_hi"] for r in day)
        for key, day in both.items()
    ]
    counted = sum(r["truck_count"] for day in both.values() for r in day)
    total = sum(truth[key] for key in both)
    return {
        "truth": total,
        "counted": counted,
        "error": (counted - total) / total if total else None,
        "held": sum(held),
        "of": len(held),
    }


def caveats(rows: Sequence[Row], rendered: bool, campaigns: Sequence[Campaign]) -> list[str]:
    """Word what a careful reader has to know before using a figure."""
    found: list[str] = []
    if rendered:
        found.append("This is a demonstration: its footage is rendered, so the truth is known.")
    if any("simulated" in c.sources for c in campaigns):
        found.append("The crowd is simulated: no person looked at these frames.")
    for quality, meaning in parts.QUALITY.items():
        n = sum(r["quality"] == quality for r in rows)
        if n and meaning:
            whose = sorted({r["camera_id"] for r in rows if r["quality"] == quality})
            names = parts.listed(whose) if len(whose) <= 6 else parts.plural(len(whose), "camera")
            found.append(f"{parts.plural(n, 'row')} marked “{quality}” ({names}): {meaning}.")
    models = sorted({r["model_id"] for r in rows if r["model_id"]})
    if len(models) > 1:
        found.append(
            f"{len(models)} models made these counts; a dashed upright in a chart is the seam "
            "between two."
        )
    return found
