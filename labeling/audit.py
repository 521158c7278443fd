"""Audit windows: short stretches of footage, drawn at random, in which people count trucks.

What a model gets wrong on frames it may get wrong on passages too; the only cure is to count some
of the footage by eye. The usable footage is cut into equal windows; ``n`` of them are drawn, spread
over the hours, each as likely as any other, so that `pipeline.counting.audit.debias` may scale up
what people found beyond the model. Each window becomes a strip of frames with its zones outlined.

``audits/<campaign>/windows.parquet`` holds the windows, ``counts.parquet`` what people counted.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from labeling.sample import Block, usable_blocks
from labeling.selection import systematic
from pipeline import store
from pipeline.errors import InputError, NotFoundError
from pipeline.progress import track
from pipeline.store import Workspace, checked_name

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

STRIP_HZ: Final = 2.0
STRIP_COLUMNS: Final = 6
STRIP_WIDTH_PX: Final = 320


def windows_schema() -> pa.Schema:
    """Return the columns of ``windows.parquet``; ``windows_total`` is what each was drawn from."""
    import pyarrow as pa

    from pipeline.schemas import INSTANT

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            *(("window_id", text), ("camera_id", text), ("movement", text), ("clip_id", text)),
            *(("starts_at", INSTANT), ("offset_s", number), ("length_s", number)),
            *(("windows_total", pa.int64()), ("strip", text)),
        ]
    )


def counts_schema() -> pa.Schema:
    """Return the columns of ``counts.parquet``: a number per window and worker."""
    import pyarrow as pa

    return pa.schema([("window_id", pa.string()), ("worker", pa.string()), ("trucks", pa.int64())])


def draw(
    ws: Workspace,
    campaign: str,
    n: int,
    length_s: float = 20.0,
    cameras: Sequence[str] = (),
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
    seed: int = 0,
) -> int:
    """Draw ``n`` windows per camera and movement and write their strips; return how many.

    The same arguments give the same windows. A truck belongs to the window in which the middle of
    its stay falls.

    Raises:
        InputError: ``n`` or ``length_s`` is not positive, or no footage holds a window.
    """
    if n < 1 or length_s <= 0:
        raise InputError(f"{n} windows of {length_s} s cannot be drawn.", "Give positive numbers.")
    folder = ws.root / "audits" / checked_name(campaign, "campaign")
    rows: list[dict[str, Any]] = []
    blocks = usable_blocks(ws, cameras, first_day, last_day)
    chosen: list[tuple[Block, float, int]] = []
    for camera in sorted({b.camera.id for b in blocks}):
        chosen += _windows([b for b in blocks if b.camera.id == camera], n, length_s, seed)
    if not chosen:
        raise InputError(f"no footage holds a window of {length_s} s.", "Name other days.")
    for block, offset, total in track(chosen, "cutting audit windows"):
        for movement in sorted({z.movement for z in block.camera.zones}):
            row = _row(block, movement, offset, length_s, total)
            store.write_bytes(folder / row["strip"], strip(block, movement, offset, length_s))
            rows.append(row)
    schema = windows_schema()
    store.write_table(folder / "windows.parquet", store.table_of(rows, schema), schema)
    return len(rows)


def import_counts(ws: Workspace, campaign: str, csv_path: Path) -> int:
    """Take ``window_id,worker,trucks`` rows; a later file replaces a worker's earlier number.

    Raises:
        NotFoundError: no windows were drawn.
        InputError: a missing file or column, an unknown window, or not a whole number.
    """
    folder = ws.root / "audits" / checked_name(campaign, "campaign")
    if not (folder / "windows.parquet").is_file():
        raise NotFoundError(f"no audit windows in {campaign!r}.", "Draw some first.")
    known = set(store.read_table(folder / "windows.parquet").column("window_id").to_pylist())
    path, held = folder / "counts.parquet", {}
    if path.is_file():
        for row in store.read_table(path, counts_schema()).to_pylist():
            held[row["window_id"], row["worker"]] = row
    for row in _read(csv_path, known):
        held[row["window_id"], row["worker"]] = row
    rows = [held[key] for key in sorted(held)]
    store.write_table(path, store.table_of(rows, counts_schema()), counts_schema())
    return len(rows)


def human_counts(ws: Workspace, campaign: str) -> dict[str, float]:
    """Return window → what people counted: the median over workers."""
    path = ws.root / "audits" / checked_name(campaign, "campaign") / "counts.parquet"
    if not path.is_file():
        raise NotFoundError(f"no audit counts in {campaign!r}.", "Import some first.")
    by: dict[str, list[int]] = {}
    for row in store.read_table(path, counts_schema()).to_pylist():
        by.setdefault(row["window_id"], []).append(row["trucks"])
    return {window: float(np.median(counts)) for window, counts in sorted(by.items())}


def strip(block: Block, movement: str, offset_s: float, length_s: float) -> bytes:
    """Return a JPEG: the window's frames at 2 Hz, in rows, the movement's zones outlined."""
    from labeling.pictures import jpeg, outlined_view
    from pipeline.footage import video

    wanted = offset_s + np.arange(0.0, length_s, 1.0 / STRIP_HZ)
    zones = [z for z in block.camera.zones if z.movement == movement]
    frames = video.read_at(Path(block.path), [float(t) for t in wanted])
    small = [outlined_view(frame.rgb, zones, STRIP_WIDTH_PX) for frame in frames]
    if not small:
        raise InputError(f"{block.clip_id} shows nothing at {offset_s:.1f} s.", "Ingest it again.")
    return jpeg(_grid(small), 80)


def _grid(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    blank = np.zeros_like(pictures[0])
    padded = pictures + [blank] * (-len(pictures) % STRIP_COLUMNS)
    rows = [np.hstack(padded[i : i + STRIP_COLUMNS]) for i in range(0, len(padded), STRIP_COLUMNS)]
    return np.ascontiguousarray(np.vstack(rows))


def _windows(
    blocks: list[Block], n: int, length_s: float, seed: int
) -> list[tuple[Block, float, int]]:
    """Cut a camera's blocks into windows and draw ``n``: block, offset, and how many there are."""
    ordered = sorted(blocks, key=lambda b: (b.hour, b.started_at, b.stretch))
    every = [
        (block, start + k * length_s)
        for block in ordered
        for start, end in block.spans
        for k in range(int((end - start + 1e-9) // length_s))
    ]
    if not every:
        return []
    camera = blocks[0].camera.id
    digest = hashlib.blake2b(f"audit\0{seed}\0{camera}".encode(), digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    chance = np.full(len(every), min(1.0, n / len(every)))
    return [(*every[i], len(every)) for i in systematic(chance, rng)]


def _row(
    block: Block, movement: str, offset_s: float, length_s: float, total: int
) -> dict[str, Any]:
    text = "\0".join([block.camera.id, movement, block.clip_id, f"{offset_s:.3f}", str(length_s)])
    window = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return {
        "window_id": window,
        "camera_id": block.camera.id,
        "movement": movement,
        "clip_id": block.clip_id,
        "starts_at": block.started_at + dt.timedelta(seconds=offset_s),
        "offset_s": offset_s,
        "length_s": length_s,
        "windows_total": total,
        "strip": f"{window}.jpg",
    }


def _read(path: Path, known: set[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"no such file: {path}.", "Give a CSV with window_id,worker,trucks.")
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        for column in ("window_id", "worker", "trucks"):
            if column not in (reader.fieldnames or []):
                raise InputError(f"{path} has no column {column!r}.")
        return [_counted(raw, f"{path}, line {reader.line_num}", known) for raw in reader]


def _counted(raw: dict[str, str], where: str, known: set[str]) -> dict[str, Any]:
    window, worker, said = (str(raw[c] or "").strip() for c in ("window_id", "worker", "trucks"))
    if window not in known:
        raise InputError(f"{where}: unknown window {window!r}.", "Use ids from windows.parquet.")
    if not said.isdigit() or not worker:
        raise InputError(f"{where}: {worker!r} counted {said!r}.", "Give a name and a number.")
    return {"window_id": window, "worker": worker, "trucks": int(said)}
