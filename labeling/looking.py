"""Look at a block of footage once: its background, and its candidates' crops, measured.

Crops are kept as JPEGs of a few kilobytes (quality 95, no chroma subsampling) until some of them
are chosen; pixels stay in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from labeling import selection
from labeling.blocks import Block
from labeling.selection import Motion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.view import Crop

QUALITY: Final = 95


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


def look_at(look: Look) -> Seen:
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
