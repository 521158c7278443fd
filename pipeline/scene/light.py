"""What the hour and the weather do to the light: one frozen record per segment."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np

from pipeline.scene.optics import Floats, sun_position
from pipeline.scene.scenario import ScenePlan
from pipeline.scene.sites import Site

LAMP_SHARE = 0.26  # of full daylight, under a street lamp


@dataclass(frozen=True)
class Light:
    """The light of a segment, in shares of full daylight.

    ``sun`` is the unit vector towards the sun (world axes) and ``beam`` its strength; ``sky`` is
    the diffuse part; ``lamps`` how much lamps matter (0 by day, 1 at night); ``haze`` the loss of
    contrast per metre and ``rain`` its amount (0 to 1). ``tint`` is BGR, ``noise`` in grey levels;
    ``iris`` is how far the camera opened up (already in ``tint``).
    """

    sun: tuple[float, float, float]
    beam: float
    sky: float
    lamps: float
    haze: float
    rain: float
    tint: tuple[float, float, float]
    noise: float
    iris: float = 1.0

    def shade(self, normals: Floats) -> Floats:
        """Return the light float[..., 3] (BGR) on faces with unit ``normals`` float[..., 3]."""
        facing = np.clip(normals @ np.array(self.sun), 0.0, None)
        diffuse = self.sky * (0.72 + 0.28 * normals[..., 2])
        lamp = LAMP_SHARE * self.iris * self.lamps * (0.75 + 0.25 * normals[..., 2])
        white = (diffuse + self.beam * facing)[..., None] * np.array(self.tint)
        return np.asarray(white + lamp[..., None] * np.array([0.72, 0.92, 1.05]))

    def haze_bgr(self) -> Floats:
        """Return the colour (BGR, 0-255) distant things fade into."""
        return np.array([205.0, 200.0, 196.0]) * max(
            0.10, (self.sky * 0.95 + self.beam * 0.2) * self.iris
        )


# Direct beam, diffuse sky, haze per metre, rain: shares of a bright noon.
_WEATHER = {
    "clear": (0.62, 0.50, 0.0012, 0.0),
    "overcast": (0.06, 0.80, 0.0025, 0.0),
    "rain": (0.0, 0.66, 0.007, 0.55),
    "fog": (0.0, 0.74, 0.022, 0.0),
    "storm": (0.0, 0.48, 0.011, 1.0),
}


def light_at(scene: ScenePlan, site: Site, instant: dt.datetime, day: dt.date) -> Light:
    """Return the light at a site at an instant of a local day of the plan."""
    height, azimuth = sun_position(instant, site.latitude, site.longitude)
    weather = scene.weather[(day - scene.first_day).days]
    beam, sky, haze, rain = _WEATHER[weather]
    rng = np.random.default_rng([scene.seed, 23, scene.sites.index(site), day.toordinal()])
    daylight = _smooth((height + 7.0) / 15.0)  # civil twilight ends at -6 degrees
    low = 1.0 - _smooth((height - 1.0) / 18.0)
    bearing = math.radians(azimuth - site.view.heading_deg)
    flat = math.cos(math.radians(height))
    warm = np.array([1.0 - 0.22 * low * (beam > 0.1), 1.0 - 0.05 * low, 1.0])
    cold = np.array([1.18, 1.0, 0.92])  # the blue of dusk
    tint = (warm * daylight + cold * (1 - daylight)) * rng.uniform(0.97, 1.03, 3)
    lamps = 1.0 - _smooth((height + 5.0) / 8.0)
    beam *= rng.uniform(0.85, 1.1) * _smooth((height - 0.5) / 8.0) * 1.3
    sky *= (0.06 + 0.94 * daylight) * rng.uniform(0.9, 1.08)
    # The camera opens its iris in the dark, but never makes night into day.
    level = sky + beam * max(0.0, math.sin(math.radians(height))) + LAMP_SHARE * lamps
    iris = min(1.75, max(0.85, (1.12 / level) ** 0.6))
    tint = tint * iris
    return Light(
        sun=(math.sin(bearing) * flat, math.cos(bearing) * flat, math.sin(math.radians(height))),
        beam=beam,
        sky=sky,
        lamps=lamps,
        haze=haze * rng.uniform(0.8, 1.2),
        rain=rain * rng.uniform(0.7, 1.0),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        noise=scene.noise * (1.7 + 2.0 * (1.0 - daylight)),
        iris=iris,
    )


def _smooth(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3.0 - 2.0 * share)
