"""Footage files → the ``clips`` tables: when each clip was filmed, and what it truly holds.

A clip's start comes from its file name (``clip_start`` of the registry), everything else from
decoding it once (``footage.verify``). That result is kept under ``clips/<camera>/verified/`` by
the file's content, as soon as it is there: an ingest that is stopped goes on where it was, and a
second one neither decodes nor reads anything (``footage.contents``). The footage itself is only
ever read.

One table per camera-local day, ``clips/<camera>/<day>.parquet``, one row per clip that touches the
day: a clip that spans midnight is a row of both. Files whose name tells no start have no day; they
are rows of ``clips/<camera>/unplaced.parquet``, quarantined, with ``started_at`` 1970-01-01.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import aim, clip_days, store
from pipeline.domain import Clip
from pipeline.errors import StoreAwayError
from pipeline.footage import stored
from pipeline.footage.contents import Contents
from pipeline.footage.files import (
    UNPLACED_AT,
    FootageFile,
    asked_of,
    by_start,
    files_of,
    is_live,
    precise_start,
    uri_of,
    within,
)
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
RULES = 6  # raise it when verification judges differently: cached results of other rules are void

_TRIES = 3  # at a clip whose decoder was killed or hung, before that is taken for its fault


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
        StoreAwayError: a camera's object store cannot be used; the other cameras are done.
        StoreError: a table cannot be written.
    """
    clips: list[Clip] = []
    remarks: list[str] = []
    away: list[StoreAwayError] = []
    decoded = days = 0
    for camera_id in registry.chosen(camera_ids):
        entries = registry.entries_of(camera_id)
        try:
            fetched = stored.fetch(ws, entries, first_day, last_day)
        except StoreAwayError as error:
            away.append(error)  # the other cameras' footage is there
            continue
        remarks += fetched.remarks
        files = by_start([*files_of(ws, entries), *fetched.refused])
        if not files and not fetched.uris:
            remarks.append(f"{camera_id}: no file matches {asked_of(entries[-1])}")
        wanted = within(files, first_day, last_day)
        contents = Contents(ws, camera_id)
        found, new = _verified(ws, camera_id, wanted, contents, on_progress)
        contents.keep({uri_of(ws, file.path) for file in files})
        decoded += new
        gone = clip_days.gone(ws, camera_id, files, found, first_day, last_day)
        if forget:  # a store still has what of it was only deleted here
            gone = {d: [c for c in gone[d] if c.uri in fetched.uris] for d in gone}
        found, events = aim.trusted(ws, entries, found, gone, first_day, last_day)
        remarks += [event.remark() for event in events]
        clips += found
        if any(gone.values()):
            n = len({clip.clip_id for of_day in gone.values() for clip in of_day})
            remarks.append(f"{camera_id}: {n} clip(s) whose files are gone stay known (--forget)")
        written, told = clip_days.write(ws, entries, found, gone, first_day, last_day)
        days += written
        remarks += [*told, *_twins(camera_id, found)]
        clip_days.distrust_others(ws, entries, events, first_day, last_day)
    if away:
        raise away[0]
    return Report(tuple(clips), decoded, days, tuple(remarks))


def _twins(camera_id: str, clips: Iterable[Clip]) -> list[str]:
    """Say which files hold the same bytes and yet other starts: not both can be true."""
    first: dict[str, Clip] = {}
    twins: list[tuple[Clip, Clip]] = []
    for clip in clips:
        if clip.status != "quarantined":
            other = first.setdefault(clip.content_hash, clip)
            if other.started_at != clip.started_at:
                twins.append((other, clip))
    if not twins:
        return []
    one, another = (clip.uri for clip in twins[0])
    return [
        f"{camera_id}: {len(twins)} clip(s) hold the same bytes as one with another start, such as "
        f"{another} and {one}: their trucks count twice until you remove the misnamed one"
    ]


def clip_id(uri: str) -> str:
    """Return a clip's id: its file name's stem, made safe, and a hash of where it lies.

    >>> clip_id("footage/gate/2026-01-31T060000+0000.mp4")
    '2026-01-31T060000-0000-2e73be61'
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(uri).stem).strip(".-_")[:80] or "clip"
    return f"{re.sub(r'[.]{2,}', '.', stem)}-{_short_hash(uri)}"


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def _verified(
    ws: Workspace,
    camera_id: str,
    files: Sequence[FootageFile],
    contents: Contents,
    on_progress: Callable[[Clip], None] | None,
) -> tuple[list[Clip], int]:
    """Verify what is not known yet, two clips at a time, keeping each result as it comes."""
    clips: list[Clip] = []
    decoded = 0
    stop = threading.Event()
    with nurseries() as warm, ThreadPoolExecutor(WORKERS) as pool:
        running = [pool.submit(_clip, ws, file, contents, stop, warm) for file in files]
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
    ws: Workspace, file: FootageFile, contents: Contents, stop: threading.Event, warm: Nurseries
) -> tuple[Clip, bool]:
    """Return a file's clip, and whether it had to be decoded for it."""
    if file.refused:
        return _row(ws, file, Verification(reason=file.refused), ""), False
    try:
        digest = contents.of(file.path, uri_of(ws, file.path))
    except OSError as error:
        unread = Verification(reason=f"it cannot be read ({error.strerror})")
        return _row(ws, file, unread, ""), False
    kept = _kept_at(ws, file.camera.id, digest)
    known, tries = _known(kept)
    new = known is None or (known.passing and tries < _TRIES)
    found = _decoded(ws, file, digest, stop, warm) if known is None or new else known
    if new and found.passing:  # at once: a schedule does not come back to a day that is done
        found = _decoded(ws, file, digest, stop, warm)
    if new:
        store.write_json(kept, {"rules": RULES, "tries": tries + 1, **to_json(found)})
        if not found.passing:  # else the next try goes on there
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


def _known(kept: Path) -> tuple[Verification | None, int]:
    """Return what is known of a clip, and after how many tries."""
    record = store.read_json(kept) if kept.is_file() else None
    if not isinstance(record, dict) or record.pop("rules", None) != RULES:
        return None, 0
    tries = int(record.pop("tries", 1))
    return verification(record), tries


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
