"""Teaching one network, or several side by side: what a run's networks have in common.

Each network leaves its state in a checkpoint of the model's folder as it goes. Networks that do not
depend on each other are taught in processes of their own, one thread each: on small pictures
threads share too little work (README, Decisions). Whoever asks for such a network afterwards finds
its checkpoint finished, so the result is the same with one process or many, killed or not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pipeline import cores, progress
from pipeline.errors import InputError
from pipeline.learning import checkpoints, ranks, recipes, transfer
from pipeline.learning.fitting import Fit, Lesson, class_weights, fit, last_weights
from pipeline.learning.models import NetSpec, TruckNet, build
from pipeline.learning.models.whitened import WhitenedNet, whiten
from pipeline.learning.options import TrainOptions
from pipeline.learning.recipes import Kind
from pipeline.store import Workspace


@dataclass(frozen=True)
class Course:
    """What one network is taught, from which seed, how long (None: as set).

    ``after`` names a network taught before, from whose weights this one goes on.
    """

    name: str
    lesson: Lesson
    seed: int = 0
    epochs: int | None = None
    after: str = ""


@dataclass(frozen=True)
class Classroom:
    """How every network of one training run is taught.

    ``options`` must be resolved (:func:`recipes.resolve`).
    """

    ws: Workspace
    model_id: str
    options: TrainOptions
    spec: NetSpec
    kind: Kind

    @property
    def device(self) -> torch.device:
        """The device that ``options`` ask for; ``auto`` takes a GPU where there is one.

        Raises:
            InputError: a GPU is asked for, and there is none.
        """
        name = self.options.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cuda" and not torch.cuda.is_available():
            raise InputError("device is 'cuda', and no GPU is here.", "Leave out --device.")
        return torch.device(name)

    def checkpoint(self, name: str) -> Path:
        """Return where the state of the network called ``name`` is kept."""
        return self.ws.model(self.model_id) / f"{name.replace(' ', '_')}.safetensors"

    def tidy(self) -> None:
        """Remove the checkpoints of a run that has ended."""
        for path in self.checkpoint("any").parent.glob("*.safetensors"):
            if path.name != checkpoints.WEIGHTS:
                path.unlink()

    def teach(
        self,
        course: Course,
        validation: Lesson | None = None,
        minutes: float | None = None,
    ) -> tuple[TruckNet, Fit]:
        """Teach one network, in at most ``minutes`` where given."""
        net, result = self._taught(course, validation, minutes)
        net.views = recipes.views(self.kind)  # not before: they make a validation loss dear
        return net, result

    def _taught(
        self, course: Course, validation: Lesson | None, minutes: float | None
    ) -> tuple[TruckNet, Fit]:
        ranks.gathered(self, course, minutes)
        seed = self.options.seed * 101 + course.seed
        net = self._fresh(course.lesson, seed)
        if self.options.freeze:
            return net, Fit([self._head_fitted(net, course.lesson)])
        thaw = None
        if self.options.thaw:
            if not course.after:
                self._head_fitted(net, course.lesson)
            # Who goes on from a network of this run has thawed already; its paces stay.
            thaw = transfer.thawing(net, 0.0 if course.after else self.options.thaw)
        if course.after:
            net.load_state_dict(last_weights(self.checkpoint(course.after)))
            seed += 50
        result = fit(
            net,
            course.lesson,
            replace(self.options, epochs=course.epochs or self.options.epochs),
            recipes.augmentation(self.kind, float(self.options.augment or 0.0)),
            seed=seed,
            validation=validation,
            checkpoint=self.checkpoint(course.name),
            minutes=minutes,
            thaw=thaw,
            note=None if ranks.number() else _Teller(f"train {self.options.arch}, {course.name}"),
        )
        ranks.met()
        return net, result

    def _fresh(self, lesson: Lesson, seed: int) -> TruckNet:
        """Return a network as it starts: with the weights that it goes on from, or untaught.

        If untaught, its first layer is whitened where it has such a one.
        """
        weights = self.options.weights
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = build(self.options.arch, self.spec, imagenet=weights == "imagenet")
        if weights not in (None, "none", "imagenet"):
            checkpoints.start_from(self.ws, net, weights)
        elif isinstance(net.body, WhitenedNet):
            whiten(net.body, lesson.pixels, self.spec.channels)
        return net.to(self.device)

    def _head_fitted(self, net: TruckNet, lesson: Lesson) -> dict[str, float]:
        """Fit the head to a lesson, both classes weighing as they would in training."""
        weight = lesson.weight
        if self.options.balance not in (None, "none"):
            weight = weight * class_weights(lesson.target)[(lesson.target > 0.5).long()]
        decay = 1.0 / max(len(lesson), 1)  # one unit of penalty beside n of loss
        return transfer.fit_head(net, lesson.pixels, lesson.target, weight, decay)


def side_by_side(room: Classroom, courses: Sequence[Course]) -> None:
    """Teach networks that do not depend on each other, as many at once as there are cores.

    They are left as finished checkpoints, for :meth:`Classroom.teach` to find. With one core, one
    course, a head alone, a GPU or several processes already (:mod:`ranks`) nothing is done here,
    and :meth:`Classroom.teach` does the work.
    """
    workers = min(cores.usable(), len(courses))
    if workers < 2 or ranks.count() > 1 or room.device.type != "cpu" or room.options.freeze:
        return
    threads = max(1, cores.usable() // workers)
    work = partial(_teach_apart, room, threads)
    with cores.pool(workers) as processes:
        for _ in processes.map(work, courses):
            pass


def _teach_apart(room: Classroom, threads: int, course: Course) -> None:
    torch.set_num_threads(threads)
    room.teach(course)


class _Teller:
    """Tells of epochs on stderr: a line every few seconds, and the last one."""

    def __init__(self, what: str, every_s: float = 5.0) -> None:
        self.what, self.every_s = what, every_s
        self.started = self.said = time.monotonic()

    def __call__(self, epoch: int, epochs: int, row: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self.said < self.every_s and epoch != epochs:
            return
        self.said = now
        left = (now - self.started) / epoch * (epochs - epoch)
        figures = ", ".join(f"{k} {v:.3g}" for k, v in row.items() if k != "rate")
        progress.note(f"{self.what}: epoch {epoch} of {epochs}, {figures}, {left:.0f} s left")
