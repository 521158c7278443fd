"""What is filmed: cameras, days, windows, weather, faults. Cheap, and a function of the seed.

A :class:`ScenePlan` is a frozen record; ``dataclasses.replace`` it (or a :class:`Site` in it) to
film something else. Local windows become UTC through the time zone, so a plan may span a change
of clocks: the default one does (Chicago, 8 March 2026).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from pipeline.errors import InputError
from pipeline.scene.sites import Site, default_sites

Fault = Literal["missing", "corrupt"]
Weather = Literal["clear", "overcast", "rain", "fog", "storm"]
Zoning = Literal["lanes", "carriageway"]
Profile = Literal["demo", "hard"]


@dataclass(frozen=True)
class ScenePlan:
    """Everything the footage and its truth are made from.

    The first ``training_days`` of the ``days`` local days from ``first_day`` on are for labelling
    and training, the rest are counted. ``weather`` holds one entry per day; ``zoning`` says
    whether each lane is a zone or one zone spans the carriageway; ``faults`` whether one segment
    is missing and one corrupt; ``noise`` scales the sensor's.
    """

    seed: int
    days: int
    first_day: dt.date
    training_days: int
    sites: tuple[Site, ...]
    weather: tuple[Weather, ...]
    zoning: Zoning = "lanes"
    faults: bool = True
    noise: float = 1.0
    weekend_flow: tuple[float, float] = (0.75, 0.6)

    def dates(self) -> tuple[dt.date, ...]:
        """Return the local days in order."""
        return tuple(self.first_day + dt.timedelta(days=n) for n in range(self.days))

    def counted(self, day: dt.date) -> bool:
        """Return whether ``day`` is one of the counted (not the training) days."""
        return (day - self.first_day).days >= self.training_days

    def site(self, camera_id: str) -> Site:
        """Return the site of a camera; raise ``InputError`` where there is none."""
        for site in self.sites:
            if site.id == camera_id:
                return site
        known = ", ".join(site.id for site in self.sites)
        raise InputError(f"the scene has no camera {camera_id!r}.", f"Use one of: {known}.")


@dataclass(frozen=True)
class Segment:
    """One footage file to be rendered; ``path`` is relative to the workspace root."""

    camera_id: str
    start: dt.datetime
    duration_s: float
    path: str
    fault: Fault | None = None


@dataclass(frozen=True)
class Window:
    """One scheduled stretch of one camera-local day, as UTC instants; ``index`` in the day."""

    camera_id: str
    date: dt.date
    index: int
    start: dt.datetime
    end: dt.datetime


def plan(
    seed: int = 7,
    days: int = 7,
    *,
    profile: Profile = "demo",
    training_days: int | None = None,
    first_day: dt.date = dt.date(2026, 3, 2),
    zoning: Zoning = "lanes",
    weather: tuple[Weather, ...] | None = None,
    windows: tuple[tuple[str, str], ...] | None = None,
    flow: float | None = None,
    truck_share: float | None = None,
    faults: bool = True,
) -> ScenePlan:
    """Return the plan of ``days`` local days at two cameras. The same arguments, the same plan.

    ``profile="hard"`` trains in ordinary weather and counts in fog and storm, with a noisier
    sensor. ``weather`` (one per day, repeated), ``windows``, ``flow`` and ``truck_share`` replace
    those of both sites.

    >>> plan(days=7).training_days
    4
    """
    if days < 2:
        raise InputError(f"{days} day(s) cannot hold both training and counting.", "Use 2 or more.")
    learnt = min(days - 1, max(1, round(days * 0.57))) if training_days is None else training_days
    if not 0 <= learnt <= days:
        raise InputError(f"training_days {learnt} is not within 0 to {days}.")
    sites = tuple(_adapt(site, windows, flow, truck_share) for site in default_sites())
    skies = weather or _skies(seed, days, learnt, profile)
    return ScenePlan(
        seed=seed,
        days=days,
        first_day=first_day,
        training_days=learnt,
        sites=sites,
        weather=tuple(skies[n % len(skies)] for n in range(days)),
        zoning=zoning,
        faults=faults,
        noise=1.0 if profile == "demo" else 1.6,
    )


def _skies(seed: int, days: int, learnt: int, profile: Profile) -> tuple[Weather, ...]:
    """Alternate wet and dry from the first two days on: few training days must see both."""
    rng = np.random.default_rng([seed, 11])
    dry: tuple[Weather, ...] = ("clear", "overcast", "clear")
    skies: list[Weather] = []
    for n in range(days):
        if profile == "hard" and n >= learnt:
            skies.append(("fog", "storm")[(n - learnt) % 2])
        elif n % 3 == 1:
            skies.append("rain")
        else:
            skies.append(dry[int(rng.integers(len(dry)))])
    return tuple(skies)


def _adapt(
    site: Site,
    windows: tuple[tuple[str, str], ...] | None,
    flow: float | None,
    truck_share: float | None,
) -> Site:
    if windows is not None:
        site = replace(site, windows=windows, window_flow=(1.0,) * len(windows))
    if flow is not None:
        site = replace(site, flow=flow)
    return site if truck_share is None else replace(site, truck_share=truck_share)


def windows(scene: ScenePlan, camera_id: str, day: dt.date) -> tuple[Window, ...]:
    """Return the filmed windows of one camera-local day as UTC instants."""
    site = scene.site(camera_id)
    zone = ZoneInfo(site.timezone)
    return tuple(
        Window(camera_id, day, index, _instant(day, opens, zone), _instant(day, closes, zone))
        for index, (opens, closes) in enumerate(site.windows)
    )


def _instant(day: dt.date, clock: str, zone: ZoneInfo) -> dt.datetime:
    hour, minute = (int(part) for part in clock.split(":"))
    if hour == 24:
        day, hour = day + dt.timedelta(days=1), 0
    return dt.datetime.combine(day, dt.time(hour, minute), tzinfo=zone).astimezone(dt.UTC)


def segments(scene: ScenePlan) -> list[Segment]:
    """Return every segment of the plan, by camera and time.

    Where the plan has faults, the first camera misses the second segment of its first counted day
    and the last camera's last but one counted day (its only one if there is but one) has a corrupt
    third segment.
    """
    found: list[Segment] = []
    for site in scene.sites:
        for day in scene.dates():
            cuts = [cut for window in windows(scene, site.id, day) for cut in _cut(site, window)]
            faults = _faults(scene, site, day)
            found += [replace(cut, fault=faults.get(n)) for n, cut in enumerate(cuts)]
    return found


def _cut(site: Site, window: Window) -> list[Segment]:
    """Cut a window into segments of at most ``segment_s``."""
    cuts, start = [], window.start
    while start < window.end:
        length = min(float(site.segment_s), (window.end - start).total_seconds())
        path = f"footage/{site.id}/{start:%Y-%m-%dT%H%M%S%z}.mp4"
        cuts.append(Segment(site.id, start, length, path))
        start += dt.timedelta(seconds=length)
    return cuts


def _faults(scene: ScenePlan, site: Site, day: dt.date) -> dict[int, Fault]:
    counted = [date for date in scene.dates() if scene.counted(date)]
    if not scene.faults or not counted:
        return {}
    if site is scene.sites[0] and day == counted[0]:
        return {1: "missing"}
    if site is scene.sites[-1] and day == counted[max(0, len(counted) - 2)]:
        return {2: "corrupt"}
    return {}


def zone_quads(scene: ScenePlan, site: Site) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return each zone's ground rectangle as x-y corners in metres, near left corner first."""
    near, far = site.zone_m
    half = site.zone_width_m / 2
    if scene.zoning == "lanes":
        spans = {lane.name: (lane.x_m - half, lane.x_m + half) for lane in site.lanes}
    else:
        xs = [lane.x_m for lane in site.lanes]
        spans = {carriageway(site): (min(xs) - half, max(xs) + half)}
    return {
        name: ((left, near), (right, near), (right, far), (left, far))
        for name, (left, right) in spans.items()
    }


