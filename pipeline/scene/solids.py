"""Convex solids with things painted on them, collected as flat faces.

Own axes of a vehicle: metres, x right, y forward with the front at 0, z up. A solid is a side
profile drawn out over the width or a tube along it; windows, lamps, doors and wheels are thin
faces just outside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Point3 = tuple[float, float, float]
Profile = list[tuple[float, float]]

TRIM = 9
CORNERS = 8  # of the face with most corners; others are padded
GLASS: Colour = (58, 52, 46)
TYRE: Colour = (26, 26, 27)
CHASSIS: Colour = (44, 44, 46)
WHITE_LAMP: Colour = (235, 248, 255)
RED_LAMP: Colour = (40, 40, 190)


@dataclass(frozen=True)
class Model:
    """A vehicle's faces in drawing order as seen from behind, in its own axes.

    ``corners`` float64[f, 8, 3] (padded by repeating the last corner), ``sizes`` int[f] how many
    are real, ``normals`` float64[f, 3] outward, ``colours`` float64[f, 3] BGR, ``fine`` bool[f]
    faces not worth drawing from afar, ``glow`` bool[f] lamps. ``parts`` int[f]: 0 the foremost
    solid (drawn first from behind, last from ahead), 1 and 2 what follows it, ``TRIM`` what lies
    on the outside of all and is drawn last either way.
    """

    corners: NDArray[np.float64]
    sizes: NDArray[np.int64]
    normals: NDArray[np.float64]
    colours: NDArray[np.float64]
    fine: NDArray[np.bool_]
    glow: NDArray[np.bool_]
    parts: NDArray[np.int64]

    def order(self, direction: int) -> NDArray[np.int64]:
        """Return face indices back to front, seen from behind (+1) or from ahead (-1)."""
        turned = np.where(self.parts == 0, TRIM - 1, self.parts)
        return np.argsort(self.parts if direction > 0 else turned, kind="stable")


class Builder:
    """Collects faces; ``part`` is the number of the solid under construction."""

    def __init__(self, width: float) -> None:
        self.half = width / 2
        self.part = 0
        self.rows: list[tuple[list[Point3], Point3, Colour, bool, bool, int]] = []

    def face(
        self,
        points: list[Point3],
        normal: Point3,
        colour: Colour,
        fine: bool = False,
        glow: bool = False,
    ) -> None:
        """Add a flat convex face of at most ``CORNERS`` corners with an outward unit normal."""
        self.rows.append((points, normal, colour, fine, glow, self.part))

    def prism(
        self,
        profile: Profile,
        colour: Colour,
        edges: dict[int, Colour] | None = None,
        inset: float = 0.0,
        sides: Colour | None = None,
    ) -> None:
        """Draw a convex side profile of (y, z) corners out over the width, less ``inset``."""
        half = self.half - inset
        middle = np.mean(np.array(profile), axis=0)
        for index, ((y0, z0), (y1, z1)) in enumerate(
            zip(profile, profile[1:] + profile[:1], strict=True)
        ):
            normal = np.array([z1 - z0, y0 - y1])
            if normal @ (np.array([y0, z0]) - middle) < 0:
                normal = -normal
            normal = normal / (np.hypot(*normal) or 1.0)
            quad = [(-half, y0, z0), (half, y0, z0), (half, y1, z1), (-half, y1, z1)]
            tone = (edges or {}).get(index, colour)
            self.face(quad, (0.0, float(normal[0]), float(normal[1])), tone)
        for side in (-1.0, 1.0):
            ring = [(side * half, y, z) for y, z in profile]
            self.face(ring, (side, 0.0, 0.0), sides or colour)

    def box(
        self, y0: float, y1: float, z0: float, z1: float, colour: Colour, inset: float = 0.0
    ) -> None:
        """Add a box over the width, less ``inset`` on either side."""
        self.prism([(y0, z0), (y0, z1), (y1, z1), (y1, z0)], colour, inset=inset)

    def tube(
        self, y0: float, y1: float, middle: float, radii: tuple[float, float], colour: Colour
    ) -> None:
        """Draw an elliptic tank along the vehicle, as an octagon with shaded flanks."""
        turns = [math.pi * (2 * k + 1) / CORNERS for k in range(CORNERS)]
        ring = [(radii[0] * math.cos(a), middle + radii[1] * math.sin(a)) for a in turns]
        for (xa, za), (xb, zb), turn in zip(ring, ring[1:] + ring[:1], turns, strict=True):
            across = turn + math.pi / CORNERS
            quad = [(xa, y0, za), (xb, y0, zb), (xb, y1, zb), (xa, y1, za)]
            self.face(quad, (math.cos(across), 0.0, math.sin(across)), colour)
        for y, normal in ((y0, 1.0), (y1, -1.0)):
            self.face([(x, y, z) for x, z in ring], (0.0, normal, 0.0), colour)

    def flank(
        self, y0: float, y1: float, z0: float, z1: float, colour: Colour, inset: float = 0.0
    ) -> None:
        """Paint a rectangle on both sides."""
        half = self.half - inset + 0.01
        for side in (-1.0, 1.0):
            quad = [(side * half, y, z) for y, z in ((y0, z0), (y0, z1), (y1, z1), (y1, z0))]
            self.face(quad, (side, 0.0, 0.0), colour, fine=True)

    def end(
        self,
        y: float,
        x: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        ahead: bool,
        glow: bool = False,
    ) -> None:
        """Paint a rectangle on a front (``ahead``) or rear face at ``y``."""
        y += 0.01 if ahead else -0.01
        quad = [(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])]
        self.face(quad, (0.0, 1.0 if ahead else -1.0, 0.0), colour, fine=not glow, glow=glow)

    def roof(self, y0: float, y1: float, z: float, colour: Colour, inset: float = 0.1) -> None:
        """Paint a rectangle on a roof at height ``z``."""
        half = self.half - inset
        quad = [
            (-half, y0, z + 0.01),
            (half, y0, z + 0.01),
            (half, y1, z + 0.01),
            (-half, y1, z + 0.01),
        ]
        self.face(quad, (0.0, 0.0, 1.0), colour, fine=True)

    def wheels(self, axles: list[float], radius: float) -> None:
        """Add a wheel with its hub on both sides at each of the ``axles`` (y)."""
        for y in axles:
            for side in (-1.0, 1.0):
                for share, colour in ((1.0, TYRE), (0.5, (110.0, 110.0, 112.0))):
                    turns = [2 * math.pi * (k + 0.5) / CORNERS for k in range(CORNERS)]
                    x = side * (self.half + (0.02 if share == 1.0 else 0.03))
                    ring = [
                        (x, y + share * radius * math.cos(a), radius + share * radius * math.sin(a))
                        for a in turns
                    ]
                    self.face(ring, (side, 0.0, 0.0), colour, fine=share < 1.0)

    def lamps(self, length: float, front_z: float, rear_z: float) -> None:
        """Add two headlamps and two tail lamps."""
        out = self.half - 0.08
        for side in (-1.0, 1.0):
            x = (side * out, side * (out - 0.28))
            low, high = (min(x), max(x)), (0.0, 0.2)
            self.end(0.0, low, (front_z, front_z + high[1]), WHITE_LAMP, True, glow=True)
            self.end(-length, low, (rear_z, rear_z + 0.22), RED_LAMP, False, glow=True)

    def model(self) -> Model:
        """Return the faces collected so far as arrays."""
        corners = np.array(
            [points + [points[-1]] * (CORNERS - len(points)) for points, *_ in self.rows]
        )
        _, normals, colours, fine, glow, parts = (
            list(column) for column in zip(*self.rows, strict=True)
        )
        return Model(
            corners=corners,
            sizes=np.array([len(points) for points, *_ in self.rows]),
            normals=np.array(normals, dtype=np.float64),
            colours=np.array(colours, dtype=np.float64),
            fine=np.array(fine),
            glow=np.array(glow),
            parts=np.array(parts),
        )
