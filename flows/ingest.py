"""Footage → clips tables, camera by camera; hourly, so that a closed day finds little to do."""

from __future__ import annotations

from typing import Any

from flows import _days, _metrics, _steps
from flows._prefect import State, flow
from flows._runners import task_runner


@flow(name="ingest", task_runner=task_runner())
def ingest(
    root: str,
    cameras: list[str] | None = None,
    first: str | None = None,
    last: str | None = None,
) -> State[dict[str, Any]]:
    """Ingest the cameras named (none: all), from and to a local day (none: all footage)."""
    ws, registry = _steps.world(root)
    chosen = registry.chosen(cameras or ())
    futures = {c: _steps.ingest_camera.submit(root, c, first, last) for c in chosen}
    missing: list[dict[str, Any]] = []
    for camera, future in futures.items():
        why = _days.failure(future)
        if why is not None:
            missing.append(_days.missing_row(camera, f"{first}..{last}", "ingest failed", why))
    _metrics.write(ws, "ingest", (), missing)
    return _days.ending({"cameras": chosen, "missing": missing}, failed=bool(missing))
