"""The ``clips`` tables: one per camera-local day, one row per clip that touches the day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import aim, localtime, schemas, store
from pipeline.domain import Camera, Clip
from pipeline.footage.files import UNPLACED_AT, FootageFile, uri_of

if TYPE_CHECKING:
    from pipeline.store import Workspace

_DARK_DAYS = 366  # a longer silence between two clips is not a dark camera's


def write(
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
    filmed = (day for day in known if day in by_day or is_filmed(ws, camera.id, day))
    first, last = _asked(known, next(filmed, None), first_day, last_day)
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
        _put(ws.clips(camera.id, day), [*by_day.get(day, ()), *gone.get(day, ())])
    unplaced = [clip for clip in clips if clip.started_at == UNPLACED_AT]
    path = ws.root / "clips" / camera.id / "unplaced.parquet"
    if unplaced or path.is_file():
        _put(path, unplaced)
    return len(days), remarks


def is_filmed(ws: Workspace, camera_id: str, day: dt.date) -> bool:
    """Tell whether a day's clips table has a row. One that is missing or damaged may have."""
    try:
        return bool(pq.read_metadata(ws.clips(camera_id, day)).num_rows)
    except (OSError, pa.ArrowInvalid):  # it is about to be made anew
        return True


def _asked(
    known: Sequence[dt.date],
    filmed: dt.date | None,
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> tuple[dt.date | None, dt.date | None]:
    """Return the first and last day to write: a slip of the pen makes no centuries of dark days.

    ``filmed`` is the first day with a clip: what dark days there are already reach back no further.
    """
    first, last = first_day or min(known, default=None), last_day or max(known, default=None)
    if first and last:
        earliest = filmed or last
        reach = min(_DARK_DAYS, (earliest - dt.date.min).days)
        first = max(first, earliest - dt.timedelta(reach))
        today = dt.datetime.now(dt.UTC).date() + dt.timedelta(1)  # a day ahead, where it is so
        last = min(last, max([*known, today]))
    return first, last


def gone(
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
    by_day: dict[dt.date, list[Clip]] = {}
    for day in sorted({*ws.days("clips", camera_id)} & {*ws.days("counts", camera_id)}):
        if (first_day or day) <= day <= (last_day or day):
            for row in store.read_table(ws.clips(camera_id, day), schemas.CLIPS).to_pylist():
                there = row["uri"] in here or row["content_hash"] in contents
                if not there and not (ws.root / row["uri"]).exists():
                    by_day.setdefault(day, []).append(_clip_of(row))
    return by_day


def distrust_others(
    ws: Workspace,
    entries: Sequence[Camera],
    events: Sequence[aim.Event],
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> None:
    """Take from days ingested before, beside those of now, what a changed view makes worthless.

    Those before, too: a view is doubted from when it was last known to be right. Clips whose files
    are gone stay as they are (:func:`gone`): their days cannot be scored anew.
    """
    doubted = partial(aim.without_events, entries=entries, events=events)
    for day in ws.days("clips", entries[-1].id) if events else ():
        if not (first_day or day) <= day <= (last_day or day):
            path = ws.clips(entries[-1].id, day)
            rows = store.read_table(path, schemas.CLIPS).to_pylist()
            here = {row["uri"] for row in rows if (ws.root / row["uri"]).exists()}
            _put(path, [doubted(c) if c.uri in here else c for c in map(_clip_of, rows)])


def _clip_of(row: dict[str, Any]) -> Clip:
    return Clip(**{**row, "covered": tuple((s["start_s"], s["end_s"]) for s in row["covered"])})


def _put(path: Path, clips: Sequence[Clip]) -> None:
    rows = [as_row(clip) for clip in sorted(clips, key=lambda c: (c.started_at, c.clip_id))]
    table = store.table_of(rows, schemas.CLIPS)
    if not store.same_rows(path, table, schemas.CLIPS):
        store.write_table(path, table, schemas.CLIPS)


def as_row(clip: Clip) -> dict[str, Any]:
    """Return a clip as a row of the clips table."""
    row = dict(vars(clip))
    row["covered"] = [{"start_s": start, "end_s": end} for start, end in clip.covered]
    return row
