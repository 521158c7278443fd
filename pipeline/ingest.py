"""Footage files → the ``clips`` tables: when each clip was filmed, and what it truly holds.

A clip's start comes from its file name (``clip_start`` of the registry), everything else from
decoding it once (``footage.verify``). That result is kept under ``clips/<camera>/verified/`` by
the file's content, as soon as it is there: an ingest that is stopped goes on where it was, and a
second one decodes nothing. The footage itself is only ever read.

One table per camera-local day, ``clips/<camera>/<day>.parquet``, one row per clip that touches the
day: a clip that spans midnight is a row of both. Files whose name tells no start have no day; they
are rows of ``clips/<camera>/unplaced.parquet``, quarantined, with ``started_at`` 1970-01-01.
"""

from __future__ import annotations

import datetime as dt
import glob
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import aim, localtime, schemas, store
from pipeline.domain import Camera, Clip
from pipeline.errors import FootageError
from pipeline.footage.containers import probe
from pipeline.footage.halfway import State
from pipeline.footage.verify import Verification, nurseries, to_json, verification, verify
from pipeline.footage.view_change import look_of
from pipeline.footage.view_change import to_json as look_json
from pipeline.progress import spoken, track

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.footage.nursery import Nurseries
    from pipeline.store import Workspace

WORKERS = 2
RULES = 5  # raise it when verification judges differently: cached results of other rules are void
UNPLACED_AT = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".ts", ".wmv", ".asf")

_DARK_DAYS = 366  # a longer silence between two clips is not a dark camera's
_LONGEST = dt.timedelta(days=1)  # no clip reaches further
NAMED_WITHIN = dt.timedelta(seconds=5)  # how far a recording's name may be from its true start

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Report:
    """What an ingest did: ``clips`` are the rows it wrote, ``decoded`` how many were new."""

    clips: tuple[Clip, ...]
    decoded: int
    days: int
    remarks: tuple[str, ...] = ()

    def tally(self) -> dict[str, int]:
        """Count the clips by status."""
        statuses = [clip.status for clip in self.clips]
        return {name: statuses.count(name) for name in ("ok", "partial", "quarantined")}

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        bad = [clip for clip in self.clips if clip.status != "ok"]
        return {
            "clips": len(self.clips),
            **self.tally(),
            "decoded": self.decoded,
            "days": self.days,
            "remarks": list(self.remarks),
            "not_ok": [
                {"camera_id": c.camera_id, "uri": c.uri, "status": c.status, "reason": c.reason}
                for c in bad
            ],
        }

    def as_text(self) -> str:
        """Return it as lines for a person."""
        counts = ", ".join(f"{n} {status}" for status, n in self.tally().items())
        lines = [f"{len(self.clips)} clip(s) on {self.days} camera-day(s): {counts}"]
        lines += [
            f"{clip.status}: {clip.uri}: {clip.reason}"
            for clip in self.clips
            if clip.status != "ok"
        ]
        return "\n".join([*lines, f"{self.decoded} decoded, the others known", *self.remarks])


@dataclass(frozen=True)
class FootageFile:
    """A footage file, the registry entry it belongs to, and its start where the name tells it."""

    path: Path
    camera: Camera
    started_at: dt.datetime | None
    refused: str = ""


def ingest(
    ws: Workspace,
    registry: Registry,
    camera_ids: Iterable[str] = (),
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
    on_progress: Callable[[Clip], None] | None = None,
    *,
    forget: bool = False,
) -> Report:
    """Bring the clips tables up to date with the footage.

    Clips whose files are gone (deleted to make room, a disk not mounted) stay known on days that
    were counted, so that what was published stands.

    Args:
        ws: the workspace; sources are relative to its root.
        registry: the cameras.
        camera_ids: which of them; none means all.
        first_day: first camera-local day; None: wherever the footage begins.
        last_day: last camera-local day, included; None: wherever the footage ends.
        on_progress: called with every clip as its result comes.
        forget: take out clips whose files are gone, too: their days are counted without them.

    Raises:
        NotFoundError: an unknown camera.
        StoreError: a table cannot be written.
    """
    clips: list[Clip] = []
    remarks: list[str] = []
    decoded = days = 0
    for camera_id in registry.chosen(camera_ids):
        entries = [camera for camera in registry.entries if camera.id == camera_id]
        files = files_of(ws, entries)
        if not files:
            remarks.append(f"{camera_id}: no file matches {_pattern(entries[-1])}")
        wanted = _within(files, first_day, last_day)
        found, new = _verified(ws, camera_id, wanted, on_progress)
        decoded += new
        found, events = aim.trusted(ws, entries, found, first_day, last_day)
        remarks += [event.remark() for event in events]
        clips += found
        gone = {} if forget else _gone(ws, camera_id, files, found, first_day, last_day)
        if gone:
            n = len({clip.clip_id for of_day in gone.values() for clip in of_day})
            remarks.append(f"{camera_id}: {n} clip(s) whose files are gone stay known (--forget)")
        written, told = _write_days(ws, entries, found, gone, first_day, last_day)
        days += written
        remarks += told
        _distrust_later(ws, entries, events, last_day)
    return Report(tuple(clips), decoded, days, tuple(remarks))


