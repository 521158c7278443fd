"""The training loop: arrays in, a fitted network out. It knows nothing of files but its checkpoint.

One loop serves every network. The whole ``uint8`` set stays in memory (on the device, where there
is one); augmentation works on batches; weights are averaged over the last stretch. All chance of
an epoch comes from ``(seed, epoch)``, so a run taken up after a kill ends as if never killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from pipeline import cores
from pipeline.errors import InputError, ModelError
from pipeline.learning import checkpoints, pictures, ranks
from pipeline.learning.augment import Augment
from pipeline.learning.mixing import mixed, pieced, with_turned
from pipeline.learning.muon import Muon
from pipeline.learning.options import TrainOptions
from pipeline.learning.transfer import Thaw

CHECKPOINT_EVERY_S = 5.0
LEAST_EAGER = 0.05  # an empty road is drawn this often, beside 1 where a vehicle fills the crop

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Lesson:
    """Pictures ``uint8[n, c, h, w]``, targets ``float32[n]`` in 0-1, weights ``float32[n]``.

    To another process it goes as arrays: tensors would travel through shared memory, of which a
    container often has next to none.
    """

    pixels: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        """Return ``n``."""
        return len(self.target)

    def to(self, device: torch.device) -> Lesson:
        """Return it on ``device``."""
        return Lesson(self.pixels.to(device), self.target.to(device), self.weight.to(device))

    def picked(self, rows: Tensor) -> Lesson:
        """Return the rows of a mask, or of these numbers."""
        return Lesson(self.pixels[rows], self.target[rows], self.weight[rows])

    def __add__(self, other: Lesson) -> Lesson:
        """Return both, one after the other."""
        return Lesson(
            torch.cat([self.pixels, other.pixels]),
            torch.cat([self.target, other.target]),
            torch.cat([self.weight, other.weight]),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as arrays."""
        parts = (self.pixels, self.target, self.weight)
        return _lesson_of, tuple(part.cpu().numpy() for part in parts)


def _lesson_of(*arrays: NDArray[Any]) -> Lesson:
    return Lesson(*(torch.from_numpy(array) for array in arrays))


@dataclass
class Fit:
    """What a run leaves beside the weights: one row per epoch, and how long it took."""

    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    net: nn.Module,
    lesson: Lesson,
    options: TrainOptions,
    augment: Augment,
    *,
    seed: int,
    validation: Lesson | None = None,
    checkpoint: Path | None = None,
    minutes: float | None = None,
    thaw: Thaw | None = None,
    note: Callable[[int, int, dict[str, float]], None] | None = None,
) -> Fit:
    """Fit ``net`` in place; with ``checkpoint``, take up where a killed run left off.

    ``options`` must be resolved (:func:`recipes.resolve`). The averaged weights, where
    ``options.ema`` asks for them, are what the network holds at the end. While epochs show that all
    of them would take longer than ``minutes``, there will be fewer. ``thaw`` says which parts of a
    network with weights from elsewhere learn when; each that joins makes epochs dearer.
    """
    device = next(net.parameters()).device
    cores.keep_memory()
    run = _Run(net, lesson.to(device), options, augment, seed, thaw)
    result, started, saved_at = Fit(), time.monotonic(), time.monotonic()
    epoch = done = run.take_up(checkpoint, result)
    paces: list[float] = []  # seconds of each epoch as dear as the last one
    while epoch < run.epochs:
        began = time.monotonic()
        row = run.epoch(epoch)
        if not math.isfinite(row["loss"]):
            raise InputError(
                f"the loss is {row['loss']:g} in epoch {epoch + 1} "
                f"(learning_rate {_set(options.learning_rate):g}).",
                "Give a lower learning rate.",
            )
        if validation is not None:
            row["validation_loss"] = loss_of(net, validation, options)
        result.curve.append(row)
        epoch += 1
        if minutes is not None:
            now = time.monotonic()
            left = 60 * minutes - run.spent_s - (now - started)
            paces = [*([] if run.dearer else paces), now - began]
            run.epochs = within(_set(options.epochs), epoch, left, sum(paces) / len(paces))
        stop = run.agreed(run.judge(row, result.curve))
        if note is not None:
            note(epoch, run.epochs, row)
        if checkpoint is not None and time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            saved_at = time.monotonic()
            run.save(checkpoint, epoch, result, saved_at - started)
        if stop:
            break
    if checkpoint is not None and epoch > done:
        run.save(checkpoint, run.epochs, result, time.monotonic() - started)
    run.finish()
    result.seconds = time.monotonic() - started
    return result


