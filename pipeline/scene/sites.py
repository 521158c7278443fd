"""The two cameras of the demonstration and the roads below them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipeline.scene.optics import View


@dataclass(frozen=True)
class Lane:
    """One lane: its zone's ``name``, its centre ``x_m`` and its weight in the truck traffic."""

    name: str
    x_m: float
    truck_weight: float = 1.0


@dataclass(frozen=True)
class Site:
    """One camera and the road below it.

    ``direction`` is +1 where traffic drives away from the camera and -1 where it approaches.
    The zone of every lane reaches from ``zone_m[0]`` to ``zone_m[1]`` along the road and spans
    ``zone_width_m``. ``windows`` are camera-local ``("HH:MM", "HH:MM")`` pairs. ``flow`` is
    vehicles a minute over all lanes on a weekday, ``window_flow`` scales it per window.
    """

    id: str
    site: str
    timezone: str
    latitude: float
    longitude: float
    exchange: str
    view: View
    direction: Literal[1, -1]
    lanes: tuple[Lane, ...]
    zone_m: tuple[float, float]
    windows: tuple[tuple[str, str], ...]
    window_flow: tuple[float, ...]
    segment_s: int
    fps: Fraction
    movement: str = "out"
    zone_width_m: float = 3.3
    speed_mps: float = 9.5
    flow: float = 24.0
    truck_share: float = 0.13
    sample_hz: float = 5.0

    def nearest_lanes_last(self) -> tuple[int, ...]:
        """Return lane indices in drawing order: a lane beside the camera hides those beyond it."""
        reach = [abs(lane.x_m - self.view.eye_m[0]) for lane in self.lanes]
        return tuple(sorted(range(len(reach)), key=lambda index: -reach[index]))


def default_sites() -> tuple[Site, ...]:
    """A gantry over departing traffic, and a mast arm beside approaching traffic."""
    gantry = Site(
        id="north-gate",
        site="dc-14",
        timezone="America/Chicago",
        latitude=41.6,
        longitude=-88.1,
        exchange="XNYS",
        view=View(
            eye_m=(0.2, 0.0, 13.5),
            pitch_deg=26.0,
            focal_px=504.0,
            width_px=512,
            height_px=288,
            heading_deg=60.0,
        ),
        direction=1,
        lanes=(Lane("exit-left", -1.85, 0.8), Lane("exit-right", 1.85, 1.2)),
        zone_m=(19.0, 25.0),
        windows=(("07:00", "07:03"), ("12:30", "12:33"), ("17:45", "17:48"), ("21:00", "21:03")),
        window_flow=(1.0, 1.1, 1.0, 0.7),
        segment_s=90,
        fps=Fraction(10),
    )
    mast = Site(
        id="east-ramp",
        site="dc-31",
        timezone="Europe/Berlin",
        latitude=52.4,
        longitude=13.1,
        exchange="XETR",
        view=View(
            eye_m=(-3.0, 0.0, 13.0),
            pitch_deg=22.5,
            yaw_deg=5.0,
            focal_px=504.0,
            width_px=512,
            height_px=288,
            heading_deg=190.0,
        ),
        direction=-1,
        lanes=(Lane("ramp-near", -1.85, 1.2), Lane("ramp-far", 1.85, 0.8)),
        zone_m=(21.5, 28.0),
        windows=(
            ("06:45", "06:47"),
            ("10:30", "10:33"),
            ("15:00", "15:03"),
            ("18:00", "18:02"),
        ),
        window_flow=(0.8, 1.1, 1.1, 1.0),
        segment_s=60,
        fps=Fraction(10000, 1001),
        flow=25.0,
        speed_mps=10.0,
    )
    return gantry, mast
