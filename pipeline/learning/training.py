"""What one training has and both of its ways need: pictures, networks, calibration, the card.

:meth:`Training.split_once` judges by a validation and a test part, where labels are many;
:mod:`pipeline.learning.crossfit` is the way where they are few.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import cameras, metrics, splits
from pipeline.errors import InputError
from pipeline.learning import calibration, checkpoints, engines, ranks, slices
from pipeline.learning.calibration import Calibration
from pipeline.learning.classroom import Classroom, Course
from pipeline.learning.dataset import Labelled
from pipeline.learning.fitting import Lesson, logits_of
from pipeline.learning.mixing import ANSWERS
from pipeline.learning.models import NetSpec, TruckNet
from pipeline.learning.options import TrainOptions
from pipeline.learning.recipes import Kind
from pipeline.learning.unlabelled import training_days
from pipeline.store import Workspace

TEMPER = 0.4  # power of the sampling weights in calibration; see Training.calibrated
CHOSEN = 0.25  # log odds that being chosen adds to a frame, beside its logit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Logits of labelled rows by networks that never saw them, and how they came about.

    ``calibration`` where more than these rows told of it.
    """

    rows: NDArray[np.int64]
    logits: Floats
    how: str
    calibration: Calibration | None = None


class Training:
    """One training from split to card."""

    def __init__(
        self, ws: Workspace, labelled: Labelled, options: TrainOptions, kind: Kind, model_id: str
    ) -> None:
        self.ws, self.labelled, self.options, self.kind = ws, labelled, options, kind
        self.model_id, self.days = model_id, days_of(ws, labelled)
        self.spec = spec_of(labelled, options)
        self.pixels = torch.from_numpy(labelled.pixels)
        self.room = Classroom(ws, model_id, options, self.spec, kind)
        self.curves: dict[str, list[dict[str, float]]] = {}
        self.shown = (
            0.5 if options.balance in ("half", "size", "weights") else float(labelled.truth.mean())
        )

    def split_once(self) -> tuple[TruckNet, HeldOut, dict[str, int]]:
        """Teach on 80%, judge on 10% validation and 10% test; then go on with all of it.

        The figures are those of the network before it saw the held-out part: the last stretch can
        only have made it better.
        """
        part = np.array(splits.split(self.labelled.groups, self.classes(), self.options.seed))
        held = part != "train"
        teach = np.flatnonzero(~held & ~self.neighbours(held))
        if not len(teach) or not held.any():
            raise InputError(
                f"{len(part)} pictures make {len(set(self.labelled.groups))} group(s), too few to "
                "hold some back (a group is never divided; pictures all but equal are one).",
                "Give pictures of more places or times, or finer groups.",
            )
        watch = np.flatnonzero(part == "validation")
        refit = float(self.options.refit or 0.0)
        epochs = int(self.options.epochs or 1)
        last = round(epochs * refit)
        name = "final" if not last else "measured"
        course = Course(name, self.lesson(teach), epochs=max(1, epochs - last))
        net = self.taught(course, self.lesson(watch))
        rows = np.flatnonzero(held)
        held_out = HeldOut(rows, self.logits(net, rows), "validation and test")
        sizes = {str(name): int((part == name).sum()) for name in splits.PARTS}
        if last:
            everything = self.lesson(np.arange(len(part)))
            net = self.taught(Course("final", everything, epochs=last, after=name))
        return net, held_out, sizes

    def never_taught(self, held_out: HeldOut) -> NDArray[np.int64]:
        """Return the labelled rows that the last network has not learned from."""
        all_of_them = self.options.rounds or self.options.refit
        return np.zeros(0, dtype=np.int64) if all_of_them else held_out.rows

    def calibrated(self, held_out: HeldOut, free_logits: Floats | None = None) -> Calibration:
        """Fit to held-out rows; the natural prevalence from those drawn at random.

        Frames are chosen by what they show, never by their label, and what a network makes of a
        picture is nearly all that tells of its truck: so chosen frames have not many more trucks at
        one logit than the road. Their weights would be right, but a few frames that stand for most
        of the road would settle it all; a power of them is a compromise, and what it leaves is put
        right by what was measured (README, Decisions).
        """
        labelled, rows = self.labelled, held_out.rows
        label_p, prior = labelled.p[rows], float(labelled.p.mean())
        weight, drawn = labelled.weight[rows] ** TEMPER, labelled.random[rows]
        fitted = calibration.calibrate(
            held_out.logits,
            label_p,
            weight,
            shown=self.shown,
            prior=prior,
            more=self._for_being_chosen(rows),
        )
        free = _nothing(free_logits)
        if not drawn.any() and not len(free):
            return fitted
        return fitted.told_at(
            calibration.natural_prevalence(
                fitted, held_out.logits[drawn], label_p[drawn], prior, free
            )
        )

    def believed(self, held_out: HeldOut, fitted: Calibration) -> Floats:
        """Return the probability of a truck by votes and held-out prediction together."""
        label_p, prior = self.labelled.p[held_out.rows], float(self.labelled.p.mean())
        p = fitted.p_truck(held_out.logits, self._for_being_chosen(held_out.rows))
        return calibration.believed(p, label_p, prior, fitted.flaw, fitted.surer)

    def _for_being_chosen(self, rows: NDArray[np.int64]) -> Floats:
        """Return what speaks for a truck in rows that were drawn in favour of trucks: log odds."""
        return np.where(self.labelled.random[rows], 0.0, CHOSEN)

    @property
    def chosen_prevalence(self) -> float:
        """The share of trucks among what was chosen for labelling."""
        return min(max(float(self.labelled.p.mean()), 1e-3), 1 - 1e-3)

    def taught(
        self,
        course: Course,
        validation: Lesson | None = None,
    ) -> TruckNet:
        """Return the network of a course, taught here or found taught; its curve is noted."""
        net, result = self.room.teach(course, validation, self._minutes(course.epochs))
        rows = [{k: round(v, 5) for k, v in row.items()} for row in result.curve]
        self.curves[course.name] = rows
        return net

    def _minutes(self, epochs: int | None) -> float | None:
        """Return this stretch's part of the minutes allowed."""
        allowed, whole = self.options.minutes, int(self.options.epochs or 1)
        if allowed is None or self.options.rounds:
            return None
        return allowed * min(1.0, (epochs or whole) / whole)

    def lesson(self, rows: NDArray[np.int64]) -> Lesson:
        """Return labelled rows as a lesson, each of weight 1."""
        picked = torch.from_numpy(rows)
        target = torch.from_numpy(self.labelled.p)[picked]
        return Lesson(self.pixels[picked], target, torch.ones(len(rows)))

    def logits(self, net: TruckNet, rows: NDArray[np.int64]) -> Floats:
        """Return what a network makes of labelled rows, float64 ``[n]``."""
        return np.asarray(logits_of(net, self.pixels[torch.from_numpy(rows)]), dtype=np.float64)

    def classes(self) -> list[int]:
        """Return 1 for every labelled row with a truck, else 0."""
        return [int(y) for y in self.labelled.truth]

    def neighbours(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark labelled rows too close in time to a held-out one to be judged apart."""
        at = self.labelled.captured_s
        if np.isnan(at).any():
            return np.zeros(len(held), dtype=bool)
        return splits.too_close(self.labelled.cameras, at.tolist(), held, self.guard_s())

    def guard_s(self) -> float:
        """Return the seconds within which two frames are neighbours, and not judged apart."""
        at = self.labelled.captured_s.tolist()
        return min(5.0, splits.block_length_s(self.labelled.cameras, at) / 10)

    def card(self, net: TruckNet, held_out: HeldOut, sizes: dict[str, int]) -> dict[str, Any]:
        """Say what the model is, what it learned from and how good it was on what it never saw."""
        net = net.cpu()  # where engines run, whatever it was taught on
        rows, labelled = held_out.rows, self.labelled
        truth, weight = labelled.truth[rows], labelled.weight[rows]
        fitted = held_out.calibration or self.calibrated(held_out)
        p = fitted.p_truck(held_out.logits)
        believed, threshold = self.believed(held_out, fitted), calibration.THRESHOLD
        if self.kind == "footage":
            threshold = calibration.counting_threshold(believed, p, weight, fitted.natural)
        counts = calibration.effective_counts(believed, p, weight, threshold)
        graph, shown = checkpoints.to_onnx(net, self._input()), labelled.pixels[engines.mixed(rows)]
        engine, speeds = engines.fastest(net, graph, shown, fitted, threshold)
        if self.options.engine != "auto":
            engine = self.options.engine
        sample = shown[: engines.SAMPLE]
        engines.save_quantised(self.ws, self.model_id, engine, graph, sample)
        days, known = self.days_taught()
        return {
            "model_id": self.model_id,
            "kind": self.kind,
            "arch": self.options.arch,
            "spec": checkpoints.spec_json(self.spec),
            "views": list(net.views),
            "input": self._input(),
            "label_set_id": labelled.label_set_id,
            "options": self.options.as_json(),
            "parameters": sum(p.numel() for p in net.parameters()),
            "training_days": days,
            "labels": {"truck": int(labelled.truth.sum()), "n": len(labelled)},
            "split": sizes,
            "threshold": threshold,
            "temperature": fitted.temperature,
            "prior": {"shown": fitted.shown, "natural": fitted.natural, "bias": fitted.bias},
            "calibration_covariance": [[round(v, 6) for v in row] for row in fitted.covariance],
            "label_flaw": fitted.flaw,
            "label_surer": fitted.surer,
            "prevalence": fitted.natural,
            "held_out": counts.as_json(),
            "held_out_from": held_out.how + known,
            "metrics": metrics.evaluation(truth, p, threshold, weight),
            "slices": self._slices(rows, p, threshold),
            "reliability": metrics.reliability(truth, p, weight),
            "curve": self.curves,
            "processes": ranks.count(),
            "engine": engine,
            "engines": speeds,
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
        }

    def days_taught(self) -> tuple[dict[str, list[str]], str]:
        """Return the days that taught this network or the model it goes on from, by camera.

        And what that makes of the held-out figures, where the latter knows what is held out.
        """
        before = checkpoints.card_beside(self.ws, self.options.weights)
        own = {camera: {str(day) for day in days} for camera, days in self.days.items()}
        older = {c: set(days) for c, days in before.get("training_days", {}).items()}
        days = {c: sorted(own.get(c, set()) | older.get(c, set())) for c in sorted({*own, *older})}
        again = sum(len(days & older.get(camera, set())) for camera, days in own.items())
        if not before or (own and not again):
            return days, ""
        what = f"{again} of these camera-days" if own else "pictures that may be among these"
        name = before.get("model_id", self.options.weights)
        return days, f"; flattered, for {name}, which it goes on from, learned from {what}"

    def _slices(self, rows: NDArray[np.int64], p: Floats, threshold: float) -> dict[str, Any]:
        """Return figures by camera, zone, hour, brightness and contrast."""
        labelled = self.labelled
        return {
            name: metrics.evaluation(
                labelled.truth[rows][at], p[at], threshold, labelled.weight[rows][at]
            )
            for name, at in slices.named(labelled, rows, slices.timezones(self.ws)).items()
        }

    def _input(self) -> dict[str, Any]:
        s = self.spec
        channels = "RGB crop" if s.channels == 3 else "RGB crop, RGB background"
        return {"channels": s.channels, "height": s.height, "width": s.width, "holds": channels}


def spec_of(labelled: Labelled, options: TrainOptions) -> NetSpec:
    """Return what ``options`` ask of a network, for these pictures."""
    _, channels, height, width = labelled.pixels.shape
    return NetSpec(
        channels=channels,
        height=height,
        width=width,
        batch_norm=options.batch_norm,
        dropout=float(options.dropout or 0.0),
        activation=options.activation,
        pooling=options.pooling,
        padding=options.padding,
        init=options.init,
        widen=float(options.widen or 1.0),
        turns=ANSWERS if options.turns else 0,
    )


def _nothing(values: Floats | None) -> Floats:
    return np.zeros(0) if values is None else values


def days_of(ws: Workspace, labelled: Labelled) -> dict[str, list[dt.date]]:
    """Return the local days that teach, by camera; none where there is no registry."""
    if not ws.cameras_toml.is_file() or np.isnan(labelled.captured_s).any():
        return {}
    registry = cameras.load(ws.cameras_toml)
    return training_days(registry, labelled.cameras, labelled.captured_s.tolist())
