"""Rendered crops: what a network may learn from, or be asked about, where every pixel is known.

:class:`Schooling` teaches a network on random roads (:mod:`pipeline.scene.roads`) before it sees
the first label: ``train --weights scene``. For the network that footage gets by default it is done:
its weights lie beside this module, and ``train --campaign`` starts from them. What that is worth
stands in the README.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import cameras, cores, scene, view
from pipeline.learning import checkpoints, pictures, recipes
from pipeline.learning.classroom import Classroom, Course
from pipeline.learning.fitting import Lesson
from pipeline.learning.models import NetSpec, build
from pipeline.learning.models.residual import SMALL_PX
from pipeline.learning.options import TrainOptions
from pipeline.progress import note
from pipeline.store import write_bytes

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.scene import ScenePlan, Study
    from pipeline.store import Workspace

ROADS = 1500
PER_ROAD = 32
PASSES = 10
SEED = 2017
MOST_BYTES = 2**31  # of crops: large ones come from fewer roads
RECIPE = 2  # raised when the same network would learn something else
HEIGHT, WIDTH, LARGEST = 96, 64, 128
LIKE = ("batch_norm", "activation", "pooling", "padding", "init")
IDLE = (
    *("background", "finish", "freeze", "minutes", "refit", "rounds", "self_training", "size"),
    *("thaw", "trust", "weights"),
)
"""Options of a training on labels that have no bearing on this one."""


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
    n = roads * per_road
    pixels = torch.empty((n, spec.channels, spec.height, spec.width), dtype=torch.uint8)
    truck = torch.empty(n)
    work = partial(_of_road, spec, per_road, seed)
    for number, (crops, truths) in cores.each(work, range(roads), "rendered roads"):
        rows = slice(number * per_road, (number + 1) * per_road)
        pixels[rows], truck[rows] = torch.from_numpy(crops), torch.from_numpy(truths).float()
    return Lesson(pixels, truck, torch.ones(n))


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


@dataclass(frozen=True)
class Schooling:
    """How a network of a kind is taught on rendered roads, and the name its weights go by.

    Residual networks for crops of 65 to 128 pixels have the same weights (convolutions, pooled):
    one is taught, at the size of the demonstration's crops, and serves them all.
    """

    options: TrainOptions
    spec: NetSpec

    @classmethod
    def of(cls, options: TrainOptions, spec: NetSpec) -> Schooling:
        """Return that of the network which ``options`` and ``spec`` ask for."""
        passed_over = {n for n, arches in recipes.TAKEN_BY.items() if options.arch not in arches}
        alike = {name: getattr(options, name) for name in LIKE if name not in passed_over}
        asked = TrainOptions(
            arch=options.arch,
            seed=SEED,
            epochs=PASSES,
            balance="none",
            device=options.device,
            **alike,
        )
        taught = recipes.resolve(asked, "footage", ROADS * PER_ROAD)
        plain = NetSpec(spec.channels, spec.height, spec.width)
        reset = {name: getattr(plain, name) for name in {*passed_over, "turns"}}
        spec = replace(spec, dropout=float(taught.dropout or 0.0), **reset)
        if options.arch == "residual" and SMALL_PX < max(spec.height, spec.width) <= LARGEST:
            spec = replace(spec, height=HEIGHT, width=WIDTH)
        return cls(taught, spec)

    @property
    def roads(self) -> int:
        """How many roads it is taught on."""
        of_one = PER_ROAD * self.spec.channels * self.spec.height * self.spec.width
        return min(ROADS, max(1, MOST_BYTES // of_one))

    @property
    def name(self) -> str:
        """A model id, for :func:`checkpoints.start_from`."""
        told = {k: v for k, v in self.options.as_json().items() if k not in IDLE}
        spec = checkpoints.spec_json(self.spec)
        said = json.dumps([RECIPE, told, spec, self.roads, PER_ROAD], sort_keys=True)
        return f"{checkpoints.SCENE}{hashlib.blake2b(said.encode(), digest_size=5).hexdigest()}"

    @property
    def shipped(self) -> Path:
        """Where this package has the weights, if it has them: as :meth:`hold` once made them."""
        return Path(__file__).with_name(f"{self.name}{checkpoints.SUFFIX}")

    def hold(self, ws: Workspace) -> None:
        """Bring the weights to the workspace unless they are there: shipped ones, or taught here.

        Killed, it goes on with teaching; crops are rendered again. ``--minutes`` does not bound it.
        """
        path = ws.model(self.name) / checkpoints.WEIGHTS
        if path.is_file():
            return
        if self.shipped.is_file():
            write_bytes(path, self.shipped.read_bytes())
            return
        build(self.options.arch, self.spec)  # refuses what cannot be, before roads are rendered
        note("weights from rendered roads: made once for such a network, kept in the workspace")
        room = Classroom(ws, self.name, self.options, self.spec, "footage")
        net, _ = room.teach(Course("scene", lesson(self.spec, self.roads, PER_ROAD, SEED)))
        checkpoints.save_weights(ws, self.name, net)
        room.tidy()
