"""The empty road: painted once per camera as reflectance, then lit once per segment."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.scene.light import Light
from pipeline.scene.optics import Floats, View
from pipeline.scene.sites import Site

Image = NDArray[np.float32]
LAMP_EVERY_M = 30.0


def lamp_pool(along_m: ArrayLike) -> Floats:
    """Return how much of the street lamps' light reaches the road at y ``along_m`` (0.6 to 1.3).

    >>> round(float(lamp_pool(15.0)), 6)
    1.3
    """
    return np.asarray(0.95 - 0.35 * np.cos(2 * np.pi * np.asarray(along_m) / LAMP_EVERY_M))


def lit(site: Site, light: Light) -> Image:
    """Return the empty scene under a light: float32[h, w, 3] BGR, 0-255."""
    albedo, along, distance, road = _reflectance(site)
    up = light.shade(np.array([[0.0, 0.0, 1.0]]))[0]
    pools = 1.0 + light.lamps * (lamp_pool(np.clip(along, 0, 160)) - 1.0)
    wet = 1.0 - 0.28 * min(1.0, light.rain * 1.6) * road
    ground = albedo * (pools * wet)[..., None] * up
    # A wet road mirrors the sky at grazing angles.
    gloss = min(1.0, light.rain * 1.4) * road * np.clip(distance / 120.0, 0, 0.5)
    clear = np.exp(-light.haze * distance)[..., None]
    haze = light.haze_bgr()
    image = (ground * (1 - gloss[..., None]) + haze * 0.8 * gloss[..., None]) * clear
    return np.asarray(image + haze * (1 - clear), dtype=np.float32)


@lru_cache(maxsize=8)
def _reflectance(site: Site) -> tuple[Image, Image, Image, Image]:
    """Return reflectance as BGR 0-255, metres along, metres away, and the share of road."""
    view = site.view
    rng = np.random.default_rng(zlib.crc32(site.id.encode()))
    xs, ys = np.meshgrid(np.arange(view.width_px) + 0.5, np.arange(view.height_px) + 0.5)
    x, y = view.ground(xs, ys)
    sky = np.isnan(y) | (np.abs(y) > 900)
    x, y = np.where(sky, 0.0, x), np.where(sky, 900.0, y)
    distance = np.hypot(np.hypot(x, y), view.eye_m[2]).clip(0, 400)
    image, road = _ground(site, x, y, distance, rng)
    image[sky] = (222, 214, 206)
    _props(site, image, rng)
    return tuple(np.asarray(each, dtype=np.float32) for each in (image, y, distance, road))  # type: ignore[return-value]


def _ground(
    site: Site, x: Floats, y: Floats, distance: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    pixel = distance / site.view.focal_px  # metres across one pixel
    left = min(lane.x_m for lane in site.lanes) - 1.85
    right = max(lane.x_m for lane in site.lanes) + 1.85
    blotch = _texture(x, y, 4.0, rng) * 0.6 + _texture(x, y, 0.7, rng) * 0.4
    grain = _texture(x, y, 0.12, rng) * np.clip(0.05 / pixel, 0, 1)
    grass = np.array([52.0, 88.0, 80.0]) * (1 + 0.28 * blotch + 0.25 * grain)[..., None]
    asphalt = np.array([104.0, 103.0, 102.0]) * (1 + 0.07 * blotch + 0.10 * grain)[..., None]
    gravel = np.array([112.0, 124.0, 130.0]) * (1 + 0.14 * blotch + 0.16 * grain)[..., None]
    verge = _band(x, left - 2.3, right + 2.3, pixel)
    road = _band(x, left - 0.7, right + 0.7, pixel)
    image = grass + (gravel - grass) * verge[..., None]
    for lane in site.lanes:
        for wheel in (-0.85, 0.85):
            worn = np.exp(-(((x - lane.x_m - wheel) / 0.3) ** 2))
            asphalt = asphalt * (1 - 0.11 * worn)[..., None]
        oil = np.exp(-(((x - lane.x_m) / 0.25) ** 2)) * (1 + blotch)
        asphalt = asphalt * (1 - 0.05 * oil)[..., None]
    image = image + (asphalt - image) * road[..., None]
    paint = _band(x, left - 0.08, left + 0.08, pixel) + _band(x, right - 0.08, right + 0.08, pixel)
    dashed = ((y % 9.0) < 3.0).astype(float)
    for before, after in zip(site.lanes, site.lanes[1:], strict=False):
        middle = (before.x_m + after.x_m) / 2
        paint = paint + _band(x, middle - 0.08, middle + 0.08, pixel) * dashed
    image = image + (205.0 - image) * np.clip(paint, 0, 1)[..., None] * 0.85
    return image, road


def _band(x: Floats, low: float, high: float, pixel: Floats) -> Floats:
    """Return 1 between two lines along the road, falling to 0 over one pixel."""
    inside = np.minimum(x - low, high - x) / pixel + 0.5
    return np.asarray(np.clip(inside, 0, 1) * np.clip((high - low) / pixel, 0, 1))


def _texture(x: Floats, y: Floats, grain_m: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise (about -1 to 1) fixed to the ground."""
    bank = cv2.GaussianBlur(rng.normal(0, 1, (256, 256)).astype(np.float32), (0, 0), 1.2)
    bank /= np.float32(np.std(bank) * 2)
    where = [np.mod(axis / grain_m, 255).astype(np.float32) for axis in (x, y)]
    return np.asarray(cv2.remap(bank, where[0], where[1], cv2.INTER_LINEAR), dtype=np.float64)


