"""Which camera-days are closed, which should have a count, and which lack one. No Prefect here.

A local day is closed once its last instant is over in the camera's time zone. It is *due* when
there is footage of it, it lies after the days from which the model in use learned, and no count by
that model is there that is at least as new as the day's footage, clips and scores, knows of all
that footage, and was made by the zones, schedule and time zone that the registry has for that day.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import accounts, localtime, objects, store
from pipeline.errors import InputError, ModelError, StoreError, TruckCounterError

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.domain import Camera
    from pipeline.footage.contents import Contents
    from pipeline.store import Workspace

_STORES_AT_ONCE = 8


def newest_closed_day(cameras: Iterable[Camera], now: dt.datetime) -> dt.date:
    """Return the newest local day that is over at ``now`` (aware) in every camera's time zone.

    >>> from pipeline.domain import Camera
    >>> tokyo, denver = (Camera(z, "", z, "", ()) for z in ("Asia/Tokyo", "America/Denver"))
    >>> newest_closed_day([tokyo, denver], dt.datetime(2026, 3, 10, 3, tzinfo=dt.UTC))
    datetime.date(2026, 3, 8)
    """
    today = min(localtime.local_day(now, camera.timezone) for camera in cameras)
    return today - dt.timedelta(days=1)


def check_closed(cameras: Iterable[Camera], day: dt.date, now: dt.datetime) -> None:
    """Refuse a day that is not over at ``now`` for some camera.

    Raises:
        InputError: naming the day, the camera and the newest day that can be counted.
    """
    cameras = list(cameras)
    for camera in cameras:
        if localtime.day_bounds(day, camera.timezone)[1] > now:
            raise InputError(
                f"{day} is not over yet at camera {camera.id!r} ({camera.timezone}).",
                f"The newest closed day is {newest_closed_day(cameras, now)}.",
            )


def cameras_of(registry: Registry, timezone: str | None = None) -> list[Camera]:
    """Return each camera as aimed now; with ``timezone``, only those that live in it."""
    newest = [registry.camera(camera_id) for camera_id in registry.ids]
    return [c for c in newest if timezone in (None, c.timezone)]


@dataclass(frozen=True)
class Backlog:
    """What is to do in a range of days: per camera its due days, in order.

    ``there`` counts the camera-days with footage that need nothing; ``taught`` those left out
    because the model learned from that day or a later one; ``unpublished`` says that counts are
    newer than the last publication.
    """

    days: dict[str, list[dt.date]]
    there: int
    taught: int
    unpublished: bool

    @property
    def camera_days(self) -> int:
        """How many camera-days are due."""
        return sum(len(days) for days in self.days.values())

    def as_text(self) -> dict[str, list[str]]:
        """Return the due days as a flow's parameter: plain text, cameras in order."""
        return {c: [str(day) for day in days] for c, days in sorted(self.days.items()) if days}


def backlog(
    ws: Workspace,
    registry: Registry,
    model_id: str,
    camera_ids: Sequence[str],
    first: dt.date | None,
    last: dt.date,
) -> Backlog:
    """Compare what should exist up to ``last`` with what does; nothing is written or decoded.

    A day leans on those before it (the hour-of-week profile), so once one of a camera is due, or
    was counted anew with another result, the counted ones after it in the range are due again: any
    order of work then ends in the same tables. So it is after audit windows were counted: they
    correct the days from theirs on.
    """
    from pipeline import audits

    audited = audits.brought(ws)
    taught_to = last_taught_days(ws, registry, model_id)
    days: dict[str, list[dt.date]] = {}
    there = taught = 0
    for camera_id in camera_ids:
        files = footage(ws, registry, camera_id)
        wanted = [d for d in files if (first is None or d >= first) and d <= last]
        after = [d for d in wanted if d > taught_to.get(camera_id, dt.date.min)]
        zone = registry.camera(camera_id).timezone
        heard = [(localtime.local_day(at, zone), ns) for at, ns in audited.get(camera_id, ())]
        done = _counted_before(ws, registry, camera_id, after, files, model_id, heard)
        days[camera_id] = after[done:]
        there += done
        taught += len(wanted) - len(after)
    return Backlog(days, there, taught, is_unpublished(ws, model_id, camera_ids))