class _Run:
    """The moving parts of one run."""

    def __init__(
        self,
        net: nn.Module,
        lesson: Lesson,
        options: TrainOptions,
        augment: Augment,
        seed: int,
        thaw: Thaw | None,
    ) -> None:
        self.thaw = thaw
        self.net, self.lesson, self.options, self.augment = net, lesson, options, augment
        self.seed = seed
        self.device = next(net.parameters()).device
        self.net.to(memory_format=torch.channels_last)
        self.optimiser = make_optimiser(net, options, thaw)
        if _set(options.batch_size) < 2 * ranks.count():
            raise InputError(
                f"batch_size is {options.batch_size} for {ranks.count()} processes.",
                "Give each two pictures or more.",
            )
        self.batch = min(_set(options.batch_size), len(lesson))
        self.epochs = _set(options.epochs)
        self.steps = max(1, math.ceil(len(lesson) / self.batch))
        self.mean: dict[str, Tensor] | None = None
        if options.ema:
            self.mean = {k: v.detach().clone() for k, v in net.state_dict().items()}
        self.plateau, self.shared = 1.0, net
        self.turns = float(options.turns or 0.0) if getattr(net, "tells_turns", False) else 0.0
        self.joined, self.dearer = 0, False  # blocks that learned last; more than before that
        self.spent_s = 0.0  # before this process took it up

    @cached_property
    def eager(self) -> Tensor | None:
        """How eagerly each row is drawn, where that goes by size; float64 ``[n]``."""
        if self.options.balance != "size":
            return None
        share = pictures.vehicle_share(self.lesson.pixels.cpu().numpy())
        return torch.from_numpy(LEAST_EAGER + share)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Go once through the lesson; return mean loss, accuracy and the last learning rate."""
        self.net.train()
        self.begin(epoch)
        self.shared = ranks.together(self.net)  # anew, because what learns may have changed
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.seed * 1_000_003 + epoch)
            order = drawn_order(self.lesson.target, self.options.balance, self.eager)
            parity = torch.rand(
                len(self.lesson), generator=torch.Generator().manual_seed(self.seed)
            )
            mirrored = ((parity < 0.5).to(self.device)) ^ (epoch % 2 == 1)
            sums = torch.zeros(3)
            for step in range(self.steps):
                rows = order[step * self.batch : (step + 1) * self.batch].to(self.device)
                if len(rows) < 2 * ranks.count():
                    continue
                sums += self.step(epoch * self.steps + step, rows, mirrored)
        sums = ranks.summed(sums)
        n = max(float(sums[2]), 1.0)  # rows taught: what no full step is left for goes untaught
        rate = self.optimiser.param_groups[0]["lr"]
        return {"loss": float(sums[0]) / n, "accuracy": float(sums[1]) / n, "rate": float(rate)}

    def begin(self, epoch: int) -> None:
        """Let those blocks learn that have joined by now."""
        before, self.joined = self.joined, 1  # the whole network counts as one block
        if self.thaw is not None:
            self.joined = self.thaw.joined(epoch, self.epochs)
            self.thaw.begin(epoch, self.epochs)
        self.dearer = self.joined > before

    def step(self, number: int, rows: Tensor, mirrored: Tensor) -> Tensor:
        """Take one step on ``rows``, of which others take a part; return own loss, hits, rows."""
        options, rows = self.options, ranks.own_part(rows)
        rate = scheduled(number, self.steps * self.epochs, options) * self.plateau
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("pace", 1.0)
        target, weight = self.lesson.target[rows], self.lesson.weight[rows]
        pixels = self.lesson.pixels.index_select(0, rows)  # thrice as fast as by brackets
        x = self.augment(pixels, mirrored[rows]) if options.augment else pixels
        if options.mixup:
            x, target = mixed(x, target, options.mixup)
        if options.cutmix and float(torch.rand(())) < options.cutmix:
            x, target = pieced(x, target)
        if self.turns:
            x, answers = with_turned(x, target)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half_precision(self.device)):
            said = self.shared(x)
        logits = said[: len(rows), 0] if said.ndim > 1 else said
        losses = loss(logits, target, options)
        if options.balance == "weights":
            weight = weight * class_weights(self.lesson.target)[(target > 0.5).long()]
        # Processes average their gradients, so each brings its share of the batch's mean so often.
        own = (losses * weight).sum() * ranks.count()
        mean = own / ranks.summed(weight.sum()).clamp_min(1e-6)
        told = mean.detach()  # of the question that is judged
        if self.turns:
            mean = mean + self.turns * F.cross_entropy(said[:, 1:], answers)
        if options.l1:
            mean = mean + options.l1 * sum(p.abs().sum() for p in self.net.parameters())
        self.optimiser.zero_grad(set_to_none=True)
        mean.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self._average(number)
        right = ((logits > 0) == (target > 0.5)).sum()
        return torch.tensor([float(told) * len(rows), float(right), float(len(rows))])

    def _average(self, number: int) -> None:
        if self.mean is None:
            return
        horizon = max(1.0, _set(self.options.ema) * self.steps * self.epochs)
        keep = min(1 - 1 / horizon, (1 + number) / (10 + number))
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value, 1 - keep)
            else:
                self.mean[name].copy_(value)

    def judge(self, row: dict[str, float], curve: list[dict[str, float]]) -> bool:
        """Apply "on plateau" and early stopping; tell whether to stop."""
        losses = [r.get("validation_loss", r["loss"]) for r in curve]
        since_best = len(losses) - 1 - losses.index(min(losses))
        if self.options.schedule == "plateau" and since_best and since_best % 3 == 0:
            self.plateau *= 0.3
        patience = self.options.early_stopping  # of a held-out loss: without one, nothing stops
        return patience is not None and "validation_loss" in row and since_best >= patience

    def agreed(self, stop: bool) -> bool:
        """Go by rank 0 in what a clock or held-out pictures decide; return whether to stop."""
        epochs, self.plateau, stop_too = ranks.as_led(self.epochs, self.plateau, stop)
        self.epochs = int(epochs)
        return bool(stop_too)

    def finish(self) -> None:
        """Leave the averaged weights in the network."""
        if self.mean is not None:
            self.net.load_state_dict(self.mean)
        self.net.eval()

    def save(self, path: Path, epoch: int, result: Fit, seconds: float) -> None:
        """Write all that the rest of the run depends on; it has taken these ``seconds`` here."""
        if ranks.number():
            return
        tensors = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"mean/{k}": v for k, v in (self.mean or {}).items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{i}/{k}": v for k, v in state.items() if v is not None}
        said = {
            "epoch": epoch,
            "epochs": self.epochs,
            "plateau": self.plateau,
            "joined": self.joined,
            "seconds": self.spent_s + seconds,
            "curve": result.curve,
        }
        checkpoints.save_progress(path, tensors, said)

    def take_up(self, path: Path | None, result: Fit) -> int:
        """Restore a checkpoint, if there is a sound one; return the epoch to go on with."""
        found = checkpoints.load_progress(path) if path is not None else None
        if found is None:
            return 0
        tensors, said = found
        self.net.load_state_dict(_under(tensors, "net/"))
        for name, value in _under(tensors, "mean/").items():
            if self.mean is not None:
                self.mean[name].copy_(value)
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser/").items():
            number, key = name.split("/", 1)
            states.setdefault(int(number), {})[key] = value
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**whole, "state": states})
        # A fused step goes through memory, so what it goes with must lie there as its weight does.
        for param, state in self.optimiser.state.items():
            for key, held in state.items():
                if held.shape == param.shape:
                    state[key] = torch.empty_like(param).copy_(held)
        self.plateau = float(said["plateau"])
        self.epochs = int(said["epochs"])
        result.curve = list(said["curve"])
        self.joined, self.spent_s = int(said.get("joined", 1)), float(said.get("seconds", 0))
        return int(said["epoch"])


def last_weights(path: Path) -> dict[str, Tensor]:
    """Return what a finished run's network holds, from its checkpoint: averaged weights, if any.

    Raises:
        ModelError: there is no sound checkpoint.
    """
    found = checkpoints.load_progress(path)
    if found is None:
        raise ModelError(f"{path} is missing or damaged.", "Start the training again.")
    return _under(found[0], "mean/") or _under(found[0], "net/")


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _set(value: _Number | None) -> _Number:
    if value is None:
        raise ValueError("unresolved option: see recipes.resolve")
    return value


def within(epochs: int, done: int, left_s: float, epoch_s: float) -> int:
    """Return how many epochs there will be, if ``left_s`` are left and each takes ``epoch_s``.

    >>> within(100, 1, 570.0, 30.0), within(10, 1, 570.0, 30.0), within(100, 7, -3.0, 30.0)
    (20, 10, 7)
    """
    return min(epochs, done + max(0, int(left_s / max(epoch_s, 1e-6))))


def half_precision(device: torch.device) -> bool:
    """Tell whether bfloat16 arithmetic is native here (elsewhere it is emulated, and slow)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    native: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return native


