"""``sample``: choose frames over the ingested clips and write them for people to judge.

One pass over blocks of footage (at most 300 s, which share a background) reads candidate instants
about once a second and the instants of the random share, and measures what moves in each zone; the
enriched frames are then drawn from those measures, or from a model's scores, spread over the hours
and over what the candidates look like. Writes ``frames/<campaign>/<frame_id>.jpg`` and
``.bg.jpg``, then the table, last: a call that was cut off is simply made again, with the same
result.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from labeling import selection
from labeling.blocks import Block, usable_blocks
from labeling.campaign import HELD_OUT
from labeling.judging import CURRENT, NO_MODEL, Judge, judge_of
from labeling.looking import Look, Seen, look_at
from labeling.selection import Motion
from pipeline import cameras as registry
from pipeline import cores, exposure, store
from pipeline.errors import InputError
from pipeline.store import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP_S: Final = 1.0
"""Seconds between two candidate instants, less where there is little footage."""
SCAN: Final = 24
"""At most this many candidates are read per frame wanted; beyond that, a sample of the blocks."""
STAY_S: Final = 2.0
"""For so long what moves in a zone is taken for one vehicle."""
MOST_WORKERS: Final = 8


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
    model: str = CURRENT,
    random_share: float | None = None,
) -> int:
    """Add ``n`` frames to a campaign, in equal parts over the zones of the cameras named.

    Args:
        ws: the workspace; its clips must have been ingested.
        campaign: new or existing.
        n: total for this call. Fewer come where the footage holds no more instants.
        cameras: none named: all.
        first_day: first camera-local day; None: as far back as there are clips.
        last_day: last camera-local day; None: up to the newest clip.
        seed: another seed, other frames. Two campaigns share frames where seed and days are the
            same, but for those called ``held-out…``, which judge what the others teach.
        model: id of a model that says which candidates are trucks or uncertain; ``current``: the
            one in use, where there is one; ``none``: size and movement say it. It touches the
            enriched share only.
        random_share: part drawn purely at random, for unbiased estimates; 1 enriches nothing. None:
            ``selection.RANDOM_SHARE``.

    Returns:
        Rows added; 0 where the same call was made before.

    Raises:
        InputError: ``n`` is not positive, the share is not within 0-1, or there is no usable
            footage in that range.
        NotFoundError: a camera or the model is unknown.
    """
    if n < 1:
        raise InputError(f"--n {n} frames cannot be sampled.", "Ask for 1 or more.")
    if random_share is None:
        random_share = selection.RANDOM_SHARE
    if not 0.0 <= random_share <= 1.0:
        raise InputError(f"a random share of {random_share:g}.", "Give a part between 0 and 1.")
    known = registry.load(ws.cameras_toml)
    chosen_cameras = sorted(known.chosen(cameras))
    batch = _request_id(n, chosen_cameras, first_day, last_day, seed, model, random_share)
    held = _held(ws, campaign)
    if any(row["batch"] == batch for row in held):
        return 0
    blocks = usable_blocks(ws, chosen_cameras, first_day, last_day)
    judge = judge_of(ws, model)
    taken = {row["frame_id"] for row in held}
    if campaign.startswith(HELD_OUT):  # frames of its own; the call keeps its name
        seed = int(_rng(campaign, seed).integers(2**63))
    rows = _draw(ws, campaign, n, blocks, taken, seed, judge, random_share)
    return _add(ws, campaign, [row | {"batch": batch} for row in rows])


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
    model: str,
    random_share: float,
) -> str:
    """Name a call. It stays the same call when a first model comes into use, or the next one."""
    request = [n, list(cameras), str(first_day), str(last_day), seed]
    request += [model] if model not in (CURRENT, NO_MODEL) else []
    request += [random_share] if random_share != selection.RANDOM_SHARE else []
    return hashlib.blake2b(json.dumps(request).encode(), digest_size=6).hexdigest()


def _held(ws: Workspace, campaign: str) -> list[dict[str, Any]]:
    from pipeline import schemas

    path = ws.campaign_frames(campaign) / "frames.parquet"
    return store.read_table(path, schemas.FRAMES).to_pylist() if path.is_file() else []


def _add(ws: Workspace, campaign: str, rows: list[dict[str, Any]]) -> int:
    """Add rows to what the campaign holds by now, after a draw that may have taken minutes."""
    from pipeline import schemas

    path = ws.campaign_frames(campaign) / "frames.parquet"
    with store.alone(path.with_name(".frames.lock")):
        held = _held(ws, campaign)
        taken = {row["frame_id"] for row in held}
        new = [row for row in rows if row["frame_id"] not in taken]
        ordered = sorted(held + new, key=lambda r: (r["camera_id"], r["zone"], r["captured_at"]))
        store.write_table(path, store.table_of(ordered, schemas.FRAMES), schemas.FRAMES)
    return len(new)


# --- the draw --------------------------------------------------------------------------------


def _draw(
    ws: Workspace,
    campaign: str,
    n: int,
    blocks: list[Block],
    held: set[str],
    seed: int,
    judge: Judge,
    share: float,
) -> list[dict[str, Any]]:
    zones = sorted({(b.camera.id, z.name) for b in blocks for z in b.camera.zones})
    wanted = dict(zip(zones, selection.shares(n, [1.0] * len(zones)), strict=True))
    random = {zone: _random_share(blocks, zone, share, k, seed) for zone, k in wanted.items()}
    looks, scanned_share, step_s = _looks(blocks, wanted, random, seed)
    seen: dict[int, Seen] = {}
    numbers = sorted(looks)
    for i, result in cores.each(
        look_at, [looks[i] for i in numbers], "looking for movement", MOST_WORKERS
    ):
        seen[numbers[i]] = result
    rows = _saved(ws, campaign, blocks, seen, _random_frames(blocks, seen, random), held)
    taken = held | {row["frame_id"] for row in rows}
    for zone, k in wanted.items():
        here = sum(1 for r in rows if (r["camera_id"], r["zone"]) == zone)
        scale = step_s[zone[0]] / scanned_share[zone[0]]
        chosen = _enriched(blocks, seen, zone, k - here, taken, scale, seed, judge)
        rows += _saved(ws, campaign, blocks, seen, chosen, taken)
    return rows


def _rng(*parts: object) -> np.random.Generator:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _random_share(
    blocks: list[Block], zone: tuple[str, str], share: float, n: int, seed: int
) -> dict[int, list[tuple[float, float]]]:
    """Draw the random share of a zone: block number → (instant, weight in seconds)."""
    own = [i for i in range(len(blocks)) if _has(blocks[i], zone)]
    own.sort(key=lambda i: (blocks[i].hour, blocks[i].started_at, blocks[i].stretch))
    spans = [(i, span) for i in own for span in blocks[i].spans]
    # Where one frame is wanted it is a random one: estimates come first.
    wanted = max(1, round(share * n)) if n else 0
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
    judge: Judge,
) -> list[Chosen]:
    """Draw ``n`` candidates of a zone, in favour of trucks, spread over hours and over looks."""
    pool = [
        (number, offset, motion)
        for number in sorted(seen)
        for offset, motion in seen[number].motions.get(zone[1], [])
        if blocks[number].camera.id == zone[0]
        and frame_id(*zone, blocks[number].clip_id, offset) not in taken
    ]
    if not pool or n < 1:
        return []
    vehicles = _vehicles(pool)
    judged = judge(seen, zone[1], [(i, offset) for i, offset, _ in pool])
    order = selection.spread(judged.place, np.array([blocks[i].hour for i, _, _ in pool]))
    pool, vehicles = [pool[i] for i in order], vehicles[order]
    hours = np.array([blocks[i].hour for i, _, _ in pool])
    p_truck = None if judged.p_truck is None else judged.p_truck[order]
    chance, kinds, why = _favour(pool, hours, p_truck)
    repeats = _repeats(pool, kinds, n, _rng("repeats", seed, *zone))
    chance = np.where(repeats > 0, chance, 0.0)
    if p_truck is None:  # a model's doubts are about looks, and vehicles with few would gain most
        chance = selection.first_looks(chance, vehicles)
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


def _vehicles(pool: list[tuple[int, float, Motion]]) -> NDArray[np.intp]:
    """Number the vehicles: what moves in candidates that follow one another is one for a stay."""
    number = np.empty(len(pool), np.intp)
    last, block, since, moved = -1, -1, 0.0, False
    for i, (own, offset, motion) in enumerate(pool):
        moving = motion.size > 0
        if not (moving and moved and own == block and offset - since < STAY_S):
            last, block, since = last + 1, own, offset
        number[i], moved = last, moving
    return number


def _favour(
    pool: list[tuple[int, float, Motion]],
    hours: NDArray[np.intp],
    p_truck: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.str_]]:
    """Return each candidate's chance, kind (2 large, 1 moving, 0 still), and why it is drawn."""
    moving = np.array([motion.size > 0 for _, _, motion in pool])
    bulks = np.array([motion.bulk for _, _, motion in pool])
    chance, large = selection.measure(bulks, moving, hours)
    kinds = np.where(large, 2, np.where(moving, 1, 0))
    if p_truck is None:
        return chance, kinds, np.array(["still", "moving", "large"])[kinds]
    unsure = (p_truck > 0.1) & (p_truck < 0.9)
    why = np.where(unsure, "unsure", np.where(p_truck >= 0.9, "likely", "unlikely"))
    return selection.measure_by_model(p_truck, hours), kinds, why


def _repeats(
    pool: list[tuple[int, float, Motion]],
    kinds: NDArray[np.intp],
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Return how many candidates each one stands for; 0 for a near-duplicate of another.

    Which of several repeats stands for them is drawn, each as likely: they look alike but need not
    be alike, and the first of them (a truck that enters) is not like the others. Where fewer than
    ``n`` would be left, every candidate stands for itself.
    """
    stands_for = np.zeros(len(pool), np.intp)
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        group = selection.near_duplicates([pool[i][2].hash for i in own])
        mixed = rng.permutation(len(own))
        _, drawn, size = np.unique(group[mixed], return_index=True, return_counts=True)
        stands_for[own[mixed[drawn]]] = size
    if np.count_nonzero(stands_for) < n:
        return np.ones(len(pool), np.intp)
    return stands_for


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
