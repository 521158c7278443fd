"""A camera's local day of clips → a score per zone and sampled instant.

One decoding pass per clip at the camera's ``sample_hz``. Pixels live for one block of at most
300 s, whose median is the background its crops are shown with: memory does not grow with the clip.
A sparse camera (:func:`pipeline.sampling.is_sparse`) is read at keyframes, which cost next to
nothing, the background included, and in a few dense bursts, which say how long trucks stay.
Where clips overlap, the earlier one speaks. The file is a function of clips, registry entry and
model; what it was made from stands beside it, and the same again decodes nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import localtime, sampling, store, view
from pipeline.footage import video
from pipeline.learning import checkpoints, engines, pictures
from pipeline.learning.calibration import Calibration
from pipeline.schemas import CLIPS, SCORES
from pipeline.store import Workspace

if TYPE_CHECKING:
    from pipeline.domain import Camera, Span
    from pipeline.learning.engines import Engine

RULES = 1  # raised when equal inputs would give other scores
SPARSE_RULES = 1  # the same for sparse cameras alone
_LEAST_QUIET = 9


@dataclass(frozen=True)
class Scorer:
    """A model ready to score the zones of a camera."""

    engine: Engine
    calibration: Calibration
    width: int
    height: int
    channels: int

    @classmethod
    def open(cls, ws: Workspace, model_id: str, engine: str = "auto") -> Scorer:
        """Open a model by id."""
        card = checkpoints.load_card(ws, model_id)
        shape = card["input"]
        return cls(
            engine=engines.open_engine(ws, model_id, engine),
            calibration=Calibration.of_card(card),
            width=shape["width"],
            height=shape["height"],
            channels=shape["channels"],
        )

    def fitted(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale a crop to the model's input, ``uint8[h, w, 3]``."""
        return pictures.scaled(crop, self.width, self.height)

    def p_truck(
        self, crops: Sequence[NDArray[np.uint8]], background: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """Score fitted crops of one zone and block against its background."""
        shape = (len(crops), self.channels, self.height, self.width)
        pixels = np.empty(shape, dtype=np.uint8)
        pixels[:, :3] = np.stack(crops).transpose(0, 3, 1, 2)
        if self.channels == 6:
            pixels[:, 3:] = self.fitted(background).transpose(2, 0, 1)
        return self.calibration.p_truck(self.engine(pixels))


@dataclass
class _Block:
    """What has been seen of one block: instants, crops per zone, and those for the background."""

    offsets: list[float]
    crops: dict[str, list[NDArray[np.uint8]]]
    quiet: dict[str, list[NDArray[np.uint8]]]


def infer_day(
    ws: Workspace, camera: Camera, day: dt.date, model_id: str, engine: str = "auto"
) -> Path:
    """Score every sampled instant of a camera's local day; return the scores' file.

    Raises:
        NotFoundError: the day was not ingested, or there is no such model.
        FootageError: a clip that passed ingest cannot be decoded any more.
    """
    clips = store.read_table(ws.clips(camera.id, day), CLIPS).to_pylist()
    target = ws.scores(camera.id, day, model_id)
    digest, note = _made_from(ws, camera, clips, model_id, engine), target.with_suffix(".json")
    if target.is_file() and note.is_file() and store.read_json(note) == digest:
        return target
    scorer = Scorer.open(ws, model_id, engine)
    rows = list(_day_rows(ws, camera, day, clips, scorer))
    store.write_table(target, _table(rows, camera.id, model_id), SCORES)
    store.write_json(note, digest)
    return target


def _day_rows(
    ws: Workspace, camera: Camera, day: dt.date, clips: list[dict[str, Any]], scorer: Scorer
) -> Iterator[tuple[str, dt.datetime, float, str, float]]:
    """Yield (zone, captured_at, p_truck, clip_id, offset_s), each instant once."""
    span = localtime.day_span(day, camera.timezone)
    seen_until = -np.inf
    for clip in sorted(clips, key=lambda c: (c["started_at"], c["clip_id"])):
        if clip["status"] == "quarantined":
            continue
        last = seen_until
        for zone, at, p, offset in _clip_rows(ws, camera, clip, span, seen_until, scorer):
            yield zone, at, p, clip["clip_id"], offset
            last = max(last, at.timestamp())
        seen_until = last


def _clip_rows(
    ws: Workspace,
    camera: Camera,
    clip: dict[str, Any],
    day: Span,
    after: float,
    scorer: Scorer,
) -> Iterator[tuple[str, dt.datetime, float, float]]:
    """Score one clip block by block, at instants inside ``day`` and later than ``after``."""
    started = clip["started_at"]
    size = (clip["width_px"], clip["height_px"])
    crops = {zone.name: view.Crop.of(zone, *size) for zone in camera.zones}
    stretches = view.blocks(clip["duration_s"])
    path = ws.root / clip["uri"]
    wanted, quiet = _plan(camera, clip, path, stretches)
    at = started.timestamp() + wanted
    # A microsecond of slack: an overlapping clip must not repeat the very last instant.
    wanted = wanted[(at >= day[0]) & (at < day[1]) & (at > after + 1e-6)]
    slack = 0.5 * clip["duration_s"] / max(clip["frames_read"], 1)
    for stretch, block in _read_blocks(path, crops, stretches, wanted, quiet, slack, scorer):
        inside = wanted[(wanted >= stretch[0]) & (wanted < stretch[1])]
        shown = np.searchsorted(np.array(block.offsets), inside + slack, side="right") - 1
        picked = [
            i
            for i in np.unique(shown[shown >= 0]).tolist()
            if day[0] <= started.timestamp() + block.offsets[i] < day[1]
            and started.timestamp() + block.offsets[i] > after + 1e-6
        ]
        if not picked:
            continue
        for name in crops:
            empty = view.background(np.stack(block.quiet[name] or block.crops[name]))
            p = scorer.p_truck([block.crops[name][i] for i in picked], empty)
            for i, value in zip(picked, p.tolist(), strict=True):
                offset = block.offsets[i]
                yield name, started + dt.timedelta(seconds=offset), value, offset


def _read_blocks(
    path: Path,
    crops: dict[str, view.Crop],
    stretches: Sequence[Span],
    wanted: NDArray[np.float64],
    quiet: NDArray[np.float64],
    slack: float,
    scorer: Scorer,
) -> Iterator[tuple[Span, _Block]]:
    """Decode a clip once; yield each block that holds wanted instants, when it is complete.

    ``quiet`` are the instants, in order, whose median is the background.
    """
    used = [s for s in stretches if ((wanted >= s[0]) & (wanted < s[1])).any()]
    if not used:
        return
    quiet = np.concatenate([quiet[(quiet >= s[0]) & (quiet < s[1])] for s in used])
    box = view.union_box(list(crops.values()))
    block, current = _Block([], {n: [] for n in crops}, {n: [] for n in crops}), 0
    due = 0
    for frame in video.read_at(path, sorted({*wanted.tolist(), *quiet.tolist()}), box):
        while current < len(used) - 1 and frame.offset_s + slack >= used[current + 1][0]:
            if block.offsets:
                yield used[current], block
            block = _Block([], {n: [] for n in crops}, {n: [] for n in crops})
            current += 1
        is_quiet = due < len(quiet) and frame.offset_s + slack >= quiet[due]
        while due < len(quiet) and frame.offset_s + slack >= quiet[due]:
            due += 1
        block.offsets.append(frame.offset_s)
        for name, crop in crops.items():
            rgb = view.cut(frame.rgb, crop, box)
            if is_quiet:
                block.quiet[name].append(rgb)
            block.crops[name].append(scorer.fitted(rgb))
    if block.offsets:
        yield used[current], block


def _plan(
    camera: Camera, clip: dict[str, Any], path: Path, stretches: Sequence[Span]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the instants to score and those of the background, in seconds after the start."""
    if not sampling.is_sparse(camera.sample_hz):
        quiet = np.array(sorted(t for s in stretches for t in view.background_offsets(s)))
        return _instants(camera.sample_hz, clip["duration_s"]), quiet
    keys = video.keyframe_offsets(path)
    seed = int.from_bytes(hashlib.blake2b(str(clip["clip_id"]).encode(), digest_size=8).digest())
    steady, dense = sampling.sparse(clip["duration_s"], camera.sample_hz, keys, seed)
    shown = set(steady)
    for start, end in stretches:  # a short clip has too few of them to tell the road from traffic
        if sum(start <= t < end for t in steady) < _LEAST_QUIET:
            spread = view.background_offsets((start, end), _LEAST_QUIET)
            shown |= {_nearest(keys, t) for t in spread}
    return np.array(sorted({*steady, *dense})), np.array(sorted(shown))


def _nearest(keys: Sequence[float], instant: float) -> float:
    return min(keys, key=lambda key: abs(key - instant), default=instant)


def _instants(sample_hz: float, duration_s: float) -> NDArray[np.float64]:
    """Return the clip's sampling instants, in seconds after its first frame."""
    n = int(np.floor(duration_s * sample_hz - 1e-9)) + 1
    return np.arange(max(n, 1), dtype=np.float64) / sample_hz


def _table(
    rows: list[tuple[str, dt.datetime, float, str, float]], camera_id: str, model_id: str
) -> pa.Table:
    rows = sorted(rows, key=lambda row: (row[0], row[1]))
    zones, at, p, clip_ids, offsets = zip(*rows, strict=True) if rows else ((),) * 5
    return pa.table(
        {
            "camera_id": pa.array([camera_id] * len(rows), pa.string()),
            "zone": pa.array(zones, pa.string()),
            "captured_at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "p_truck": pa.array(np.array(p, dtype=np.float32)),
            "model_id": pa.array([model_id] * len(rows), pa.string()),
            "clip_id": pa.array(clip_ids, pa.string()),
            "offset_s": pa.array(offsets, pa.float64()),
        }
    )


def _made_from(
    ws: Workspace, camera: Camera, clips: list[dict[str, Any]], model_id: str, engine: str
) -> dict[str, str]:
    """Digest what the scores depend on."""
    weights = (ws.model(model_id) / checkpoints.CARD).read_bytes() if model_id else b""
    zones = [(z.name, z.polygon) for z in camera.zones]
    rules = [RULES, SPARSE_RULES] if sampling.is_sparse(camera.sample_hz) else RULES
    said = json.dumps([rules, camera.sample_hz, camera.timezone, zones, clips, engine], default=str)
    digest = hashlib.blake2b(said.encode() + weights, digest_size=16).hexdigest()
    return {"made_from": digest}
