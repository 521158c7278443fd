"""Which part of a camera's day was seen, which was not, and why not.

Coverage is measured against the schedule. What the schedule asks for and no clip shows is a gap;
the clips tell why: one was set aside, one broke off, or there is no footage at all. A gap is never
a quiet road.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import exposure, localtime
from pipeline.daily import covered_spans
from pipeline.domain import Camera, Span

Row = dict[str, Any]
Kind = Literal["missing", "partial", "quarantined"]

SHORTEST_GAP_S = 1.0
"""Shorter holes (seams between two clips) are summed, not listed."""

TOUCHING_S = 2.0


@dataclass(frozen=True)
class Gap:
    """A scheduled stretch that was not seen, in POSIX seconds."""

    start_s: float
    end_s: float
    kind: Kind
    reason: str
    clip_id: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class DayCoverage:
    """One camera-local day: spans in POSIX seconds."""

    camera_id: str
    day: dt.date
    scheduled: tuple[Span, ...]
    seen: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    seams_s: float
    clips: dict[str, int]

    @property
    def scheduled_s(self) -> float:
        """Seconds the schedule asks for."""
        return exposure.seconds(self.scheduled)

    @property
    def exposure_s(self) -> float:
        """Seconds seen within the schedule."""
        return exposure.seconds(self.seen)

    @property
    def share(self) -> float | None:
        """Exposure ÷ scheduled seconds; null where nothing was scheduled."""
        return self.exposure_s / self.scheduled_s if self.scheduled_s else None


def of_day(camera: Camera, day: dt.date, clips: Sequence[Row]) -> DayCoverage:
    """Work out a day's coverage from its ``clips`` rows (none for a dark day)."""
    scheduled = exposure.union(localtime.scheduled_spans(camera, day))
    seen = exposure.intersection(covered_spans(clips), scheduled)
    found = [gap for hole in exposure.gaps(seen, scheduled) for gap in _explained(hole, clips)]
    listed = _merged(gap for gap in found if gap.seconds >= SHORTEST_GAP_S)
    seams = sum(gap.seconds for gap in found if gap.seconds < SHORTEST_GAP_S)
    statuses = [str(clip["status"]) for clip in clips]
    tally = {status: statuses.count(status) for status in sorted(set(statuses))}
    return DayCoverage(camera.id, day, scheduled, seen, tuple(listed), seams, tally)


def _explained(hole: Span, clips: Sequence[Row]) -> list[Gap]:
    """Cut a hole where a bad clip accounts for part of it; the rest has no footage."""
    starts = sorted(clip["started_at"].timestamp() for clip in clips)
    usual = _usual_s(clips)
    blamed: list[Gap] = []
    for clip in sorted(clips, key=lambda c: (c["started_at"], c["clip_id"])):
        if clip["status"] == "ok":
            continue
        start = clip["started_at"].timestamp()
        following = min((s for s in starts if s > start), default=hole[1])
        end = min(following, max(start + (usual or following - start), start + clip["duration_s"]))
        # A clip that broke off explains what follows it at once, however short it was.
        first, last = max(start, hole[0]), min(end, hole[1])
        if clip["status"] == "partial" and abs(start + clip["duration_s"] - hole[0]) > TOUCHING_S:
            last = min(last, start + clip["duration_s"])
        if last > first:
            kind: Kind = "partial" if clip["status"] == "partial" else "quarantined"
            blamed.append(Gap(first, last, kind, str(clip["reason"]), str(clip["clip_id"])))
    rest = exposure.subtract([hole], [(g.start_s, g.end_s) for g in blamed])
    nothing = [Gap(start, end, "missing", "no footage") for start, end in rest]
    return sorted(blamed + nothing, key=lambda g: (g.start_s, g.clip_id))


def _usual_s(clips: Sequence[Row]) -> float:
    """Return how long this camera's sound clips last (0 where there is none)."""
    lengths = [float(clip["duration_s"]) for clip in clips if clip["status"] == "ok"]
    return statistics.median(lengths or [0.0])


def _merged(gaps: Iterable[Gap]) -> list[Gap]:
    merged: list[Gap] = []
    for gap in gaps:
        last = merged[-1] if merged else None
        same = last and (last.kind, last.reason, last.clip_id) == (
            gap.kind,
            gap.reason,
            gap.clip_id,
        )
        if last and same and gap.start_s - last.end_s < SHORTEST_GAP_S:
            merged[-1] = Gap(last.start_s, gap.end_s, gap.kind, gap.reason, gap.clip_id)
        else:
            merged.append(gap)
    return merged
