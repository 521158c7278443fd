"""``sample``: choose frames over the ingested clips and write them for people to judge.

One pass over blocks of footage (at most 300 s, which share a background) reads candidate
instants about once a second and the instants of the random share, measures what moves in each zone,
and keeps every crop as a JPEG of a few kilobytes; the enriched frames are then drawn from those
measures. Writes ``frames/<campaign>/<frame_id>.jpg`` and ``.bg.jpg`` (quality 95, no chroma
subsampling), then the table, last: a call that was cut off is simply made again, with the same
result.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from labeling import selection
from labeling.selection import Motion
from pipeline import cameras as registry
from pipeline import cores, exposure, localtime, store
from pipeline.domain import Camera, Span
from pipeline.errors import InputError
from pipeline.store import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.view import Crop

STEP_S: Final = 1.0
"""Seconds between two candidate instants, less where there is little footage."""
SCAN: Final = 24
"""At most this many candidates are read per frame wanted; beyond that, a sample of the blocks."""
QUALITY: Final = 95
MOST_WORKERS: Final = 8

Scores = Callable[["dict[int, Seen]", str, "Sequence[tuple[int, float]]"], "NDArray[np.float64]"]
"""What was seen, a zone, and candidates by block and offset → p_truck of each."""


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


@dataclass(frozen=True)
class Look:
    """What to read in a block: candidates for every zone, and given instants of some zones."""

    block: Block
    candidates: tuple[float, ...] = ()
    cut: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What a look found, by zone: candidates measured, instants cut, JPEGs by true offset."""

    motions: dict[str, list[tuple[float, Motion]]]
    cut: dict[str, list[float]]
    pictures: dict[str, dict[float, bytes]]
    backgrounds: dict[str, bytes]


@dataclass(frozen=True)
class Chosen:
    """A frame to be written. ``offset_s`` is the true presentation offset."""

    block: int
    zone: str
    offset_s: float
    why: str
    weight: float


def sample(
    ws: Workspace,
    campaign: str,
    n: int,
    cameras: Sequence[str] = (),
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
    seed: int = 0,
    model_id: str | None = None,
) -> int:
    """Add ``n`` frames to a campaign, in equal parts over the zones of the cameras named.

    Args:
        ws: the workspace; its clips must have been ingested.
        campaign: new or existing.
        n: total for this call. Fewer come where the footage holds no more instants.
        cameras: none named: all.
        first_day: first camera-local day; None: as far back as there are clips.
        last_day: last camera-local day; None: up to the newest clip.
        seed: another seed, other frames.
        model_id: a model that says which candidates are trucks or uncertain; without one, size
            and movement say it. It touches the enriched share only.

    Returns:
        Rows added; 0 where the same call was made before.

    Raises:
        InputError: ``n`` is not positive, or there is no usable footage in that range.
        NotFoundError: a camera is unknown.
    """
    if n < 1:
        raise InputError(f"--n {n} frames cannot be sampled.", "Ask for 1 or more.")
    known = registry.load(ws.cameras_toml)
    chosen_cameras = sorted(known.chosen(cameras))
    batch = _request_id(n, chosen_cameras, first_day, last_day, seed, model_id)
    held = _held(ws, campaign)
    if any(row["batch"] == batch for row in held):
        return 0
    blocks = usable_blocks(ws, chosen_cameras, first_day, last_day)
    rows = _draw(ws, campaign, n, blocks, {row["frame_id"] for row in held}, seed, model_id)
    rows = [row | {"batch": batch} for row in rows]
    _write(ws, campaign, held + rows)
    return len(rows)


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


