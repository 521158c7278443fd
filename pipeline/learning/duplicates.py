"""Pictures that are all but equal, by perceptual hash: they must not straddle a split.

The hash of a picture (``uint64``) holds one bit for each of 8×8 pairs of neighbouring cells of its
9×8 grey thumbnail: is the right one brighter? Copies that were scaled, recompressed or lightened
differ in a few bits; other pictures in about half. Flat stretches (letterboxes, sky) say nothing,
so cells must differ by more than noise does.

Only for loose pictures: a fixed camera's empty road always looks alike, and is split by time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 2
_TELLING = 12  # bits set below which a picture is too flat to compare
_BLOCK = 512


def hash_of(picture: NDArray[np.uint8]) -> np.uint64:
    """Return the hash of RGB ``uint8[h, w, 3]`` without bars that made it fit."""
    import cv2

    grey = picture.mean(axis=2, dtype=np.float32)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return np.uint64(np.packbits(np.diff(cells, axis=1) > 2.0).view(np.uint64)[0])


def near(of: NDArray[np.uint64], most_bits: int = MOST_BITS) -> list[tuple[int, int]]:
    """Return the pairs (i < j) of hashes that differ in at most ``most_bits``.

    >>> near(np.array([0xFFFF, 0xFFFE, 0xFFFF0000], dtype=np.uint64))
    [(0, 1)]
    """
    telling = np.bitwise_count(of) >= _TELLING
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(of), _BLOCK):
        part = of[start : start + _BLOCK, None] ^ of[None, start:]
        a, b = np.nonzero(np.bitwise_count(part) <= most_bits)
        keep = (b > a) & telling[a + start] & telling[b + start]
        pairs += zip((a[keep] + start).tolist(), (b[keep] + start).tolist(), strict=True)
    return pairs


def equal(pixels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the pairs (first, another) of pictures that are the same to the last bit.

    >>> equal(np.zeros((3, 1, 2, 2), dtype=np.uint8))
    [(0, 1), (0, 2)]
    """
    first: dict[bytes, int] = {}
    digests = [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pixels]
    pairs = [(first.setdefault(digest, i), i) for i, digest in enumerate(digests)]
    return [(i, j) for i, j in pairs if i != j]


def joined(groups: Sequence[str], pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Return the groups, those that a pair connects under one name (the earliest's).

    >>> joined(["a", "b", "c", "a"], [(1, 3)])
    ('a', 'a', 'c', 'a')
    """
    first: dict[str, str] = {group: group for group in groups}
    order = {group: i for i, group in reversed(list(enumerate(groups)))}

    def root(group: str) -> str:
        while first[group] != group:
            group = first[group]
        return group

    for i, j in pairs:
        low, high = sorted((root(groups[i]), root(groups[j])), key=order.__getitem__)
        first[high] = low
    return tuple(root(group) for group in groups)
