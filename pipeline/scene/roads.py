"""Roads of chance: one random camera a plan, for networks that learn before any label is there.

Height, tilt, focal length, lanes, zone, direction, flow, hour and weather are drawn; what stands
beside the road and who drives on it come from the same simulation as the demonstration's.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scene.optics import View
from pipeline.scene.scenario import ScenePlan, Window, windows, zone_quads
from pipeline.scene.sites import Lane, Site
from pipeline.scene.traffic import Vehicle, presence, vehicles, zone_length_m

LANE_M = 3.7
SMALLEST_PX = 40.0  # across a zone in the picture: below, a truck is a few pixels
LEAST_PX, LARGEST_PX = 70.0, 355.0  # rows a zone may reach to: the horizon above, the edge below
_TIMES = ("05:50", "08:00", "13:00", "18:00", "22:00")
_ANYTIME, _TRUCK = 0.1, 0.5  # of the draws: below the first blindly, then for a truck
_MARGIN_S = 5.0


@dataclass(frozen=True)
class Instant:
    """An instant of one zone, and whether a truck is on it."""

    at: dt.datetime
    zone: str
    truck: bool


def road(seed: int, number: int) -> ScenePlan:
    """Return one local day at the ``number``-th random camera; the same numbers, the same plan.

    >>> plan = road(seed=1, number=3)
    >>> plan == road(seed=1, number=3), [site.id for site in plan.sites]
    (True, ['road-1-3'])
    """
    rng = np.random.default_rng([seed, number])
    site = _site(f"road-{seed}-{number}", rng)
    weather: Any = rng.choice(
        ["clear", "overcast", "rain", "fog", "storm"], p=[0.35, 0.25, 0.2, 0.12, 0.08]
    )
    return ScenePlan(
        seed=int(rng.integers(2**31)),
        days=1,
        first_day=dt.date(2026, 1, 5) + dt.timedelta(days=int(rng.integers(330))),
        training_days=0,
        sites=(site,),
        weather=(weather.item(),),
        faults=False,
        noise=float(rng.uniform(0.5, 1.8)),
    )


def instants(plan: ScenePlan, n: int, seed: int) -> list[Instant]:
    """Draw ``n`` instants of one window of a road's day, in order of time.

    Four in ten are drawn for a truck, early, late or in the middle of its stay or just outside of
    it; five for any other vehicle, every kind as often; one blindly.
    """
    rng = np.random.default_rng([plan.seed, seed])
    site, day = plan.sites[0], plan.first_day
    window = windows(plan, site.id, day)[int(rng.integers(len(site.windows)))]
    found = sorted(_drawn(plan, site, window, rng) for _ in range(n))
    drawn = np.array([at for at, _ in found])
    truck = {lane.name: presence(plan, site.id, lane.name, drawn) for lane in site.lanes}
    return [
        Instant(dt.datetime.fromtimestamp(at, dt.UTC), zone, bool(truck[zone][i]))
        for i, (at, zone) in enumerate(found)
    ]


def _drawn(
    plan: ScenePlan, site: Site, window: Window, rng: np.random.Generator
) -> tuple[float, str]:
    """Return when (POSIX seconds), and the lane's zone to look at."""
    start, end = window.start.timestamp() + _MARGIN_S, window.end.timestamp() - _MARGIN_S
    chance = float(rng.random())
    wanted = [
        each
        for each in vehicles(plan, window)
        if start < each.entered_s < end and each.truck == (chance < _TRUCK)
    ]
    if chance < _ANYTIME or not wanted:
        return float(rng.uniform(start, end)), site.lanes[int(rng.integers(len(site.lanes)))].name
    kinds = sorted({each.kind for each in wanted})
    kind = kinds[int(rng.integers(len(kinds)))]
    alike: list[Vehicle] = [each for each in wanted if each.kind == kind]
    one = alike[int(rng.integers(len(alike)))]
    stay = one.dwell_s(zone_length_m(site))
    at = float(np.clip(one.entered_s + rng.uniform(-0.15, 1.15) * stay, start, end))
    return at, site.lanes[one.lane].name


def _site(name: str, rng: np.random.Generator) -> Site:
    """Draw cameras until one sees its zones whole and large enough."""
    while True:
        site = _any_site(name, rng)
        if _well_seen(site):
            return site


def _any_site(name: str, rng: np.random.Generator) -> Site:
    lanes, near = int(rng.integers(1, 4)), float(rng.uniform(8, 40))
    return Site(
        id=name,
        site=name,
        timezone="Europe/Berlin",
        latitude=50.0,
        longitude=10.0,
        exchange="XETR",
        view=View(
            eye_m=(float(rng.uniform(-6, 6)), 0.0, float(rng.uniform(5, 16))),
            pitch_deg=float(rng.uniform(14, 48)),
            yaw_deg=float(rng.uniform(-30, 30)),
            focal_px=float(rng.uniform(420, 900)),
            heading_deg=float(rng.uniform(0, 360)),
        ),
        direction=1 if rng.random() < 0.5 else -1,
        lanes=tuple(Lane(f"lane-{k + 1}", (k - (lanes - 1) / 2) * LANE_M) for k in range(lanes)),
        zone_m=(near, near + float(rng.uniform(4, 12))),
        windows=tuple((opens, f"{opens[:3]}{int(opens[3:]) + 3:02d}") for opens in _TIMES),
        window_flow=(1.0,) * len(_TIMES),
        segment_s=180,
        fps=Fraction(10),
        speed_mps=float(rng.uniform(6, 14)),
        flow=float(rng.uniform(12, 30)) * lanes,
        truck_share=0.33,
    )


def _well_seen(site: Site) -> bool:
    """Tell whether every zone lies in the picture, below the horizon, and is not tiny."""
    plan = ScenePlan(0, 1, dt.date(2026, 1, 5), 0, (site,), ("clear",))
    for corners in zone_quads(plan, site).values():
        quad: NDArray[Any] = np.array([(x, y, 0.0) for x, y in corners])
        pixels = site.view.project(quad)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        inside = low[0] >= 0 and high[0] <= site.view.width_px
        if not inside or low[1] < LEAST_PX or high[1] > LARGEST_PX:
            return False
        if min(high - low) < SMALLEST_PX:
            return False
    return True
