"""Networks that answer "is there a truck?" with one logit, and what is known of each.

``build(arch, spec)`` returns a :class:`~pipeline.learning.models.parts.TruckNet`: it takes pictures
``uint8`` or ``float 0-1`` ``[n, c, h, w]`` (c = 3: the crop, RGB; c = 6: the crop and its
background) and returns logits ``float32[n]``. Normalising and subtracting the background happen
inside, so that every engine is fed the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from pipeline.errors import InputError
from pipeline.learning.models.parts import NetSpec, TruckNet, initialise
from pipeline.learning.models.reference import ReferenceNet
from pipeline.learning.models.residual import ResidualNet
from pipeline.learning.models.small import cifar, lenet5, mlp
from pipeline.learning.models.whitened import WhitenedNet
from pipeline.learning.models.zoo import ZOO, zoo_net

__all__ = ["ARCHES", "NetSpec", "TruckNet", "build", "default_size"]

_OURS: dict[str, Callable[[NetSpec], nn.Module]] = {
    "mlp": mlp,
    "reference": ReferenceNet,
    "lenet5": lenet5,
    "cifar": cifar,
    "residual": ResidualNet,
    "whitened": WhitenedNet,
}

ARCHES: tuple[str, ...] = (*_OURS, *ZOO)

_SIZES = {"mlp": 64, "reference": 335, "lenet5": 32, "cifar": 32, "alexnet": 224, "vit_b_16": 224}


def build(arch: str, spec: NetSpec, *, imagenet: bool = False) -> TruckNet:
    """Make an initialised network for inputs of ``spec``'s shape.

    ``imagenet`` starts a torchvision network from its published weights (a download).

    Raises:
        InputError: no such architecture, the pictures are too small for it, it has no published
            weights, or it does not tell turns.
    """
    if arch in ZOO:
        return _telling(arch, spec, zoo_net(arch, spec, imagenet=imagenet))
    if arch not in _OURS:
        raise InputError(f"unknown arch {arch!r}.", f"Choose auto, {', '.join(ARCHES)}.")
    if imagenet:
        raise InputError(f"arch {arch} has no ImageNet weights.", f"Choose {', '.join(ZOO)}.")
    body = _OURS[arch](spec)
    initialise(body, spec.init)
    return _telling(arch, spec, body)


def _telling(arch: str, spec: NetSpec, body: nn.Module) -> TruckNet:
    net = TruckNet(spec.channels, body)
    if spec.turns and not net.tells_turns:
        raise InputError(f"arch {arch} does not tell turns.", "Leave out --turns.")
    return net


def default_size(arch: str) -> int | None:
    """Return the input side an architecture was made for, or None where any will do."""
    return _SIZES.get(arch)
