"""Pieces the networks share: the input layer, activations, pooling, initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

MONOTONE = ("relu", "leaky_relu", "tanh", "sigmoid")
"""Activations that the largest of some values passes as the largest: pooling may come first."""


@dataclass(frozen=True)
class NetSpec:
    """Input shape and options of a network; sizes in pixels.

    With ``turns`` a network that learns also gives so many logits to a second question, about
    quarter turns (:func:`pipeline.learning.mixing.with_turned`). With ``odd_rows`` pooling keeps
    the last row and column of odd maps.
    """

    channels: int = 3
    height: int = 335
    width: int = 335
    batch_norm: bool = False
    dropout: float = 0.0
    activation: str = "relu"
    pooling: str = "max"
    padding: str = "valid"
    init: str = "kaiming"
    widen: float = 1.0
    turns: int = 0
    odd_rows: bool = True


class TruckNet(nn.Module):
    """A network body behind the input layer; returns one logit per picture.

    ``views`` are further looks at the same picture whose logits are averaged when scoring:
    ``flip`` (mirrored) and ``shift`` (moved by a pixel, both ways along the diagonal).
    """

    def __init__(self, channels: int, body: nn.Module, views: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.channels = channels
        self.body = body
        self.views = views

    @property
    def tells_turns(self) -> bool:
        """Whether it also answers, while it learns, a question about quarter turns."""
        return getattr(self.body, "turns", None) is not None

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures ``[n, c, h, w]`` (uint8, or float 0-1) to logits ``float32[n]``.

        While it learns, a network that tells turns returns ``float32[n, 1 + turns]``: the logit,
        then those of the second question.
        """
        x = prepared(pictures, self.channels)
        if self.training or not self.views:
            said = cast(Tensor, self.body(x)).float()
            return said.flatten() if said.shape[1] == 1 else said
        looks = [x]
        if "shift" in self.views:
            padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
            looks += [padded[:, :, :-2, :-2], padded[:, :, 2:, 2:]]
        shares = [0.5, 0.25, 0.25] if len(looks) == 3 else [1.0]
        if "flip" in self.views:
            looks += [look.flip(3) for look in looks]
            shares = [share / 2 for share in shares * 2]
        total = sum(s * self.body(look) for s, look in zip(shares, looks, strict=True))
        return cast(Tensor, total).flatten().float()


def prepared(pictures: Tensor, channels: int) -> Tensor:
    """Scale pictures to about unit spread; with a background, append crop − background.

    A difference of 15 grey levels (0.06) already tells a truck from its road at dusk, so the
    difference is scaled up more than the picture itself.
    """
    scale = 1.0 / 255.0 if pictures.dtype == torch.uint8 else 1.0
    # One multiplication and one subtraction, in place: every pass over a large picture is felt.
    if channels == 3 and pictures.dtype == torch.uint8:
        return pictures[:, :3].float().mul_(scale / 0.25).sub_(0.45 / 0.25)
    pictures = pictures.float()
    crop = pictures[:, :3]
    shown = (crop * (scale / 0.25)).sub_(0.45 / 0.25)
    if channels == 3:
        return shown
    return torch.cat([shown, (crop - pictures[:, 3:]) * (scale / 0.15)], dim=1)


def activation(spec: NetSpec) -> nn.Module:
    """Return a fresh activation layer."""
    return _ACTIVATIONS[spec.activation]()


def pool(spec: NetSpec, channels: int, kernel: int, stride: int, padding: int = 0) -> nn.Module:
    """Return a layer that shrinks maps: the largest, the mean, or a learned strided kernel."""
    if spec.pooling == "max":
        return nn.MaxPool2d(kernel, stride, padding)
    if spec.pooling == "average":
        return nn.AvgPool2d(kernel, stride, padding)
    return nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels)


def initialise(body: nn.Module, how: str) -> None:
    """Draw weights (He et al. 2015, or Glorot & Bengio 2010) and set biases to 0.

    A module that has drawn its own weights says so with a true attribute ``drawn``.
    """
    for module in body.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear) or getattr(module, "drawn", False):
            continue
        if how == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