def carriageway(site: Site) -> str:
    """Return the name of the one zone over all lanes."""
    return site.lanes[0].name.split("-")[0]


def cameras_toml(scene: ScenePlan) -> str:
    """Return the registry of the plan's cameras as the text of a ``cameras.toml``."""
    parts = ["# Written by the demonstration: rendered cameras, no real place.\n"]
    for site in scene.sites:
        hours = ", ".join(f'["{opens}", "{closes}"]' for opens, closes in site.windows)
        parts.append(
            f'\n[[camera]]\nid = "{site.id}"\nsite = "{site.site}"\n'
            f'timezone = "{site.timezone}"\nsource = "footage/{site.id}/*.mp4"\n'
            f'clip_start = "%Y-%m-%dT%H%M%S%z"\nvalid_from = {scene.first_day}\n'
            f"sample_hz = {site.sample_hz}\nschedule = [{hours}]\n"
            f'exchange = "{site.exchange}"\nzones = [\n{_zones_toml(scene, site)}]\n'
        )
    return "".join(parts)


def _zones_toml(scene: ScenePlan, site: Site) -> str:
    lines = []
    for name, corners in zone_quads(scene, site).items():
        pixels = site.view.project(np.array([(x, y, 0.0) for x, y in corners]))
        shares = pixels / np.array([site.view.width_px, site.view.height_px])
        # Far left first: clockwise in the picture, as people draw them.
        polygon = ", ".join(f"[{x:.4f}, {y:.4f}]" for x, y in shares[[3, 2, 1, 0]])
        lines.append(
            f'  {{ name = "{name}", movement = "{site.movement}", polygon = [{polygon}] }},\n'
        )
    return "".join(lines)
