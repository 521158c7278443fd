"""Each morning, per time zone: every closed day that lacks a count, from footage to publication.

The scheduled flow takes its day from the instant it was *scheduled* for, never from the clock. It
counts whatever is due until that day. Late runs collapse into one: the first takes the day of the
last that is due by now and does all the work, the rest are cancelled or find none.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from flows import _days, _steps, due
from flows._prefect import State, flow, newest_due, runtime
from flows._runners import task_runner
from flows.deployments import slug
from pipeline import localtime
from pipeline.daily import model_in_use

Row = dict[str, Any]


@flow(name="count", flow_run_name="count {first}..{last}", task_runner=task_runner())
def count(
    root: str,
    first: str,
    last: str,
    cameras: list[str] | None = None,
    model_id: str | None = None,
) -> State[Row]:
    """Count and publish every day of the range, those that are counted included."""
    _, registry = _steps.world(root)
    dates = localtime.days_between(localtime.parse_day(first), localtime.parse_day(last))
    days = {c: [str(day) for day in dates] for c in registry.chosen(cameras or ())}
    return _days.work("count", root, days, model_id, lasting=False)


@flow(name="morning", flow_run_name="morning {timezone}", task_runner=task_runner())
def morning(root: str, timezone: str, days_back: int = 14) -> State[Row]:
    """Count what is due in a time zone up to the day that was over at the scheduled instant."""
    scheduled: dt.datetime = runtime.flow_run.scheduled_start_time
    return until(root, timezone, scheduled, days_back, newest_due())


def until(
    root: str,
    timezone: str,
    instant: dt.datetime,
    days_back: int,
    newest: dt.datetime | None = None,
) -> State[Row]:
    """Do the work of :func:`morning` as of ``instant`` (aware), and that of runs to ``newest``."""
    ws, registry = _steps.world(root)
    cameras = due.cameras_of(registry, timezone)
    closed, last = (
        localtime.local_day(at, timezone) - dt.timedelta(days=1)
        for at in (instant, newest or instant)
    )
    first = closed - dt.timedelta(days=days_back - 1)
    model_id = model_in_use(ws)
    found = due.backlog(ws, registry, model_id, [c.id for c in cameras], first, last)
    dark = due.dark_days(ws, registry, model_id, found.days, localtime.days_between(closed, last))
    every = {camera: sorted({*found.days[camera], *dark[camera]}) for camera in dark}
    days = {camera: [str(day) for day in dates] for camera, dates in every.items() if dates}
    kind = f"morning-{slug(timezone)}"
    if not days:
        which = f"in {timezone} up to {last}"
        return _days.nothing_due(kind, root, model_id, last, which, found)
    return _days.work(kind, root, days, model_id)