def frame_id(camera: str, zone: str, clip_id: str, offset_s: float) -> str:
    """Name a frame by what it shows: 16 hex digits of camera, zone, clip and millisecond."""
    text = "\0".join([camera, zone, clip_id, str(round(offset_s * 1000))])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _request_id(
    n: int,
    cameras: Sequence[str],
    first_day: dt.date | None,
    last_day: dt.date | None,
    seed: int,
    model_id: str | None,
) -> str:
    request = [n, list(cameras), str(first_day), str(last_day), seed]
    request += [model_id] if model_id else []
    return hashlib.blake2b(json.dumps(request).encode(), digest_size=6).hexdigest()


def _held(ws: Workspace, campaign: str) -> list[dict[str, Any]]:
    from pipeline import schemas

    path = ws.campaign_frames(campaign) / "frames.parquet"
    return store.read_table(path, schemas.FRAMES).to_pylist() if path.is_file() else []


def _write(ws: Workspace, campaign: str, rows: list[dict[str, Any]]) -> None:
    from pipeline import schemas

    ordered = sorted(rows, key=lambda r: (r["camera_id"], r["zone"], r["captured_at"]))
    path = ws.campaign_frames(campaign) / "frames.parquet"
    store.write_table(path, store.table_of(ordered, schemas.FRAMES), schemas.FRAMES)


# --- what may be sampled ---------------------------------------------------------------------


def _blocks(
    ws: Workspace,
    known: registry.Registry,
    camera_id: str,
    first_day: dt.date | None,
    last_day: dt.date | None,
) -> list[Block]:
    """List the blocks of a camera's usable clips, by time; footage filmed twice counts once."""
    from pipeline.view import blocks

    days = ws.days("clips", camera_id)
    days = [d for d in days if (first_day or d) <= d <= (last_day or d)]
    timezone = known.camera(camera_id).timezone
    wanted = exposure.union([localtime.day_span(d, timezone) for d in days])
    found: list[Block] = []
    taken: tuple[Span, ...] = ()
    for clip in _clips(ws, camera_id, days):
        start = clip["started_at"].timestamp()
        covered = exposure.shift([(s["start_s"], s["end_s"]) for s in clip["covered"]], start)
        usable = exposure.subtract(exposure.intersection(covered, wanted), taken)
        taken = exposure.union(taken, covered)
        day = localtime.local_day(clip["started_at"], timezone)
        for stretch in blocks(clip["duration_s"]):
            spans = exposure.intersection(exposure.shift(usable, -start), [stretch])
            if exposure.seconds(spans) > 0:
                found.append(_block(ws, known.camera(camera_id, day), clip, stretch, spans))
    return found


def _clips(ws: Workspace, camera_id: str, days: Iterable[dt.date]) -> list[dict[str, Any]]:
    from pipeline import schemas

    clips: dict[str, dict[str, Any]] = {}
    for day in days:
        for row in store.read_table(ws.clips(camera_id, day), schemas.CLIPS).to_pylist():
            if row["status"] in ("ok", "partial"):
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


# --- the draw --------------------------------------------------------------------------------


def _draw(
    ws: Workspace,
    campaign: str,
    n: int,
    blocks: list[Block],
    held: set[str],
    seed: int,
    model_id: str | None,
) -> list[dict[str, Any]]:
    scores = _scores(ws, model_id) if model_id else None
    zones = sorted({(b.camera.id, z.name) for b in blocks for z in b.camera.zones})
    wanted = dict(zip(zones, selection.shares(n, [1.0] * len(zones)), strict=True))
    random = {zone: _random_share(blocks, zone, k, seed) for zone, k in wanted.items()}
    looks, scanned_share, step_s = _looks(blocks, wanted, random, seed)
    seen: dict[int, Seen] = {}
    numbers = sorted(looks)
    for i, result in cores.each(
        _look, [looks[i] for i in numbers], "looking for movement", MOST_WORKERS
    ):
        seen[numbers[i]] = result
    rows = _saved(ws, campaign, blocks, seen, _random_frames(blocks, seen, random), held)
    taken = held | {row["frame_id"] for row in rows}
    for zone, k in wanted.items():
        here = sum(1 for r in rows if (r["camera_id"], r["zone"]) == zone)
        scale = step_s[zone[0]] / scanned_share[zone[0]]
        chosen = _enriched(blocks, seen, zone, k - here, taken, scale, seed, scores)
        rows += _saved(ws, campaign, blocks, seen, chosen, taken)
    return rows


