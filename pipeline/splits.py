"""Which frames teach and which examine: by camera and time block, or by the caller's ``group``.

Neighbouring frames of a fixed camera are all but equal, so a random split examines on what it
taught. Whole groups go to one part here; parts keep the asked shares and, where possible, both
classes. Pure: standard library + numpy. Everything is a function of the arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
BLOCKS_S = (600.0, 60.0, 10.0, 1.0)
ENOUGH_BLOCKS = 20


def split(
    groups: Sequence[str],
    labels: Sequence[int],
    seed: int = 0,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> list[Part]:
    """Give each row a part; rows of one group always share it.

    >>> parts = split([str(i // 2) for i in range(40)], [i % 2 for i in range(40)])
    >>> parts.count("train"), parts.count("validation"), parts.count("test")
    (32, 4, 4)
    """
    return [PARTS[i] for i in _dealt(groups, labels, shares, seed)]


def folds(groups: Sequence[str], labels: Sequence[int], n: int, seed: int = 0) -> NDArray[np.int64]:
    """Give each row a fold ``0 … n − 1`` of about equal size and mix; groups stay whole."""
    return np.asarray(_dealt(groups, labels, (1.0 / n,) * n, seed), dtype=np.int64)


def time_blocks(
    cameras: Sequence[str], captured_s: Sequence[float], length_s: float | None = None
) -> list[str]:
    """Name the block of each frame: its camera and the stretch of minutes it falls in.

    Blocks are ten minutes long (or ``length_s``); footage too short for twenty of those gets
    shorter ones.

    >>> time_blocks(["gate"] * 2, [0.0, 1.0])
    ['gate@0/1s', 'gate@1/1s']
    """
    length = length_s or block_length_s(cameras, captured_s)
    return [
        f"{camera}@{int(at // length)}/{length:.0f}s"
        for camera, at in zip(cameras, captured_s, strict=True)
    ]


def block_length_s(cameras: Sequence[str], captured_s: Sequence[float]) -> float:
    """Return the longest block length (600, 60, 10 or 1 s) that gives twenty blocks."""
    for length in BLOCKS_S:
        seen = {(c, int(at // length)) for c, at in zip(cameras, captured_s, strict=True)}
        if len(seen) >= ENOUGH_BLOCKS:
            return length
    return BLOCKS_S[-1]


def too_close(
    cameras: Sequence[str],
    captured_s: Sequence[float],
    held_out: ArrayLike,
    guard_s: float,
) -> NDArray[np.bool_]:
    """Mark rows not held out that lie within ``guard_s`` of a held-out frame of their camera.

    Two frames either side of a block's edge are neighbours too: leave the marked ones out.
    """
    out = np.asarray(held_out, dtype=bool)
    at = np.asarray(captured_s, dtype=np.float64)
    names = np.asarray(cameras)
    marked = np.zeros(len(at), dtype=bool)
    for camera in np.unique(names):
        here = names == camera
        wall = np.sort(at[here & out])
        if not wall.size:
            continue
        right = np.searchsorted(wall, at)
        after = wall[np.minimum(right, len(wall) - 1)]
        before = wall[np.maximum(right - 1, 0)]
        near = np.minimum(np.abs(after - at), np.abs(at - before)) < guard_s
        marked |= here & ~out & near
    return marked


def _dealt(
    groups: Sequence[str], labels: Sequence[int], shares: Sequence[float], seed: int
) -> list[int]:
    """Deal groups, in an order drawn from ``seed``, each to the part that lacks it most."""
    counts: dict[str, NDArray[np.float64]] = {}
    for group, label in zip(groups, labels, strict=True):
        counts.setdefault(group, np.zeros(2))[int(label)] += 1
    total = np.maximum(sum(counts.values(), np.zeros(2)), 1e-9)
    wanted = np.outer(shares, total)
    have = np.zeros_like(wanted)
    part: dict[str, int] = {}
    # The larger groups first: they could not be fitted in later.
    for group in sorted(counts, key=lambda g: (-int(counts[g].sum()).bit_length(), _draw(g, seed))):
        lack = ((wanted - have) / np.maximum(wanted, 1e-9)) @ counts[group]
        part[group] = int(np.argmax(lack.round(9)))
        have[part[group]] += counts[group]
    return [part[group] for group in groups]


def _draw(group: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{group}".encode(), digest_size=8).digest()