def _props(site: Site, image: Floats, rng: np.random.Generator) -> None:
    """Add a warehouse, trees, a barrier and lamp posts beside the road."""
    view = site.view
    side = 1 if view.eye_m[0] <= 0 else -1
    _block(view, image, (side * 26.0, side * 58.0), (46.0, 110.0), 11.0, (150.0, 148.0, 140.0))
    for y in np.arange(49.0, 108.0, 7.0).tolist():
        dock = [(side * 26.0, y, 0.4), (side * 26.0, y + 4, 0.4)]
        dock += [(px, py, 4.6) for px, py, _ in reversed(dock)]
        _polygon(view, image, dock, (92.0, 90.0, 88.0))
    for _ in range(14):
        _tree(view, image, -side * rng.uniform(14, 40), rng.uniform(30, 130), rng)
    edge = max(lane.x_m for lane in site.lanes) + 4.6
    for y in np.arange(12.0, 140.0, 4.0).tolist():
        rail = [(edge, y, 0.45), (edge, y + 4, 0.45), (edge, y + 4, 0.8), (edge, y, 0.8)]
        _polygon(view, image, rail, (158.0, 160.0, 160.0))
        post = [(edge, y, 0.0), (edge, y + 0.2, 0.0), (edge, y + 0.2, 0.45), (edge, y, 0.45)]
        _polygon(view, image, post, (90.0, 92.0, 92.0))
    for y in np.arange(45.0, 160.0, LAMP_EVERY_M).tolist():
        x = edge + 1.2
        pole = [(x, y, 0.0), (x + 0.22, y, 0.0), (x + 0.16, y, 9.0), (x, y, 9.0)]
        _polygon(view, image, pole, (110.0, 110.0, 112.0))
        arm = [(x, y, 9.0), (x, y, 8.85), (x - 2.4, y, 9.1), (x - 2.4, y, 9.25)]
        _polygon(view, image, arm, (110.0, 110.0, 112.0))


def _block(
    view: View,
    image: Floats,
    x: tuple[float, float],
    y: tuple[float, float],
    height: float,
    colour: tuple[float, float, float],
) -> None:
    roof = [(x[0], y[0], height), (x[1], y[0], height), (x[1], y[1], height), (x[0], y[1], height)]
    front = [(x[0], y[0], 0.0), (x[1], y[0], 0.0), (x[1], y[0], height), (x[0], y[0], height)]
    flank = [(x[0], y[0], 0.0), (x[0], y[1], 0.0), (x[0], y[1], height), (x[0], y[0], height)]
    for face, share in ((roof, 1.1), (front, 0.72), (flank, 0.88)):
        _polygon(view, image, face, tuple(share * part for part in colour))


def _polygon(view: View, image: Floats, points: list[Any], colour: tuple[float, ...]) -> None:
    pixels = np.round(view.project(np.array(points, dtype=np.float64)) * 16).astype(np.int32)
    cv2.fillPoly(image, [pixels], colour, cv2.LINE_8, 4)


def _tree(view: View, image: Floats, x: float, y: float, rng: np.random.Generator) -> None:
    for _ in range(26):
        where = np.array([x, y, 3.4]) + rng.normal(0, 1, 3) * np.array([1.5, 1.0, 1.3])
        centre = view.project(where)
        radius = max(1, int(view.focal_px * rng.uniform(0.4, 0.9) / np.hypot(x, y)))
        tone = rng.uniform(0.6, 1.15)
        green = (38.0 * tone, 66.0 * tone, 52.0 * tone)
        cv2.circle(image, (int(centre[0]), int(centre[1])), radius, green, -1)
