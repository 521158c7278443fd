"""One closed local day, all cameras: ingest → infer → count, then publish what there is.

The flow's day is a parameter; what the newest closed day is, is worked out by :func:`run` before
Prefect starts. Running a day again does what is still to do and changes nothing else.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from flows import _days, _steps, due
from flows._prefect import State, flow, run_here
from flows._runners import task_runner
from pipeline.daily import model_in_use
from pipeline.store import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.cameras import Registry

Row = dict[str, Any]


def run(
    root: Path, registry: Registry, day: dt.date | None = None, now: dt.datetime | None = None
) -> Row:
    """Run the flow for ``day`` (None: the newest closed everywhere) and say what came of it.

    Args:
        root: the workspace.
        registry: its cameras.
        day: a local day that is over in every camera's time zone at ``now``.
        now: the instant that decides what is over; None is this one.

    Returns:
        JSON-able ``day``, ``state`` (``Completed``, or ``Incomplete`` where a camera failed),
        ``published`` (rows), ``missing`` (camera, day, what, why), ``counts`` and ``audits``.

    Raises:
        InputError: the day is not over yet.
        NotFoundError: there is no model.
    """
    now = now or dt.datetime.now(dt.UTC)
    cameras = due.cameras_of(registry)
    day = day or due.newest_closed_day(cameras, now)
    due.check_closed(cameras, day, now)
    model_id = model_in_use(Workspace(root))
    found = _days.outcome(run_here(daily, str(root), day.isoformat(), None, model_id))
    del found["days"]
    return {"day": day.isoformat(), **found}


@flow(name="daily", flow_run_name="daily {day}", task_runner=task_runner())
def daily(
    root: str, day: str, cameras: list[str] | None = None, model_id: str | None = None
) -> State[Row]:
    """Count and publish one closed local day of the cameras named (none: of all)."""
    _, registry = _steps.world(root)
    days = {c: [day] for c in registry.chosen(cameras or ())}
    return _days.work("daily", root, days, model_id)
