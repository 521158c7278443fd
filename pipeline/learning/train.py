"""Labels in, a model folder out: ``train_images`` (loose pictures), ``train_campaigns`` (zones).

The id of a model is a digest of its labels, pictures, options and seed: the same call again finds
the folder and trains nothing. Held-out figures come from pictures the network they judge never saw:
a validation and a test part where labels are many, cross-fitting (every label judged once, by a
network taught without its time block) where they are few.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import cameras, lineage, metrics, splits
from pipeline.errors import InputError
from pipeline.learning import (
    calibration,
    checkpoints,
    dataset,
    engines,
    ranks,
    recipes,
    rendered,
    slices,
)
from pipeline.learning.calibration import Calibration
from pipeline.learning.card_page import as_markdown
from pipeline.learning.cards import CARD_PAGE
from pipeline.learning.classroom import Classroom, Course, side_by_side
from pipeline.learning.dataset import Labelled
from pipeline.learning.fitting import Lesson, logits_of
from pipeline.learning.models import NetSpec, TruckNet, default_size
from pipeline.learning.options import TrainOptions
from pipeline.learning.recipes import Kind
from pipeline.learning.unlabelled import (
    ABOUT_S,
    Windows,
    footage_at_hand,
    no_windows,
    read_windows,
    training_days,
)
from pipeline.store import Workspace, write_bytes, write_json

TEMPER = 0.25  # power of the sampling weights in calibration; see _calibrated
LEAST_WEIGHT = 0.03  # below it an unlabelled instant is not worth a step
VOUCHED = 0.7  # what an instant that was judged at second hand weighs beside a label
GOING_ON = 0.6  # how long a teacher goes on as a pupil, beside its own course
SURE_FLAW = 0.02  # share of wrong labels assumed before any network has judged them
RECIPE = 14  # raised when the same options begin to mean another training

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Logits of labelled rows by networks that never saw them, and how they came about."""

    rows: NDArray[np.int64]
    logits: Floats
    how: str


@dataclass(frozen=True)
class Folds:
    """Which network judges what: the fold of every label, and of every unlabelled instant.

    An instant belongs where the labels of its time block do; −1 where the block has none.
    """

    labels: NDArray[np.int64]
    windows: NDArray[np.int64]
    heard: NDArray[np.bool_]
    """``[fold, instant]``: whether it lies so close to a label of the fold, be it across the edge
    of its block, that the one says what the other shows."""


def train_images(
    ws: Workspace, images_dir: Path, labels_csv: Path, options: TrainOptions | None = None
) -> str:
    """Train on loose pictures and their label file; return the model's id and make it current.

    Raises:
        InputError: options, pictures or labels are unfit (:func:`dataset.from_files`).
    """
    options = options or TrainOptions()
    if options.rounds:
        raise InputError(f"rounds is {options.rounds}.", "Loose pictures have no time blocks: 0.")
    large = dataset.are_photographs(images_dir, labels_csv)
    kind: Kind = "photograph" if large else "thumbnail"
    size = options.size or default_size(options.arch) or recipes.side(kind, options.arch)
    options = replace(options, size=size)
    labelled = dataset.from_files(images_dir, labels_csv, size)
    return _train(ws, labelled, recipes.resolve(options, kind, len(labelled)), kind)


def train_campaigns(
    ws: Workspace,
    campaigns: Sequence[str],
    options: TrainOptions | None = None,
    *,
    set_current: bool = True,
) -> str:
    """Train on the resolved labels of campaigns; return the model's id and make it current.

    Without ``set_current`` the model in use stays in use: a challenger is judged first.

    Raises:
        NotFoundError: a campaign, its frames or its labels are not there.
        InputError: nothing is resolved, or all labels are alike.
    """
    options = options or TrainOptions()
    size = options.size or default_size(options.arch)
    background = recipes.resolve(options, "footage", 1).background
    labelled = dataset.from_campaigns(ws, campaigns, size, background=bool(background))
    footage = footage_at_hand(ws, _training_days(ws, labelled))
    if not footage:  # nor anything unlabelled
        options = replace(options, self_training=0)
    resolved = recipes.resolve(options, "footage", len(labelled))
    return _train(
        ws, labelled, resolved, "footage", campaigns, footage=footage, set_current=set_current
    )