def dark_days(
    ws: Workspace,
    registry: Registry,
    model_id: str,
    camera_ids: Iterable[str],
    days: Sequence[dt.date],
) -> dict[str, list[dt.date]]:
    """Return, per camera, those of ``days`` that nobody counted, though it should have a count.

    Nobody filmed them, or :func:`backlog` would know them: they must be seen to be missing. What
    another model counted, whose footage is gone since, keeps its count.
    """
    taught_to = last_taught_days(ws, registry, model_id)
    return {
        camera_id: [
            day
            for day in days
            if day > taught_to.get(camera_id, dt.date.min)
            and not any(ws.counts(camera_id, day, model_id).parent.glob("*.parquet"))
            and is_at_work(ws, registry, camera_id, day)
        ]
        for camera_id in camera_ids
    }


def is_at_work(ws: Workspace, registry: Registry, camera_id: str, day: dt.date) -> bool:
    """Tell whether a camera should have a count of a day: not if entered ahead and not filming.

    What lies in an object store nobody may have looked at yet, so such a camera always should.
    """
    entries = registry.entries_of(camera_id)
    if any(entry.valid_from <= day or objects.is_stored(entry.source) for entry in entries):
        return True
    return min(footage(ws, registry, camera_id), default=dt.date.max) <= day


def _counted_before(
    ws: Workspace,
    registry: Registry,
    camera_id: str,
    days: Sequence[dt.date],
    files: Mapping[dt.date, Sequence[Path]],
    model_id: str,
    heard: Sequence[tuple[dt.date, int]],
) -> int:
    """Return how many of ``days`` from the first on are counted without a hole, each in its turn.

    A day that was counted before the hours of an earlier one changed knew less than it should, and
    one before audit windows of its own or earlier days were ``heard`` of (their day, nanoseconds).
    """
    from pipeline.footage.contents import Contents

    earlier = [d for d in ws.days("counts_hourly", camera_id) if days and d < days[0]]
    newest = max((_written(ws.counts_hourly(camera_id, d, model_id)) for d in earlier), default=0)
    contents = cache(partial(Contents, ws, camera_id))  # a month of clips is a large file
    for n, day in enumerate(days):
        at = counted_at(ws, camera_id, day, model_id, files.get(day, ()), contents)
        known = max([newest, *(ns for since, ns in heard if since <= day)])
        camera = registry.camera(camera_id, day)
        if not at or at < known or not _is_aimed_so(ws, camera, day, model_id):
            return n
        newest = max(newest, _written(ws.counts_hourly(camera_id, day, model_id)))
    return len(days)


def look(ws: Workspace, registry: Registry, camera_ids: Sequence[str]) -> list[str]:
    """Have the object stores that hold footage say what there is, for :func:`footage`.

    Return a line for each camera whose store cannot be asked: of it the last look counts.
    """
    entries = [entry for camera_id in camera_ids for entry in registry.entries_of(camera_id)]
    asked = [entry for entry in entries if objects.is_stored(entry.source)]
    if not asked:  # the decoder's libraries take half a second to load
        return []
    with ThreadPoolExecutor(_STORES_AT_ONCE) as pool:
        return [line for line in pool.map(partial(_look, ws), asked) if line]


def _look(ws: Workspace, entry: Camera) -> str:
    from pipeline.footage import stored

    try:
        stored.look(ws, entry)
    except TruckCounterError as error:
        return f"{entry.id}: {error}"
    return ""


def footage(ws: Workspace, registry: Registry, camera_id: str) -> dict[dt.date, list[Path]]:
    """Return the files of each local day by the start that their names tell, oldest day first.

    A day on which none begins has those of the day before that were found to reach into it.
    """
    from pipeline.footage.stored import files_here_and_there

    found: dict[dt.date, list[Path]] = {}
    for file in files_here_and_there(ws, registry.entries_of(camera_id)):
        if file.day and registry.camera(camera_id, file.day) is file.camera:
            found.setdefault(file.day, []).append(file.path)
    for day in ws.days("clips", camera_id):
        before = found.get(day - dt.timedelta(1), ())
        if day not in found and (reaching := _reaching(ws, camera_id, day, before)):
            found[day] = reaching
    return dict(sorted(found.items()))


def _reaching(ws: Workspace, camera_id: str, day: dt.date, before: Iterable[Path]) -> list[Path]:
    from pipeline.daily import clip_rows
    from pipeline.footage.files import uri_of

    by_uri = {uri_of(ws, path): path for path in before}
    if not by_uri:
        return []
    try:
        rows = clip_rows(ws, camera_id, day)
    except StoreError:  # damaged: the next ingest makes it anew
        return []
    return [by_uri[row["uri"]] for row in rows if row["uri"] in by_uri]


