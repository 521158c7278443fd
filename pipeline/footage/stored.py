"""Footage in an object store: which there is, and copying it to where everything else reads it.

A camera whose ``source`` is ``s3://bucket/gate/**/*.mp4`` films into a store. ``ingest`` copies
what it needs to ``fetched/<camera>/bucket/gate/…`` and works on the copies. What matched at the
last look is kept in a hidden file beside them, so that which days are due is known without asking
the store.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import localtime, objects, store
from pipeline.daily import clip_rows
from pipeline.domain import Camera
from pipeline.errors import NotFoundError, StoreAwayError, StoreError
from pipeline.footage.files import LONGEST, FootageFile, files_of, folder_of, is_stored, uri_of
from pipeline.progress import track

if TYPE_CHECKING:
    from pipeline.store import Workspace

_WORKERS = 4
_GIVEN_UP_S = 3600.0
_LONGEST_NAME = 200  # bytes; a disk takes 255, with what a half-written file's name has besides


@dataclass(frozen=True)
class Stored:
    """An object of a camera's footage: where it lies, and the path of its copy."""

    url: str
    key: str
    size: int
    modified_at: dt.datetime
    path: Path

    @property
    def is_here(self) -> bool:
        """Whether there is a copy of what lies there now."""
        try:
            copy = self.path.stat()
        except OSError:
            return False
        return (copy.st_size, int(copy.st_mtime)) == (self.size, int(self.modified_at.timestamp()))


@dataclass(frozen=True)
class Fetched:
    """What a look and the copying after it came to."""

    refused: tuple[FootageFile, ...] = ()
    """What the store will not give, each with the reason; nothing that is known already."""
    uris: frozenset[str] = frozenset()
    """All that the store holds of this camera."""
    remarks: tuple[str, ...] = ()


def fetch(
    ws: Workspace,
    entries: Sequence[Camera],
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
) -> Fetched:
    """Copy a camera's footage of these days (None: all) that is not here.

    Asked for all days, what a counted day knows stays where it is: copies may be deleted to free
    the disk. Asked for certain days, all of theirs is copied, and what may reach into the first.

    Raises:
        StoreAwayError: the store cannot be used; what was copied so far stays.
        StoreError: a copy cannot be written.
    """
    if not any(map(is_stored, entries)):
        return Fetched()
    camera_id = entries[-1].id
    _sweep(ws.root / "fetched" / camera_id)
    looked = {entry: look(ws, entry) for entry in entries if is_stored(entry)}
    there = {one.path: one for found, _ in looked.values() for one in found}
    files = files_of(ws, entries, {entry: [o.path for o in f] for entry, (f, _) in looked.items()})
    missing = [file for file in files if file.path in there and not there[file.path].is_here]
    missing = [file for file in missing if _may_touch(file, first_day, last_day)]
    read = _read(ws, camera_id, missing)
    uris = {file.path: uri_of(ws, file.path) for file in missing}
    if first_day is not None:
        midnight = localtime.day_bounds(first_day, entries[-1].timezone)[0]
        over = {u for u, row in read.items() if _end(row) <= midnight and row["day"] < first_day}
        missing = [file for file in missing if uris[file.path] not in over]
    counted = {*ws.days("counts", camera_id)}
    known = {uri for uri, row in read.items() if row["day"] in counted}
    if first_day is None and last_day is None:  # a copy that is here was replaced there since
        missing = [f for f in missing if f.path.exists() or uris[f.path] not in known]
    reasons = copy(camera_id, [there[file.path] for file in missing])
    if not known and len(reasons) == len(there) > 0:  # may be listed, but not read
        raise StoreAwayError(
            f"{camera_id}: none of {len(there)} object(s) is given: {next(iter(reasons.values()))}"
        )
    refused = (
        replace(file, refused=f"not copied: {reasons[file.path]}")
        for file in missing
        if file.path in reasons and uris[file.path] not in known and not file.path.exists()
    )
    return Fetched(
        tuple(refused),
        frozenset(uri_of(ws, path) for path in there),
        tuple(f"{camera_id}: {remark}" for _, remark in looked.values() if remark),
    )


