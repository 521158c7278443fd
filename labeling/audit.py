"""Audit windows: short stretches of footage, drawn at random, in which people count trucks.

What a model gets wrong on frames it may get wrong on passages too; the only cure is to count some
of the footage by eye. The usable footage is cut into equal windows; ``n`` of them are drawn, spread
over the hours, each as likely as any other, so that `pipeline.counting.audit.debias` may scale up
what people found beyond the model. Each window becomes a strip of frames with its zones outlined.

``audits/<campaign>/`` holds ``windows.parquet``, the strips, ``tasks.json`` with ``interface.xml``
for Label Studio, ``to_fill.csv`` for those who count without it, and ``counts.parquet``, what
people counted. ``labels/<campaign>/audit.parquet`` is what counting reads: ``schemas.AUDIT``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from labeling.blocks import Block, usable_blocks
from labeling.selection import systematic
from pipeline import sheets, store
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

    text = pa.string()
    return pa.schema([("window_id", text), ("worker", text), ("truck_count", pa.int64())])


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
    """Draw ``n`` windows per camera, one row and strip per movement; return the rows there now.

    The same arguments give the same windows; others add to those drawn before. A truck belongs to
    the window in which the middle of its stay falls.

    Raises:
        InputError: ``n`` or ``length_s`` is not positive, no footage holds a window, or windows of
            another length were drawn before.
    """
    if n < 1 or not 0.0 < length_s < math.inf:
        raise InputError(f"{n} windows of {length_s} s cannot be drawn.", "Give positive numbers.")
    folder = _folder(ws, campaign)
    held = {row["window_id"]: row for row in _drawn(ws, campaign)}
    lengths = {row["length_s"] for row in held.values()} - {length_s}
    if lengths:
        raise InputError(
            f"{campaign!r} has windows of {lengths.pop():g} s, not {length_s:g} s.",
            "Keep the length, or name another campaign.",
        )
    blocks = usable_blocks(ws, cameras, first_day, last_day)
    chosen: list[tuple[Block, float, int]] = []
    for camera in sorted({b.camera.id for b in blocks}):
        chosen += _windows([b for b in blocks if b.camera.id == camera], n, length_s, seed)
    if not chosen:
        raise InputError(f"no footage holds a window of {length_s} s.", "Name other days.")
    for block, offset, total in track(chosen, "cutting audit windows"):
        for movement in sorted({z.movement for z in block.camera.zones}):
            row = _row(block, movement, offset, length_s, total)
            if row["window_id"] not in held or not (folder / row["strip"]).is_file():
                store.write_bytes(folder / row["strip"], strip(block, movement, offset, length_s))
            held[row["window_id"]] = row
    rows = sorted(held.values(), key=lambda r: (r["camera_id"], r["starts_at"], r["movement"]))
    store.write_table(
        folder / "windows.parquet", store.table_of(rows, windows_schema()), windows_schema()
    )
    _write_tasks(folder, campaign, rows)
    return len(rows)


def import_counts(ws: Workspace, campaign: str, csv_path: Path) -> int:
    """Take ``window_id,worker,truck_count`` rows and write ``audit.parquet``; return all rows held.

    A later file replaces a worker's earlier number; rows without a number are not counted yet.

    Raises:
        NotFoundError: no windows were drawn.
        InputError: a missing file or column, an unknown window, not a whole number, or two
            different ones of a worker on a window.
    """
    windows = _drawn(ws, campaign)
    if not windows:
        raise NotFoundError(f"no audit windows in {campaign!r}.", "Draw some: --windows 12.")
    path = _folder(ws, campaign) / "counts.parquet"
    new = _read(csv_path, {row["window_id"] for row in windows})
    with store.alone(path.with_name(".counts.lock")):  # two files at once
        held = {(r["window_id"], r["worker"]): r for r in [*_counts(ws, campaign), *new]}
        rows = [held[key] for key in sorted(held)]
        store.write_table(path, store.table_of(rows, counts_schema()), counts_schema())
        _write_table(ws, campaign, windows, rows)
    return len(rows)


def status(ws: Workspace, campaign: str) -> dict[str, Any]:
    """Return how many windows there are and how many were counted, by how many people.

    Raises:
        NotFoundError: no windows were drawn.
    """
    windows, counts = _drawn(ws, campaign), _counts(ws, campaign)
    if not windows:
        raise NotFoundError(f"no audit windows in {campaign!r}.", "Draw some: --windows 12.")
    table = ws.campaign_labels(campaign) / "audit.parquet"
    return {
        "campaign": campaign,
        "folder": str(_folder(ws, campaign)),
        "windows": len(windows),
        "counted": len({row["window_id"] for row in counts}),
        "workers": len({row["worker"] for row in counts}),
        "table": str(table) if table.is_file() else None,
    }


def strip(block: Block, movement: str, offset_s: float, length_s: float) -> bytes:
    """Return a JPEG: the window's frames at 2 Hz, numbered, the movement's zones outlined."""
    from labeling.pictures import jpeg, numbered, outlined_view
    from pipeline.footage import video

    wanted = offset_s + np.arange(0.0, length_s, 1.0 / STRIP_HZ)
    zones = [z for z in block.camera.zones if z.movement == movement]
    frames = video.read_at(Path(block.path), [float(t) for t in wanted])
    small = [outlined_view(frame.rgb, zones, STRIP_WIDTH_PX) for frame in frames]
    if not small:
        raise InputError(f"{block.clip_id} shows nothing at {offset_s:.1f} s.", "Ingest it again.")
    return jpeg(_grid([numbered(rgb, i + 1) for i, rgb in enumerate(small)]), 80)


def _folder(ws: Workspace, campaign: str) -> Path:
    return ws.root / "audits" / checked_name(campaign, "campaign")


def _drawn(ws: Workspace, campaign: str) -> list[dict[str, Any]]:
    path = _folder(ws, campaign) / "windows.parquet"
    return store.read_table(path, windows_schema()).to_pylist() if path.is_file() else []


def _counts(ws: Workspace, campaign: str) -> list[dict[str, Any]]:
    path = _folder(ws, campaign) / "counts.parquet"
    return store.read_table(path, counts_schema()).to_pylist() if path.is_file() else []


def _write_tasks(folder: Path, campaign: str, rows: list[dict[str, Any]]) -> None:
    """Write what people need: Label Studio's import and page, and a CSV with blanks to fill."""
    from labeling.tasks import count_interface, count_task

    made = [count_task(row, campaign, (folder / row["strip"]).read_bytes()) for row in rows]
    store.write_json(folder / "tasks.json", made)
    store.write_bytes(folder / "interface.xml", count_interface().encode())
    # People write into this file, so it only grows.
    sheet = folder / "to_fill.csv"
    held = sheet.read_bytes() if sheet.is_file() else b"window_id,worker,truck_count\n"
    ids = [row["window_id"].encode() for row in rows]
    blank = b"".join(window + b",,\n" for window in ids if window not in held)
    if blank or not sheet.is_file():
        store.write_bytes(sheet, held + (b"" if held.endswith(b"\n") else b"\n") + blank)