def taught_days(ws: Workspace, registry: Registry, model_id: str) -> dict[str, set[dt.date]]:
    """Return, per camera of the registry, the local days from which the model learned.

    Raises:
        ModelError: its card does not tell.
    """
    card = store.read_object(ws.model(model_id) / "card.json")
    told = card.get("training_days", {})
    if card.get("campaigns") and "training_days" not in card:
        raise ModelError(
            f"the card of {model_id} does not tell from which days it learned.", "Train anew."
        )
    return {c: {dt.date.fromisoformat(day) for day in told[c]} for c in registry.ids if told.get(c)}


def last_taught_days(ws: Workspace, registry: Registry, model_id: str) -> dict[str, dt.date]:
    """Return, per camera, the last local day from which the model learned."""
    return {c: max(days) for c, days in taught_days(ws, registry, model_id).items()}


def is_counted(ws: Workspace, camera_id: str, day: dt.date, model_id: str) -> bool:
    """Tell whether a camera-day has a count by ``model_id``, no older than its clips and scores."""
    return counted_at(ws, camera_id, day, model_id) > 0


def counted_at(
    ws: Workspace,
    camera_id: str,
    day: dt.date,
    model_id: str,
    files: Iterable[Path] = (),
    contents: Callable[[], Contents] | None = None,
) -> int:
    """Return when a camera-day was counted, in nanoseconds; 0 where not, or before its sources.

    The arithmetic beside the count is written anew at every counting, so its time is the count's.
    ``contents`` returns the camera's, for files that came later than that (None: they are read).
    """
    from pipeline.clip_days import is_filmed
    from pipeline.footage.contents import Contents

    contents = contents or partial(Contents, ws, camera_id)
    done = _written(ws.counts(camera_id, day, model_id).with_suffix(".json"))
    if not (done and _written(ws.counts(camera_id, day, model_id))):
        return 0
    sources = ws.clips(camera_id, day), ws.scores(camera_id, day, model_id), *files
    if any(_written(path) > done for path in sources):
        return 0
    # Copies may keep the recording's time (rsync -a), so what came later is looked up by its name;
    # so is what lies in a store and not here.
    late = [path for path in files if _arrived(path) > done or not os.path.lexists(path)]
    if not is_filmed(ws, camera_id, day):  # such as while their disk was away
        late = list(files)
    return done if not late or _are_known(ws, camera_id, day, late, contents()) else 0


def _is_aimed_so(ws: Workspace, camera: Camera, day: dt.date, model_id: str) -> bool:
    """Tell whether a day was counted by what the entry says now, as far as the account tells."""
    aim = accounts.aim_of(camera)
    try:
        return bool(aim | accounts.read(ws, camera.id, day, model_id).get("aim", {}) == aim)
    except StoreError:  # damaged: made anew
        return False


def _are_known(
    ws: Workspace, camera_id: str, day: dt.date, files: Sequence[Path], contents: Contents
) -> bool:
    """Tell whether all these files are in a camera-day's clips table, and hold what they held."""
    from pipeline.daily import clip_rows
    from pipeline.footage.files import uri_of

    # A clip whose first pictures cannot be decoded begins later than its name says.
    days = (day, day + dt.timedelta(1))
    try:
        rows = (row for each in days for row in clip_rows(ws, camera_id, each))
        known = {row["uri"]: row["content_hash"] for row in rows}
    except StoreError:  # damaged: its own ingest will say so, and the other cameras are counted
        return False
    if not known.keys() >= {uri_of(ws, path) for path in files}:
        return False
    for path in files:
        uri = uri_of(ws, path)
        try:  # what could not be read then has no hash; what lies in a store alone is not here
            if known[uri] and path.exists() and not contents.is_still(path, uri, known[uri]):
                return False
        except OSError:
            return False
    return True


def is_unpublished(ws: Workspace, model_id: str, camera_ids: Iterable[str]) -> bool:
    """Tell whether some count by ``model_id`` was written after the newest publication."""
    published = max((_written(p) for p in ws.vintages.glob("*.parquet")), default=0)
    return any(
        _written(ws.counts(camera_id, day, model_id)) > published
        for camera_id in camera_ids
        for day in ws.days("counts", camera_id)
    )


def _arrived(path: Path) -> int:
    """Return when a file came to lie where it lies, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def _written(path: Path) -> int:
    """Return when a file was last written, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
