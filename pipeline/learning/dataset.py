"""Labelled pictures as arrays: from a label file beside loose pictures, or from campaigns.

Everything is decoded once into one ``uint8`` array and kept there; 10,000 thumbnails are 30 MB,
2,000 zone crops with their backgrounds 110 MB.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import domain, sheets, splits
from pipeline.errors import InputError, NotFoundError
from pipeline.learning import duplicates, pictures
from pipeline.schemas import FRAMES, LABELS
from pipeline.store import Workspace, read_table

if TYPE_CHECKING:
    from pipeline.learning.models import NetSpec

THUMBNAIL_PX = 64
MEASURED = 31  # pictures whose median shape is the usual one
CROP_PX = 96


@dataclass(frozen=True)
class Labelled:
    """``n`` pictures and what is said of them.

    ``pixels`` ``uint8[n, c, h, w]`` RGB, then the background's RGB where ``c`` is 6; ``truth``
    ``int8[n]`` 0 or 1; ``p`` ``float32[n]`` how sure the label is of a truck; ``weight``
    ``float64[n]`` instants of the real world each row stands for; ``random`` ``bool[n]`` rows drawn
    at random, without regard to what they show; ``names`` file or frame ids; ``groups`` never
    straddle a split; ``cameras``, ``zones``, ``captured_s`` (POSIX seconds, NaN where unknown).
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.int8]
    p: NDArray[np.float32]
    weight: NDArray[np.float64]
    random: NDArray[np.bool_]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    cameras: tuple[str, ...]
    zones: tuple[str, ...]
    captured_s: NDArray[np.float64]

    def __len__(self) -> int:
        """Return ``n``."""
        return len(self.truth)

    @property
    def label_set_id(self) -> str:
        """A short digest of pixels, labels and weights: equal labels, equal id."""
        digest = hashlib.blake2b(digest_size=6)
        digest.update(np.ascontiguousarray(self.pixels).tobytes())
        for column in (self.truth, self.p, self.weight):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update("\n".join(self.names + self.groups).encode())
        return digest.hexdigest()


def are_photographs(folder: Path, labels_csv: Path) -> bool:
    """Tell whether the pictures of a label file are usually larger than thumbnails.

    Raises:
        NotFoundError: the label file, or a picture it names, is not there.
        InputError: as :func:`from_files`.
    """
    rows = _label_rows(labels_csv)
    _need_both(list(rows.values()), str(labels_csv))
    return max(_usual_shape([_inside(folder, name, labels_csv) for name in rows])) > THUMBNAIL_PX


def from_files(
    folder: Path, labels_csv: Path, size: int | tuple[int, int] | None = None
) -> Labelled:
    """Read loose pictures named in a label file ``file,label[,group]``.

    Rows labelled ``cant_tell`` are left out; a row given twice counts once. ``size`` is the side of
    a square, or (height, width); without it the pictures' usual one.

    Raises:
        NotFoundError: the label file, or a picture it names, is not there.
        InputError: a column is missing, a label unknown or contradicted, a picture unreadable, or
            all labels are alike; the message names the file and the line.
    """
    rows = _label_rows(labels_csv)
    _need_both(list(rows.values()), str(labels_csv))
    paths = [_inside(folder, name, labels_csv) for name in rows]
    shape = _usual_shape(paths) if size is None else size
    height, width = (shape, shape) if isinstance(shape, int) else shape

    def made(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], np.uint64]:
        fits = pictures.fitted(rgb, width, height)
        # Bars that make a picture fit would be most of its hash: that is of the picture stretched.
        barred = rgb.shape[0] * width != rgb.shape[1] * height
        bare = pictures.scaled(rgb, width, height) if barred else fits
        return fits, duplicates.hash_of(bare)

    read = pictures.read_all(paths, made)
    pixels = np.ascontiguousarray(np.stack([one for one, _ in read]).transpose(0, 3, 1, 2))
    hashes = np.array([of for _, of in read], dtype=np.uint64)
    names = tuple(rows)
    truth = np.array([label == "truck" for label, _ in rows.values()], dtype=np.int8)
    return Labelled(
        pixels=pixels,
        truth=truth,
        p=truth.astype(np.float32),
        weight=np.ones(len(names)),
        random=np.ones(len(names), dtype=bool),
        names=names,
        groups=duplicates.joined(
            [group or name for name, (_, group) in rows.items()],
            duplicates.near(hashes) + duplicates.equal(pixels),
        ),
        cameras=("",) * len(names),
        zones=("",) * len(names),
        captured_s=np.full(len(names), np.nan),
    )


