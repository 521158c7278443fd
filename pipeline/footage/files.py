"""Footage files: which there are, whose they are, and when each starts by its name."""

from __future__ import annotations

import datetime as dt
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import localtime, objects, store
from pipeline.domain import Camera
from pipeline.errors import FootageError
from pipeline.footage.containers import probe

if TYPE_CHECKING:
    from pipeline.store import Workspace

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".ts", ".wmv", ".asf")
UNPLACED_AT = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
"""When a clip starts whose name does not tell."""
NAMED_WITHIN = dt.timedelta(seconds=5)  # how far a recording's name may be from its true start

_LONGEST = dt.timedelta(days=1)  # no clip reaches further
_UTC = re.compile(r"%[HMSfX]Z(?![A-Za-z0-9])")


@dataclass(frozen=True)
class FootageFile:
    """A footage file, the registry entry it belongs to, and its start where the name tells it."""

    path: Path
    camera: Camera
    started_at: dt.datetime | None
    refused: str = ""

    @property
    def day(self) -> dt.date | None:
        """The camera-local day on which it begins, where its name tells."""
        return self.started_at and localtime.local_day(self.started_at, self.camera.timezone)

    def may_reach(self, day: dt.date) -> bool:
        """Tell whether a clip that begins before a local day is not too far from it to reach it."""
        midnight = localtime.local_instant(day, 0, self.camera.timezone)
        return self.started_at is not None and midnight - self.started_at <= _LONGEST


def clip_start(stem: str, camera: Camera) -> dt.datetime | None:
    """Return the UTC instant that a file name tells, or None where it tells none.

    A pattern without ``%z`` gives camera-local time, unless a literal ``Z`` (UTC) follows the time
    or ends it. A local time that happens twice is the first of the two.

    >>> from pipeline.domain import Camera
    >>> camera = Camera("a", "s", "America/Chicago", "*.mp4", ())
    >>> clip_start("2026-01-31T060000+0000", camera).isoformat()
    '2026-01-31T06:00:00+00:00'
    """
    try:
        start = dt.datetime.strptime(stem, camera.clip_start)  # noqa: DTZ007 - set below
    except ValueError:
        return None
    if not 1970 < start.year < 2200:  # a clock that was never set, or gone mad
        return None
    if start.tzinfo is None:
        zone = dt.UTC if says_utc(camera.clip_start) else localtime.zone_info(camera.timezone)
        start = start.replace(tzinfo=zone)
    try:
        return start.astimezone(dt.UTC)
    except OverflowError:
        return None


def says_utc(pattern: str) -> bool:
    """Tell whether a ``clip_start`` without ``%z`` has a literal ``Z`` for UTC.

    >>> says_utc("%Y%m%dT%H%M%SZ_gate"), says_utc("%Y%m%dT%H%M%SZ1")
    (True, False)
    """
    return pattern.endswith("Z") or _UTC.search(pattern) is not None


def precise_start(named: dt.datetime, told: str) -> dt.datetime:
    """Return a recording's start with the fractions of a second that its name may leave out.

    ``told`` is the file's own ``creation_time``; one that disagrees with the name is not believed.

    >>> noon = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    >>> precise_start(noon, "2026-01-31T12:00:00.250000Z").isoformat()
    '2026-01-31T12:00:00.250000+00:00'
    """
    try:
        start = dt.datetime.fromisoformat(told)
    except ValueError:
        return named
    if start.tzinfo is None or abs(start - named) > NAMED_WITHIN:
        return named
    return start.astimezone(dt.UTC)


def files_of(
    ws: Workspace,
    entries: Sequence[Camera],
    elsewhere: Mapping[Camera, Sequence[Path]] | None = None,
) -> list[FootageFile]:
    """Find a camera's footage; a file goes with the registry entry in force when it starts.

    ``elsewhere`` are paths of further footage of an entry, which need not be here.
    """
    found: dict[Path, FootageFile] = {}
    for camera in sorted(entries, key=lambda entry: entry.valid_from):
        absent = {path for path in (elsewhere or {}).get(camera, ()) if not path.exists()}
        for path in [*_matching(ws, camera), *sorted(absent)]:
            refused = "" if path in absent else _refused(path, _fixed_part(ws, camera))
            file = FootageFile(path, camera, clip_start(path.stem, camera), refused)
            if path not in found or (file.day or dt.date.min) >= camera.valid_from:
                found[path] = file
    return by_start(found.values())


