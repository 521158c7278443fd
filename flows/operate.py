"""Running it for real, from the command line: one closed ``day``, or a ``backfill``.

What can be refused or found done already is so before Prefect is imported.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flows import _temporary, due
from flows.services import Services
from pipeline.daily import is_in_use, model_in_use
from pipeline.errors import InputError
from pipeline.progress import note

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.store import Workspace

Row = dict[str, Any]


def day(
    ws: Workspace,
    registry: Registry,
    wanted: dt.date | None = None,
    now: dt.datetime | None = None,
) -> Row:
    """Run the flow ``daily`` for one local day and say what came of it.

    Args:
        ws: the workspace.
        registry: its cameras.
        wanted: a local day that is over in every camera's time zone at ``now``; None is the newest.
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
    wanted = wanted or due.newest_closed_day(cameras, now)
    due.check_closed(cameras, wanted, now)
    model_id = model_in_use(ws)
    with _temporary.at_hand():
        from flows import _days
        from flows._prefect import run_here
        from flows.daily import daily

        ended = run_here(daily, str(ws.root), wanted.isoformat(), None, model_id)
        found = _days.outcome(ended)
    del found["days"]
    return {"day": wanted.isoformat(), **found}


def backfill(
    ws: Workspace,
    registry: Registry,
    first: dt.date | None,
    last: dt.date | None,
    *,
    cameras: Sequence[str] = (),
    model: str | None = None,
    schedule: bool = False,
    now: dt.datetime,
) -> Row:
    """Count and publish what lacks a count; say so at once where nothing does.

    Args:
        ws: the workspace.
        registry: its cameras.
        first: first local day; None is wherever footage begins.
        last: last local day; None is the newest that is over everywhere at ``now``.
        cameras: which; none is all.
        model: whose counts; None is the model in use.
        schedule: hand one run per camera to the server's workers in place of running here.
        now: the instant that decides which days are over.

    Returns:
        JSON-able ``due`` (camera-days), ``there``, ``taught``, ``in_use`` (the model is; of another
        nothing is published), ``state``, ``published``, ``missing``;
        with ``schedule``, ``runs`` in place of the last two.
    """
    model_id = model_in_use(ws, model)
    chosen = registry.chosen(cameras)
    aimed = [registry.camera(c) for c in chosen]
    last = last or due.newest_closed_day(aimed, now)
    due.check_closed(aimed, last, now)
    for line in due.look(ws, registry, chosen):
        note(line)
    found = due.backlog(ws, registry, model_id, chosen, first, last)
    told: Row = {"due": found.camera_days, "there": found.there, "taught": found.taught}
    told["in_use"] = is_in_use(ws, model_id)  # of another model nothing is published
    if not found.camera_days:
        rows = _published(ws, registry, found) if told["in_use"] else 0
        return told | {"state": "Completed", "missing": [], "published": rows}
    if schedule:
        return told | {"state": "Scheduled", "runs": scheduled(ws, found.as_text(), model_id)}
    with _temporary.at_hand():
        from flows import _days
        from flows._prefect import run_here
        from flows.backfill import backfill as flow

        ended = _days.outcome(run_here(flow, str(ws.root), found.as_text(), model_id))
    return told | {key: ended[key] for key in ("state", "published", "missing")}


def backfill_text(result: Row) -> str:
    """Word what :func:`backfill` returns.

    >>> backfill_text({"due": 0, "there": 8, "taught": 2, "in_use": True, "published": 0})
    'nothing to do: 8 camera-day(s) are counted, 2 taught the model; 0 row(s) published'
    """
    rows = f"{result.get('published', 0)} row(s) published"
    if not result["in_use"]:
        rows += ", for the model is not in use"
    there = f"{result['there']} camera-day(s) are counted, {result['taught']} taught the model"
    if not result["due"]:
        return f"nothing to do: {there}; {rows}"
    if "runs" in result:
        lines = [f"{r['camera']}: {r['days']} day(s), {r['state']}" for r in result["runs"]]
        return "\n".join([*lines, f"{result['due']} camera-day(s) handed over; {there} before"])
    lines = [f"{m['camera']} {m['day']}: {m['what']}: {m['why']}" for m in result["missing"]]
    told = f"{result['state']}: {result['due']} camera-day(s) done, "
    return "\n".join([*lines, told + f"{rows}; {there} before"])


def _published(ws: Workspace, registry: Registry, found: due.Backlog) -> int:
    """Publish counts that an interrupted run left unpublished; return the rows."""
    from pipeline.publish import publish

    return publish(ws, registry).rows if found.unpublished else 0


def scheduled(ws: Workspace, days: dict[str, list[str]], model_id: str) -> list[Row]:
    """Hand one run per camera to the deployment ``backfill/backfill``; asked twice, runs once.

    The idempotency key tells the work: the same days still due by the same model are the same run.
    One that ended without doing its work is set to run again. The server is the one that the
    environment names, or else the one that ``truck-counter up`` started here.

    Raises:
        InputError: there is neither.
        TruckCounterError: the server does not answer, or does not know the deployment.
    """
    own = Services(ws)
    if "PREFECT_API_URL" not in os.environ and own.is_alive("server"):
        os.environ["PREFECT_API_URL"] = f"{own.url}/api"
    from flows._prefect import answering, server

    if not server():
        raise InputError(
            "no Prefect server is named, so nobody would do the work.",
            "Start one with truck-counter up, set PREFECT_API_URL, or leave out --schedule.",
        )
    with answering():
        return _handed_over(ws, days, model_id)


def _handed_over(ws: Workspace, days: dict[str, list[str]], model_id: str) -> list[Row]:
    from flows._prefect import patiently, run_again, run_deployment

    runs: list[Row] = []
    for camera, dates in days.items():
        parameters = {
            "root": str(ws.root.resolve()),
            "days": {camera: dates},
            "model_id": model_id,
        }
        key = hashlib.blake2b(json.dumps(parameters, sort_keys=True).encode(), digest_size=12)
        ask = partial(
            run_deployment,
            "backfill/backfill",
            parameters=parameters,
            flow_run_name=f"backfill {camera} {dates[0]}..{dates[-1]}",
            idempotency_key=f"backfill-{key.hexdigest()}",
            timeout=0,
        )
        run: Any = patiently(ask)
        state = patiently(partial(run_again, run))
        runs.append({"camera": camera, "days": len(dates), "run": str(run.id), "state": state})
    return runs