def _write_table(
    ws: Workspace, campaign: str, windows: list[dict[str, Any]], counts: list[dict[str, Any]]
) -> None:
    """Write ``schemas.AUDIT``: a row per counted window, the mean over those who counted it."""
    from pipeline.schemas import AUDIT

    said: dict[str, list[int]] = {}
    for row in counts:
        said.setdefault(row["window_id"], []).append(row["truck_count"])
    rows = [
        {
            "window_id": window["window_id"],
            "camera_id": window["camera_id"],
            "movement": window["movement"],
            "started_at": window["starts_at"],
            "ended_at": window["starts_at"] + dt.timedelta(seconds=window["length_s"]),
            "truck_count": float(np.mean(said[window["window_id"]])),
            "n_workers": len(said[window["window_id"]]),
        }
        for window in windows
        if window["window_id"] in said
    ]
    path = ws.campaign_labels(campaign) / "audit.parquet"
    table = store.table_of(rows, AUDIT)
    if not store.same_rows(path, table, AUDIT):  # else the days it corrects would be due again
        store.write_table(path, table, AUDIT)


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
    """Read and check the whole file; rows that nobody has filled in are left out."""
    return _one_number_each(
        (_counted(raw, where, known), where)
        for raw, where in sheets.read_rows(path, ("window_id", "worker", "truck_count"))
        if raw["truck_count"]
    )


def _one_number_each(rows: Iterable[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """Keep the first of equal numbers; refuse two different ones of a worker on a window."""
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for row, where in rows:
        if held.setdefault((row["window_id"], row["worker"]), row) != row:
            raise InputError(
                f"{where}: {row['worker']!r} counted window {row['window_id']!r} twice, "
                "differently.",
                "Keep one of the two.",
            )
    return list(held.values())


def _counted(raw: dict[str, str], where: str, known: set[str]) -> dict[str, Any]:
    window, worker, said = raw["window_id"], raw["worker"], raw["truck_count"]
    if window not in known:
        raise InputError(f"{where}: unknown window {window!r}.", "Use ids from windows.parquet.")
    # More than five digits in one window are a slip of the pen.
    if not (said.isascii() and said.isdigit() and len(said) <= 5) or not worker:
        raise InputError(f"{where}: {worker!r} counted {said!r}.", "Give a name and a number.")
    return {"window_id": window, "worker": worker, "truck_count": int(said)}