def by_start(files: Iterable[FootageFile]) -> list[FootageFile]:
    """Sort files by the start that their names tell, those that tell none first."""
    return sorted(files, key=lambda f: (f.started_at or UNPLACED_AT, f.path))


def _matching(ws: Workspace, camera: Camera) -> Iterator[Path]:
    """Yield a camera's files, each once: a link to its own folder shows them again and again."""
    names = _glob(ws, pattern_of(camera))
    real = {name: os.path.realpath(ws.root / name) for name in names}
    home, seen = os.path.realpath(ws.root), set[str]()
    for name in sorted(names, key=lambda name: (real[name] != os.path.join(home, name), name)):
        path = ws.root / name
        if real[name] in seen:
            continue
        seen.add(real[name])
        if not os.path.isdir(path) and (not is_live(camera) or name.lower().endswith(SUFFIXES)):
            yield path


def is_live(camera: Camera) -> bool:
    """Tell whether a camera's source is a live address; its footage is then what `record` wrote."""
    return objects.is_url(camera.source) and not is_stored(camera)


def is_stored(camera: Camera) -> bool:
    """Tell whether a camera's footage lies in an object store; `ingest` works on copies of it."""
    return objects.is_stored(camera.source)


def pattern_of(camera: Camera) -> str:
    """Return where a camera's files lie; a live address may hold a password and is never shown."""
    if is_stored(camera):
        _, parts = objects.split(camera.source)
        return "/".join((_copies_of(camera), *parts))
    return f"footage/{camera.id}/**/*" if is_live(camera) else camera.source


def folder_of(ws: Workspace, camera: Camera) -> Path:
    """Return where the copies of a camera's footage in an object store lie."""
    return ws.root / _copies_of(camera)


def _copies_of(camera: Camera) -> str:
    folder, _ = objects.split(camera.source)
    return f"fetched/{camera.id}/{folder.partition('://')[2].partition('?')[0]}"


def asked_of(camera: Camera) -> str:
    """Return where a camera's footage comes from, for people."""
    return camera.source if is_stored(camera) else pattern_of(camera)


def _glob(ws: Workspace, pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, root_dir=ws.root, recursive=True))


def _fixed_part(ws: Workspace, camera: Camera) -> Path:
    """Return the folder named by a source before its first wildcard."""
    parts = Path(pattern_of(camera)).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return ws.root.joinpath(*parts[:fixed])


def _refused(path: Path, folder: Path) -> str:
    """Say why a path may not even be opened, if so."""
    if not store.is_text(path.name):
        return "a name that tables cannot hold (no UTF-8, or control characters)"
    try:
        real = path.resolve(strict=True)
    except PermissionError as error:
        return f"it cannot be read ({error.strerror})"
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    if not real.is_relative_to(folder.resolve()):
        return "a link that leads out of the camera's footage folder"
    if not real.is_file():
        return "not a regular file"
    return ""


def within(
    files: Sequence[FootageFile], first_day: dt.date | None, last_day: dt.date | None
) -> list[FootageFile]:
    """Keep the files that may touch the days asked for, and those without a day.

    Of the day before, those are kept whose header says that they reach over midnight, and the
    latest of all in any case.
    """
    before: list[FootageFile] = []
    kept: list[FootageFile] = []
    for file in files:
        if file.day and first_day and file.day < first_day:
            before = [one for one in before if _reaches(one, first_day)] + [file]
        elif not file.day or last_day is None or file.day <= last_day:
            kept.append(file)
    return before + kept


def _reaches(file: FootageFile, day: dt.date) -> bool:
    """Tell whether a file from shortly before a local day reaches into it, by its header."""
    if file.started_at is None or file.refused or not file.may_reach(day):
        return False
    start = localtime.local_instant(day, 0, file.camera.timezone)
    try:
        duration_s = probe(file.path).duration_s
    except FootageError:
        return False
    return duration_s is None or duration_s > (start - file.started_at).total_seconds()


def uri_of(ws: Workspace, path: Path) -> str:
    """Return a footage file as the clips table names it; what is no UTF-8 is escaped."""
    name = path.relative_to(ws.root) if path.is_relative_to(ws.root) else path.absolute()
    return os.fsencode(name).decode("utf-8", "backslashreplace")
