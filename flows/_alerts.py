"""What a run says aloud: events on missing days, coverage drops and drift; a log line, an artifact.

``flows.automations`` sends the events on to where the operator wants them. The log line and the
artifact ``<run>-alerts`` are there without any setting. Nothing here decides a count.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import _watch
from flows._prefect import artifacts, emit_event, get_run_logger
from flows.automations import COVERAGE, DRIFT, MISSING
from pipeline import store

if TYPE_CHECKING:
    from pipeline.store import Workspace

Row = dict[str, Any]
MOST_TOLD = 20


def announce(
    ws: Workspace,
    kind: str,
    missing: Sequence[Row],
    counts: Sequence[Row],
    drift: Mapping[str, Sequence[dt.date]],
) -> list[Row]:
    """Emit, log and show what an operator should hear of; return it (``event``, ``camera``, …)."""
    published = store.read_table(ws.daily_counts).to_pylist() if ws.daily_counts.is_file() else []
    found = alerts(missing, _watch.coverage_drops(counts, published), drift)
    for alert in found:
        emit_event(
            event=alert["event"],
            resource={"prefect.resource.id": f"truck-counter.camera.{alert['camera']}"},
            payload={"run": kind, **alert},
        )
        get_run_logger().warning("alert=%s %s", alert["event"], alert["text"])
    if found:
        lines = [f"* **{alert['event']}** {alert['text']}" for alert in found]
        artifacts.create_markdown_artifact(key=f"{kind}-alerts", markdown="\n".join(lines))
    return found


def alerts(
    missing: Sequence[Row], drops: Sequence[Row], drift: Mapping[str, Sequence[dt.date]]
) -> list[Row]:
    """Return one alert per camera and kind.

    >>> alerts([], [], {"gate": [dt.date(2026, 3, 2)]})[0]["text"]
    'gate drifts: 2026-03-02'
    """
    found: list[Row] = []
    for camera, rows in _by_camera(missing).items():
        told = "; ".join(f"{r['day']}: {r['what']}: {r['why']}" for r in rows[:MOST_TOLD])
        found.append({"event": MISSING, "camera": camera, "text": f"{camera} misses {told}"})
    for camera, rows in _by_camera(drops).items():
        told = "; ".join(f"{r['day']}: {r['coverage']:.0%}, {r['usual']:.0%} usual" for r in rows)
        found.append({"event": COVERAGE, "camera": camera, "text": f"{camera} sees less: {told}"})
    for camera, days in drift.items():
        told = ", ".join(str(day) for day in days[:MOST_TOLD])
        found.append({"event": DRIFT, "camera": camera, "text": f"{camera} drifts: {told}"})
    return found


def _by_camera(rows: Sequence[Row]) -> dict[str, list[Row]]:
    cameras = sorted({row["camera"] for row in rows})
    return {camera: [row for row in rows if row["camera"] == camera] for camera in cameras}
