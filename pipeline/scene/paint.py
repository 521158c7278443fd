"""Vehicles onto the road: the scene at an instant as uint8[h, w, 3] BGR.

Lanes are drawn from the far side of the camera inwards and vehicles from the far end of the road,
so that what is nearer hides what is behind it; only faces that look at the camera are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.scene import backdrop
from pipeline.scene.light import Light
from pipeline.scene.scenario import ScenePlan, Window
from pipeline.scene.shapes import build
from pipeline.scene.sites import Site
from pipeline.scene.traffic import Vehicle, vehicles

Pixels = NDArray[np.uint8]

_NEAREST_M = 3.0  # below the lower edge of every picture: geometry is cut off here
_FURTHEST_M = 125.0
_TALLEST_M = 4.1
_ASIDE_M = 8.0  # shadows and lamps of what is just outside the picture still fall into it
_FINE_PX_PER_M = 8.5  # windows and stripes are left out where a metre is smaller


@dataclass(frozen=True)
class _Body:
    """A vehicle ready to draw: faces in world axes but for its place along the road, lit."""

    vehicle: Vehicle
    corners: NDArray[np.float64]
    sizes: NDArray[np.int64]
    normals: NDArray[np.float64]
    colours: NDArray[np.float64]
    fine: NDArray[np.bool_]
    glow: NDArray[np.bool_]


class Painter:
    """Draws one window's traffic under one light."""

    def __init__(self, scene: ScenePlan, site: Site, window: Window, light: Light) -> None:
        """Light the empty road and index the traffic; bodies are built when first seen."""
        self.site, self.light = site, light
        self._eye = np.array(site.view.eye_m)
        near, far = site.view.reach_m(_TALLEST_M)
        self._reach = max(_NEAREST_M, near - _ASIDE_M), min(_FURTHEST_M, far + _ASIDE_M)
        self._matrix = site.view.matrix().T.copy()
        empty = backdrop.lit(site, light)
        self.empty: Pixels = np.clip(empty, 0, 255).astype(np.uint8)
        share = light.sky / (light.sky + light.beam * max(0.1, light.sun[2]) + 0.05)
        self._shaded: Pixels = np.clip(empty * share, 0, 255).astype(np.uint8)
        self._dark = light.shade(np.array([[0.0, 0.0, 1.0]]))[0] * 38.0
        self._frame = self.empty.copy()
        self._mask: Pixels = np.zeros(self.empty.shape[:2], np.uint8)
        self._glare: Pixels = np.zeros(
            (self.empty.shape[0] // 4, self.empty.shape[1] // 4), np.uint8
        )
        self._lanes = [
            [each for each in vehicles(scene, window) if each.lane == lane]
            for lane in site.nearest_lanes_last()
        ]
        self._entered = [np.array([each.entered_s for each in lane]) for lane in self._lanes]
        self._bodies: dict[tuple[int, float], _Body] = {}

    def _seen(self, instant_s: float) -> list[tuple[Vehicle, float]]:
        """Return vehicles in the picture and the place of their fronts, furthest first."""
        found = []
        near, far = self.site.zone_m
        nearest, furthest = self._reach
        slowest = self.site.speed_mps * 0.65
        for lane, entered in zip(self._lanes, self._entered, strict=True):
            first, last = np.searchsorted(
                entered, [instant_s - furthest / slowest, instant_s + furthest / slowest]
            )
            row = []
            for vehicle in lane[first:last]:
                gone = vehicle.speed_mps * (instant_s - vehicle.entered_s)
                front = near + gone if self.site.direction > 0 else far - gone
                tail = front - self.site.direction * vehicle.length_m
                if max(front, tail) > nearest and min(front, tail) < furthest:
                    row.append((vehicle, front))
            found += sorted(row, key=lambda each: -each[1])
        return found

    def _body(self, vehicle: Vehicle) -> _Body:
        key = (vehicle.lane, vehicle.entered_s)
        if key not in self._bodies:
            if len(self._bodies) > 64:
                self._bodies.clear()
            self._bodies[key] = self._build(vehicle)
        return self._bodies[key]

    def _build(self, vehicle: Vehicle) -> _Body:
        model = build(vehicle)
        order = model.order(self.site.direction)
        turn = np.array([self.site.direction, self.site.direction, 1.0])
        normals = model.normals[order] * turn
        light = self.light.shade(normals)
        colours = model.colours[order] * light
        glow = model.glow[order]
        lamp = model.colours[order] * max(0.75, 1.25 * self.light.lamps)
        colours[glow] = np.maximum(colours, lamp)[glow]
        corners = model.corners[order] * turn
        corners[..., 0] += self.site.lanes[vehicle.lane].x_m + vehicle.offset_m
        return _Body(
            vehicle, corners, model.sizes[order], normals, colours, model.fine[order], glow
        )

    def draw(self, instant_s: float) -> Pixels:
        """Return the scene at a POSIX instant, uint8[h, w, 3] BGR; the next call reuses it."""
        seen = self._seen(instant_s)
        np.copyto(self._frame, self.empty)
        if self.light.beam > 0.08:
            self._cast_shadows(seen)
        for vehicle, front in seen:
            self._contact_shadow(vehicle, front)
            self._draw_body(self._frame, vehicle, front)
        if self.light.lamps > 0.15:
            self._shine(seen)
        return self._frame

    def silhouettes(self, instant_s: float) -> NDArray[np.bool_]:
        """Return bool[h, w]: pixels that show a truck, hidden parts left out."""
        mask: Pixels = np.zeros(self.empty.shape[:2], np.uint8)
        for vehicle, front in self._seen(instant_s):
            self._draw_body(mask, vehicle, front, 255 if vehicle.truck else 0)
        return mask > 127

    @property
    def glare(self) -> Pixels | None:
        """Brightness that lamps add to the last drawn scene, uint8[h, w]; None by day."""
        if self.light.lamps <= 0.15:
            return None
        height, width = self.empty.shape[:2]
        soft = cv2.GaussianBlur(self._glare, (0, 0), 2.2)
        return np.asarray(cv2.resize(soft, (width, height)), dtype=np.uint8)

    def _pixels(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Project float[..., 3], cut off near the camera, to pixels float[..., 2]."""
        seen = points - self._eye
        np.maximum(seen[..., 1], _NEAREST_M - self._eye[1], out=seen[..., 1])
        flat = seen @ self._matrix
        return np.asarray(flat[..., :2] / flat[..., 2:])

    def _draw_body(
        self, image: Pixels, vehicle: Vehicle, front: float, flat: int | None = None
    ) -> None:
        body = self._body(vehicle)
        place = np.array([0.0, front, 0.0])
        middle = max(_NEAREST_M, front - self.site.direction * vehicle.length_m / 2)
        shown = np.einsum("fk,fk->f", self._eye - place - body.corners[:, 0], body.normals) > 0
        if self.site.view.focal_px / math.hypot(middle, self._eye[2]) < _FINE_PX_PER_M:
            shown &= ~body.fine
        points = np.rint(self._pixels(body.corners[shown] + place) * 16).astype(np.int32)
        colours = self._tones(body, shown, middle) if flat is None else None
        for index, (ring, size) in enumerate(zip(points, body.sizes[shown].tolist(), strict=True)):
            colour = flat if colours is None else colours[index]
            cv2.fillConvexPoly(image, ring[:size], colour, cv2.LINE_AA, 4)

    def _tones(self, body: _Body, shown: NDArray[np.bool_], along: float) -> list[list[float]]:
        pool = 1.0 + self.light.lamps * (float(backdrop.lamp_pool(along)) - 1.0)
        clear = math.exp(-self.light.haze * math.hypot(along, self._eye[2]))
        tones = body.colours[shown] * (pool * clear) + self.light.haze_bgr() * (1 - clear)
        return tones.tolist()  # type: ignore[no-any-return]

    def _outline(self, vehicle: Vehicle, front: float, grown: float = 0.0) -> NDArray[np.float64]:
        """Return the footprint's corners float64[4, 3], grown by some metres."""
        x = self.site.lanes[vehicle.lane].x_m + vehicle.offset_m
        half = vehicle.width_m / 2 + grown
        ahead = front + self.site.direction * grown
        behind = front - self.site.direction * (vehicle.length_m + grown)
        return np.array(
            [
                [x - half, ahead, 0.0],
                [x + half, ahead, 0.0],
                [x + half, behind, 0.0],
                [x - half, behind, 0.0],
            ]
        )

    def _contact_shadow(self, vehicle: Vehicle, front: float) -> None:
        points = np.rint(self._pixels(self._outline(vehicle, front, 0.12)) * 16).astype(np.int32)
        clear = math.exp(-self.light.haze * math.hypot(front, self._eye[2]))
        dark = self._dark * clear + self.light.haze_bgr() * (1 - clear)
        cv2.fillConvexPoly(self._frame, points, dark.tolist(), cv2.LINE_AA, 4)

    def _cast_shadows(self, seen: list[tuple[Vehicle, float]]) -> None:
        """Darken the ground where a box around each vehicle keeps the sun off."""
        sun = self.light.sun
        slope = np.array([sun[0], sun[1]]) / max(sun[2], 0.16)
        self._mask.fill(0)
        for vehicle, front in seen:
            floor = self._outline(vehicle, front)
            top = floor.copy()
            top[:, :2] -= slope * (vehicle.height_m * (0.94 if vehicle.height_m > 2 else 0.8))
            points = self._pixels(np.concatenate([floor, top]))
            hull = cv2.convexHull(np.rint(points * 16).astype(np.int32))
            cv2.fillConvexPoly(self._mask, hull, 255, cv2.LINE_8, 4)
        cv2.copyTo(self._shaded, self._mask, self._frame)

    def _shine(self, seen: list[tuple[Vehicle, float]]) -> None:
        """Collect headlight beams on the road and blooms around lamps, at a quarter scale."""
        self._glare.fill(0)
        strength = self.light.lamps
        ahead = self.site.direction
        for vehicle, front in seen:
            x = self.site.lanes[vehicle.lane].x_m + vehicle.offset_m
            beam = np.array(
                [
                    [x - 0.7, front + ahead * 1.0, 0.0],
                    [x + 0.7, front + ahead * 1.0, 0.0],
                    [x + 1.7, front + ahead * 13.0, 0.0],
                    [x - 1.7, front + ahead * 13.0, 0.0],
                ]
            )
            points = np.rint(self._pixels(beam) * 4).astype(np.int32)
            cv2.fillConvexPoly(self._glare, points, 52 * strength, cv2.LINE_8, 4)
            self._bloom(vehicle, front, x)

    def _bloom(self, vehicle: Vehicle, front: float, x: float) -> None:
        end, level = (front, 200.0) if self.site.direction < 0 else (front - vehicle.length_m, 60.0)
        if end < _NEAREST_M + 2:
            return
        for side in (-1, 1):
            lamp = np.array([x + side * (vehicle.width_m / 2 - 0.2), end, 0.75])
            spot = self._pixels(lamp) / 4
            radius = max(1.0, 0.35 * self.site.view.focal_px / end / 4)
            centre = (int(spot[0]), int(spot[1]))
            cv2.circle(self._glare, centre, round(radius), level * self.light.lamps, -1)
            if self.light.rain > 0.2:  # a wet road mirrors lamps towards the camera
                foot = (centre[0], centre[1] + round(900 / end / 4))
                cv2.line(self._glare, centre, foot, level * 0.45 * self.light.lamps, 1)
