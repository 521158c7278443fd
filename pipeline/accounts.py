"""The account beside a count: its arithmetic, by which entry and from which clips it was made."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from pipeline import exposure, store
from pipeline.digests import digest
from pipeline.errors import StoreError

if TYPE_CHECKING:
    from pipeline.domain import Camera
    from pipeline.store import Workspace

Row = dict[str, Any]


def aim_of(camera: Camera) -> Row:
    """Return what of a registry entry says what is counted, as JSON holds it."""
    zones = [[z.name, z.movement, [list(point) for point in z.polygon]] for z in camera.zones]
    schedule = [list(window) for window in camera.schedule]
    return {
        "valid_from": str(camera.valid_from),
        "timezone": camera.timezone,
        "zones": zones,
        "schedule": schedule,
    }


def read(ws: Workspace, camera: str, day: dt.date, model_id: str) -> Row:
    """Return what stands beside a count: ``arithmetic``, ``aim`` and ``clips``; empty without it.

    ``aim`` is :func:`aim_of` the entry, ``clips`` the digest of the clips table that it was made
    from. Before November 2026 there were neither, until late in it ``aim`` had no ``timezone``.

    Raises:
        StoreError: it is damaged.
    """
    path = ws.counts(camera, day, model_id).with_suffix(".json")
    told = store.read_object(path) if path.is_file() else {}
    aim = told.get("aim", {"zones": [], "schedule": []})
    parts = [aim.get(key) for key in ("zones", "schedule")] if isinstance(aim, dict) else [None]
    if not all(isinstance(part, list) for part in parts):
        raise StoreError(f"{path} tells no aim.", "Count the day again.")
    return told


def views_of(aim: Row) -> dict[str, str]:
    """Return, by movement, a digest of where it is looked for: its zones' outlines, not names.

    An entry for another address of the footage alone is no other view.
    """
    outlines: dict[str, list[list[list[float]]]] = {}
    for _, movement, polygon in aim["zones"]:
        outlines.setdefault(movement, []).append(polygon)
    return {movement: digest(json.dumps(sorted(of)).encode()) for movement, of in outlines.items()}


def schedule_of(aim: Row) -> str:
    """Return the scheduled minutes of an aim as text, windows that touch as one.

    >>> schedule_of({"schedule": [[0, 720], [720, 1440]]})
    '[[0, 1440]]'
    """
    return json.dumps(exposure.union(aim["schedule"]))