def clip_start(stem: str, camera: Camera) -> dt.datetime | None:
    """Return the UTC instant that a file name tells, or None where it tells none.

    A pattern without ``%z`` gives camera-local time, unless it ends in a literal ``Z`` (UTC). A
    local time that happens twice is the first of the two.

    >>> from pipeline.domain import Camera
    >>> camera = Camera("a", "s", "America/Chicago", "*.mp4", ())
    >>> clip_start("2026-01-31T060000+0000", camera).isoformat()
    '2026-01-31T06:00:00+00:00'
    """
    try:
        start = dt.datetime.strptime(stem, camera.clip_start)  # noqa: DTZ007 - set below
    except ValueError:
        return None
    if start.tzinfo is None:
        utc = camera.clip_start.endswith("Z")
        start = start.replace(tzinfo=dt.UTC if utc else localtime.zone_info(camera.timezone))
    try:
        return start.astimezone(dt.UTC)
    except OverflowError:
        return None


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


def clip_id(uri: str) -> str:
    """Return a clip's id: its file name's stem, made safe, and a hash of where it lies.

    >>> clip_id("footage/gate/2026-01-31T060000+0000.mp4")
    '2026-01-31T060000-0000-2e73be61'
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(uri).stem).strip(".-_")[:80] or "clip"
    return f"{re.sub(r'[.]{2,}', '.', stem)}-{_short_hash(uri)}"


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def content_hash(path: Path) -> str:
    """Return the BLAKE2b hash of a file's bytes (32 hex digits)."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def files_of(ws: Workspace, entries: Sequence[Camera]) -> list[FootageFile]:
    """Find a camera's footage; a file goes with the registry entry in force when it starts."""
    found: dict[Path, FootageFile] = {}
    for camera in sorted(entries, key=lambda entry: entry.valid_from):
        for path in _matching(ws, camera):
            started_at = clip_start(path.stem, camera)
            day = started_at and localtime.local_day(started_at, camera.timezone)
            if path in found and (day is None or day < camera.valid_from):
                continue
            refused = _refused(path, _fixed_part(ws, camera))
            found[path] = FootageFile(path, camera, started_at, refused)
    return sorted(found.values(), key=lambda f: (f.started_at or UNPLACED_AT, f.path))


def _matching(ws: Workspace, camera: Camera) -> Iterator[Path]:
    for name in _glob(ws, _pattern(camera)):
        path = ws.root / name
        if not path.is_dir() and (not is_live(camera) or name.lower().endswith(SUFFIXES)):
            yield path


def is_live(camera: Camera) -> bool:
    """Tell whether a camera's source is an address; its footage is then what `record` wrote."""
    return "://" in camera.source


def _pattern(camera: Camera) -> str:
    """Return where a camera's files lie; an address, which may hold a password, is never shown."""
    return f"footage/{camera.id}/**/*" if is_live(camera) else camera.source


def _glob(ws: Workspace, pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, root_dir=ws.root, recursive=True))


def _fixed_part(ws: Workspace, camera: Camera) -> Path:
    """Return the folder named by a source before its first wildcard."""
    parts = Path(_pattern(camera)).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return ws.root.joinpath(*parts[:fixed])


