"""Is each camera still aimed as its registry entry says? What ``view_changed`` in a count rests on.

Ingest keeps what a clip showed, minute by minute, beside its verification (``Look``). Here a local
day's looks are judged against the entry's reference picture, once (``clips/<camera>/aim/…``), and
clips lose the coverage that cannot be trusted: blurred or obstructed stretches, and, from the
instant at which a view was last known to be right before it changed, everything until an entry with
a later ``valid_from`` says where the camera looks now.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline import exposure, localtime, reference, store
from pipeline.cameras import Registry
from pipeline.digests import digest
from pipeline.errors import InputError, TruckCounterError
from pipeline.footage import view_change

if TYPE_CHECKING:
    from pipeline.domain import Camera, Clip, Span
    from pipeline.footage.view_change import Look
    from pipeline.store import Workspace

RULES = 2
CHANGED: Literal["view_changed"] = "view_changed"


@dataclass(frozen=True)
class Event:
    """A camera of which is known that it looks elsewhere: ``since_s`` in POSIX seconds."""

    camera: Camera
    since_s: float
    until_s: float
    shift: tuple[float, float] | None

    def as_text(self) -> str:
        """Word it for a clip's reason."""
        if self.shift is None:
            return f"{CHANGED}: another scene than the reference picture's"
        right, down = self.shift
        return f"{CHANGED}: the scene lies {right:+.0%} across and {down:+.0%} down of its place"

    def remark(self) -> str:
        """Word it for the person who has to mend it."""
        since, day = "the start", "DAY"
        if math.isfinite(self.since_s):
            at = dt.datetime.fromtimestamp(self.since_s, dt.UTC)
            since = at.isoformat(timespec="seconds")
            # The picture of a new entry is its first day's first: that of a day wholly after it.
            after = localtime.local_day(at, self.camera.timezone) + dt.timedelta(days=1)
            day = after.isoformat()
        return (
            f"{self.camera.id}: {self.as_text()}, since {since}; nothing later is counted until "
            f"truck-counter cameras add {self.camera.id} --valid-from {day}"
        )


def looks_at(ws: Workspace, camera_id: str, digest: str) -> Path:
    """Return where the looks of the clip with this content are kept."""
    folder = ws.root / "clips" / store.checked_name(camera_id, "camera") / "verified"
    return folder / digest[:2] / f"{digest}.looks.json"


def keep_looks(ws: Workspace, camera_id: str, digest: str, looks: Iterable[Look]) -> None:
    """Keep what a clip showed."""
    told = [view_change.to_json(look) for look in looks]
    store.write_json(looks_at(ws, camera_id, digest), told)


def trusted(
    ws: Workspace,
    entries: Sequence[Camera],
    clips: Sequence[Clip],
    gone: Mapping[dt.date, Sequence[Clip]],
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
) -> tuple[list[Clip], list[Event]]:
    """Judge the days of one camera's clips, and take from the clips what cannot be trusted.

    Args:
        ws: the workspace.
        entries: every registry entry of the camera.
        clips: its clips, of whole local days but for those outside ``first_day`` … ``last_day``.
        gone: by day, known clips whose files are gone: a day is still judged by what they showed.
        first_day: the first day to judge anew.
        last_day: the last one.

    Returns:
        The clips in the order given, and what is known of the view's changes.
    """
    doubts: list[tuple[Span, str]] = []
    zone = entries[-1].timezone
    once = (c for d in gone for c in gone[d] if localtime.local_day(c.started_at, zone) == d)
    shown = _by_day(entries, [*clips, *once])
    _drop_verdicts(ws, entries, shown, first_day, last_day)
    for (entry, day), group in shown.items():
        if (first_day or day) <= day <= (last_day or day):
            _judge(ws, entry, day, group)
        path = _verdict_at(ws, entry, day)
        found = store.read_json(path)["doubts"] if path.is_file() else []
        doubts += [((start, end), doubt) for start, end, doubt in found]
    events = list(_events(ws, entries))
    return [_without(clip, entries, events, doubts) for clip in clips], events


def without_events(clip: Clip, entries: Sequence[Camera], events: Sequence[Event]) -> Clip:
    """Take from one clip what was filmed after its view had changed."""
    return _without(clip, entries, events, [])


def _by_day(
    entries: Sequence[Camera], clips: Iterable[Clip]
) -> dict[tuple[Camera, dt.date], list[Clip]]:
    found: dict[tuple[Camera, dt.date], list[Clip]] = {}
    for clip in clips:
        if clip.status != "quarantined" and clip.content_hash:
            day = localtime.local_day(clip.started_at, entries[-1].timezone)
            found.setdefault((_in_force(entries, day), day), []).append(clip)
    return found


def _in_force(entries: Sequence[Camera], day: dt.date) -> Camera:
    return Registry(tuple(entries)).camera(entries[0].id, day)