def from_campaigns(
    ws: Workspace, campaigns: Sequence[str], size: int | None = None, *, background: bool = True
) -> Labelled:
    """Read the resolved frames of campaigns: crops, their backgrounds and their labels.

    ``size`` is the longer side of the network's input; all zones are scaled to one shape.

    Raises:
        NotFoundError: a campaign has no frames or no labels.
        InputError: no label is resolved, or all are alike.
    """
    rows = [row for campaign in campaigns for row in campaign_rows(ws, campaign)]
    rows = list({row["frame_id"]: row for row in rows}.values())
    what = f"campaign {', '.join(campaigns)}"
    if not rows:
        raise InputError(f"{what} has no resolved label.", "Label some frames, then aggregate.")
    truth = np.array([row["label"] == "truck" for row in rows], dtype=np.int8)
    _need_both([(row["label"], "") for row in rows], what)
    height, width = _common_shape(rows, size)
    pixels = _crops(rows, height, width, background=background)
    cameras = tuple(row["camera_id"] for row in rows)
    captured = np.array([row["captured_at"].timestamp() for row in rows])
    return Labelled(
        pixels=pixels,
        truth=truth,
        p=np.array([_sureness(row) for row in rows], dtype=np.float32),
        weight=_trimmed(np.array([row["weight"] for row in rows], dtype=np.float64)),
        random=np.array([row["why_chosen"] == "random" for row in rows]),
        names=tuple(row["frame_id"] for row in rows),
        groups=tuple(splits.time_blocks(cameras, captured.tolist())),
        cameras=cameras,
        zones=tuple(row["zone"] for row in rows),
        captured_s=captured,
    )


def fit_spec(pixels: NDArray[np.uint8], spec: NetSpec) -> NDArray[np.uint8]:
    """Scale ``uint8[n, c, h, w]`` to the shape that ``spec`` asks for."""
    n, _, height, width = pixels.shape
    if (height, width) == (spec.height, spec.width):
        return pixels[:, : spec.channels]
    out = np.empty((n, spec.channels, spec.height, spec.width), dtype=np.uint8)
    for i in range(n):
        for c in range(0, spec.channels, 3):
            rgb = np.ascontiguousarray(pixels[i, c : c + 3].transpose(1, 2, 0))
            out[i, c : c + 3] = pictures.scaled(rgb, spec.width, spec.height).transpose(2, 0, 1)
    return out


_ONE_ROW = "Keep one of the rows."


def _label_rows(labels_csv: Path) -> dict[str, tuple[str, str]]:
    """Return file → (label, group), in the file's order."""
    rows: dict[str, tuple[str, str]] = {}
    for row, where in sheets.read_rows(labels_csv, ("file", "label"), ("group",)):
        name, label, group = row["file"], row["label"], row["group"]
        if label not in domain.LABELS:
            raise InputError(
                f"{where}: label {label!r} of {name!r}.", f"Use one of {', '.join(domain.LABELS)}."
            )
        if not name:
            raise InputError(f"{where}: no file is named.", "Fill the column 'file'.")
        name = PurePosixPath(name).as_posix()  # ./a.jpg is a.jpg
        before = rows.setdefault(name, (label, group))
        for was, now, what in zip(before, (label, group), ("labelled", "of group"), strict=True):
            if was != now:
                raise InputError(f"{where}: {name!r} is {what} {was!r} and {now!r}.", _ONE_ROW)
    return {name: kept for name, kept in rows.items() if kept[0] != "cant_tell"}