def make_optimiser(
    net: nn.Module, options: TrainOptions, thaw: Thaw | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser; biases and norms are not decayed, and move at their block's pace."""
    paces = thaw.paces() if thaw else [(1.0, [p for p in net.parameters() if p.requires_grad])]
    decay = _set(options.weight_decay)
    groups: list[dict[str, Any]] = []
    for pace, learned in paces:
        both = ([p for p in learned if p.ndim > 1], [p for p in learned if p.ndim <= 1])
        for params, pull in zip(both, (decay, 0.0), strict=True):
            groups.append({"params": params, "weight_decay": pull, "pace": pace})
    rate = float(_set(options.learning_rate))
    if options.optimiser == "sgd":
        nesterov = options.momentum > 0
        return torch.optim.SGD(groups, lr=rate, momentum=options.momentum, nesterov=nesterov)
    if options.optimiser == "adam":
        return torch.optim.Adam(groups, lr=rate, fused=True)
    if options.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, momentum=options.momentum)
    if options.optimiser == "muon":
        return Muon(groups, rate, half=half_precision(next(net.parameters()).device))
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def scheduled(step: int, steps: int, options: TrainOptions) -> float:
    """Return the learning rate of ``step`` of ``steps``."""
    top, warm = float(_set(options.learning_rate)), float(_set(options.warm_up)) * steps
    if step < warm:
        return top * (step + 1) / (warm + 1)
    done = (step - warm) / max(steps - warm, 1.0)
    if options.schedule == "cosine":
        return top * 0.5 * (1 + math.cos(math.pi * done))
    if options.schedule == "one_cycle":
        return top * max(1 - done, 0.02)
    if options.schedule == "step":
        return top * 0.1 ** int(done * 3)
    return top


