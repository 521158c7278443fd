"""The footage that may be shown to people, in blocks: stretches of a clip with one background."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import cameras as registry
from pipeline import exposure, localtime, store
from pipeline.domain import Camera, Span
from pipeline.errors import InputError
from pipeline.store import Workspace


@dataclass(frozen=True)
class Block:
    """A stretch of one clip that shares a background; ``spans`` are what of it may be sampled."""

    camera: Camera
    clip_id: str
    path: str
    started_at: dt.datetime
    size: tuple[int, int]
    stretch: Span
    spans: tuple[Span, ...]
    hour: int


def usable_blocks(
    ws: Workspace,
    cameras: Sequence[str] = (),
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
) -> list[Block]:
    """List the blocks of footage that may be shown to people, by camera and time.

    Raises:
        InputError: there is none.
        NotFoundError: a camera is unknown.
    """
    known = registry.load(ws.cameras_toml)
    chosen = sorted(known.chosen(cameras))
    blocks = [b for c in chosen for b in _blocks(ws, known, c, first_day, last_day)]
    if not blocks:
        raise InputError(
            f"no usable footage of {', '.join(chosen)} between {first_day or 'the start'} "
            f"and {last_day or 'now'}.",
            "Run truck-counter ingest, or name other days.",
        )
    return blocks


def _blocks(
    ws: Workspace,
    known: registry.Registry,
    camera_id: str,
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> list[Block]:
    """List the blocks of a camera's usable clips within its schedule, by time.

    Footage filmed twice counts once.
    """
    from pipeline.view import blocks

    days = ws.days("clips", camera_id)
    days = [d for d in days if (first_day or d) <= d <= (last_day or d)]
    wanted = exposure.union(
        *(localtime.scheduled_spans(known.camera(camera_id, d), d) for d in days)
    )
    found: list[Block] = []
    taken: tuple[Span, ...] = ()
    for clip in _clips(ws, camera_id, days):
        start = clip["started_at"].timestamp()
        covered = exposure.shift([(s["start_s"], s["end_s"]) for s in clip["covered"]], start)
        usable = exposure.subtract(exposure.intersection(covered, wanted), taken)
        taken = exposure.union(taken, covered)
        aims = _aims(known, camera_id, clip)
        for stretch in blocks(clip["duration_s"]):
            for camera, aimed in aims.items():
                seen = exposure.shift(exposure.intersection(usable, aimed), -start)
                spans = exposure.intersection(seen, [stretch])
                if exposure.seconds(spans) > 0:
                    found.append(_block(ws, camera, clip, stretch, spans))
    return found


def _aims(
    known: registry.Registry, camera_id: str, clip: dict[str, Any]
) -> dict[Camera, list[Span]]:
    """Return the entries in force during a clip, and when: a camera may be re-aimed at midnight."""
    timezone = known.camera(camera_id).timezone
    aims: dict[Camera, list[Span]] = {}
    for day in localtime.touched_days(clip["started_at"], clip["duration_s"], timezone):
        span = localtime.day_span(day, timezone)
        aims.setdefault(known.camera(camera_id, day), []).append(span)
    return aims


def _clips(ws: Workspace, camera_id: str, days: Iterable[dt.date]) -> list[dict[str, Any]]:
    from pipeline import schemas

    clips: dict[str, dict[str, Any]] = {}
    for day in days:
        for row in store.read_table(ws.clips(camera_id, day), schemas.CLIPS).to_pylist():
            # Old footage is deleted, and its clips stay known.
            if row["status"] in ("ok", "partial") and (ws.root / row["uri"]).is_file():
                clips[row["clip_id"]] = row
    return sorted(clips.values(), key=lambda row: (row["started_at"], row["clip_id"]))


def _block(
    ws: Workspace, camera: Camera, clip: dict[str, Any], stretch: Span, spans: tuple[Span, ...]
) -> Block:
    middle = clip["started_at"] + dt.timedelta(seconds=sum(stretch) / 2)
    return Block(
        camera=camera,
        clip_id=clip["clip_id"],
        path=str(ws.root / clip["uri"]),
        started_at=clip["started_at"],
        size=(clip["width_px"], clip["height_px"]),
        stretch=stretch,
        spans=spans,
        hour=middle.astimezone(localtime.zone_info(camera.timezone)).hour,
    )
