"""What every flow over days shares: submit the steps, gather what failed, publish, show, end.

A camera that fails takes nobody down with it. The run then ends in the state ``Incomplete`` (a
failure to Prefect, so that it is seen), and its artifacts say what is missing and why.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import _alerts, _artifacts, _metrics, _steps, _watch, due
from flows._prefect import Completed, State, StateType
from pipeline.daily import is_in_use, model_in_use

if TYPE_CHECKING:
    from flows._prefect import PrefectFuture
    from pipeline.cameras import Registry
    from pipeline.store import Workspace

Row = dict[str, Any]
Days = Mapping[str, Sequence[str]]
"""Per camera its local days as text, in order."""

STEPS = ("ingest", "infer", "count")
_EVERY_S = 5.0


def work(
    kind: str, root: str, days: Days, model_id: str | None, *, lasting: bool = True
) -> State[Row]:
    """Do all that is to do on the camera-days, publish once, and return the final state.

    Only counts of the model in use are published: the next morning would take others back.
    With ``lasting`` (false for a backfill, which looks back) the report is written anew and
    cameras that drift get an audit batch. The result is JSON-able: ``days``, ``published`` (rows),
    ``missing``, ``counts`` and ``audits`` (names of campaigns).
    """
    ws, registry = _steps.world(root)
    model_id = model_in_use(ws, model_id)
    to_publish = is_in_use(ws, model_id)
    missing = gathered(kind, submitted(root, days, model_id))
    counts = [
        row
        for camera, dates in days.items()
        for day in dates
        for row in _steps.count_rows(ws, camera, dt.date.fromisoformat(day), model_id)
    ]
    published = 0
    if counts and is_in_use(ws, model_id):
        published, undone = publication(root)
        missing += undone
    elif counts and to_publish:
        why = f"{model_in_use(ws)} took the place of {model_id} meanwhile: run it again"
        missing.append(missing_row("all", "", "nothing published", why))
    failed = bool(missing)
    missing += uncounted(counts)
    drift = _watch.drifting(counts)
    audits: list[str] = []
    if lasting:
        audits, undone = afterwards(root, drift, report=published > 0)
        missing += undone
    told = sorted({day for dates in days.values() for day in dates})
    _tell(kind, ws, told, counts, missing)
    # A backfill is handed over camera by camera, and each keeps its figures.
    which = kind if lasting or len(days) > 1 else f"{kind}-{next(iter(days))}"
    last = dt.date.fromisoformat(told[-1])
    _metrics.write(ws, which, counts, missing, _backlog(ws, registry, model_id, last))
    _alerts.announce(ws, kind, missing, counts, drift)
    result = {"days": told, "published": published, "missing": missing, "counts": counts}
    return ending(result | {"audits": audits}, failed=failed)


def publication(root: str) -> tuple[int, list[Row]]:
    """Publish; return the rows published and, where that failed, what is missing: all is told."""
    future = _steps.publish_counts.submit(root)
    why = failure(future)
    if why is not None:
        return 0, [missing_row("all", "", "publish failed", why)]
    return int(future.result()["rows"]), []


def nothing_due(
    kind: str, root: str, model_id: str, last: dt.date, which: str, found: due.Backlog
) -> State[Row]:
    """End a run that finds nothing due; publish what one cut short had counted."""
    ws, registry = _steps.world(root)
    _metrics.write(ws, kind, (), (), _backlog(ws, registry, model_id, last))
    rows = _steps.publish_counts(root)["rows"] if found.unpublished else 0
    more = f"; {rows} row(s) published that a run before had counted" if found.unpublished else ""
    return Completed(message=f"nothing is due {which}{more}", data={"published": rows})


def _tell(
    kind: str, ws: Workspace, told: Sequence[str], counts: Sequence[Row], missing: Sequence[Row]
) -> None:
    span = f"{told[0]} to {told[-1]}" if len(told) > 1 else "".join(told)
    _artifacts.show_days(kind, span, counts, missing, ws.root)


def submitted(
    root: str, days: Days, model_id: str
) -> dict[tuple[str, str], list[PrefectFuture[Any]]]:
    """Submit the steps of each camera-day; return its futures in the order of ``STEPS``.

    Step by step and day by day rather than camera by camera, because a task that waits holds a
    worker. A camera's days are counted in order, each after the one before (be it that it failed).
    """
    ingested = {
        c: _steps.ingest_camera.submit(root, c, dates[0], dates[-1]) for c, dates in days.items()
    }
    in_order = sorted((day, c) for c, dates in days.items() for day in dates)
    scored = {
        (c, day): _steps.infer_day.submit(
            root, c, day, model_id, wait_for=[ingested[c]], return_state=False
        )
        for day, c in in_order
    }
    before: dict[str, PrefectFuture[Any]] = {}
    counted: dict[tuple[str, str], PrefectFuture[Any]] = {}
    for day, c in in_order:
        if c in before:
            before[c].wait()
        counted[c, day] = before[c] = _steps.count_day.submit(
            root, c, day, model_id, wait_for=[scored[c, day]], return_state=False
        )
    return {key: [ingested[key[0]], scored[key], counted[key]] for key in counted}


def gathered(kind: str, work: Mapping[tuple[str, str], list[PrefectFuture[Any]]]) -> list[Row]:
    """Wait for every camera-day; return the first step of each that failed, and why."""
    missing: list[Row] = []
    shown, artifact = time.monotonic(), _artifacts.start_progress(f"{kind}-progress", len(work))
    for done, ((camera, day), futures) in enumerate(work.items(), start=1):
        missing += _first_failure(camera, day, futures)
        if time.monotonic() - shown >= _EVERY_S or done == len(work):
            shown = time.monotonic()
            _artifacts.show_progress(artifact, done / len(work))
    return missing


def _first_failure(camera: str, day: str, futures: Iterable[PrefectFuture[Any]]) -> list[Row]:
    for step, future in zip(STEPS, futures, strict=True):
        why = failure(future)
        if why is not None:
            return [missing_row(camera, day, f"{step} failed", why)]
    return []


def failure(future: PrefectFuture[Any]) -> str | None:
    """Wait for a task; return what it failed of, None where it did not."""
    future.wait()
    if future.state.is_completed():
        return None
    error = future.state.result(raise_on_failure=False)
    return str(error) or type(error).__name__


def _backlog(ws: Workspace, registry: Registry, model_id: str, last: dt.date) -> int:
    """Return how many camera-days up to ``last`` are still due."""
    return due.backlog(ws, registry, model_id, registry.ids, None, last).camera_days


def afterwards(
    root: str, drift: Mapping[str, Sequence[dt.date]], *, report: bool
) -> tuple[list[str], list[Row]]:
    """Open an audit batch per drifting camera and week, write the report.

    Returns the batches' names and, as rows of what is missing, what did not come about: it does not
    fail the day, whose counts are published.
    """
    weeks: dict[tuple[str, str], list[str]] = {}
    for camera, dates in drift.items():
        for day in dates:
            name = _watch.audit_campaign(camera, day)
            weeks.setdefault((camera, name), []).append(str(day))
    futures: dict[tuple[str, str, str], PrefectFuture[Any]] = {
        (camera, dates[0], f"no audit batch {name}"): _steps.open_audit.submit(
            root, name, camera, dates[0], dates[-1]
        )
        for (camera, name), dates in weeks.items()
    }
    if report:
        futures["all", "", "no report"] = _steps.write_report.submit(root)
    undone: list[Row] = []
    for (camera, first, what), future in futures.items():
        why = failure(future)
        if why is not None:
            undone.append(missing_row(camera, first, what, why))
    return [name for _, name in weeks], undone


def missing_row(camera: str, day: str, what: str, why: str) -> Row:
    """Return one line of the table of what is missing."""
    return {"camera": camera, "day": day, "what": what, "why": why}


def uncounted(counts: Iterable[Row]) -> list[Row]:
    """Return a line for each row that has no count, such as a dark day's."""
    return [
        missing_row(
            row["camera_id"],
            row["date"],
            f"no count of movement {row['movement']}",
            f"{row['quality']}: coverage {row['coverage'] or 0.0:.1%}",
        )
        for row in counts
        if row["truck_count"] is None
    ]


def ending(result: Row, *, failed: bool) -> State[Row]:
    """Return the final state: ``Completed``, or ``Incomplete`` (a failure) saying what failed."""
    lines = [f"{m['camera']} {m['day']}: {m['what']}: {m['why']}" for m in result["missing"]]
    more = [f"and {len(lines) - 20} more"] if len(lines) > 20 else []
    told = "; ".join(lines[:20] + more)
    if failed:
        return State(type=StateType.FAILED, name="Incomplete", message=told, data=result)
    return Completed(message=told or "nothing is missing", data=result)


def outcome(state: State[Any]) -> Row:
    """Return a finished run's result with its state's name; raise what broke it, if so."""
    found = state.result(raise_on_failure=False)
    if isinstance(found, BaseException):
        raise found
    return {**found, "state": state.name}
