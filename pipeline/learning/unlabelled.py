"""Unlabelled instants of a campaign's own cameras and days: free pictures to learn from.

Short dense windows are read from blocks of footage that the campaign's days hold, so that
neighbouring instants can vouch for each other: some at random, some about labelled instants, where
one judged vehicle is seen again in other places. All belong to the days that teach.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cameras, cores, localtime, progress, store, view
from pipeline.cameras import Registry
from pipeline.domain import Camera, Span
from pipeline.footage import video
from pipeline.learning import pictures
from pipeline.learning.dataset import Labelled
from pipeline.schemas import CLIPS
from pipeline.store import Workspace

WINDOW_S = 12.0
ABOUT_S = 0.8
LASTING = 1.6  # a label's word holds in full for 0.3 s, and fades to nothing at ``ABOUT_S``
WINDOW_HZ = 4.0
LEAST_SHARE = 0.03  # of the crop, below which no vehicle is in it


@dataclass(frozen=True)
class Windows:
    """``pixels`` ``uint8[n, 6, h, w]`` in order of time; ``window`` ``int[n]`` numbers the runs.

    ``random`` ``bool[n]`` marks instants drawn without regard to what they show; ``cameras``,
    ``zones`` and ``captured_s`` (POSIX seconds) say where and when.
    """

    pixels: NDArray[np.uint8]
    window: NDArray[np.int64]
    random: NDArray[np.bool_]
    cameras: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    captured_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        """Return ``n``."""
        return len(self.window)

    @cached_property
    def share(self) -> NDArray[np.float64]:
        """How much of each picture shows a vehicle, ``[n]``; see :func:`pictures.vehicle_share`."""
        return pictures.vehicle_share(self.pixels)

    def smoothed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average each value with its neighbours of the same window (weights 1, 2, 1).

        A truck stays for several instants: a lone answer among others is most likely wrong.
        """
        total, weight = 2.0 * values, np.full(len(values), 2.0)
        same = self.window[1:] == self.window[:-1]
        total[1:] += np.where(same, values[:-1], 0.0)
        total[:-1] += np.where(same, values[1:], 0.0)
        weight[1:] += same
        weight[:-1] += same
        return np.asarray(total / weight, dtype=np.float64)

    def vouched(self, labelled: Labelled, said: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what labels close by say of each instant, in log odds; 0 where there is none.

        ``said`` ``float64[m]`` is the log likelihood ratio of each label. It carries over to other
        instants of its zone as far as they show as much of a vehicle, and fades with time: most
        likely it is the same vehicle in another place. An empty road vouches for nothing.
        """
        heard = np.zeros(len(self))
        mine, theirs = self.share, pictures.vehicle_share(labelled.pixels)
        rows: dict[tuple[str, str], list[int]] = {}
        for row, place in enumerate(zip(self.cameras, self.zones, strict=True)):
            rows.setdefault(place, []).append(row)
        for i, place in enumerate(zip(labelled.cameras, labelled.zones, strict=True)):
            here = np.array(rows.get(place, []), dtype=np.int64)
            away = np.abs(self.captured_s[here] - labelled.captured_s[i])
            here, away = here[away < ABOUT_S], away[away < ABOUT_S]
            if theirs[i] < LEAST_SHARE or not len(here):
                continue
            alike = np.minimum(mine[here], theirs[i]) / np.maximum(mine[here], theirs[i])
            says = said[i] * np.minimum(1.0, LASTING * (1 - away / ABOUT_S)) * alike
            heard[here] = np.where(np.abs(says) > np.abs(heard[here]), says, heard[here])
        return heard


@dataclass(frozen=True)
class _Run:
    """One zone over one span: ``pixels`` ``uint8[n, 6, h, w]``, ``at`` POSIX seconds ``[n]``."""

    pixels: NDArray[np.uint8]
    at: NDArray[np.float64]
    random: bool
    camera: str
    zone: str


@dataclass(frozen=True)
class _Block:
    """A stretch of a clip with one background, and the spans to read of it.

    A span belongs to one zone, or to all of them ("") where it was drawn at random.
    """

    path: Path
    camera: Camera
    size: tuple[int, int]
    started_s: float
    stretch: Span
    spans: tuple[tuple[float, float, str], ...]


def training_days(
    registry: Registry, camera_ids: Sequence[str], captured_s: Sequence[float]
) -> dict[str, list[dt.date]]:
    """Return, per camera, the local days on which labelled frames were captured."""
    days: dict[str, set[dt.date]] = {}
    for camera_id, at in zip(camera_ids, captured_s, strict=True):
        zone = registry.camera(camera_id).timezone
        instant = dt.datetime.fromtimestamp(at, tz=dt.UTC)
        days.setdefault(camera_id, set()).add(localtime.local_day(instant, zone))
    return {camera_id: sorted(found) for camera_id, found in sorted(days.items())}


def footage_at_hand(ws: Workspace, days: dict[str, list[dt.date]]) -> list[Any]:
    """Return, JSON-able, all of these days that unlabelled instants depend on; none if no clip.

    What is known but gone is told of.
    """
    registry = cameras.load(ws.cameras_toml) if days else None
    found: list[Any] = []
    for camera_id, dates in days.items():
        for day in dates:
            assert registry is not None
            zones = [[z.name, z.polygon] for z in registry.camera(camera_id, day).zones]
            there = _clips(ws, camera_id, day)
            if gone := len(_known(ws, camera_id, day)) - len(there):
                progress.note(f"{camera_id} {day}: {gone} clip(s) are gone and teach nothing")
            clips = [
                [row["clip_id"], row["content_hash"], row["started_at"].isoformat()]
                for row in there
            ]
            found += [[camera_id, str(day), zones, clips]] if clips else []
    return found


def read_windows(
    ws: Workspace,
    days: dict[str, list[dt.date]],
    labelled: dict[str, list[tuple[float, str]]],
    per_zone: int,
    height: int,
    width: int,
    seed: int,
) -> Windows:
    """Read about ``per_zone`` random instants of each zone, and those about every labelled one.

    ``labelled`` holds, per camera, when (POSIX seconds) and in which zone frames were labelled.
    Pictures are scaled to ``height`` by ``width``. Days without ingested clips give none.
    """
    registry = cameras.load(ws.cameras_toml)
    blocks = [
        block
        for camera_id, dates in days.items()
        for block in _drawn(
            ws, registry, camera_id, dates, labelled.get(camera_id, []), per_zone, seed
        )
    ]
    read = dict(cores.each(partial(_runs, height, width), blocks, "unlabelled"))
    runs = [run for number in range(len(blocks)) for run in read[number]]
    if not runs:
        return no_windows(height, width)
    lengths = [len(run.at) for run in runs]
    return Windows(
        pixels=np.concatenate([run.pixels for run in runs]),
        window=np.repeat(np.arange(len(runs)), lengths),
        random=np.repeat([run.random for run in runs], lengths),
        cameras=tuple(np.repeat([run.camera for run in runs], lengths).tolist()),
        zones=tuple(np.repeat([run.zone for run in runs], lengths).tolist()),
        captured_s=np.concatenate([run.at for run in runs]),
    )


def no_windows(height: int, width: int) -> Windows:
    """Return windows of nothing."""
    pixels = np.zeros((0, 6, height, width), dtype=np.uint8)
    return Windows(pixels, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))


def _drawn(
    ws: Workspace,
    registry: Registry,
    camera_id: str,
    dates: Sequence[dt.date],
    labelled: Sequence[tuple[float, str]],
    per_zone: int,
    seed: int,
) -> list[_Block]:
    """Draw random windows evenly from a camera's days; take every labelled instant with them."""
    rng = np.random.default_rng([seed, *camera_id.encode()])
    found = [
        (clip, registry.camera(camera_id, day), stretch)
        for day in dates
        for clip in _clips(ws, camera_id, day)
        for stretch in view.blocks(clip["duration_s"])
        if stretch[1] - stretch[0] >= 2.0
    ]
    if not found:
        return []
    wanted = max(1, round(per_zone / (WINDOW_S * WINDOW_HZ)))
    order = rng.permutation(len(found))
    blocks = []
    for i, number in enumerate(order):
        clip, camera, stretch = found[number]
        repeats = wanted // len(found) + (i < wanted % len(found))
        room = max(stretch[1] - stretch[0] - WINDOW_S, 0.0)
        starts = sorted(stretch[0] + rng.random(repeats) * room)
        started_s = clip["started_at"].timestamp()
        spans = [(start, min(start + WINDOW_S, stretch[1]), "") for start in starts]
        spans += _about(labelled, started_s, stretch)
        if spans:
            path, size = ws.root / clip["uri"], (clip["width_px"], clip["height_px"])
            blocks.append(_Block(path, camera, size, started_s, stretch, tuple(spans)))
    return blocks


def _about(
    labelled: Sequence[tuple[float, str]], started_s: float, stretch: Span
) -> list[tuple[float, float, str]]:
    """Return the spans about labelled instants of one block, those of a zone that touch joined."""
    spans: list[tuple[float, float, str]] = []
    for zone, at in sorted((zone, at - started_s) for at, zone in labelled):
        if not stretch[0] <= at < stretch[1]:
            continue
        low, high = max(at - ABOUT_S, stretch[0]), min(at + ABOUT_S, stretch[1])
        if spans and spans[-1][2] == zone and low <= spans[-1][1]:
            low = spans.pop()[0]
        spans.append((low, high, zone))
    return spans


def _clips(ws: Workspace, camera_id: str, day: dt.date) -> list[dict[str, Any]]:
    """Return a day's clips that can be read: old footage is deleted."""
    return [row for row in _known(ws, camera_id, day) if (ws.root / row["uri"]).is_file()]


def _known(ws: Workspace, camera_id: str, day: dt.date) -> list[dict[str, Any]]:
    path = ws.clips(camera_id, day)
    if not path.is_file():
        return []
    rows = store.read_table(path, CLIPS).to_pylist()
    return [row for row in rows if row["status"] != "quarantined"]


def _runs(height: int, width: int, block: _Block) -> list[_Run]:
    """Return what every zone shows over every span of one block."""
    crops = [view.Crop.of(zone, *block.size) for zone in block.camera.zones]
    box = view.union_box(crops)
    quiet = view.background_offsets(block.stretch)
    inside = [np.arange(a, b, 1 / WINDOW_HZ).tolist() for a, b, _ in block.spans]
    wanted = sorted({*quiet, *(t for times in inside for t in times)})
    seen = [
        (frame.offset_s, [view.cut(frame.rgb, crop, box) for crop in crops])
        for frame in video.read_at(block.path, wanted, box)
    ]
    runs: list[_Run] = []
    if not seen:
        return runs
    at = np.array([offset for offset, _ in seen])
    calm = np.unique(np.abs(at[:, None] - np.array(quiet)).argmin(axis=0))
    for z in range(len(crops)):
        empty = view.background(np.stack([seen[i][1][z] for i in calm]))
        road = pictures.scaled(empty, width, height).transpose(2, 0, 1)
        name = block.camera.zones[z].name
        for start, end, only in block.spans:
            rows = np.flatnonzero((at >= start) & (at < end))
            if not len(rows) or only not in ("", name):
                continue
            run = np.empty((len(rows), 6, height, width), dtype=np.uint8)
            run[:, 3:] = road
            for k, i in enumerate(rows):
                run[k, :3] = pictures.scaled(seen[i][1][z], width, height).transpose(2, 0, 1)
            runs.append(_Run(run, block.started_s + at[rows], not only, block.camera.id, name))
    return runs