def _rng(*parts: object) -> np.random.Generator:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _random_share(
    blocks: list[Block], zone: tuple[str, str], n: int, seed: int
) -> dict[int, list[tuple[float, float]]]:
    """Draw the random share of a zone: block number → (instant, weight in seconds)."""
    own = [i for i in range(len(blocks)) if _has(blocks[i], zone)]
    own.sort(key=lambda i: (blocks[i].hour, blocks[i].started_at, blocks[i].stretch))
    spans = [(i, span) for i in own for span in blocks[i].spans]
    # Where one frame is wanted it is a random one: estimates come first.
    wanted = max(1, round(selection.RANDOM_SHARE * n)) if n else 0
    rng = _rng("random", seed, *zone)
    drawn: dict[int, list[tuple[float, float]]] = defaultdict(list)
    weight = sum(end - start for _, (start, end) in spans) / max(wanted, 1)
    for index, instant in selection.uniform_instants([s for _, s in spans], wanted, rng):
        drawn[spans[index][0]].append((instant, weight))
    return drawn


def _has(block: Block, zone: tuple[str, str]) -> bool:
    return block.camera.id == zone[0] and any(z.name == zone[1] for z in block.camera.zones)


def _looks(
    blocks: list[Block],
    wanted: dict[tuple[str, str], int],
    random: dict[tuple[str, str], dict[int, list[tuple[float, float]]]],
    seed: int,
) -> tuple[dict[int, Look], dict[str, float], dict[str, float]]:
    """Plan the first pass: by block number what to read; by camera the share of blocks scanned
    and the seconds between candidates.
    """  # noqa: D205 - two results, one sentence
    looks: dict[int, Look] = {}
    scanned_share: dict[str, float] = {}
    step_s: dict[str, float] = {}
    for camera in sorted({b.camera.id for b in blocks}):
        own = [i for i, b in enumerate(blocks) if b.camera.id == camera]
        n = max(k for (c, _), k in wanted.items() if c == camera)
        total = sum(exposure.seconds(blocks[i].spans) for i in own)
        step = step_s[camera] = min(STEP_S, max(0.2, total / (10 * max(n, 1))))
        keep = min(1.0, SCAN * n * step / total) if total else 1.0
        own.sort(key=lambda i: (blocks[i].hour, blocks[i].started_at, blocks[i].stretch))
        count = max(1, math.ceil(keep * len(own)))
        rng = _rng("scan", seed, camera)
        scanned = {own[i] for i in selection.systematic(np.full(len(own), count / len(own)), rng)}
        scanned_share[camera] = count / len(own)
        for i in own:
            grid = _grid(blocks[i], step, rng) if i in scanned else ()
            cut = {
                zone: tuple(t for t, _ in by_block[i])
                for (c, zone), by_block in random.items()
                if c == camera and i in by_block
            }
            if grid or cut:
                looks[i] = Look(blocks[i], grid, cut)
    return looks, scanned_share, step_s


