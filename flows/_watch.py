"""What finished counts ask for: an audit batch where a camera drifts, a word where it sees less.

Pure readings of daily rows (``schemas.COUNTS`` as records); the flows act on them. A drifting day
is one whose ``quality`` says ``drift``: two ways of counting it disagree beyond their errors.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

USUAL_DAYS = 14
DROP = 0.2
"""A day's coverage this far below the camera's usual is worth a word."""


def drifting(rows: Iterable[Row]) -> dict[str, list[dt.date]]:
    """Return, per camera, the days that drift, in order.

    >>> row = {"camera_id": "gate", "date": "2026-03-02", "quality": "drift"}
    >>> drifting([row, row | {"date": "2026-03-03", "quality": "ok"}])
    {'gate': [datetime.date(2026, 3, 2)]}
    """
    found: dict[str, set[dt.date]] = defaultdict(set)
    for row in rows:
        if row["quality"] == "drift":
            found[row["camera_id"]].add(day_of(row))
    return {camera: sorted(days) for camera, days in sorted(found.items())}


def audit_campaign(camera: str, day: dt.date) -> str:
    """Name the audit batch of a drifting day: one a camera and week, however often it is asked for.

    >>> audit_campaign("gate", dt.date(2026, 3, 2))
    'audit-gate-2026-w10'
    """
    year, week, _ = day.isocalendar()
    return f"audit-{camera}-{year}-w{week:02d}"


def coverage_drops(rows: Iterable[Row], published: Iterable[Row]) -> list[dict[str, Any]]:
    """Return each row that sees ``DROP`` less of its schedule than the camera's days before it do.

    Usual is the median of the (at most ``USUAL_DAYS``) days published before; below three, no word.
    """
    before: dict[tuple[str, str], list[tuple[dt.date, float]]] = defaultdict(list)
    for row in published:
        key = (row["camera_id"], row["movement"])
        before[key].append((day_of(row), row["coverage"] or 0.0))
    found: list[dict[str, Any]] = []
    for row in rows:
        usual = _usual(before[row["camera_id"], row["movement"]], day_of(row))
        coverage = row["coverage"] or 0.0
        if usual is not None and usual - coverage > DROP:
            told = {"camera": row["camera_id"], "day": str(day_of(row))}
            found.append(told | {"coverage": round(coverage, 3), "usual": round(usual, 3)})
    return found


def _usual(days: Sequence[tuple[dt.date, float]], day: dt.date) -> float | None:
    earlier = [coverage for other, coverage in sorted(days) if other < day][-USUAL_DAYS:]
    return statistics.median(earlier) if len(earlier) >= 3 else None


def day_of(row: Row) -> dt.date:
    """Return a row's local day, which is text in a flow's rows and midnight in the tables."""
    date = row["date"]
    return dt.date.fromisoformat(date) if isinstance(date, str) else date.date()
