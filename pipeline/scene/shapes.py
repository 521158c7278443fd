"""What each kind of vehicle looks like: flat faces in metres.

A vehicle is a list of convex solids, front to rear, each a side profile drawn out over the
vehicle's width (cabs, boxes, cars) or a cross-section drawn out along it (tanks), with windows,
lamps, wheels and doors painted on. Own axes: x right, y forward with the front at 0, z up.
Colours are drawn from one palette for all kinds, so that colour alone says nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.scene.solids import CHASSIS, GLASS, TRIM, Builder, Colour, Model, Profile
from pipeline.scene.traffic import Vehicle

_PALETTE: tuple[Colour, ...] = (  # BGR
    (224, 226, 226),
    (205, 208, 210),
    (168, 170, 172),
    (96, 96, 98),
    (42, 42, 44),
    (40, 40, 165),
    (150, 82, 36),
    (64, 96, 44),
    (36, 150, 205),
    (60, 120, 190),
    (120, 60, 40),
)
_COMMON = (0.26, 0.14, 0.13, 0.09, 0.10, 0.07, 0.08, 0.03, 0.04, 0.03, 0.03)


def build(vehicle: Vehicle) -> Model:
    """Return the faces of a vehicle; the same vehicle gives the same faces."""
    rng = np.random.default_rng(vehicle.style)
    builder = Builder(vehicle.width_m)
    paint = _paint(rng)
    if vehicle.kind in ("car", "suv", "pickup"):
        _car(builder, vehicle, paint, rng)
    elif vehicle.kind in ("van", "minibus"):
        _van(builder, vehicle, paint, rng)
    elif vehicle.kind in ("bus", "coach"):
        _bus(builder, vehicle, paint, rng)
    else:
        _truck(builder, vehicle, paint, rng)
    return builder.model()


def _paint(rng: np.random.Generator) -> Colour:
    base = np.array(_PALETTE[int(rng.choice(len(_PALETTE), p=_COMMON))])
    blue, green, red = np.clip(base * rng.uniform(0.85, 1.08) + rng.normal(0, 4, 3), 15, 240)
    return float(blue), float(green), float(red)


def _darker(colour: Colour, share: float) -> Colour:
    return colour[0] * share, colour[1] * share, colour[2] * share


def _car(b: Builder, v: Vehicle, paint: Colour, rng: np.random.Generator) -> None:
    length, roof = v.length_m, v.height_m
    belt = roof * 0.64
    bonnet, tail = length * rng.uniform(0.22, 0.27), length * rng.uniform(0.06, 0.2)
    if v.kind == "pickup":
        tail = length * 0.38
    hood = belt - 0.16
    b.prism([(0, 0.28), (0, hood - 0.1), (-bonnet, belt), (-length, belt), (-length, 0.3)], paint)
    b.wheels([-length * 0.18, -length * 0.8], 0.34 if v.kind == "car" else 0.39)
    b.lamps(length, hood - 0.32, belt - 0.3)
    b.end(0, (-0.5, 0.5), (0.3, 0.5), (40, 40, 40), True)
    if v.kind == "pickup":
        b.roof(-length + tail - 0.1, -length + 0.1, belt, (46, 46, 48), 0.14)
    rake, back = length * 0.13, length * (0.02 if v.kind == "pickup" else 0.08)
    glass: Profile = [
        (-bonnet, belt),
        (-bonnet - rake, roof),
        (-length + tail + back, roof),
        (-length + tail, belt),
    ]
    b.prism(glass, paint, {0: GLASS, 2: GLASS}, inset=0.12, sides=_darker(paint, 0.9))
    top, low = roof - 0.08, belt + 0.05
    middle = (-bonnet - rake - length + tail + back) / 2
    b.flank(-bonnet - rake * 0.95, middle + 0.06, low, top, GLASS, 0.12)
    b.flank(middle - 0.06, -length + tail + back * 1.2, low, top, GLASS, 0.12)


def _van(b: Builder, v: Vehicle, paint: Colour, rng: np.random.Generator) -> None:
    length, roof = v.length_m, v.height_m
    nose, screen = rng.uniform(0.65, 0.95), rng.uniform(0.75, 1.0)
    b.prism([(0, 0.32), (0, 0.95), (-nose, 1.22), (-nose, 0.32)], paint)
    b.part = 1
    body: Profile = [
        (-nose, 0.32),
        (-nose, 1.22),
        (-nose - screen, roof),
        (-length, roof),
        (-length, 0.34),
    ]
    b.prism(body, paint, {1: GLASS})
    b.part = TRIM
    b.wheels([-0.95, -length + 1.05], 0.37)
    b.lamps(length, 0.66, 0.95)
    b.end(0, (-0.6, 0.6), (0.36, 0.62), (38, 38, 40), True)
    b.flank(-nose - screen * 0.62, -nose - screen - 0.75, 1.25, min(roof - 0.3, 1.9), GLASS)
    if v.kind == "minibus":
        start, pane = -nose - screen - 0.85, 0.95
        while start - pane > -length + 0.2:
            b.flank(start, start - pane, 1.3, min(roof - 0.35, 2.05), GLASS)
            start -= pane + 0.1
    if v.kind == "minibus" or rng.random() < 0.6:
        for x in ((-0.8, -0.06), (0.06, 0.8)):
            b.end(-length, x, (1.3, min(roof - 0.3, 1.95)), GLASS, False)
    else:
        b.end(-length, (-0.03, 0.03), (0.45, roof - 0.1), _darker(paint, 0.5), False)
    if rng.random() < 0.35:
        _stripe(b, -nose - screen - 0.9, -length + 0.2, 0.7, 1.1, rng)


def _stripe(
    b: Builder, y0: float, y1: float, z0: float, z1: float, rng: np.random.Generator
) -> None:
    if y0 - y1 > 0.5:
        b.flank(y0, y1, z0, z1, _paint(rng))


def _bus(b: Builder, v: Vehicle, paint: Colour, rng: np.random.Generator) -> None:
    length, roof = v.length_m, v.height_m
    b.prism([(0, 0.3), (0, roof - 0.15), (-0.25, roof), (-length, roof), (-length, 0.34)], paint)
    b.wheels([-2.5, -length + 3.1], 0.48)
    low = 1.15 if v.kind == "bus" else 1.6
    b.end(0, (-v.width_m / 2 + 0.1, v.width_m / 2 - 0.1), (low - 0.1, roof - 0.45), GLASS, True)
    b.end(0, (-0.75, 0.75), (roof - 0.4, roof - 0.2), (60, 190, 235), True)
    b.end(-length, (-0.95, 0.95), (low + 0.35, roof - 0.4), GLASS, False)
    b.end(-length, (-0.9, 0.9), (0.55, 1.0), _darker(paint, 0.55), False)
    start, pane = -0.35, rng.uniform(1.15, 1.5)
    while start - pane > -length + 0.25:
        b.flank(start, start - pane, low, roof - 0.42, GLASS)
        start -= pane + 0.12
    if rng.random() < 0.6:
        b.flank(-0.3, -length + 0.3, low - 0.4, low - 0.12, _paint(rng))
    b.lamps(length, 0.62, 0.9)
    for y in (-2.6, -length * 0.5, -length + 2.4):
        b.roof(y, y - 1.0, roof, _darker(paint, 0.62), 0.75)


def _truck(b: Builder, v: Vehicle, paint: Colour, rng: np.random.Generator) -> None:
    length, roof = v.length_m, v.height_m
    semi = v.kind == "semi" or (v.kind == "tanker" and length > 12)
    cab_length = rng.uniform(2.0, 2.4) if semi else rng.uniform(1.7, 2.1)
    cab_roof = min(roof - rng.uniform(0.1, 0.5), 3.6) if semi else rng.uniform(2.5, 2.9)
    cab_roof = min(cab_roof, roof - 0.05)
    load_start = -cab_length - (rng.uniform(0.7, 1.1) if semi else rng.uniform(0.12, 0.3))
    _cab(b, cab_length, cab_roof, paint, semi and rng.random() < 0.5)
    _chassis(b, cab_length, length, semi)
    b.part = 2
    _LOADS[v.kind](b, v, load_start, rng)
    b.part = TRIM
    b.lamps(length, 0.62, 0.72)
    if v.kind != "semi":
        b.end(-length, (-b.half + 0.1, b.half - 0.1), (0.45, 0.6), (60, 60, 150), False)


def _chassis(b: Builder, cab: float, length: float, semi: bool) -> None:
    """Front wheels with the cab; behind it rails and wheels under the load."""
    b.wheels([-1.2], 0.5)
    b.part = 1
    b.box(-cab, -length + 0.1, 0.55, 1.0, CHASSIS, inset=0.25)
    rear = [-length + 1.2, -length + 2.5, -length + 3.8] if semi else [-length + 1.7]
    middle = [-cab - 1.4] if semi else ([-length + 3.0] if length > 8.6 else [])
    b.wheels([*middle, *rear], 0.5)


def _cab(b: Builder, length: float, roof: float, paint: Colour, deflector: bool) -> None:
    sill = 1.55
    b.prism(
        [(0, 0.45), (0, sill), (-0.18, roof - 0.15), (-0.4, roof), (-length, roof), (-length, 0.5)],
        paint,
        {1: GLASS},
    )
    b.end(0, (-b.half + 0.35, b.half - 0.35), (0.75, sill - 0.15), _darker(paint, 0.45), True)
    b.end(0, (-b.half, b.half), (0.45, 0.62), (50, 50, 52), True)
    b.flank(-0.35, -1.25, sill, min(roof - 0.35, 2.5), GLASS)
    if deflector:
        b.prism(
            [(-0.5, roof), (-length, roof + 0.35), (-length, roof)], _darker(paint, 0.92), inset=0.2
        )


def _box_load(b: Builder, v: Vehicle, start: float, rng: np.random.Generator) -> None:
    length, roof = v.length_m, v.height_m
    floor = 1.05
    box = _paint(rng)
    b.box(start, -length, floor, roof, box)
    b.flank(start, -length, floor, floor + 0.12, _darker(box, 0.55))
    kind = rng.random()
    if kind < 0.4:
        _stripe(b, start - 0.6, -length + 0.8, floor + 0.7, floor + rng.uniform(1.3, 2.0), rng)
    elif kind < 0.7:
        for y in np.arange(start - 1.3, -length + 0.4, -1.3):
            b.flank(float(y), float(y) - 0.07, floor, roof, _darker(box, 0.8))
    b.end(-length, (-0.03, 0.03), (floor, roof - 0.1), _darker(box, 0.45), False)
    for x in (-0.75, 0.75):
        b.end(-length, (x - 0.04, x + 0.04), (floor + 0.1, roof - 0.15), _darker(box, 0.6), False)
    b.end(-length, (-b.half + 0.15, b.half - 0.15), (0.5, 0.66), (70, 70, 165), False)
    for y in np.arange(start - 2.0, -length + 1.0, -2.6):
        b.roof(float(y), float(y) - 0.06, roof, _darker(box, 0.82), 0.02)


def _tank_load(b: Builder, v: Vehicle, start: float, rng: np.random.Generator) -> None:
    tank = _paint(rng)
    middle, tall = (1.15 + v.height_m) / 2, (v.height_m - 1.15) / 2
    b.tube(start, -v.length_m + 0.15, middle, (b.half, tall), tank)
    for y in np.arange(start - 1.5, -v.length_m + 1.0, -2.4):
        b.roof(float(y), float(y) - 0.7, middle + tall * 0.96, _darker(tank, 0.5), b.half - 0.3)
    b.end(-v.length_m + 0.15, (-0.5, 0.5), (middle - 0.3, middle + 0.3), _darker(tank, 0.7), False)


def _dump_load(b: Builder, v: Vehicle, start: float, rng: np.random.Generator) -> None:
    length, roof, tub = v.length_m, v.height_m, _paint(rng)
    b.prism([(start + 0.1, roof), (start - 0.2, 1.1), (-length + 0.5, 1.1), (-length, roof)], tub)
    load: Colour = (62, 84, 104) if rng.random() < 0.6 else (70, 72, 74)
    b.roof(start - 0.1, -length + 0.15, roof, load, 0.16)
    for y in np.arange(start - 0.9, -length + 0.6, -1.0):
        b.flank(float(y), float(y) - 0.12, 1.2, roof, _darker(tub, 0.65))


def _skip_load(b: Builder, v: Vehicle, start: float, rng: np.random.Generator) -> None:
    length, skip = v.length_m, _paint(rng)
    top = v.height_m - 0.35
    b.box(start, -length, 1.0, 1.15, CHASSIS)
    b.prism(
        [(start - 0.3, top), (start - 1.1, 1.15), (-length + 1.2, 1.15), (-length + 0.3, top)],
        skip,
        inset=0.28,
    )
    b.roof(start - 0.45, -length + 0.45, top, (52, 66, 78), 0.42)
    for y in (start - 0.2, -length + 0.9):
        b.flank(y, y - 0.3, 1.1, v.height_m, (50, 160, 210), 0.12)


_LOADS: dict[str, Callable[[Builder, Vehicle, float, np.random.Generator], None]] = {
    "semi": _box_load,
    "box_lorry": _box_load,
    "tanker": _tank_load,
    "dump_truck": _dump_load,
    "skip_lorry": _skip_load,
}