def loss(logits: Tensor, target: Tensor, options: TrainOptions) -> Tensor:
    """Return the loss per picture ``[n]``; targets may be soft.

    ``softmax`` is the two-class cross-entropy of the logits (0, z): the same value as ``bce``, kept
    for comparisons. ``focal`` is Lin et al. (2017) with gamma 2.
    """
    smooth = options.label_smoothing or 0.0
    target = target * (1 - smooth) + 0.5 * smooth
    if options.loss == "softmax":
        both = torch.stack([torch.zeros_like(logits), logits], dim=1)
        return F.cross_entropy(both, torch.stack([1 - target, target], dim=1), reduction="none")
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if options.loss == "focal":
        p = torch.sigmoid(logits)
        return plain * (target * (1 - p) + (1 - target) * p) ** 2
    return plain


def drawn_order(target: Tensor, balance: str | None, eager: Tensor | None = None) -> Tensor:
    """Return the rows of one epoch: a permutation, or as many drawn half from each class.

    ``eager`` ``[n]`` says how eagerly rows without a truck are drawn, with replacement. By the size
    of what is in the picture, buses come as often as lorries; an empty road is soon learned.
    """
    n = len(target)
    yes = (target > 0.5).nonzero().flatten().cpu()
    no = (target <= 0.5).nonzero().flatten().cpu()
    if balance not in ("half", "size") or not len(yes) or not len(no):
        return torch.randperm(n)
    without = n - n // 2
    if eager is None:
        others = _cycled(no, without)
    else:
        others = no[torch.multinomial(eager[no], without, replacement=True)]
    both = torch.cat([_cycled(yes, n // 2), others])
    return both[torch.randperm(n)]


def _cycled(rows: Tensor, n: int) -> Tensor:
    """Return ``n`` of ``rows``: each once before any twice."""
    rounds = [rows[torch.randperm(len(rows))] for _ in range(-(-n // len(rows)))]
    return torch.cat(rounds)[:n]


def class_weights(target: Tensor) -> Tensor:
    """Return weights of (no truck, truck) that make both classes count the same."""
    share = float((target > 0.5).float().mean().clamp(1e-3, 1 - 1e-3))
    return torch.tensor([0.5 / (1 - share), 0.5 / share], device=target.device)


@torch.no_grad()
def logits_of(net: nn.Module, pixels: Tensor, batch: int = 256, *, flips: int = 1) -> Tensor:
    """Return logits ``float32[n]`` of ``uint8[n, c, h, w]``; ``flips`` 2 adds the mirror image."""
    net.eval()
    device = next(net.parameters()).device
    out = []
    for i in range(0, len(pixels), batch):
        x = pixels[i : i + batch].to(device).float() / 255.0
        x = x.contiguous(memory_format=torch.channels_last)
        z = net(x)
        if flips == 2:
            z = (z + net(x.flip(3))) / 2
        out.append(z.float().cpu())
    return torch.cat(out) if out else torch.zeros(0)


def loss_of(net: nn.Module, lesson: Lesson, options: TrainOptions) -> float:
    """Return the mean loss over a lesson, unsmoothed: settings differ in what they smooth."""
    logits, plain = logits_of(net, lesson.pixels), replace(options, label_smoothing=0.0)
    return float(loss(logits, lesson.target.cpu(), plain).mean())
