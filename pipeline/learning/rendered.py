"""Rendered crops: what a network may learn from, or be asked about, where every pixel is known.

:func:`scene_weights` teaches a network on random roads (:mod:`pipeline.scene.roads`) before it sees
the first label: ``train --weights scene``, for where published weights cannot be downloaded. What
that is worth stands in the README.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import cameras, cores, scene, view
from pipeline.learning import checkpoints, pictures, recipes
from pipeline.learning.classroom import Classroom, Course
from pipeline.learning.fitting import Lesson
from pipeline.learning.options import TrainOptions
from pipeline.progress import note

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.learning.models import NetSpec
    from pipeline.scene import ScenePlan, Study
    from pipeline.store import Workspace

ROADS = 250
PER_ROAD = 32
PASSES = 10
SEED = 2017
RECIPE = 1  # raised when the same network would learn something else
LIKE = ("batch_norm", "activation", "pooling", "padding", "init", "device")


def registry_of(plan: ScenePlan) -> Registry:
    """Return the cameras of a plan."""
    return cameras.parse(tomllib.loads(scene.cameras_toml(plan)))


def cropped(
    shown: Study, registry: Registry, camera_id: str, zone: str, spec: NetSpec
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Cut a zone out of a study as a network takes it.

    Returns ``uint8[c, h, w]`` RGB, then the empty road's RGB where ``spec`` has 6 channels; and
    ``bool[h, w]``, the pixels that show a truck.
    """
    height, width = shown.mask.shape
    cut = view.Crop.of(registry.camera(camera_id).zone(zone), width, height)
    x0, y0, x1, y1 = cut.box
    white = np.repeat(shown.mask[..., None] * np.uint8(255), 3, axis=2)

    def fitted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        crop = cut.extract(np.ascontiguousarray(picture[y0:y1, x0:x1]))
        return pictures.scaled(crop, spec.width, spec.height)

    parts = [fitted(shown.picture), fitted(shown.empty)][: spec.channels // 3]
    return np.concatenate(parts, axis=2).transpose(2, 0, 1), fitted(white)[..., 0] > 127


def lesson(spec: NetSpec, roads: int, per_road: int, seed: int) -> Lesson:
    """Return ``roads`` times ``per_road`` crops of random roads, some 4 in 10 with a truck."""
    work = partial(_of_road, spec, per_road, seed)
    found = dict(cores.each(work, range(roads), "rendered roads"))
    pixels = torch.from_numpy(np.concatenate([found[number][0] for number in range(roads)]))
    truck = torch.from_numpy(np.concatenate([found[number][1] for number in range(roads)]))
    return Lesson(pixels, truck.float(), torch.ones(len(truck)))


def _of_road(
    spec: NetSpec, n: int, seed: int, number: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return ``n`` crops of one road ``uint8[n, c, h, w]`` and whether a truck is on the zone."""
    plan = scene.road(seed, number)
    registry, drawn = registry_of(plan), scene.instants(plan, n, seed)
    camera_id = plan.sites[0].id
    seen = scene.studies(plan, camera_id, [one.at for one in drawn])
    crops = [
        cropped(shown, registry, camera_id, one.zone, spec)[0]
        for one, shown in zip(drawn, seen, strict=True)
    ]
    return np.stack(crops), np.array([one.truck for one in drawn])


def scene_weights(ws: Workspace, options: TrainOptions, spec: NetSpec) -> str:
    """Teach a network like the one that ``options`` and ``spec`` ask for on rendered roads.

    Done once per workspace and kind of network; a killed run goes on. Returns a name for
    :func:`checkpoints.start_from`.
    """
    alike = {name: getattr(options, name) for name in LIKE}
    asked = TrainOptions(arch=options.arch, seed=SEED, epochs=PASSES, balance="none", **alike)
    taught = recipes.resolve(asked, "footage", ROADS * PER_ROAD)
    said = [RECIPE, taught.as_json(), checkpoints.spec_json(spec), ROADS, PER_ROAD]
    digest = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=5).hexdigest()
    name = f"scene-{digest}"
    path = ws.model(name) / checkpoints.WEIGHTS
    if not path.is_file():
        note("weights from rendered roads: rendered and taught once, then kept in this workspace")
        room = Classroom(ws, name, taught, spec, "footage")
        net, _ = room.teach(Course("scene", lesson(spec, ROADS, PER_ROAD, SEED)))
        checkpoints.save_weights(ws, name, net)
        room.tidy()
    return name