def model_id_of(labelled: Labelled, options: TrainOptions, footage: Sequence[Any] = ()) -> str:
    """Return the id that these labels, options and :func:`footage_at_hand` give.

    Weights from a file enter by their content.
    """
    parts = [RECIPE, labelled.label_set_id, options.as_json(), list(footage)]
    start = Path(options.weights or "")
    said = json.dumps([*parts, lineage.digest_of(start)], sort_keys=True)
    return f"{options.arch}-{hashlib.blake2b(said.encode(), digest_size=5).hexdigest()}"


def _train(
    ws: Workspace,
    labelled: Labelled,
    options: TrainOptions,
    kind: Kind,
    campaigns: Sequence[str] = (),
    *,
    footage: Sequence[Any] = (),
    set_current: bool = True,
) -> str:
    schooling = None
    if options.weights == "scene":
        schooling = rendered.Schooling.of(options, _spec(labelled, options))
        options = replace(options, weights=schooling.name)
    read = footage if options.rounds and options.self_training else ()
    model_id = model_id_of(labelled, options, read)
    if not (ws.model(model_id) / checkpoints.CARD).is_file():
        if schooling is not None:
            schooling.hold(ws)
        _teach(ws, labelled, options, kind, model_id, campaigns)
    elif options.engine != "auto":
        _run_by(ws, model_id, options.engine, labelled.pixels[:256])
    if set_current:
        checkpoints.set_current(ws, model_id)
    return model_id


def _run_by(ws: Workspace, model_id: str, engine: str, sample: NDArray[np.uint8]) -> None:
    """Have another engine run a model that is there already; ``sample`` is for quantising."""
    card = checkpoints.load_card(ws, model_id)
    if engine != card["engine"]:
        graph = (ws.model(model_id) / checkpoints.ONNX).read_bytes()
        engines.save_quantised(ws, model_id, engine, graph, sample)
        write_json(ws.model(model_id) / checkpoints.CARD, card | {"engine": engine})


def _teach(
    ws: Workspace,
    labelled: Labelled,
    options: TrainOptions,
    kind: Kind,
    model_id: str,
    campaigns: Sequence[str],
) -> None:
    """Train and save what is not there yet."""
    training = _Training(ws, labelled, options, kind, model_id)
    started = time.monotonic()
    net, held_out, parts = training.cross_fitted() if options.rounds else training.split_once()
    card = training.card(net, held_out, parts)
    labels = {name: ws.campaign_labels(name) / "labels.parquet" for name in campaigns}
    card["campaigns"] = {name: lineage.digest_of(path) for name, path in labels.items()}
    card["seconds"] = round(time.monotonic() - started, 1)
    write_bytes(ws.model(model_id) / CARD_PAGE, as_markdown(card).encode())
    checkpoints.save_model(ws, model_id, net, card)
    training.room.tidy()


