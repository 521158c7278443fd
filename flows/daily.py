"""One closed local day, all cameras: ingest → infer → count, then publish what there is.

The flow's day is a parameter; which day that is, ``flows.operate.day`` works out before Prefect
starts. Running a day again does what is still to do and changes nothing else.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from flows import _days, _steps, due
from flows._prefect import Completed, State, flow
from flows._runners import task_runner

Row = dict[str, Any]


@flow(name="daily", flow_run_name="daily {day}", task_runner=task_runner())
def daily(
    root: str, day: str, cameras: list[str] | None = None, model_id: str | None = None
) -> State[Row]:
    """Count and publish one closed local day of the cameras named (none: of all)."""
    ws, registry = _steps.world(root)
    on = dt.date.fromisoformat(day)
    chosen = registry.chosen(cameras or ())
    days = {c: [day] for c in chosen if cameras or due.is_at_work(ws, registry, c, on)}
    if not days:
        data = {"days": [day], "published": 0, "missing": [], "counts": [], "audits": []}
        return Completed(message=f"no camera is at work on {day}", data=data)
    return _days.work("daily", root, days, model_id)