def look(ws: Workspace, entry: Camera) -> tuple[list[Stored], str]:
    """Ask an entry's store what it holds, and keep that; return it with a remark, if there is one.

    Raises:
        StoreAwayError: the store cannot be used.
    """
    url, pattern = objects.split(entry.source)
    with objects.reached(url) as (remote, base):
        found = objects.matching(remote, base, pattern)
    parents = {parent.as_posix() for name in found for parent in Path(name).parents}
    kept = sorted(name for name in found if _can_be_kept(name) and name not in parents)
    store.write_json(_listing(ws, entry), kept)
    told = [
        Stored(
            url, found[name].path, found[name].size, found[name].mtime, folder_of(ws, entry) / name
        )
        for name in kept
    ]
    left = len(found) - len(kept)
    return told, f"{left} object(s) left in the store: no file can have their names" if left else ""


def files_here_and_there(ws: Workspace, entries: Sequence[Camera]) -> list[FootageFile]:
    """Return :func:`~pipeline.footage.files.files_of`, and what stores held at the last look."""
    held = {entry: _last_look(ws, entry) for entry in entries if is_stored(entry)}
    return files_of(ws, entries, held)


def _last_look(ws: Workspace, entry: Camera) -> list[Path]:
    try:
        names = store.read_json(_listing(ws, entry))
    except (NotFoundError, StoreError):  # damaged; the next look makes it anew
        return []
    whole = isinstance(names, list) and all(isinstance(n, str) and _can_be_kept(n) for n in names)
    return [folder_of(ws, entry) / name for name in names] if whole else []


def _listing(ws: Workspace, entry: Camera) -> Path:
    digest = hashlib.blake2b(entry.source.encode(), digest_size=4).hexdigest()
    return ws.root / "fetched" / entry.id / f".{digest}.json"


def _can_be_kept(name: str) -> bool:
    """Tell whether an object's key may become a path below a folder."""
    return all(
        part not in ("", ".", "..")
        and store.is_text(part)
        and len(os.fsencode(part)) < _LONGEST_NAME
        for part in name.split("/")
    )


def _may_touch(file: FootageFile, first_day: dt.date | None, last_day: dt.date | None) -> bool:
    """Tell whether a file begins on these days, may reach into the first, or tells no day."""
    if file.day is None or file.started_at is None:
        return True
    if first_day is not None and file.day < first_day:
        midnight = localtime.day_bounds(first_day, file.camera.timezone)[0]
        return midnight - file.started_at <= LONGEST
    return last_day is None or file.day <= last_day


def _read(ws: Workspace, camera_id: str, files: Sequence[FootageFile]) -> dict[str, dict[str, Any]]:
    """Return what was read before, of the days on which these begin: clips by uri, with ``day``."""
    days = {file.day for file in files if file.day}
    rows = ({**row, "day": day} for day in days for row in clip_rows(ws, camera_id, day))
    return {row["uri"]: row for row in rows if row["content_hash"]}


def _end(row: dict[str, Any]) -> dt.datetime:
    end: dt.datetime = row["started_at"] + dt.timedelta(seconds=row["duration_s"])
    return end


def _sweep(folder: Path) -> None:
    """Remove what a copy that was killed left half done."""
    for part in folder.rglob(".*.part"):
        with contextlib.suppress(FileNotFoundError):  # another ingest has ended it
            if time.time() - part.stat().st_mtime > _GIVEN_UP_S:
                part.unlink()


def copy(camera_id: str, missing: Sequence[Stored]) -> dict[Path, str]:
    """Copy objects, some at a time; return why a store that answers will not give some.

    Raises:
        StoreAwayError: a store does not answer.
        StoreError: a copy cannot be written.
    """
    refused: dict[Path, str] = {}
    stop = threading.Event()
    for url in sorted({one.url for one in missing}):
        with objects.reached(url) as (remote, _), ThreadPoolExecutor(_WORKERS) as pool:
            running = {
                pool.submit(_copy, remote, one, stop): one for one in missing if one.url == url
            }
            try:
                for done in track(as_completed(running), f"fetch {camera_id}", total=len(running)):
                    if why := done.result():
                        refused[running[done].path] = why
            except BaseException:
                stop.set()  # also those half way, which may be long
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return refused


def _copy(remote: Any, one: Stored, stop: threading.Event) -> str:  # noqa: ANN401 - pyarrow's
    """Copy one object; return why not, where the store still says that it has it."""
    try:
        objects.get(remote, one.key, one.size, one.path, one.modified_at, stop)
    except StoreAwayError as error:
        remote.get_file_info(one.key)  # raises where it is not this object's fault
        return str(error)
    return ""
