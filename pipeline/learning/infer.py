"""A camera's local day of clips → a score per zone and sampled instant.

One decoding pass per clip at the camera's ``sample_hz``. Pixels live for one block of at most
300 s, whose median is the background its crops are shown with: memory does not grow with the clip.
A sparse camera (:func:`pipeline.sampling.is_sparse`) is read at keyframes, which cost next to
nothing, the background included, and in a few dense bursts, which say how long trucks stay.
Where clips overlap, the earlier one speaks. The file is a function of clips, registry entry and
model; what it was made from stands beside it, and the same again decodes nothing. Each block's
scores are kept as they come (``<model>.parts/``), so a day that is stopped goes on within its clip.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import exposure, localtime, sampling, store, view
from pipeline.footage import video
from pipeline.learning import cards, engines, pictures
from pipeline.learning.calibration import Calibration
from pipeline.progress import spoken
from pipeline.schemas import CLIPS, SCORES
from pipeline.store import Workspace

if TYPE_CHECKING:
    from pipeline.domain import Camera, Span
    from pipeline.learning.engines import Engine

RULES = 3  # raised when equal inputs would give other scores

_SCORED_BY = (  # what of a clip's row its scores depend on; what is trusted later has none so far
    "clip_id",
    "covered",
    "uri",
    "content_hash",
    "started_at",
    "duration_s",
    "frames_read",
    "width_px",
    "height_px",
)
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
    def open(cls, ws: Workspace, model_id: str, engine: str = "auto", threads: int = 0) -> Scorer:
        """Open a model by id; ``threads`` 0 takes as many as there are cores."""
        card = cards.load_card(ws, model_id)
        shape = card["input"]
        return cls(
            engine=engines.open_engine(ws, model_id, engine, threads),
            calibration=Calibration.of_card(card),
            width=shape["width"],
            height=shape["height"],
            channels=shape["channels"],
        )

    @property
    def needs_background(self) -> bool:
        """Whether the network sees the background as three more channels."""
        return self.channels == 6

    def fitted(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale a crop to the model's input, ``uint8[h, w, 3]``."""
        return pictures.scaled(crop, self.width, self.height)

    def p_truck(
        self, crops: Sequence[NDArray[np.uint8]], background: NDArray[np.uint8] | None
    ) -> NDArray[np.float64]:
        """Score fitted crops of one zone and block against its background, where one is needed."""
        return self.calibration.p_truck(self.engine(self.pixels(crops, background)))

    def pixels(
        self, crops: Sequence[NDArray[np.uint8]], background: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        """Lay fitted crops and their background out as the model's input, ``uint8[n, c, h, w]``."""
        shape = (len(crops), self.channels, self.height, self.width)
        pixels = np.empty(shape, dtype=np.uint8)
        pixels[:, :3] = np.stack(crops).transpose(0, 3, 1, 2)
        if background is not None and self.channels == 6:
            pixels[:, 3:] = self.fitted(background).transpose(2, 0, 1)
        return pixels


@dataclass
class _Block:
    """What has been seen of one block: instants, crops per zone, and those for the background."""

    offsets: list[float]
    crops: dict[str, list[NDArray[np.uint8]]]
    quiet: dict[str, list[NDArray[np.uint8]]]


def infer_day(
    ws: Workspace,
    camera: Camera,
    day: dt.date,
    model_id: str,
    engine: str = "auto",
    threads: int = 0,
) -> Path:
    """Score every sampled instant of a camera's local day; return the scores' file.

    ``threads`` 0 takes as many as there are cores.

    Raises:
        NotFoundError: the day was not ingested, or there is no such model.
        FootageError: a clip that passed ingest cannot be decoded any more.
    """
    target = ws.scores(camera.id, day, model_id)
    folder = target.with_suffix(".parts")
    if is_scored(ws, camera, day, model_id, engine):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed at its very end
        return target
    clips = store.read_table(ws.clips(camera.id, day), CLIPS).to_pylist()
    digest = _made_from(ws, camera, clips, model_id, engine)
    scorer = Scorer.open(ws, model_id, engine, threads)
    parts = _Parts(folder, digest)
    tables = list(_day_tables(ws, camera, day, clips, scorer, model_id, parts))
    rows = pa.concat_tables([store.table_of([], SCORES), *tables])
    store.write_table(
        target, rows.sort_by([("zone", "ascending"), ("captured_at", "ascending")]), SCORES
    )
    store.write_json(target.with_suffix(".json"), digest)
    parts.remove()
    return target


def is_scored(
    ws: Workspace, camera: Camera, day: dt.date, model_id: str, engine: str = "auto"
) -> bool:
    """Tell whether a day's scores are there, made from the clips, zones and model of now."""
    target = ws.scores(camera.id, day, model_id)
    note = target.with_suffix(".json")
    if not (target.is_file() and note.is_file()):
        return False
    clips = store.read_table(ws.clips(camera.id, day), CLIPS).to_pylist()
    return bool(store.read_json(note) == _made_from(ws, camera, clips, model_id, engine))


class _Parts:
    """A day half done: the scores of each finished block of each clip, a file each."""

    def __init__(self, folder: Path, made_from: dict[str, str]) -> None:
        """Take up what is there, if it was made from the same."""
        self._folder, note = folder, folder / "made_from.json"
        if folder.is_dir() and not (note.is_file() and store.read_json(note) == made_from):
            self.remove()
        if not note.is_file():
            store.write_json(note, made_from)

    def known(self, clip_id: str, number: int) -> pa.Table | None:
        """Return the scores of a clip's block, if it was finished."""
        path = self._at(clip_id, number)
        return store.read_table(path, SCORES) if path.is_file() else None

    def keep(self, clip_id: str, number: int, scores: pa.Table) -> None:
        """Keep the scores of a finished block."""
        store.write_table(self._at(clip_id, number), scores, SCORES)

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _at(self, clip_id: str, number: int) -> Path:
        return self._folder / f"{store.checked_name(clip_id, 'clip')}.{number}.parquet"


def _day_tables(
    ws: Workspace,
    camera: Camera,
    day: dt.date,
    clips: list[dict[str, Any]],
    scorer: Scorer,
    model_id: str,
    parts: _Parts,
) -> Iterator[pa.Table]:
    """Yield the scores of each block of each clip, each instant once.

    A clip speaks of what it truly saw, the earlier of two first: where one is frozen, another that
    overlaps it is heard.
    """
    span = localtime.day_span(day, camera.timezone)
    taken: tuple[Span, ...] = ()
    for clip in sorted(clips, key=lambda c: (c["started_at"], c["clip_id"])):
        if clip["status"] == "quarantined":
            continue
        own = exposure.shift(
            ((s["start_s"], s["end_s"]) for s in clip["covered"]), clip["started_at"].timestamp()
        )
        free = exposure.intersection(exposure.subtract(own, taken), [span])
        if free:
            yield from _clip_tables(ws, camera, clip, free, scorer, model_id, parts)
        taken = exposure.union(taken, own)


def _clip_tables(
    ws: Workspace,
    camera: Camera,
    clip: dict[str, Any],
    free: Sequence[Span],
    scorer: Scorer,
    model_id: str,
    parts: _Parts,
) -> Iterator[pa.Table]:
    """Score one clip block by block, at instants inside ``free`` (POSIX seconds)."""
    start, clip_id = clip["started_at"].timestamp(), clip["clip_id"]
    size = (clip["width_px"], clip["height_px"])
    crops = {zone.name: view.Crop.of(zone, *size) for zone in camera.zones}
    stretches = view.blocks(clip["duration_s"])
    path = ws.root / clip["uri"]
    wanted, quiet = _plan(camera, clip, path, stretches)
    # A microsecond of slack, so that clips that follow on each other neither skip nor repeat one.
    edges = np.array(free, dtype=np.float64).ravel() - 1e-6

    def belongs(offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.searchsorted(edges, start + offsets, side="right") % 2 == 1)

    wanted = wanted[belongs(wanted)]
    for number, stretch in enumerate(stretches):
        table = parts.known(clip_id, number)
        if table is not None:
            yield table
            wanted = wanted[(wanted < stretch[0]) | (wanted >= stretch[1])]
    slack = 0.5 * clip["duration_s"] / max(clip["frames_read"], 1)
    hear = spoken(path.name, from_s=float(wanted[0]) if wanted.size else 0.0)
    for stretch, block in _read_blocks(path, crops, stretches, wanted, quiet, slack, scorer):
        inside = wanted[(wanted >= stretch[0]) & (wanted < stretch[1])]
        offsets = np.array(block.offsets)
        shown = np.searchsorted(offsets, inside + slack, side="right") - 1
        picked = np.unique(shown[shown >= 0])
        picked = picked[belongs(offsets[picked])]
        table = _scored(camera.id, clip, block, picked, scorer, model_id)
        parts.keep(clip_id, stretches.index(stretch), table)
        yield table
        hear(stretch[1], clip["duration_s"])


def _scored(
    camera_id: str,
    clip: dict[str, Any],
    block: _Block,
    picked: NDArray[np.intp],
    scorer: Scorer,
    model_id: str,
) -> pa.Table:
    """Score the picked pictures of a block in every zone."""
    rows: list[dict[str, Any]] = []
    for name in block.crops if picked.size else ():
        empty = None
        if scorer.needs_background:
            empty = view.background(np.stack(block.quiet[name] or block.crops[name]))
        p_truck = scorer.p_truck([block.crops[name][i] for i in picked], empty)
        rows += [
            {
                "camera_id": camera_id,
                "zone": name,
                "captured_at": clip["started_at"] + dt.timedelta(seconds=block.offsets[i]),
                "p_truck": float(p),
                "model_id": model_id,
                "clip_id": clip["clip_id"],
                "offset_s": block.offsets[i],
            }
            for i, p in zip(picked, p_truck, strict=True)
        ]
    return store.table_of(rows, SCORES)


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
    looks = used if scorer.needs_background else ()
    near = [quiet[(quiet >= s[0]) & (quiet < s[1])] for s in looks]
    quiet = np.concatenate([np.empty(0), *near])
    box = view.union_box(list(crops.values()))
    block, current = _Block([], {n: [] for n in crops}, {n: [] for n in crops}), 0
    due = 0
    for frame in video.read_at(path, sorted({*wanted.tolist(), *quiet.tolist()}), box):
        if frame.offset_s + slack < used[0][0]:
            continue  # still shown when the first block begins, but the one before it has it
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


def _made_from(
    ws: Workspace, camera: Camera, clips: list[dict[str, Any]], model_id: str, engine: str
) -> dict[str, str]:
    """Digest what the scores depend on."""
    weights = (ws.model(model_id) / cards.CARD).read_bytes() if model_id else b""
    zones = [(z.name, z.polygon) for z in camera.zones]
    rules = [RULES, SPARSE_RULES] if sampling.is_sparse(camera.sample_hz) else RULES
    used = [
        {key: clip[key] for key in _SCORED_BY} for clip in clips if clip["status"] != "quarantined"
    ]
    said = json.dumps([rules, camera.sample_hz, camera.timezone, zones, used, engine], default=str)
    digest = hashlib.blake2b(said.encode() + weights, digest_size=16).hexdigest()
    return {"made_from": digest}
