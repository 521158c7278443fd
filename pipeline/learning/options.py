"""Every knob of training in one frozen, documented place. Each field is also a flag of ``train``.

``None`` means "the recipe for the pictures at hand decides" (:mod:`recipes`; of ``weights``
:mod:`train`). Help text and choices of a flag stand in the field's metadata (``help``,
``choices``).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline.errors import InputError

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid")
POOLINGS = ("max", "average", "strided")
PADDINGS = ("valid", "same")
INITS = ("kaiming", "xavier")
OPTIMISERS = ("sgd", "adam", "adamw", "rmsprop", "muon")
SCHEDULES = ("constant", "step", "cosine", "one_cycle", "plateau")
LOSSES = ("bce", "softmax", "focal")
BALANCES = ("none", "half", "size", "weights")
DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("auto", "torch", "onnxruntime", "openvino", "openvino_bf16", "openvino_int8")


_SOME, _MOST = 1e-12, math.nextafter(1.0, 0.0)
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("epochs", "early_stopping"), (1, math.inf)),
    "size": (1, 4096),  # as large as footage gets: more fills the memory with a picture or two
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(("rounds", "self_training"), (0, math.inf)),
    "batch_size": (2, math.inf),  # batch norm needs two
    **dict.fromkeys(("learning_rate", "minutes", "finish"), (_SOME, math.inf)),
    **dict.fromkeys(("weight_decay", "l1", "mixup", "augment"), (0.0, math.inf)),
    "widen": (0.1, 10.0),
    "turns": (0.0, 10.0),
    **dict.fromkeys(("cutmix", "ema", "thaw", "trust"), (0.0, 1.0)),
    **dict.fromkeys(("dropout", "label_smoothing", "warm_up", "momentum", "refit"), (0.0, _MOST)),
}
"""Least and greatest value of a knob that is a number."""


def _words(low: float, high: float) -> str:
    """Word a range of :data:`_RANGES`.

    >>> _words(2, math.inf), _words(_SOME, math.inf), _words(0.0, _MOST)
    ('2 or more', 'more than 0', 'from 0 to less than 1')
    """
    if high == math.inf:
        return "more than 0" if low == _SOME else f"{low:g} or more"
    return f"from {low:g} to {'less than 1' if high == _MOST else f'{high:g}'}"


def _knob(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class TrainOptions:
    """Options of one training run; equal options, labels and pictures give the same model."""

    arch: str = _knob("auto", "network to train; auto picks the best recipe for the pictures")
    epochs: int | None = _knob(None, "passes over the training pictures")
    seed: int = _knob(0, "seed of split, initialisation, order and augmentation")
    minutes: float | None = _knob(
        None, "fewer epochs where all would take longer than this (not for campaigns)"
    )
    size: int | None = _knob(None, "longer side of the network's input, pixels")
    background: bool | None = _knob(None, "also show the difference from the zone's background")
    batch_size: int | None = _knob(None, "pictures per step")
    learning_rate: float | None = _knob(None, "highest learning rate")
    optimiser: str | None = _knob(None, "how weights move", OPTIMISERS)
    schedule: str | None = _knob(None, "course of the learning rate", SCHEDULES)
    warm_up: float | None = _knob(None, "share of training over which the rate rises from 0")
    momentum: float = _knob(0.9, "momentum of sgd (Nesterov) and rmsprop")
    weight_decay: float | None = _knob(None, "L2 pull of weights, decoupled in adamw, muon")
    l1: float = _knob(0.0, "L1 pull of weights towards 0")
    loss: str = _knob("bce", "what is minimised", LOSSES)
    label_smoothing: float | None = _knob(None, "how far labels are moved from 0 and 1")
    mixup: float = _knob(0.0, "Beta parameter of mixup; 0 is off")
    cutmix: float | None = _knob(None, "share of steps in which pictures get a piece of another")
    turns: float | None = _knob(
        None, "whitened: weight of a second question, about pictures that were turned by quarters"
    )
    balance: str | None = _knob(
        None,
        "half of each class; the same, by size where there is no truck; or class weights",
        BALANCES,
    )
    augment: float | None = _knob(None, "strength of augmentation; 0 is off, 1 ordinary")
    ema: float | None = _knob(None, "share of training over which weights are averaged; 0 is off")
    early_stopping: int | None = _knob(None, "epochs without a better validation loss to stop at")
    batch_norm: bool = _knob(False, "batch normalisation in the networks where it is an option")
    dropout: float | None = _knob(None, "dropout before the last layer")
    widen: float | None = _knob(None, "whitened: channels, in multiples of 64, 128 and 256")
    activation: str = _knob("relu", "non-linearity of our own networks", ACTIVATIONS)
    pooling: str = _knob("max", "how our own networks shrink their maps", POOLINGS)
    padding: str = _knob("valid", "padding of the reference network", PADDINGS)
    init: str = _knob("kaiming", "initialisation of our own networks", INITS)
    weights: str | None = _knob(
        None,
        "start from: none, imagenet, scene (rendered roads; what campaigns do where such weights"
        " are shipped), a model id, a .safetensors file",
    )
    freeze: bool = _knob(False, "with weights: fit the head alone, in seconds")
    thaw: float = _knob(
        0.0, "with weights: share of training over which the rest joins the fitted head, top down"
    )
    self_training: int | None = _knob(None, "unlabelled instants per camera zone to learn from too")
    rounds: int | None = _knob(None, "cross-fitted teachers behind the final network; 0 is none")
    refit: float | None = _knob(None, "share of the epochs taught on all labels, after measuring")
    finish: float | None = _knob(
        None, "with unlabelled instants: pictures shown, in multiples of epochs times labels"
    )
    trust: float = _knob(0.8, "how far teachers may overrule a label they never saw; 0 is never")
    device: str = _knob("auto", "where to train", DEVICES)
    engine: str = _knob("auto", "inference engine; auto is the fastest that agrees", ENGINES)

    def __post_init__(self) -> None:
        """Refuse a value outside its choices or range, naming it."""
        for knob in fields(self):
            value, choices = getattr(self, knob.name), knob.metadata["choices"]
            if choices and value is not None and value not in choices:
                raise InputError(f"{knob.name} is {value!r}.", f"Choose {', '.join(choices)}.")
        if (self.freeze or self.thaw) and self.weights in (None, "none"):
            what = "freeze and thaw go on from weights."
            raise InputError(what, "Give weights as well, such as scene.")
        if self.freeze and self.thaw:
            raise InputError("freeze keeps still what thaw lets learn.", "Give one of them.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                raise InputError(f"{name} is {value!r}.", f"Give {_words(low, high)}.")
        if self.rounds == 1:
            raise InputError("rounds is 1.", "Give 0, or 2 and more: each judges another's labels.")

    def as_json(self) -> dict[str, Any]:
        """Return the fields that bear on the weights, for the card and the model's id."""
        values = asdict(self)
        del values["device"], values["engine"]
        return values
