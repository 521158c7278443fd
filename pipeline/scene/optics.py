"""Where a point in the world falls in the picture, and where the sun stands.

World: metres, x to the right of the road's direction of view, y along the road away from the
camera, z up; the ground is z = 0. Picture: pixels, x right, y down, from the top left corner.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class View:
    """A pinhole camera above a road.

    ``eye_m`` is its place in the world; ``yaw_deg`` turns it right of the road's direction and
    ``pitch_deg`` tilts it down; ``heading_deg`` is the compass bearing of the y axis.
    """

    eye_m: tuple[float, float, float]
    pitch_deg: float
    yaw_deg: float = 0.0
    focal_px: float = 600.0
    width_px: int = 640
    height_px: int = 360
    heading_deg: float = 0.0

    def axes(self) -> Floats:
        """Return the camera's right, down and forward unit vectors as float64[3, 3] rows."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        forward = np.array(
            [
                math.sin(yaw) * math.cos(pitch),
                math.cos(yaw) * math.cos(pitch),
                -math.sin(pitch),
            ]
        )
        right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
        return np.stack([right, np.cross(forward, right), forward])

    def matrix(self) -> Floats:
        """Return float64[3, 3]: (world point - eye) to homogeneous pixels."""
        lens = np.array(
            [
                [self.focal_px, 0.0, self.width_px / 2],
                [0.0, self.focal_px, self.height_px / 2],
                [0.0, 0.0, 1.0],
            ]
        )
        return lens @ self.axes()

    def project(self, points_m: Floats) -> Floats:
        """Project world points float[..., 3] in metres to pixels float64[..., 2].

        Points must lie in front of the camera.

        >>> View(eye_m=(0.0, 0.0, 10.0), pitch_deg=45.0).project(np.array([0.0, 10.0, 0.0]))
        array([320., 180.])
        """
        homogeneous = (np.asarray(points_m) - np.array(self.eye_m)) @ self.matrix().T
        return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:])

    def reach_m(self, tallest_m: float) -> tuple[float, float]:
        """Return from where to where along the road something may be in the picture.

        Nearest, the top of a thing ``tallest_m`` high comes into the lower edge; furthest, the
        ground leaves through the upper one (infinitely far where the horizon is in view).

        >>> [round(y, 1) for y in View(eye_m=(0, 0, 13.5), pitch_deg=26.0).reach_m(4.0)]
        [10.3, 82.4]
        """
        half = math.degrees(math.atan2(self.height_px / 2, self.focal_px))
        steep, flat = (math.radians(self.pitch_deg + turn) for turn in (half, -half))
        near = (self.eye_m[2] - tallest_m) / math.tan(steep) if steep < math.pi / 2 else -math.inf
        return near, self.eye_m[2] / math.tan(flat) if flat > 0 else math.inf

    def ground(self, xs_px: Floats, ys_px: Floats) -> tuple[Floats, Floats]:
        """Return the ground point (x, y) in metres seen at each pixel; NaN above the horizon."""
        right, down, forward = self.axes()
        across = (np.asarray(xs_px) - self.width_px / 2)[..., None] / self.focal_px
        below = (np.asarray(ys_px) - self.height_px / 2)[..., None] / self.focal_px
        ray = forward + across * right + below * down
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(ray[..., 2] < -1e-6, -self.eye_m[2] / ray[..., 2], np.nan)
        return self.eye_m[0] + reach * ray[..., 0], self.eye_m[1] + reach * ray[..., 1]


def sun_position(instant: dt.datetime, latitude: float, longitude: float) -> tuple[float, float]:
    """Return the sun's elevation and compass azimuth in degrees at an aware ``instant``.

    The low-precision formula of the Astronomical Almanac (about 0.01 degrees until 2050),
    without refraction.
    """
    epoch = dt.datetime(2000, 1, 1, 12, tzinfo=dt.UTC)
    days = (instant - epoch).total_seconds() / 86400
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude_sun = math.radians(
        280.460 + 0.9856474 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly)
    )
    tilt = math.radians(23.439 - 4e-7 * days)
    ascension = math.atan2(math.cos(tilt) * math.sin(longitude_sun), math.cos(longitude_sun))
    declination = math.asin(math.sin(tilt) * math.sin(longitude_sun))
    sidereal = math.radians((18.697374558 + 24.06570982441908 * days) * 15 + longitude)
    hour, phi = sidereal - ascension, math.radians(latitude)
    height = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(
        declination
    ) * math.cos(hour)
    azimuth = math.atan2(
        -math.cos(declination) * math.sin(hour),
        math.sin(declination) * math.cos(phi)
        - math.cos(declination) * math.cos(hour) * math.sin(phi),
    )
    return math.degrees(math.asin(height)), math.degrees(azimuth) % 360
