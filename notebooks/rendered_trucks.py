"""Crops of a rendered road with a known truth: two days to learn from, a third to be judged by."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import cameras, scene, view
from pipeline.learning.pictures import scaled
from pipeline.scene.footage import frames

CAMERA = "north-gate"
HZ = 2


@dataclass(frozen=True)
class Crops:
    """``pixels`` uint8[n, 3, side, side] RGB of both lanes' zones, ``truth`` bool[n]."""

    pixels: NDArray[np.uint8]
    truth: NDArray[np.bool_]


def plan() -> scene.ScenePlan:
    """Three days of busy traffic, dry, wet and dry, filmed for a minute in the morning and at dusk."""
    made = scene.plan(
        seed=3,
        days=3,
        training_days=2,
        windows=(("08:00", "08:01"), ("17:15", "17:16")),
        weather=("clear", "rain", "overcast"),
        flow=30.0,
        truck_share=0.6,
        faults=False,
    )
    return replace(made, sites=tuple(replace(site, fps=Fraction(HZ)) for site in made.sites))


def crops(side: int = 32) -> tuple[Crops, Crops, NDArray[np.uint8]]:
    """Return the crops of the first two days, those of the third, and a whole frame with a truck."""
    made = plan()
    camera = cameras.parse(tomllib.loads(scene.cameras_toml(made))).camera(CAMERA)
    width, height = made.site(CAMERA).view.width_px, made.site(CAMERA).view.height_px
    cuts = {zone.name: view.Crop.of(zone, width, height) for zone in camera.zones}
    parts: dict[bool, list[tuple[NDArray[np.uint8], bool]]] = {False: [], True: []}
    whole = np.zeros((height, width, 3), np.uint8)
    for segment in scene.segments(made):
        if segment.camera_id != CAMERA:
            continue
        later = made.counted(segment.start.date())
        instants = segment.start.timestamp() + np.arange(int(segment.duration_s * HZ)) / HZ
        truth = {zone: scene.presence(made, CAMERA, zone, instants) for zone in cuts}
        for i, yuv in enumerate(frames(made, segment)):
            rgb = cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB_I420)
            if truth["exit-right"][i] and not whole.any():
                whole = rgb
            for zone, cut in cuts.items():
                crop = view.cut(rgb, cut, (0, 0, width, height))
                parts[later].append((scaled(crop, side, side), bool(truth[zone][i])))
    return _joined(parts[False]), _joined(parts[True]), whole


def _joined(rows: list[tuple[NDArray[np.uint8], bool]]) -> Crops:
    pixels = np.stack([crop for crop, _ in rows]).transpose(0, 3, 1, 2)
    return Crops(np.ascontiguousarray(pixels), np.array([truck for _, truck in rows]))