def _refused(path: Path, folder: Path) -> str:
    """Say why a path may not even be opened, if so."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    if not real.is_relative_to(folder.resolve()):
        return "a link that leads out of the camera's footage folder"
    if not real.is_file():
        return "not a regular file"
    return ""


def _within(
    files: Sequence[FootageFile], first_day: dt.date | None, last_day: dt.date | None
) -> list[FootageFile]:
    """Keep the files that may touch the days asked for, and those without a day.

    Of the day before, those are kept whose header says that they reach over midnight, and the
    latest of all in any case.
    """
    before: list[FootageFile] = []
    kept: list[FootageFile] = []
    for file in files:
        if file.started_at is None:
            kept.append(file)
            continue
        day = localtime.local_day(file.started_at, file.camera.timezone)
        if first_day is not None and day < first_day:
            before = [one for one in before if _reaches(one, first_day)] + [file]
        elif last_day is None or day <= last_day:
            kept.append(file)
    return before + kept


def _reaches(file: FootageFile, day: dt.date) -> bool:
    """Tell whether a file from shortly before a local day reaches into it, by its header."""
    start = localtime.day_bounds(day, file.camera.timezone)[0]
    if file.started_at is None or file.refused or start - file.started_at > _LONGEST:
        return False
    try:
        duration_s = probe(file.path).duration_s
    except FootageError:
        return False
    return duration_s is None or duration_s > (start - file.started_at).total_seconds()


def _verified(
    ws: Workspace,
    camera_id: str,
    files: Sequence[FootageFile],
    on_progress: Callable[[Clip], None] | None,
) -> tuple[list[Clip], int]:
    """Verify what is not known yet, two clips at a time, keeping each result as it comes."""
    clips: list[Clip] = []
    decoded = 0
    stop = threading.Event()
    with nurseries() as warm, ThreadPoolExecutor(WORKERS) as pool:
        running = [pool.submit(_clip, ws, file, stop, warm) for file in files]
        try:
            for done in track(as_completed(running), f"ingest {camera_id}", total=len(running)):
                clip, new = done.result()
                clips.append(clip)
                decoded += new
                if on_progress is not None:
                    on_progress(clip)
        except BaseException:
            stop.set()  # also those within a clip, which may be long
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(clips, key=lambda clip: (clip.started_at, clip.clip_id)), decoded


def _clip(
    ws: Workspace, file: FootageFile, stop: threading.Event, warm: Nurseries
) -> tuple[Clip, bool]:
    """Return a file's clip, and whether it had to be decoded for it."""
    found, digest, new = Verification(reason=file.refused), "", False
    if not file.refused:
        digest = content_hash(file.path)
        kept = _kept_at(ws, file.camera.id, digest)
        known = _known(kept)
        new = known is None
        found = known or _decoded(ws, file, digest, stop, warm)
        if new:
            store.write_json(kept, {"rules": RULES, **to_json(found)})
            _half_at(kept).unlink(missing_ok=True)
    return _row(ws, file, found, digest), new


def _decoded(
    ws: Workspace, file: FootageFile, digest: str, stop: threading.Event, warm: Nurseries
) -> Verification:
    """Verify a clip, from where an earlier ingest was stopped within it; keep what it showed."""
    half = _half_at(_kept_at(ws, file.camera.id, digest))
    begun = store.read_json(half) if half.is_file() else {}
    if begun.get("rules") != RULES:
        begun = {"state": None, "looks": []}
    looks = [look_of(told) for told in begun["looks"]]

    def put_down(state: State | None) -> None:
        if state is None:
            looks.clear()
        told = [look_json(look) for look in looks]
        store.write_json(half, {"rules": RULES, "state": state, "looks": told})

    done_s = looks[-1].end_s if looks else 0.0
    found = verify(
        file.path,
        on_progress=spoken(file.path.name, from_s=done_s),
        on_look=looks.append,
        on_state=put_down,
        state=begun["state"],
        stop=stop,
        warm=warm,
    )
    aim.keep_looks(ws, file.camera.id, digest, looks)
    return found


def _half_at(kept: Path) -> Path:
    return kept.with_suffix(".half.json")


def _kept_at(ws: Workspace, camera_id: str, digest: str) -> Path:
    folder = ws.root / "clips" / store.checked_name(camera_id, "camera") / "verified"
    return folder / digest[:2] / f"{digest}.json"


def _known(kept: Path) -> Verification | None:
    if not kept.is_file():
        return None
    record = store.read_json(kept)
    known = isinstance(record, dict) and record.pop("rules", None) == RULES
    return verification(record) if known else None


def _row(ws: Workspace, file: FootageFile, found: Verification, digest: str) -> Clip:
    uri = uri_of(ws, file.path)
    started_at = file.started_at or UNPLACED_AT
    if is_live(file.camera):
        started_at = precise_start(started_at, found.told_start)
    clip = Clip(
        camera_id=file.camera.id,
        clip_id=clip_id(uri),
        uri=uri,
        # The name tells when the file begins; pictures begin after an undecodable lead.
        started_at=started_at + dt.timedelta(seconds=found.lead_s),
        duration_s=found.duration_s,
        frames_expected=found.frames_expected,
        frames_read=found.frames_read,
        width_px=found.width_px,
        height_px=found.height_px,
        codec=found.codec,
        status=found.status,
        reason=found.reason,
        timebase=found.timebase,
        content_hash=digest,
        covered=found.covered if found.status != "quarantined" else (),
    )
    if file.started_at is not None:
        return clip
    told = f"its name does not tell its start as {file.camera.clip_start!r}"
    reason = "; ".join(filter(None, [told, found.reason]))
    return replace(clip, started_at=UNPLACED_AT, status="quarantined", reason=reason, covered=())