def _drop_verdicts(
    ws: Workspace,
    entries: Sequence[Camera],
    shown: Collection[tuple[Camera, dt.date]],
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> None:
    """Remove what was judged of days that have no clips any more, such as another camera's."""
    for entry in entries:
        for path in _verdict_at(ws, entry, dt.date.min).parent.glob("*.json"):
            day = dt.date.fromisoformat(path.stem)
            if (first_day or day) <= day <= (last_day or day) and (entry, day) not in shown:
                path.unlink(missing_ok=True)


def _judge(ws: Workspace, entry: Camera, day: dt.date, clips: Sequence[Clip]) -> None:
    """Judge a day's looks against the picture and keep the verdict, unless it is there."""
    in_order = sorted(clips, key=lambda clip: (clip.started_at, clip.clip_id))
    known = [looks_at(ws, entry.id, clip.content_hash) for clip in in_order]
    if not any(path.is_file() for path in known):
        return
    try:
        picture = reference.kept(ws, entry).read_bytes()
    except TruckCounterError:
        return  # nothing to compare with
    said = [(clip.content_hash, clip.started_at.isoformat()) for clip in in_order]
    made_from = digest(repr((RULES, said)).encode() + picture)
    path = _verdict_at(ws, entry, day)
    verdict = store.read_json(path) if path.is_file() else {}
    if verdict.get("made_from") != made_from:
        verdict = {"made_from": made_from, **_compared(picture, in_order, known)}
        verdict["reference"] = digest(picture)
        store.write_json(path, verdict)


def _compared(picture: bytes, clips: Sequence[Clip], known: Sequence[Path]) -> dict[str, Any]:
    import io

    import numpy as np
    from PIL import Image, UnidentifiedImageError

    from pipeline.footage.picture_health import thumbnail_of

    try:
        grey = reference.brightness(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"a reference picture cannot be read: {error}.", "Remove it.") from None
    verdict = view_change.judged(
        thumbnail_of(grey), view_change.fineness(grey), _looks(clips, known)
    )
    changed, same = verdict.changed_s, verdict.same_s
    return {
        "changed": changed is not None,
        "shift": verdict.shift,
        "same_s": same,
        "doubts": [[start, end, doubt] for (start, end), doubt in verdict.doubts],
    }


def _looks(clips: Sequence[Clip], known: Sequence[Path]) -> Iterator[Look]:
    """Yield a day's looks in order, in POSIX seconds; of overlapping clips the earlier speaks."""
    until = -math.inf
    for clip, path in zip(clips, known, strict=True):
        start = clip.started_at.timestamp()
        for told in store.read_json(path) if path.is_file() else []:
            look = view_change.look_of(told)
            look = replace(look, start_s=start + look.start_s, end_s=start + look.end_s)
            if look.start_s >= until - 1.0:
                until = look.end_s
                yield look


def _events(ws: Workspace, entries: Sequence[Camera]) -> Iterator[Event]:
    """Yield an event per entry whose view has changed, as the days judged so far have it."""
    in_order = sorted(entries, key=lambda entry: entry.valid_from)
    for number, entry in enumerate(in_order):
        picture = ws.reference(entry.id, entry.valid_from)
        if not picture.is_file():
            continue
        current, same_s = digest(picture.read_bytes()), -math.inf
        following = in_order[number + 1 : number + 2]
        for path in sorted(_verdict_at(ws, entry, dt.date.min).parent.glob("*.json")):
            verdict = store.read_json(path)
            later = any(path.stem >= str(e.valid_from) for e in following)
            if verdict["reference"] != current or later:
                continue  # of another reference picture, or of what is another entry's now
            same_s = max(same_s, verdict["same_s"] or -math.inf)
            if verdict["changed"]:
                until = [localtime.day_span(e.valid_from, e.timezone)[0] for e in following]
                shift = verdict["shift"] and tuple(verdict["shift"])
                yield Event(entry, same_s, min([math.inf, *until]), shift)
                break


def _without(
    clip: Clip,
    entries: Sequence[Camera],
    events: Sequence[Event],
    doubts: Sequence[tuple[Span, str]],
) -> Clip:
    if clip.status == "quarantined":
        return clip
    start = clip.started_at.timestamp()
    whole = (start, start + clip.duration_s)
    day = localtime.local_day(clip.started_at, entries[-1].timezone)
    lost: list[tuple[Span, str]] = []
    for event in events:
        if _in_force(entries, day) == event.camera:
            lost.append(((event.since_s, event.until_s), event.as_text()))
    for doubt in sorted({said for _, said in doubts}):
        spans = [span for span, said in doubts if said == doubt]
        seconds = exposure.seconds(exposure.intersection(spans, [whole]))
        lost += [(span, f"{doubt} picture for {seconds:.1f} s") for span in spans]
    lost = [(span, said) for span, said in lost if exposure.intersection([span], [whole])]
    if not lost:
        return clip
    away = exposure.shift([(max(a, start), min(b, whole[1])) for (a, b), _ in lost], -start)
    # A clip that was read back may tell it already.
    known = filter(None, clip.reason.split("; "))
    reasons = dict.fromkeys([*known, *(said for _, said in lost)])
    return replace(
        clip,
        status="partial",
        covered=exposure.subtract(clip.covered, away),
        reason="; ".join(reasons),
    )


def _verdict_at(ws: Workspace, entry: Camera, day: dt.date) -> Path:
    folder = ws.root / "clips" / store.checked_name(entry.id, "camera") / "aim"
    return folder / str(entry.valid_from) / f"{day}.json"