def _grid(block: Block, step_s: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Every ``step_s`` through the block from a random start on, within its usable spans."""
    start, end = block.stretch
    instants = np.arange(start + rng.random() * step_s, end, step_s)
    return tuple(float(t) for t in instants if any(a <= t < b for a, b in block.spans))


def _enriched(
    blocks: list[Block],
    seen: dict[int, Seen],
    zone: tuple[str, str],
    n: int,
    taken: set[str],
    scale_s: float,
    seed: int,
    scores: Scores | None,
) -> list[Chosen]:
    """Draw ``n`` candidates of a zone, in favour of large moving things, spread over the hours."""
    pool = [
        (number, offset, motion)
        for number in sorted(seen)
        for offset, motion in seen[number].motions.get(zone[1], [])
        if blocks[number].camera.id == zone[0]
        and frame_id(*zone, blocks[number].clip_id, offset) not in taken
    ]
    if not pool or n < 1:
        return []
    # In this order a systematic draw spreads over hours and over places in the zone.
    pool.sort(key=lambda c: (blocks[c[0]].hour, int(4 * c[2].x), c[0], c[1]))
    sizes = np.array([motion.size for _, _, motion in pool])
    hours = np.array([blocks[i].hour for i, _, _ in pool])
    chance, large = selection.measure(sizes, hours)
    why = np.where(large, "large", np.where(sizes > 0, "moving", "still"))
    if scores is not None:
        p_truck = scores(seen, zone[1], [(i, offset) for i, offset, _ in pool])
        chance = selection.measure_by_model(p_truck, hours)
        unsure = (p_truck > 0.1) & (p_truck < 0.9)
        why = np.where(unsure, "unsure", np.where(p_truck >= 0.9, "likely", "unlikely"))
    repeats = _repeats(pool, np.where(large, 2, np.where(sizes > 0, 1, 0)), n)
    chance = np.where(repeats > 0, chance, 0.0)
    probability = selection.inclusion(chance, n)
    picked = selection.systematic(probability, _rng("enriched", seed, *zone))
    return [
        Chosen(
            block=pool[i][0],
            zone=zone[1],
            offset_s=pool[i][1],
            why=str(why[i]),
            weight=float(scale_s * repeats[i] / probability[i]),
        )
        for i in picked
    ]


def _scores(ws: Workspace, model_id: str) -> Scores:
    """Return what scores candidates, given by block and offset, with a model."""
    import simplejpeg

    from pipeline.learning.infer import Scorer

    scorer = Scorer.open(ws, model_id)

    def picture(jpeg: bytes) -> NDArray[np.uint8]:
        return np.asarray(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), np.uint8)

    def p_truck(
        seen: dict[int, Seen], zone: str, wanted: Sequence[tuple[int, float]]
    ) -> NDArray[np.float64]:
        found = np.zeros(len(wanted))
        of_block = np.array([number for number, _ in wanted])
        for number in np.unique(of_block):
            own = np.flatnonzero(of_block == number)
            look = seen[int(number)]
            crops = [scorer.fitted(picture(look.pictures[zone][wanted[i][1]])) for i in own]
            found[own] = scorer.p_truck(crops, picture(look.backgrounds[zone]))
        return found

    return p_truck


def _repeats(
    pool: list[tuple[int, float, Motion]], kinds: NDArray[np.intp], n: int
) -> NDArray[np.intp]:
    """Return how many candidates each one stands for; 0 for a near-duplicate of another.

    Where fewer than ``n`` would be left, every candidate stands for itself.
    """
    stands_for = np.zeros(len(pool), np.intp)
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        first = selection.near_duplicates([pool[i][2].hash for i in own])
        np.add.at(stands_for, own[first], 1)
    if np.count_nonzero(stands_for) < n:
        return np.ones(len(pool), np.intp)
    return stands_for


# --- reading ---------------------------------------------------------------------------------


def _look(look: Look) -> Seen:
    """Read a block once: background, candidates and given instants of all its zones."""
    from pipeline import view
    from pipeline.footage import video

    block = look.block
    crops = {z.name: view.Crop.of(z, *block.size) for z in block.camera.zones}
    box = view.union_box(list(crops.values()))
    quiet = view.background_offsets(block.stretch)
    given = {t for instants in look.cut.values() for t in instants}
    offsets = sorted({*quiet, *look.candidates, *given})
    shown: list[float] = []
    stacks: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in crops}
    for frame in video.read_at(Path(block.path), offsets, box):
        shown.append(frame.offset_s)
        for name, crop in crops.items():
            stacks[name].append(view.cut(frame.rgb, crop, box))
    at = _frame_of(np.array(shown), np.array(offsets))
    of = dict(zip(offsets, at.tolist(), strict=True)) if shown else {}
    return _seen(look, crops, shown, stacks, of, quiet)


def _seen(
    look: Look,
    crops: dict[str, Crop],
    shown: list[float],
    stacks: dict[str, list[NDArray[np.uint8]]],
    of: dict[float, int],
    quiet: Sequence[float],
) -> Seen:
    from pipeline import view

    seen = Seen({}, {}, {}, {})
    for name in crops if shown else ():
        stack = stacks[name]
        empty = view.background(np.stack([stack[i] for i in sorted({of[t] for t in quiet})]))
        seen.backgrounds[name] = _jpeg(empty)
        candidates = sorted({of[t] for t in look.candidates})
        cut = sorted({of[t] for t in look.cut.get(name, ())})
        seen.motions[name] = [(shown[i], selection.motion(stack[i], empty)) for i in candidates]
        seen.cut[name] = [shown[i] for i in cut]
        kept = sorted({*candidates, *cut})
        seen.pictures[name] = {shown[i]: _jpeg(stack[i]) for i in kept}
    return seen


def _frame_of(shown: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each wanted instant the number of the frame shown then: the latest not after it.

    ``read_at`` may give a frame that begins up to half a frame later; half the shortest step
    between two frames tells which.
    """
    half = float(np.diff(shown).min()) / 2 if len(shown) > 1 else 0.5
    found = np.searchsorted(shown, wanted + half, side="right") - 1
    return np.clip(found, 0, max(len(shown) - 1, 0))


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    import simplejpeg

    picture = np.ascontiguousarray(rgb)
    return bytes(
        simplejpeg.encode_jpeg(picture, quality=QUALITY, colorspace="RGB", colorsubsampling="444")
    )


# --- writing ---------------------------------------------------------------------------------


def _random_frames(
    blocks: list[Block],
    seen: dict[int, Seen],
    random: dict[tuple[str, str], dict[int, list[tuple[float, float]]]],
) -> list[Chosen]:
    return [
        Chosen(number, zone, offset, "random", by_block[number][0][1])
        for (camera, zone), by_block in random.items()
        for number in sorted(by_block)
        if blocks[number].camera.id == camera
        for offset in seen[number].cut.get(zone, [])
    ]


def _saved(
    ws: Workspace,
    campaign: str,
    blocks: list[Block],
    seen: dict[int, Seen],
    chosen: list[Chosen],
    held: set[str],
) -> list[dict[str, Any]]:
    """Write the pictures of frames that the campaign does not hold yet; return their rows."""
    rows = [(frame, _row(blocks[frame.block], frame)) for frame in chosen]
    new = [(frame, row) for frame, row in rows if row["frame_id"] not in held]
    for frame, row in new:
        found = seen[frame.block]
        folder = ws.campaign_frames(campaign)
        store.write_bytes(folder / row["path"], found.pictures[frame.zone][frame.offset_s])
        store.write_bytes(folder / row["background_path"], found.backgrounds[frame.zone])
    return [row for _, row in new]


def _row(block: Block, frame: Chosen) -> dict[str, Any]:
    """Lay out a row of ``schemas.FRAMES``, without its batch."""
    name = frame_id(block.camera.id, frame.zone, block.clip_id, frame.offset_s)
    return {
        "frame_id": name,
        "camera_id": block.camera.id,
        "zone": frame.zone,
        "clip_id": block.clip_id,
        "captured_at": block.started_at + dt.timedelta(seconds=frame.offset_s),
        "offset_s": frame.offset_s,
        "path": f"{name}.jpg",
        "background_path": f"{name}.bg.jpg",
        "why_chosen": frame.why,
        "weight": frame.weight,
    }
