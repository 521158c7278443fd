"""The nouns of the system as frozen records. Pure: standard library only.

Units are in the names (``_s`` seconds, ``_px`` pixels, ``_at`` an aware UTC ``datetime``);
polygons are in 0-1 picture coordinates, x to the right and y down.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

Label = Literal["truck", "no_truck", "cant_tell"]
LABELS: tuple[Label, ...] = ("truck", "no_truck", "cant_tell")

ClipStatus = Literal["ok", "partial", "quarantined"]

Point = tuple[float, float]

Span = tuple[float, float]
"""A half-open stretch of time ``[start, end)``: seconds within a clip, or POSIX seconds."""


@dataclass(frozen=True)
class Zone:
    """A stretch of road (or one lane of it) that a truck crosses in one stay."""

    name: str
    polygon: tuple[Point, ...]
    movement: str = "all"


@dataclass(frozen=True)
class Camera:
    """One registry entry: a camera as it was aimed from ``valid_from`` on.

    ``schedule`` holds camera-local windows in minutes after midnight, ``(0, 1440)`` being all day.
    """

    id: str
    site: str
    timezone: str
    source: str
    zones: tuple[Zone, ...]
    clip_start: str = "%Y-%m-%dT%H%M%S%z"
    valid_from: dt.date = dt.date(1970, 1, 1)
    sample_hz: float = 5.0
    schedule: tuple[tuple[int, int], ...] = ((0, 1440),)
    exchange: str | None = None
    allow_private_addresses: bool = False

    def zone(self, name: str) -> Zone:
        """Return the zone called ``name``; raise ``KeyError`` where there is none."""
        for zone in self.zones:
            if zone.name == name:
                return zone
        raise KeyError(name)


@dataclass(frozen=True)
class Clip:
    """One footage file and what full decoding found in it.

    ``covered`` lists the stretches that were truly seen, in seconds after ``started_at``; its sum
    is the clip's exposure. ``timebase`` is ``"container"`` where presentation times were usable and
    ``"index"`` where frame index ÷ fps had to stand in.
    """

    camera_id: str
    clip_id: str
    uri: str
    started_at: dt.datetime
    duration_s: float
    frames_expected: int | None
    frames_read: int
    width_px: int
    height_px: int
    codec: str
    status: ClipStatus
    reason: str
    timebase: Literal["container", "index"] = "container"
    content_hash: str = ""
    covered: tuple[Span, ...] = ()


@dataclass(frozen=True)
class FrameRef:
    """A picture by reference: which clip, which instant, which zone. Never pixels."""

    frame_id: str
    camera_id: str
    zone: str
    clip_id: str
    captured_at: dt.datetime
    offset_s: float
    path: str = ""
    batch: str = ""
    why_chosen: str = ""
