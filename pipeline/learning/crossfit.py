"""Cross-fitting, where labels are few: everything is judged by networks that never saw it.

Every label, and every unlabelled instant, has its judge: a network taught without the labels, and
without the instants, of its time block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import metrics, splits
from pipeline.learning import calibration
from pipeline.learning.calibration import Calibration
from pipeline.learning.classroom import Course, side_by_side
from pipeline.learning.fitting import Lesson, logits_of
from pipeline.learning.models import TruckNet
from pipeline.learning.training import Floats, HeldOut, Training
from pipeline.learning.unlabelled import ABOUT_S, Windows, no_windows, read_windows

LEAST_WEIGHT = 0.03  # below it an unlabelled instant is not worth a step
VOUCHED = 0.7  # what an instant that was judged at second hand weighs beside a label
GOING_ON = 0.6  # how long a teacher goes on as a pupil, beside its own course
SURE_FLAW = 0.02  # share of wrong labels assumed before any network has judged them


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


class CrossFitting:
    """The steps of one training by cross-fitting."""

    def __init__(self, training: Training) -> None:
        self.training, self.labelled = training, training.labelled
        self.options = training.options

    def run(self) -> tuple[TruckNet, HeldOut, dict[str, int]]:
        """Teachers from labels and what labels vouch for; then pupils, and the last network.

        Every label, and every unlabelled instant, is judged by a network that knew no label of its
        time block. Teachers mend labels and say what unlabelled instants show, which the last
        network is taught. So are pupils, who go on from the teachers: it is they who calibrate the
        last network and whose figures speak for it.
        """
        n, everything = len(self.labelled), self.training.lesson(np.arange(len(self.labelled)))
        windows = self._windows()
        folds = self._folds_of(windows)
        courses = self._courses("teacher", everything, self._vouched(windows), folds)
        side_by_side(self.training.room, courses)
        held_out, opinions = self._judged(courses, windows.pixels, folds)
        fitted = self.training.calibrated(held_out, opinions[windows.random])
        lesson = self._mended(held_out, fitted)
        free = self._self_taught(windows, windows.smoothed(opinions), fitted)
        last = Course("final", lesson + free, epochs=self._long_enough(n, free))
        if len(free):
            courses = self._courses("pupil", lesson, free, folds, after="teacher")
            side_by_side(self.training.room, [last, *courses])
            drawn = windows.random
            folds = replace(folds, windows=folds.windows[drawn], heard=folds.heard[:, drawn])
            held_out, opinions = self._judged(courses, windows.pixels[drawn], folds)
            fitted = self.training.calibrated(held_out, opinions)
        sizes = {"train": n, "cross_fitted": n, "unlabelled": len(free)}
        return self.training.taught(last), replace(held_out, calibration=fitted), sizes

    def _windows(self) -> Windows:
        """Read unlabelled instants of the days that teach; none where footage is not at hand."""
        per_zone = int(self.options.self_training or 0)
        _, height, width = self.training.pixels.shape[1:]
        if not per_zone or not self.training.days:
            return no_windows(height, width)
        labelled, at = self.labelled, self.labelled.captured_s.tolist()
        places: dict[str, list[tuple[float, str]]] = {}
        for camera, zone, captured in zip(labelled.cameras, labelled.zones, at, strict=True):
            places.setdefault(camera, []).append((captured, zone))
        ws, days, seed = self.training.ws, self.training.days, self.options.seed
        return read_windows(ws, days, places, per_zone, height, width, seed)

    def _blocks_of(self, windows: Windows) -> list[str]:
        """Return the time block of every unlabelled instant, named as the labels' blocks are."""
        length = splits.block_length_s(self.labelled.cameras, self.labelled.captured_s.tolist())
        return splits.time_blocks(windows.cameras, windows.captured_s.tolist(), length)

    def _folds_of(self, windows: Windows) -> Folds:
        n = int(self.options.rounds or 0)
        fold = splits.folds(self.labelled.groups, self.training.classes(), n, self.options.seed)
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
        reach = max(ABOUT_S, self.training.guard_s())
        return splits.too_close(cameras, at.tolist(), out, reach)[len(held) :]

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
            part = lesson.picked(torch.from_numpy(~held & ~self.training.neighbours(held)))
            apart = (folds.windows != k) & ~folds.heard[k]
            beside = free.picked(torch.from_numpy(apart) & weighs)
            epochs = self._long_enough(len(part), beside)
            start = f"{after} {k + 1} of {n}" if after else ""
            if start:
                epochs = max(2, round(GOING_ON * epochs))
            courses.append(Course(f"{name} {k + 1} of {n}", part + beside, k + 8, epochs, start))
        return courses

    def _long_enough(self, n: int, free: Lesson) -> int:
        """Return epochs that show ``finish`` times as many pictures as ``n`` labels alone would."""
        epochs, times = int(self.options.epochs or 1), float(self.options.finish or 1.0)
        return max(2, round(times * epochs * n / (n + len(free)))) if len(free) else epochs

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
            net, own = self.training.taught(course), np.flatnonzero(folds.labels == k)
            logits[own] = self.training.logits(net, own)
            for rows, share in ((folds.windows == k, 1.0), (folds.windows < 0, 1 / n)):
                judged = logits_of(net, seen[torch.from_numpy(rows)])
                opinions[rows] += share * np.asarray(judged, dtype=np.float64)
        return HeldOut(np.arange(len(logits)), logits, f"cross-fitted in {n} folds"), opinions

    def _seen(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return what the network takes of pictures ``uint8[n, 6, h, w]``; nothing is copied."""
        return torch.from_numpy(pixels[:, : self.training.spec.channels])

    def _vouched(self, windows: Windows) -> Lesson:
        """Return all instants as a lesson, each weighed by how surely a label close by speaks."""
        chosen = self.training.chosen_prevalence
        heard = windows.vouched(self.labelled, self._said(SURE_FLAW))
        return Lesson(
            self._seen(windows.pixels),
            torch.from_numpy(metrics.sigmoid(heard + np.log(chosen / (1 - chosen)))).float(),
            torch.from_numpy(VOUCHED * np.clip(np.abs(heard) / 2, 0, 1)).float(),
        )

    def _said(self, flaw: float, surer: float = 1.0) -> Floats:
        """Return what each label says, as a log likelihood ratio."""
        chosen = self.training.chosen_prevalence
        ratio = calibration.likelihood_ratio(self.labelled.p, chosen, flaw, surer)
        return np.asarray(np.log(ratio), dtype=np.float64)

    def _mended(self, held_out: HeldOut, fitted: Calibration) -> Lesson:
        """Return all labels, each moved towards what it and unprejudiced teachers say together."""
        lesson = self.training.lesson(np.arange(len(self.labelled)))
        both = self.training.believed(held_out, fitted)
        trust = self.options.trust
        target = trust * both + (1 - trust) * self.labelled.p[held_out.rows]
        return Lesson(lesson.pixels, torch.from_numpy(target).float(), lesson.weight)

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
            torch.from_numpy(metrics.sigmoid(z)).float(),
            torch.from_numpy(VOUCHED * sure).float(),
        )