class _Training:
    """One training from split to card."""

    def __init__(
        self, ws: Workspace, labelled: Labelled, options: TrainOptions, kind: Kind, model_id: str
    ) -> None:
        self.ws, self.labelled, self.options, self.kind = ws, labelled, options, kind
        self.model_id, self.days = model_id, _training_days(ws, labelled)
        self.spec = _spec(labelled, options)
        self.pixels = torch.from_numpy(labelled.pixels)
        self.room = Classroom(ws, model_id, options, self.spec, kind)
        self.calibration: Calibration | None = None
        self.curves: dict[str, list[dict[str, float]]] = {}
        self.shown = (
            0.5 if options.balance in ("half", "size", "weights") else float(labelled.truth.mean())
        )

    def split_once(self) -> tuple[TruckNet, HeldOut, dict[str, int]]:
        """Teach on 80%, judge on 10% validation and 10% test; then go on with all of it.

        The figures are those of the network before it saw the held-out part: the last stretch can
        only have made it better.
        """
        part = np.array(splits.split(self.labelled.groups, self._classes(), self.options.seed))
        held = part != "train"
        teach = np.flatnonzero(~held & ~self._neighbours(held))
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
        course = Course(name, self._lesson(teach), epochs=max(1, epochs - last))
        net = self._taught(course, self._lesson(watch))
        rows = np.flatnonzero(held)
        held_out = HeldOut(rows, self._logits(net, rows), "validation and test")
        sizes = {str(name): int((part == name).sum()) for name in splits.PARTS}
        if last:
            everything = self._lesson(np.arange(len(part)))
            net = self._taught(Course("final", everything, epochs=last, after=name))
        return net, held_out, sizes

    def cross_fitted(self) -> tuple[TruckNet, HeldOut, dict[str, int]]:
        """Teachers from labels and what labels vouch for; then pupils, and the last network.

        Every label, and every unlabelled instant, is judged by a network that knew no label of its
        time block. Teachers mend labels and say what unlabelled instants show, which the last
        network is taught. So are pupils, who go on from the teachers: it is they who calibrate the
        last network and whose figures speak for it.
        """
        n, everything = len(self.labelled), self._lesson(np.arange(len(self.labelled)))
        windows = self._windows()
        folds = self._folds_of(windows)
        courses = self._courses("teacher", everything, self._vouched(windows), folds)
        side_by_side(self.room, courses)
        held_out, opinions = self._judged(courses, windows.pixels, folds)
        fitted = self._calibrated(held_out, opinions[windows.random])
        lesson = self._mended(held_out, fitted)
        free = self._self_taught(windows, windows.smoothed(opinions), fitted)
        last = Course("final", lesson + free, epochs=self._long_enough(n, free))
        if len(free):
            courses = self._courses("pupil", lesson, free, folds, after="teacher")
            side_by_side(self.room, [last, *courses])
            drawn = windows.random
            folds = replace(folds, windows=folds.windows[drawn], heard=folds.heard[:, drawn])
            held_out, opinions = self._judged(courses, windows.pixels[drawn], folds)
            fitted = self._calibrated(held_out, opinions)
        self.calibration = fitted
        sizes = {"train": n, "cross_fitted": n, "unlabelled": len(free)}
        return self._taught(last), held_out, sizes

    def _folds_of(self, windows: Windows) -> Folds:
        n = int(self.options.rounds or 0)
        fold = splits.folds(self.labelled.groups, self._classes(), n, self.options.seed)
        fold_of = dict(zip(self.labelled.groups, fold.tolist(), strict=True))
        own = [fold_of.get(block, -1) for block in self._blocks_of(windows)]
        labels = np.asarray(fold, dtype=np.int64)
        heard = [self._close_to(labels == k, windows) for k in range(n)]
        return Folds(labels, np.array(own, dtype=np.int64), np.array(heard, dtype=np.bool_))

    def _close_to(self, held: NDArray[np.bool_], windows: Windows) -> NDArray[np.bool_]:
        """Mark unlabelled instants too close to a held-out label of their camera."""
        at = np.concatenate([self.labelled.captured_s, windows.captured_s])
        if np.isnan(at).any():
            return np.zeros(len(windows), dtype=bool)
        cameras = [*self.labelled.cameras, *windows.cameras]
        out = np.concatenate([held, np.zeros(len(windows), dtype=bool)])
        reach = max(ABOUT_S, self._guard_s())
        return splits.too_close(cameras, at.tolist(), out, reach)[len(held) :]

    def _guard_s(self) -> float:
        """Return the seconds within which two frames are neighbours, and not judged apart."""
        at = self.labelled.captured_s.tolist()
        return min(5.0, splits.block_length_s(self.labelled.cameras, at) / 10)

    def _courses(
        self, name: str, lesson: Lesson, free: Lesson, folds: Folds, after: str = ""
    ) -> list[Course]:
        """Return a course per fold, without its labels and without instants of their time blocks.

        With ``after`` each goes on from the network so named.
        """
        n, courses = int(self.options.rounds or 0), []
        weighs = free.weight > LEAST_WEIGHT
        for k in range(n):
            held = folds.labels == k
            part = lesson.picked(torch.from_numpy(~held & ~self._neighbours(held)))
            apart = (folds.windows != k) & ~folds.heard[k]
            beside = free.picked(torch.from_numpy(apart) & weighs)
            epochs = self._long_enough(len(part), beside)
            start = f"{after} {k + 1} of {n}" if after else ""
            if start:
                epochs = max(2, round(GOING_ON * epochs))
            courses.append(Course(f"{name} {k + 1} of {n}", part + beside, k + 8, epochs, start))
        return courses

    def _judged(
        self, courses: Sequence[Course], pixels: NDArray[np.uint8], folds: Folds
    ) -> tuple[HeldOut, Floats]:
        """Teach these networks and have each judge the fold it was kept from.

        Returns the labels' held-out logits, and those of unlabelled instants ``pixels``: by the
        network kept from their time block; by all, where none was.
        """
        n, logits = len(courses), np.zeros(len(folds.labels))
        opinions, seen = np.zeros(len(folds.windows)), self._seen(pixels)
        for k, course in enumerate(courses):
            net, own = self._taught(course), np.flatnonzero(folds.labels == k)
            logits[own] = self._logits(net, own)
            for rows, share in ((folds.windows == k, 1.0), (folds.windows < 0, 1 / n)):
                judged = logits_of(net, seen[torch.from_numpy(rows)])
                opinions[rows] += share * np.asarray(judged, dtype=np.float64)
        return HeldOut(np.arange(len(logits)), logits, f"cross-fitted in {n} folds"), opinions

    def _seen(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return what the network takes of pictures ``uint8[n, 6, h, w]``; nothing is copied."""
        return torch.from_numpy(pixels[:, : self.spec.channels])

    def _vouched(self, windows: Windows) -> Lesson:
        """Return all instants as a lesson, each weighed by how surely a label close by speaks."""
        chosen = self._chosen_prevalence
        heard = windows.vouched(self.labelled, self._said(SURE_FLAW))
        return Lesson(
            self._seen(windows.pixels),
            torch.from_numpy(calibration.sigmoid(heard + np.log(chosen / (1 - chosen)))).float(),
            torch.from_numpy(VOUCHED * np.clip(np.abs(heard) / 2, 0, 1)).float(),
        )

    @property
    def _chosen_prevalence(self) -> float:
        """The share of trucks among what was chosen for labelling."""
        return min(max(float(self.labelled.p.mean()), 1e-3), 1 - 1e-3)

    def _said(self, flaw: float, surer: float = 1.0) -> Floats:
        """Return what each label says, as a log likelihood ratio."""
        chosen = self._chosen_prevalence
        ratio = calibration.likelihood_ratio(self.labelled.p, chosen, flaw, surer)
        return np.asarray(np.log(ratio), dtype=np.float64)

    def _mended(self, held_out: HeldOut, fitted: Calibration) -> Lesson:
        """Return all labels, each moved towards what it and unprejudiced teachers say together."""
        lesson = self._lesson(np.arange(len(self.labelled)))
        both = self._believed(held_out, fitted)
        trust = self.options.trust
        target = trust * both + (1 - trust) * self.labelled.p[held_out.rows]
        return Lesson(lesson.pixels, torch.from_numpy(target).float(), lesson.weight)

    def _believed(self, held_out: HeldOut, fitted: Calibration) -> Floats:
        """Return the probability of a truck by votes and held-out prediction together."""
        label_p, prior = self.labelled.p[held_out.rows], float(self.labelled.p.mean())
        p = fitted.p_truck(held_out.logits)
        return calibration.believed(p, label_p, prior, fitted.flaw, fitted.surer)

    def _blocks_of(self, windows: Windows) -> list[str]:
        """Return the time block of every unlabelled instant, named as the labels' blocks are."""
        length = splits.block_length_s(self.labelled.cameras, self.labelled.captured_s.tolist())
        return splits.time_blocks(windows.cameras, windows.captured_s.tolist(), length)

    def _windows(self) -> Windows:
        """Read unlabelled instants of the days that teach; none where footage is not at hand."""
        per_zone = int(self.options.self_training or 0)
        _, height, width = self.pixels.shape[1:]
        if not per_zone or not self.days:
            return no_windows(height, width)
        labelled, at = self.labelled, self.labelled.captured_s.tolist()
        places: dict[str, list[tuple[float, str]]] = {}
        for camera, zone, captured in zip(labelled.cameras, labelled.zones, at, strict=True):
            places.setdefault(camera, []).append((captured, zone))
        return read_windows(self.ws, self.days, places, per_zone, height, width, self.options.seed)

    def _self_taught(self, windows: Windows, logits: Floats, fitted: Calibration) -> Lesson:
        """Return unlabelled instants with the belief in a truck as target.

        Bayes' rule in log odds: what teachers see, what a label close by says.
        """
        said = self._said(max(fitted.flaw, 0.01), fitted.surer)
        z = logits / fitted.temperature + fitted.offset + windows.vouched(self.labelled, said)
        sure = np.clip(np.abs(z) - 0.25, 0.0, 1.0)  # half of both is no lesson
        # Nor is what only teachers take for a truck: lorry or bus is what labels are there to say.
        sure[windows.random & (z > -1.0)] = 0.0
        return Lesson(
            self._seen(windows.pixels),
            torch.from_numpy(calibration.sigmoid(z)).float(),
            torch.from_numpy(VOUCHED * sure).float(),
        )

    def _long_enough(self, n: int, free: Lesson) -> int:
        """Return epochs that show ``finish`` times as many pictures as ``n`` labels alone would."""
        epochs, times = int(self.options.epochs or 1), float(self.options.finish or 1.0)
        return max(2, round(times * epochs * n / (n + len(free)))) if len(free) else epochs

    def card(self, net: TruckNet, held_out: HeldOut, sizes: dict[str, int]) -> dict[str, Any]:
        """Say what the model is, what it learned from and how good it was on what it never saw."""
        net = net.cpu()  # where engines run, whatever it was taught on
        rows, labelled = held_out.rows, self.labelled
        truth, weight = labelled.truth[rows], labelled.weight[rows]
        fitted = self.calibration or self._calibrated(held_out)
        p = fitted.p_truck(held_out.logits)
        graph, sample = checkpoints.to_onnx(net, self._input()), labelled.pixels[rows[:256]]
        engine, speeds = engines.fastest(net, graph, sample)
        if self.options.engine != "auto":
            engine = self.options.engine
        engines.save_quantised(self.ws, self.model_id, engine, graph, sample)
        believed, threshold = self._believed(held_out, fitted), calibration.THRESHOLD
        if self.kind == "footage":
            threshold = calibration.counting_threshold(believed, p, weight, fitted.natural)
        counts = calibration.effective_counts(believed, p, weight, threshold)
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
            "training_days": {c: [str(day) for day in days] for c, days in self.days.items()},
            "labels": {"truck": int(labelled.truth.sum()), "n": len(labelled)},
            "split": sizes,
            "threshold": threshold,
            "temperature": fitted.temperature,
            "prior": {"shown": fitted.shown, "natural": fitted.natural, "bias": fitted.bias},
            "label_flaw": fitted.flaw,
            "label_surer": fitted.surer,
            "prevalence": fitted.natural,
            "held_out": counts.as_json(),
            "held_out_from": held_out.how,
            "metrics": metrics.evaluation(truth, p, threshold, weight),
            "slices": self._slices(rows, p, threshold),
            "reliability": metrics.reliability(truth, p, weight),
            "curve": self.curves,
            "processes": ranks.count(),
            "engine": engine,
            "engines": speeds,
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
        }

    def _calibrated(self, held_out: HeldOut, free_logits: Floats | None = None) -> Calibration:
        """Fit to held-out rows; the natural prevalence from those drawn at random.

        Frames are chosen by what they show, never by their label, and what a network makes of a
        picture is nearly all that tells of its truck: so chosen frames have about as many trucks at
        one logit as the road. Their weights would be right, but a few frames that stand for most of
        the road would settle it all; a small power of them is a compromise (README, Decisions).
        """
        labelled, rows = self.labelled, held_out.rows
        label_p, prior = labelled.p[rows], float(labelled.p.mean())
        weight, drawn = labelled.weight[rows] ** TEMPER, labelled.random[rows]
        fitted = calibration.calibrate(
            held_out.logits, label_p, weight, shown=self.shown, prior=prior
        )
        free = _nothing(free_logits)
        if not drawn.any() and not len(free):
            return fitted
        return fitted.told_at(
            calibration.natural_prevalence(
                fitted, held_out.logits[drawn], label_p[drawn], prior, free
            )
        )

    def _taught(
        self,
        course: Course,
        validation: Lesson | None = None,
    ) -> TruckNet:
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

    def _lesson(self, rows: NDArray[np.int64]) -> Lesson:
        picked = torch.from_numpy(rows)
        target = torch.from_numpy(self.labelled.p)[picked]
        return Lesson(self.pixels[picked], target, torch.ones(len(rows)))

    def _logits(self, net: TruckNet, rows: NDArray[np.int64]) -> Floats:
        return np.asarray(logits_of(net, self.pixels[torch.from_numpy(rows)]), dtype=np.float64)

    def _classes(self) -> list[int]:
        return [int(y) for y in self.labelled.truth]

    def _neighbours(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        at = self.labelled.captured_s
        if np.isnan(at).any():
            return np.zeros(len(held), dtype=bool)
        return splits.too_close(self.labelled.cameras, at.tolist(), held, self._guard_s())

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


def _spec(labelled: Labelled, options: TrainOptions) -> NetSpec:
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
    )


def _nothing(values: Floats | None) -> Floats:
    return np.zeros(0) if values is None else values


def _training_days(ws: Workspace, labelled: Labelled) -> dict[str, list[dt.date]]:
    """Return the local days that teach, by camera; none where there is no registry."""
    if not ws.cameras_toml.is_file() or np.isnan(labelled.captured_s).any():
        return {}
    registry = cameras.load(ws.cameras_toml)
    return training_days(registry, labelled.cameras, labelled.captured_s.tolist())


__all__ = ["Calibration", "TrainOptions", "model_id_of", "train_campaigns", "train_images"]