def uri_of(ws: Workspace, path: Path) -> str:
    """Return a footage file as the clips table names it."""
    return str(path.relative_to(ws.root) if path.is_relative_to(ws.root) else path.absolute())


def _write_days(
    ws: Workspace,
    entries: Sequence[Camera],
    clips: Sequence[Clip],
    gone: Mapping[dt.date, Sequence[Clip]],
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> tuple[int, list[str]]:
    """Write a table for every day asked for, also where it has no clip.

    Return how many, and remarks: one clip of a clock that was reset makes no years of dark days.
    """
    camera = entries[-1]
    by_day: dict[dt.date, list[Clip]] = {}
    for clip in clips:
        if clip.started_at != UNPLACED_AT:
            for day in localtime.touched_days(clip.started_at, clip.duration_s, camera.timezone):
                by_day.setdefault(day, []).append(clip)
    known = sorted({*by_day, *ws.days("clips", camera.id)})
    first, last = first_day or min(known, default=None), last_day or max(known, default=None)
    days = localtime.days_between(first, last) if first and last else []
    remarks = []
    if first_day is None:
        for before, after in pairwise(day for day in known if last and day <= last):
            if (after - before).days > _DARK_DAYS:
                days = [day for day in days if not before < day < after]
                remarks.append(
                    f"{camera.id}: nothing between {before} and {after}, too long for a dark "
                    "camera: those days get no tables"
                )
    for day in days:
        _write(ws.clips(camera.id, day), [*by_day.get(day, ()), *gone.get(day, ())])
    unplaced = [clip for clip in clips if clip.started_at == UNPLACED_AT]
    path = ws.root / "clips" / camera.id / "unplaced.parquet"
    if unplaced or path.is_file():
        _write(path, unplaced)
    return len(days), remarks


def _gone(
    ws: Workspace,
    camera_id: str,
    files: Sequence[FootageFile],
    found: Sequence[Clip],
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> dict[dt.date, list[Clip]]:
    """Return, by day asked for that was counted, the known clips whose files are gone.

    One that is there under another name is not gone, nor is one that is no longer asked for. A day
    not counted so far can only be counted by what is there.
    """
    here = {clip.uri for clip in found} | {uri_of(ws, file.path) for file in files}
    contents = {clip.content_hash for clip in found}
    gone: dict[dt.date, list[Clip]] = {}
    for day in sorted({*ws.days("clips", camera_id)} & {*ws.days("counts", camera_id)}):
        if (first_day or day) <= day <= (last_day or day):
            for row in store.read_table(ws.clips(camera_id, day), schemas.CLIPS).to_pylist():
                there = row["uri"] in here or row["content_hash"] in contents
                if not there and not (ws.root / row["uri"]).exists():
                    gone.setdefault(day, []).append(_clip_of(row))
    return gone


def _distrust_later(
    ws: Workspace, entries: Sequence[Camera], events: Sequence[aim.Event], last_day: dt.date | None
) -> None:
    """Take from days ingested before, after those of now, what a changed view makes worthless."""
    if not events or last_day is None:
        return
    for day in ws.days("clips", entries[-1].id):
        if day > last_day:
            path = ws.clips(entries[-1].id, day)
            rows = store.read_table(path, schemas.CLIPS).to_pylist()
            _write(path, [aim.without_events(_clip_of(r), entries, events) for r in rows])


def _clip_of(row: dict[str, Any]) -> Clip:
    return Clip(**{**row, "covered": tuple((s["start_s"], s["end_s"]) for s in row["covered"])})


def _write(path: Path, clips: Sequence[Clip]) -> None:
    rows = [as_row(clip) for clip in sorted(clips, key=lambda c: (c.started_at, c.clip_id))]
    table = store.table_of(rows, schemas.CLIPS)
    if not store.same_rows(path, table, schemas.CLIPS):
        store.write_table(path, table, schemas.CLIPS)


def as_row(clip: Clip) -> dict[str, Any]:
    """Return a clip as a row of the clips table."""
    row = dict(vars(clip))
    row["covered"] = [{"start_s": start, "end_s": end} for start, end in clip.covered]
    return row