def _need_both(labels: Sequence[tuple[str, str]], where: str) -> None:
    kinds = {label for label, _ in labels}
    if len(kinds) < 2:
        alone = next(iter(kinds), "nothing")
        raise InputError(f"{where} holds {alone!r} only.", "Give both truck and no_truck.")


def _inside(folder: Path, name: str, labels_csv: Path) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{labels_csv}: {name!r} leaves the picture folder.", "Name it inside.")
    path = folder / name
    if not path.is_file():
        raise NotFoundError(f"{labels_csv} names {name!r}, which is not in {folder}.")
    return path


def _usual_shape(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the median (height, width) of pictures spread over the list."""
    spread = paths[:: math.ceil(len(paths) / MEASURED)]
    heights, widths = np.array(pictures.read_all(spread, lambda rgb: rgb.shape[:2])).T
    return int(np.median(heights)), int(np.median(widths))


def campaign_rows(ws: Workspace, campaign: str) -> list[dict[str, Any]]:
    """Return a campaign's labelled frames, columns of ``FRAMES`` and ``LABELS``, and their folder.

    Raises:
        NotFoundError: there is no such campaign, or it has no labels.
    """
    folder = ws.campaign_frames(campaign)
    try:
        frames = read_table(folder / "frames.parquet", FRAMES).to_pylist()
    except NotFoundError:
        raise NotFoundError(
            f"no such campaign: {campaign!r}.", f"Make it: truck-counter sample {campaign} --n N."
        ) from None
    try:
        table = read_table(ws.campaign_labels(campaign) / "labels.parquet", LABELS)
    except NotFoundError:
        raise NotFoundError(
            f"campaign {campaign!r} has no labels.",
            f"Import annotations, then: truck-counter label aggregate {campaign}.",
        ) from None
    labels = {row["frame_id"]: row for row in table.to_pylist()}
    return [
        {**frame, **labels[frame["frame_id"]], "folder": folder}
        for frame in frames
        if labels.get(frame["frame_id"], {}).get("label") is not None
    ]


def _trimmed(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound weights at ten times their median: one row must not speak for half of the road."""
    return np.asarray(np.minimum(weight, 10.0 * np.median(weight)), dtype=np.float64)


def _sureness(row: dict[str, Any]) -> float:
    """Return the label's own probability of a truck, on the label's side of one half."""
    p = row["p_truck"]
    if p is None:
        return float(row["label"] == "truck")
    return float(np.clip(p, 0.5, 1.0) if row["label"] == "truck" else np.clip(p, 0.0, 0.5))


def _common_shape(rows: Sequence[dict[str, Any]], size: int | None) -> tuple[int, int]:
    """Return one (height, width) for all zones: their mean aspect, sides in steps of 8."""
    one_per_zone = {(row["camera_id"], row["zone"]): row for row in rows}
    shapes = [
        pictures.read_picture(row["folder"] / row["path"]).shape[:2]
        for row in one_per_zone.values()
    ]
    aspect = float(np.exp(np.mean([np.log(w / h) for h, w in shapes])))
    longest = size or min(CROP_PX, max(max(shape) for shape in shapes))
    height, width = (longest / aspect, longest) if aspect >= 1 else (longest, longest * aspect)
    return max(16, round(height / 8) * 8), max(16, round(width / 8) * 8)


def _crops(
    rows: Sequence[dict[str, Any]], height: int, width: int, *, background: bool
) -> NDArray[np.uint8]:
    """Read crops (and backgrounds, each file once) to ``uint8[n, 3 or 6, h, w]``."""
    crops = pictures.read_all(
        [row["folder"] / row["path"] for row in rows], lambda x: pictures.scaled(x, width, height)
    )
    out = np.empty((len(rows), 6 if background else 3, height, width), dtype=np.uint8)
    out[:, :3] = np.stack(crops).transpose(0, 3, 1, 2)
    if background:
        paths = [row["folder"] / row["background_path"] for row in rows]
        once = sorted(set(paths))
        read = pictures.read_all(once, lambda x: pictures.scaled(x, width, height))
        by_path = dict(zip(once, read, strict=True))
        out[:, 3:] = np.stack([by_path[p] for p in paths]).transpose(0, 3, 1, 2)
    return out
