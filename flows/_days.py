"""What every flow over days shares: submit the steps, gather what failed, publish, show, end.

A camera that fails takes nobody down with it. The run then ends in the state ``Incomplete`` (a
failure to Prefect, so that it is seen), and its artifacts say what is missing and why.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import _artifacts, _metrics, _steps
from flows._prefect import Completed, State, StateType, emit_event
from pipeline.daily import model_in_use

if TYPE_CHECKING:
    from flows._prefect import PrefectFuture

Row = dict[str, Any]
Days = Mapping[str, Sequence[str]]
"""Per camera its local days as text, in order."""

STEPS = ("ingest", "infer", "count")
_EVERY_S = 5.0


def work(kind: str, root: str, days: Days, model_id: str | None) -> State[Row]:
    """Do all that is to do on the camera-days, publish once, and return the final state.

    Its result is JSON-able: ``days``, ``published`` (rows), ``missing`` and ``counts``.
    """
    ws, _ = _steps.world(root)
    model_id = model_in_use(ws, model_id)
    missing = gathered(kind, submitted(root, days, model_id))
    failed = bool(missing)
    counts = [
        row
        for camera, dates in days.items()
        for day in dates
        for row in _steps.count_rows(ws, camera, dt.date.fromisoformat(day), model_id)
    ]
    published = _steps.publish_counts(root)["rows"] if counts else 0
    missing += uncounted(counts)
    told = sorted({day for dates in days.values() for day in dates})
    span = f"{told[0]} to {told[-1]}" if len(told) > 1 else "".join(told)
    _artifacts.show_days(kind, span, counts, missing, ws.root)
    _metrics.write(ws, kind, counts, missing)
    _announce(kind, missing)
    result = {"days": told, "published": published, "missing": missing, "counts": counts}
    return ending(result, failed=failed)


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
        future.wait()
        if not future.state.is_completed():
            error = future.state.result(raise_on_failure=False)
            why = str(error) or type(error).__name__
            return [missing_row(camera, day, f"{step} failed", why)]
    return []


def _announce(kind: str, missing: Sequence[Row]) -> None:
    """Emit one event per camera that misses something, for automations to alert on."""
    for camera in sorted({row["camera"] for row in missing}):
        rows = [row for row in missing if row["camera"] == camera]
        emit_event(
            event="truck-counter.day.missing",
            resource={"prefect.resource.id": f"truck-counter.camera.{camera}"},
            payload={"run": kind, "missing": rows[:20]},
        )


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
