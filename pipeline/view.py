"""What part of the picture a model, and an annotator, sees of a zone. Both see the same crop.

A zone is a patch of road, but a truck stands up from it: the crop reaches above the zone by about
a truck's height. A four-cornered zone is straightened to an upright rectangle, so that a lane
running off at a slant fills the crop and "on the zone" means the same place in it everywhere.

Shapes: pictures are ``uint8[h, w, 3]`` RGB; a box is ``(x0, y0, x1, y1)`` in pixels, half-open;
a size is ``(width, height)`` in pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Span, Zone

Box = tuple[int, int, int, int]
Size = tuple[int, int]
Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

LONGEST_SIDE_PX = 128
SHORTEST_SIDE_PX = 24
LONGEST_BLOCK_S = 300.0
BACKGROUND_SAMPLES = 31

_MARGIN = 0.06  # a little road around the zone, so that its edge is visible
_REACH = 0.6  # a truck's height as a share of the zone's mean side, by trial


@dataclass(frozen=True)
class Crop:
    """How to cut one zone out of a camera's picture.

    ``box`` is the smallest even-aligned box of pixels that has to be decoded; ``corners`` (top
    left, top right, bottom right, bottom left; picture pixels) is the area shown; ``size`` is the
    crop's width and height.

    >>> from pipeline.domain import Zone
    >>> zone = Zone("lane", ((0.25, 0.5), (0.75, 0.5), (0.75, 1.0), (0.25, 1.0)))
    >>> crop = Crop.of(zone, 640, 360)
    >>> crop.box, crop.size
    ((140, 24, 500, 360), (128, 120))
    """

    box: Box
    corners: Corners
    size: Size

    @classmethod
    def of(cls, zone: Zone, width_px: int, height_px: int) -> Crop:
        """Return the crop of ``zone`` in pictures of ``width_px`` by ``height_px``."""
        picture = np.array([width_px, height_px], dtype=np.float64)
        points = np.asarray(zone.polygon, dtype=np.float64) * picture
        quad = _upright(points)
        if quad is None:
            low, high = points.min(axis=0), points.max(axis=0)
            quad = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        quad = _with_surroundings(quad, width_px, height_px)
        box = _even_box(quad, width_px, height_px)
        corners = tuple((float(x), float(y)) for x, y in quad)
        return cls(box=box, corners=corners, size=_output_size(quad))  # type: ignore[arg-type]

    def extract(self, rgb_box: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the crop ``uint8[h, w, 3]`` from the pixels of ``box``, ``uint8[bh, bw, 3]`` RGB.

        Larger areas are averaged, not picked, so that a thin far truck does not flicker.
        """
        import cv2

        warp, (width, height), finer, (across, down) = self._warp
        pixels = np.ascontiguousarray(rgb_box)
        if across > 1 or down > 1:
            small = max(pixels.shape[1] // across, 1), max(pixels.shape[0] // down, 1)
            pixels = pixels[: small[1] * down, : small[0] * across]
            pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        shown = cv2.warpPerspective(
            pixels,
            warp,
            (width * finer, height * finer),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if finer > 1:
            shown = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(shown, dtype=np.uint8)

    def picture_polygon(self) -> Corners:
        """Return the corners of the area shown, in picture pixels, for drawing over a frame."""
        return self.corners

    @cached_property
    def _warp(self) -> tuple[NDArray[np.float64], Size, int, tuple[int, int]]:
        """Box pixels → crop: averaged over whole pixels first, where there are several to one.

        Computed at ``finer`` times the size where pixels would still be skipped.
        """
        import cv2

        width, height = self.size
        quad = np.array(self.corners)
        lengths = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
        least = np.minimum(lengths[:2], lengths[2:])
        step = np.maximum(np.floor(least / (width, height)), 1)
        finer = int(np.clip(math.ceil(max(_sides(quad) / step / (width, height)) - 0.25), 1, 4))
        to = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32) * finer
        # OpenCV puts pixel centres on whole numbers; corners here are pixel edges.
        start = ((quad - np.array(self.box[:2])) / step - 0.5).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(start, to - np.float32(0.5))
        steps = int(step[0]), int(step[1])
        return np.asarray(matrix, dtype=np.float64), (width, height), finer, steps


def union_box(crops: Sequence[Crop]) -> Box:
    """Return the smallest box that holds the boxes of all ``crops``: what to decode, once.

    >>> a = Crop((0, 0, 4, 4), ((0, 0),) * 4, (4, 4)); b = Crop((2, 2, 8, 6), ((0, 0),) * 4, (4, 4))
    >>> union_box([a, b])
    (0, 0, 8, 6)
    """
    boxes = np.array([crop.box for crop in crops])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def cut(rgb: NDArray[np.uint8], crop: Crop, box: Box) -> NDArray[np.uint8]:
    """Extract ``crop`` from ``rgb``, the pixels of ``box``: any box that holds the crop's own."""
    left, top = crop.box[0] - box[0], crop.box[1] - box[1]
    width, height = crop.box[2] - crop.box[0], crop.box[3] - crop.box[1]
    return crop.extract(rgb[top : top + height, left : left + width])


def background(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median over time of ``uint8[n, h, w, 3]``: the road without its traffic.

    >>> background(np.array([[[[1, 2, 3]]], [[[9, 2, 3]]], [[[2, 2, 3]]]], dtype=np.uint8)).tolist()
    [[[2, 2, 3]]]
    """
    return np.asarray(np.median(crops, axis=0), dtype=np.uint8)


def blocks(duration_s: float, longest_s: float = LONGEST_BLOCK_S) -> list[Span]:
    """Cut a clip into equal stretches of at most ``longest_s``; each has its own background.

    >>> blocks(600.0), blocks(100.0)
    ([(0.0, 300.0), (300.0, 600.0)], [(0.0, 100.0)])
    """
    n = max(1, math.ceil(duration_s / longest_s - 1e-9))
    edges = [duration_s * i / n for i in range(n + 1)]
    return list(itertools.pairwise(edges))


def background_offsets(block: Span, samples: int = BACKGROUND_SAMPLES) -> list[float]:
    """Return the instants, spread over ``block``, whose median is its background.

    One a second at most, so that a short block is not sampled from one truck's stay.

    >>> background_offsets((0.0, 4.0))
    [0.5, 1.5, 2.5, 3.5]
    """
    start, end = block
    n = int(np.clip(math.ceil(end - start), 1, samples))
    return [start + (end - start) * (i + 0.5) / n for i in range(n)]


def _upright(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Order a sound convex quadrilateral from its top left corner clockwise; else ``None``.

    Thin, bent or wildly tapering shapes are refused: straightened they would be mostly smear.
    """
    if len(points) != 4:
        return None
    edges = np.roll(points, -1, axis=0) - points
    turns = edges[:, 0] * np.roll(edges, -1, axis=0)[:, 1]
    turns = turns - edges[:, 1] * np.roll(edges, -1, axis=0)[:, 0]
    if not (np.all(turns > 0) or np.all(turns < 0)):
        return None
    if turns[0] < 0:
        points = points[::-1]
    lengths = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    bounds = np.prod(np.ptp(points, axis=0))
    x, y = points.T
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    taper = max(_ratio(lengths[0], lengths[2]), _ratio(lengths[1], lengths[3]))
    if lengths.min() < 4.0 or taper > 6.0 or area < 0.25 * bounds:
        return None
    top = int(np.argmin(points[:, 1] + np.roll(points[:, 1], -1)))
    return np.asarray(np.roll(points, -top, axis=0), dtype=np.float64)


def _ratio(a: float, b: float) -> float:
    return float(max(a, b) / max(min(a, b), 1e-9))


def _sides(quad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean width and height of a quadrilateral in pixels."""
    lengths = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
    return np.array([(lengths[0] + lengths[2]) / 2, (lengths[1] + lengths[3]) / 2])


def _with_surroundings(quad: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Widen ``quad`` by the margin and raise its top by a truck's height, within the picture."""
    centre = quad.mean(axis=0)
    sides = np.maximum(_sides(quad), 1.0)
    reach = _REACH * math.sqrt(float(sides[0] * sides[1]))
    wide = centre + (quad - centre) * (1 + 2 * _MARGIN)
    # What is farther away is smaller: a truck at the top edge rises by less.
    top_width = float(np.hypot(*(wide[1] - wide[0])))
    reach *= float(np.clip(top_width / ((1 + 2 * _MARGIN) * sides[0]), 0.3, 1.0))
    reach = float(np.clip(min(wide[0, 1], wide[1, 1]), 0.0, reach))
    wide[:2, 1] -= reach
    return np.asarray(np.clip(wide, 0.0, (width, height)), dtype=np.float64)


def _even_box(quad: NDArray[np.float64], width: int, height: int) -> Box:
    """Return the even-aligned box around ``quad``: chroma comes in pairs of pixels."""
    low = np.floor(quad.min(axis=0) / 2).astype(int) * 2
    high = np.ceil(quad.max(axis=0) / 2).astype(int) * 2
    low = np.clip(low, 0, [max(width - 2, 0), max(height - 2, 0)])
    high = np.minimum(np.maximum(high, low + 2), [width, height])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _output_size(quad: NDArray[np.float64]) -> Size:
    """Return a crop size that keeps the aspect: never enlarged, except from a sliver."""
    sides = np.maximum(_sides(quad), 1.0)
    scale = min(1.0, LONGEST_SIDE_PX / float(sides.max()))
    width, height = np.clip(np.round(sides * scale), SHORTEST_SIDE_PX, LONGEST_SIDE_PX).astype(int)
    return int(width), int(height)
