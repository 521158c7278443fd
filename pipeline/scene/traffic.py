"""Who drives when; hence the truth, without a single pixel.

Each lane is its own stream: Poisson arrivals held back where a vehicle would touch the one in
front, constant speed per vehicle, footprint a rectangle on the ground. A vehicle's front reaches
the zone at ``entered_s`` and its tail leaves it (zone length + vehicle length) / speed later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.scene.scenario import ScenePlan, Window, carriageway, windows
from pipeline.scene.sites import Site

TRUCKS = ("semi", "box_lorry", "tanker", "dump_truck", "skip_lorry")
_TRUCK_MIX = (0.42, 0.28, 0.12, 0.10, 0.08)
_OTHERS = ("car", "suv", "van", "minibus", "pickup", "bus", "coach")
_OTHER_MIX = (0.48, 0.21, 0.17, 0.025, 0.09, 0.015, 0.01)

# Length, width and height in metres (smallest, largest) of vehicles as registered in Europe and
# North America; a lorry over 3.5 t begins where the tallest vans end.
SIZES_M: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "car": ((3.8, 4.8), (1.72, 1.86), (1.40, 1.52)),
    "suv": ((4.4, 5.0), (1.82, 1.98), (1.65, 1.85)),
    "van": ((5.0, 6.6), (1.95, 2.06), (2.05, 2.70)),
    "minibus": ((5.6, 6.9), (2.0, 2.1), (2.4, 2.75)),
    "pickup": ((5.2, 5.8), (1.88, 2.03), (1.80, 1.95)),
    "bus": ((10.5, 12.4), (2.50, 2.55), (2.95, 3.20)),
    "coach": ((11.8, 13.4), (2.50, 2.55), (3.40, 3.70)),
    "semi": ((14.5, 16.5), (2.50, 2.58), (3.80, 4.05)),
    "box_lorry": ((7.4, 9.8), (2.40, 2.55), (3.30, 3.80)),
    "tanker": ((10.0, 15.5), (2.45, 2.55), (3.30, 3.65)),
    "dump_truck": ((7.4, 8.8), (2.45, 2.55), (3.00, 3.30)),
    "skip_lorry": ((6.8, 7.8), (2.35, 2.50), (2.80, 3.10)),
}
_HEADWAY_S = 0.9
_REACH_M = 90.0  # how far from the zone vehicles are drawn, hence must not overlap


@dataclass(frozen=True)
class Vehicle:
    """One vehicle on its way: ``entered_s`` is POSIX seconds when its front reaches the zone.

    ``style`` seeds its looks; ``offset_m`` is how far right of the lane's centre it drives.
    """

    kind: str
    lane: int
    entered_s: float
    speed_mps: float
    length_m: float
    width_m: float
    height_m: float
    offset_m: float
    style: int

    @property
    def truck(self) -> bool:
        """Whether it is a truck in the project's sense."""
        return self.kind in TRUCKS

    def dwell_s(self, zone_length_m: float) -> float:
        """Return how long any part of the footprint is on a zone of that length.

        >>> Vehicle("semi", 0, 0.0, 10.0, 16.0, 2.5, 4.0, 0.0, 1).dwell_s(6.0)
        2.2
        """
        return (zone_length_m + self.length_m) / self.speed_mps


@dataclass(frozen=True)
class Passage:
    """A truck's stay in a zone; instants are aware UTC."""

    camera_id: str
    zone: str
    movement: str
    entered_at: dt.datetime
    exited_at: dt.datetime
    kind: str

    @property
    def middle(self) -> dt.datetime:
        """The instant that decides which day and clip the passage belongs to."""
        return self.entered_at + (self.exited_at - self.entered_at) / 2


@dataclass(frozen=True)
class DailyTruth:
    """What truly passed in a camera's scheduled windows of a local day, filmed or not."""

    camera_id: str
    date: dt.date
    truck_count: int
    counted: bool


@lru_cache(maxsize=32)
def vehicles(scene: ScenePlan, window: Window) -> tuple[Vehicle, ...]:
    """Return every vehicle that may be seen in a window, lane by lane in order of passing."""
    site = scene.site(window.camera_id)
    return tuple(
        vehicle for lane in range(len(site.lanes)) for vehicle in _lane(scene, site, window, lane)
    )


def _lane(scene: ScenePlan, site: Site, window: Window, lane: int) -> Iterator[Vehicle]:
    place = scene.sites.index(site)
    rng = np.random.default_rng([scene.seed, place, window.date.toordinal(), window.index, lane])
    per_s = _flow(scene, site, window) / len(site.lanes) / 60
    arrival, ahead = window.start.timestamp() - 45.0, None
    until = window.end.timestamp() + 45.0
    while arrival < until:
        arrival += rng.exponential(1 / per_s)
        ahead = _follow(_draw(site, lane, arrival, rng), ahead, site)
        yield ahead


def _flow(scene: ScenePlan, site: Site, window: Window) -> float:
    """Vehicles a minute: weekday flow, scaled for the weekend and the window."""
    weekday = window.date.weekday()
    weekend = scene.weekend_flow[weekday - 5] if weekday >= 5 else 1.0
    return site.flow * weekend * site.window_flow[window.index]


