"""One closed local day, all cameras: ingest → infer → count, then publish what there is.

The flow's day is a parameter; which day that is, ``flows.operate.day`` works out before Prefect
starts. Running a day again does what is still to do and changes nothing else.
"""

from __future__ import annotations

from typing import Any

from flows import _days, _steps
from flows._prefect import State, flow
from flows._runners import task_runner

Row = dict[str, Any]


@flow(name="daily", flow_run_name="daily {day}", task_runner=task_runner())
def daily(
    root: str, day: str, cameras: list[str] | None = None, model_id: str | None = None
) -> State[Row]:
    """Count and publish one closed local day of the cameras named (none: of all)."""
    _, registry = _steps.world(root)
    days = {c: [day] for c in registry.chosen(cameras or ())}
    return _days.work("daily", root, days, model_id)
