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
from pipeline.footage.files import FootageFile, files_of, folder_of, is_stored, uri_of
from pipeline.progress import track

if TYPE_CHECKING:
    from pipeline.store import Workspace

_WORKERS = 4
_TRIES = 2  # what breaks off once would be missing on a day that is done
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

    Asked for all days, what counted days know stays where it is: copies may be deleted to free the
    disk. Asked for certain days, all of theirs is copied, and what may reach into the first.

    Raises:
        StoreAwayError: the store cannot be used; what was copied so far stays. One that a later
            entry has replaced may be gone, unless days from its time are asked for.
        StoreError: a copy cannot be written.
    """
    if not any(map(is_stored, entries)):
        return Fetched()
    camera_id = entries[-1].id
    _sweep(ws.root / "fetched" / camera_id)
    looked, held, remarks = _looked(ws, entries, first_day, last_day)
    there = {one.path: one for found in looked.values() for one in found}
    files = files_of(ws, entries, {entry: [o.path for o in f] for entry, f in looked.items()})
    missing = [file for file in files if file.path in there and not there[file.path].is_here]
    missing = [file for file in missing if _may_touch(file, first_day, last_day)]
    uris = {file.path: uri_of(ws, file.path) for file in missing}
    days_of = _read(ws, entries[-1], missing)
    counted = {*ws.days("counts", camera_id)}
    known = {uri for uri, days in days_of.items() if counted.issuperset(days)}
    if first_day is not None:
        known_to_end = {uri for uri, days in days_of.items() if days[-1] < first_day}
    elif last_day is None:
        known_to_end = known
    else:
        known_to_end = set()
    # A copy that is here was replaced in the store since, so what is known of it is out of date.
    missing = [f for f in missing if f.path.exists() or uris[f.path] not in known_to_end]
    reasons = copy(camera_id, [there[file.path] for file in missing])
    if not known and len(reasons) == len(there) > 0:  # may be listed, but not read
        raise StoreAwayError(
            f"{camera_id}: none of {len(there)} object(s) is given: {next(iter(reasons.values()))}"
        )
    refused = (
        replace(file, refused=f"not copied: {reasons[file.path]}")
        for file in missing
        if file.path in reasons and uris[file.path] not in known and not file.path.is_file()
    )
    held_uris = frozenset(uri_of(ws, path) for path in (*held, *there))
    return Fetched(tuple(refused), held_uris, tuple(f"{camera_id}: {said}" for said in remarks))


def _looked(
    ws: Workspace, entries: Sequence[Camera], first_day: dt.date | None, last_day: dt.date | None
) -> tuple[dict[Camera, list[Stored]], list[Path], list[str]]:
    """Look at every entry's store; also return what those held that are gone, and remarks."""
    looked: dict[Camera, list[Stored]] = {}
    held, remarks = list[Path](), list[str]()
    for entry in filter(is_stored, entries):
        try:
            looked[entry], remark = look(ws, entry)
        except StoreAwayError as error:
            if not _is_over(entry, entries, first_day, last_day):
                raise
            held += _last_look(ws, entry)
            remark = f"{error} The camera films elsewhere now."
        remarks += filter(None, [remark])
    return looked, held, remarks


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


def _is_over(
    entry: Camera, entries: Sequence[Camera], first_day: dt.date | None, last_day: dt.date | None
) -> bool:
    """Tell whether a later entry has replaced this one, well before the days asked for (if any)."""
    later = min((e.valid_from for e in entries if e.valid_from > entry.valid_from), default=None)
    if later is None or (first_day is None and last_day is not None):
        return False
    return first_day is None or (first_day - later).days > 2


def _may_touch(file: FootageFile, first_day: dt.date | None, last_day: dt.date | None) -> bool:
    """Tell whether a file begins on these days, may reach into the first, or tells no day."""
    if file.day is None:
        return True
    if first_day is not None and file.day < first_day:
        return file.may_reach(first_day)
    return last_day is None or file.day <= last_day


def _read(
    ws: Workspace, camera: Camera, files: Sequence[FootageFile]
) -> dict[str, Sequence[dt.date]]:
    """Return the local days that what was read before touches, by uri; of files whose name tells.

    A clip whose first pictures cannot be decoded begins a little later than its name says.
    """
    named = {file.day.toordinal() for file in files if file.day}
    days = (d for d in ws.days("clips", camera.id) if {d.toordinal(), d.toordinal() - 1} & named)
    rows = (row for day in days for row in clip_rows(ws, camera.id, day) if row["content_hash"])
    return {
        row["uri"]: localtime.touched_days(row["started_at"], row["duration_s"], camera.timezone)
        for row in rows
    }


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
    """Copy one object; return why not, where the store still answers."""
    if one.path.is_dir() or any(folder.is_file() for folder in one.path.parents):
        return "a copy here has the name of its folder, or its own name is a folder's: remove that"
    why = ""
    for _ in range(_TRIES):
        try:
            objects.get(remote, one.key, one.size, one.path, one.modified_at, stop)
        except StoreAwayError as error:
            why = str(error)
        else:
            return ""
        if stop.is_set():
            return why
    objects.listed(remote, one.key.rpartition("/")[0], recursive=False)  # raises if it does not
    return why