def _draw(site: Site, lane: int, arrival: float, rng: np.random.Generator) -> Vehicle:
    weights = [each.truck_weight for each in site.lanes]
    share = site.truck_share * weights[lane] * len(weights) / sum(weights)
    truck = bool(rng.random() < share)
    kind = str(rng.choice(TRUCKS, p=_TRUCK_MIX) if truck else rng.choice(_OTHERS, p=_OTHER_MIX))
    length, width, height = (rng.uniform(*limits) for limits in SIZES_M[kind])
    typical = site.speed_mps * (0.9 if truck or kind in ("bus", "coach") else 1.0)
    return Vehicle(
        kind=kind,
        lane=lane,
        entered_s=arrival,
        speed_mps=typical * float(np.clip(rng.normal(1.0, 0.08), 0.8, 1.25)),
        length_m=length,
        width_m=width,
        height_m=height,
        offset_m=float(np.clip(rng.normal(0.0, 0.12), -0.28, 0.28)),
        style=int(rng.integers(2**31)),
    )


def _follow(vehicle: Vehicle, ahead: Vehicle | None, site: Site) -> Vehicle:
    """Hold a vehicle back, or slow it down, so that it never drives into the one in front.

    Both keep their speed, so the gap is linear in place: it is enough to look at both ends.
    """
    if ahead is None:
        return vehicle
    speed, entered = vehicle.speed_mps, vehicle.entered_s
    if entered < _earliest(ahead, speed):
        speed = min(speed, ahead.speed_mps)
    entered = max(entered, _earliest(ahead, speed))
    return Vehicle(**{**vars(vehicle), "speed_mps": speed, "entered_s": entered})


def _earliest(ahead: Vehicle, speed: float) -> float:
    """Return the first instant at which a follower of that speed may reach the zone."""
    clears = [
        ahead.entered_s + (place + ahead.length_m) / ahead.speed_mps - place / speed
        for place in (-_REACH_M, _REACH_M)
    ]
    return max(clears) + _HEADWAY_S


def zone_length_m(site: Site) -> float:
    """Return the length of the site's zones along the road."""
    return site.zone_m[1] - site.zone_m[0]


def zone_of(scene: ScenePlan, site: Site, vehicle: Vehicle) -> str:
    """Return the name of the zone a vehicle crosses."""
    return site.lanes[vehicle.lane].name if scene.zoning == "lanes" else carriageway(site)


def truth_passages(scene: ScenePlan) -> list[Passage]:
    """Return every truck passage whose middle falls in a scheduled window, by camera and time.

    Faults play no part: the truth is what happened, not what was filmed.
    """
    found = [
        passage
        for site in scene.sites
        for day in scene.dates()
        for window in windows(scene, site.id, day)
        for passage in _passages(scene, site, window)
        if window.start <= passage.middle < window.end
    ]
    order = {site.id: place for place, site in enumerate(scene.sites)}
    return sorted(found, key=lambda each: (order[each.camera_id], each.entered_at, each.zone))


def _passages(scene: ScenePlan, site: Site, window: Window) -> Iterator[Passage]:
    for vehicle in vehicles(scene, window):
        if vehicle.truck:
            left = vehicle.entered_s + vehicle.dwell_s(zone_length_m(site))
            yield Passage(
                camera_id=site.id,
                zone=zone_of(scene, site, vehicle),
                movement=site.movement,
                entered_at=dt.datetime.fromtimestamp(vehicle.entered_s, dt.UTC),
                exited_at=dt.datetime.fromtimestamp(left, dt.UTC),
                kind=vehicle.kind,
            )


def truth_daily(scene: ScenePlan) -> list[DailyTruth]:
    """Return the true number of truck passages per camera and local day, zeros included."""
    passages = truth_passages(scene)
    rows = []
    for site in scene.sites:
        for day in scene.dates():
            spans = [(w.start, w.end) for w in windows(scene, site.id, day)]
            number = sum(
                passage.camera_id == site.id
                and any(start <= passage.middle < end for start, end in spans)
                for passage in passages
            )
            rows.append(DailyTruth(site.id, day, number, scene.counted(day)))
    return rows


def presence(
    scene: ScenePlan, camera_id: str, zone: str, instants: Sequence[dt.datetime] | ArrayLike
) -> NDArray[np.bool_]:
    """Return bool[n]: is any part of a truck's footprint on the zone at each instant?

    ``instants`` are aware datetimes or POSIX seconds within the scheduled windows; elsewhere
    nothing is simulated and the answer is False. Trucks that only touch the edge of a window
    count here (they are in the picture) even where their passage belongs to the minutes before or
    after.
    """
    times = _posix(instants)
    order = np.argsort(times)
    present = np.zeros(times.shape, dtype=bool)
    site = scene.site(camera_id)
    for day in scene.dates():
        for window in windows(scene, camera_id, day):
            for each in _passages(scene, site, window):
                if each.zone == zone:
                    begun = max(each.entered_at, window.start).timestamp()
                    ended = min(each.exited_at, window.end).timestamp()
                    first, last = np.searchsorted(times, [begun, ended], sorter=order)
                    present[order[first:last]] = True
    return present


def _posix(instants: Sequence[dt.datetime] | ArrayLike) -> NDArray[np.float64]:
    if isinstance(instants, Sequence):
        instants = [
            each.timestamp() if isinstance(each, dt.datetime) else each for each in instants
        ]
    return np.asarray(instants, dtype=np.float64)
