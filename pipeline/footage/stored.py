"""Footage in an object store: which there is, and copying it to where everything else reads it.

A camera whose ``source`` is ``s3://bucket/gate/**/*.mp4`` films into a store. ``ingest`` copies
what it needs to ``footage/<camera>/``, there under the part of the path from the first wildcard on,
and works on the copies. What the store held at the last look is kept in
``footage/<camera>/.objects.json``, so that which days are due is known without asking it.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import localtime, objects, schemas, store
from pipeline.domain import Camera
from pipeline.errors import StoreAwayError
from pipeline.footage.files import UNPLACED_AT, FootageFile, clip_start, is_stored, uri_of
from pipeline.progress import track

if TYPE_CHECKING:
    from pipeline.store import Workspace

_WORKERS = 4
_LONGEST = dt.timedelta(days=1)  # no clip reaches further
_GIVEN_UP_S = 3600.0
_LONGEST_NAME = 200  # bytes; a disk takes 255, with what a half-written file's name has besides


@dataclass(frozen=True)
class Stored:
    """An object of a camera's footage: where it lies, and the file that its copy is."""

    url: str
    key: str
    size: int
    file: FootageFile

    @property
    def is_here(self) -> bool:
        """Whether there is a copy of this size."""
        return self.file.path.is_file() and self.file.path.stat().st_size == self.size

    @property
    def day(self) -> dt.date | None:
        """The local day on which it begins, where its name tells."""
        return _day(self.file)


def fetch(
    ws: Workspace,
    entries: Sequence[Camera],
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
    at_most: int | None = None,
) -> tuple[list[FootageFile], list[str]]:
    """Copy a camera's footage of these days (None: all) that is not here.

    Asked for all days, what a counted day knows stays where it is: copies may be deleted to make
    room. Asked for certain days, all of theirs is copied, and the last file before them.

    Returns:
        What the store will not give, with the reason, and remarks.

    Raises:
        StoreAwayError: the store cannot be used; what was copied so far stays.
        StoreError: a copy cannot be written.
    """
    if not any(map(is_stored, entries)):
        return [], []
    _sweep(_objects(ws, entries[-1].id).parent)
    found, remarks = look(ws, entries)
    missing = [one for one in _of_days(found, first_day, last_day) if not one.is_here]
    if first_day is None and last_day is None:
        known = _counted(ws, missing)
        missing = [one for one in missing if uri_of(ws, one.file.path) not in known]
    return _copied(missing[:at_most], entries[-1].id), remarks


def look(ws: Workspace, entries: Sequence[Camera]) -> tuple[list[Stored], list[str]]:
    """Ask a camera's stores what they hold and keep it; return it by start, with remarks.

    Raises:
        StoreAwayError: a store cannot be used.
    """
    listings: list[tuple[Camera, str, dict[str, Any]]] = []
    for entry in filter(is_stored, entries):
        url, pattern = objects.split(entry.source)
        with objects.reached(url) as (remote, base):
            listings.append((entry, url, objects.matching(remote, base, pattern)))
    names = sorted({name for _, _, files in listings for name in files})
    kept = list(filter(_can_be_kept, names))
    found = []
    for name in kept:
        holders = [listing for listing in listings if name in listing[2]]
        file = _file_of(ws, [entry for entry, _, _ in holders], name)
        url, info = next((u, files[name]) for entry, u, files in holders if entry is file.camera)
        found.append(Stored(url, info.path, info.size, file))
    found.sort(key=lambda one: one.file.started_at or UNPLACED_AT)
    camera = entries[-1].id
    store.write_json(_objects(ws, camera), kept)
    left = len(names) - len(kept)
    told = f"{camera}: {left} object(s) left in the store: no file can have their names"
    return found, [told] if left else []


def elsewhere(ws: Workspace, entries: Sequence[Camera]) -> list[FootageFile]:
    """Return what a camera's stores held at the last look and is not here."""
    stored = list(filter(is_stored, entries))
    path = _objects(ws, entries[-1].id)
    if not stored or not path.is_file():
        return []
    files = (_file_of(ws, stored, name) for name in store.read_json(path))
    return [file for file in files if not file.path.exists()]


def _objects(ws: Workspace, camera_id: str) -> Path:
    return ws.root / "footage" / camera_id / ".objects.json"


def _file_of(ws: Workspace, entries: Iterable[Camera], name: str) -> FootageFile:
    """Return an object's copy; it goes with the registry entry in force when it starts."""
    newest_first = sorted(entries, key=lambda entry: entry.valid_from, reverse=True)
    path = ws.root / "footage" / newest_first[0].id / name
    files = [FootageFile(path, entry, clip_start(path.stem, entry)) for entry in newest_first]
    in_force = (file for file in files if (_day(file) or dt.date.min) >= file.camera.valid_from)
    return next(in_force, files[-1])


def _day(file: FootageFile) -> dt.date | None:
    return file.started_at and localtime.local_day(file.started_at, file.camera.timezone)


def _can_be_kept(name: str) -> bool:
    """Tell whether an object's key may become a path below a folder."""
    return all(
        part not in ("", ".", "..")
        and store.is_text(part)
        and len(os.fsencode(part)) < _LONGEST_NAME
        for part in name.split("/")
    )


def _of_days(
    found: Sequence[Stored], first_day: dt.date | None, last_day: dt.date | None
) -> list[Stored]:
    """Keep what begins on these days or tells none, and the last one before, which may reach in."""
    before: list[Stored] = []
    kept: list[Stored] = []
    for one in found:
        if one.day is not None and first_day is not None and one.day < first_day:
            midnight = localtime.day_bounds(first_day, one.file.camera.timezone)[0]
            starts = one.file.started_at or UNPLACED_AT
            before = [one] if midnight - starts <= _LONGEST else []
        elif one.day is None or last_day is None or one.day <= last_day:
            kept.append(one)
    return before + kept


def _counted(ws: Workspace, missing: Sequence[Stored]) -> set[str]:
    """Return the footage that was read for counted days, of the days on which these begin."""
    known: set[str] = set()
    for camera_id in {one.file.camera.id for one in missing}:
        days = {one.day for one in missing} & {*ws.days("counts", camera_id)}
        for path in (ws.clips(camera_id, day) for day in days if day is not None):
            if path.is_file():
                table = store.read_table(path, schemas.CLIPS).select(["uri", "content_hash"])
                known |= {row["uri"] for row in table.to_pylist() if row["content_hash"]}
    return known


def _sweep(folder: Path) -> None:
    """Remove what a copy that was killed left half done."""
    for part in folder.rglob(".*.part"):
        if time.time() - part.stat().st_mtime > _GIVEN_UP_S:
            part.unlink(missing_ok=True)


def _copied(missing: Sequence[Stored], camera_id: str) -> list[FootageFile]:
    """Copy objects, some at a time; return those that a store which answers will not give."""
    refused: list[FootageFile] = []
    stop = threading.Event()
    for url in sorted({one.url for one in missing}):
        with objects.reached(url) as (remote, base), ThreadPoolExecutor(_WORKERS) as pool:
            running = {
                pool.submit(objects.get, remote, one.key, one.size, one.file.path, stop): one.file
                for one in missing
                if one.url == url
            }
            try:
                for done in track(as_completed(running), f"fetch {camera_id}", total=len(running)):
                    try:
                        done.result()
                    except StoreAwayError as error:
                        objects.listed(remote, base)  # raises where it is not this object's fault
                        refused.append(replace(running[done], refused=f"not copied: {error}"))
            except BaseException:
                stop.set()  # also those half way, which may be long
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [file for file in refused if not file.path.exists()]
