"""The camera-days that lack a count, in one run: what is there already is not in its parameters.

The difference is worked out by ``flows.due`` before Prefect starts (``truck-counter backfill``).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from flows import _days, _steps, due
from flows._prefect import State, flow, get_run_logger, newest_due
from flows._runners import task_runner
from pipeline.daily import model_in_use

Row = dict[str, Any]


@flow(name="backfill", task_runner=task_runner())
def backfill(root: str, days: dict[str, list[str]], model_id: str | None = None) -> State[Row]:
    """Count and publish the local days named for each camera."""
    in_order = {c: sorted(days[c]) for c in sorted(days)}
    return _days.work("backfill", root, in_order, model_id, lasting=False)


@flow(name="reconcile", task_runner=task_runner())
def reconcile(root: str, days_back: int = 90) -> State[Row]:
    """Count what is due in the days before the instant this run, or a later one, was due."""
    ws, registry = _steps.world(root)
    last = due.newest_closed_day(due.cameras_of(registry), newest_due())
    model_id = model_in_use(ws)
    first = last - dt.timedelta(days=days_back - 1)
    for line in due.look(ws, registry, registry.ids):
        get_run_logger().warning("%s", line)
    found = due.backlog(ws, registry, model_id, registry.ids, first, last)
    if not (days := found.as_text()):
        which = f"from {first} to {last}"
        return _days.nothing_due("reconcile", root, model_id, last, which, found)
    return _days.work("reconcile", root, days, model_id)
