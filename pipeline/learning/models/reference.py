"""The network of the 2017 system, exactly, with its later options.

335×335×3 → conv 8@3×3/2 → ReLU → max pool 3×3/4 → conv 16@3×3/2 → ReLU → max pool 3×3/4 → flatten
→ 250 → ReLU → 1 logit, valid padding. Maps: 335 → 167 → 42 → 20 → 5; parameters
224 + 1,168 + 100,250 + 251 = 101,893.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.learning.models.parts import MONOTONE, NetSpec, activation, pool


class ReferenceNet(nn.Module):
    """Two strided convolutions and two dense layers; batch norm and dropout by option."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.features = nn.Sequential(*_stage(spec, spec.channels, 8), *_stage(spec, 8, 16))
        flat = _flat(self.features, spec)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(flat, 250),
            activation(spec),
            nn.Dropout(spec.dropout) if spec.dropout else nn.Identity(),
            nn.Linear(250, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to logits ``[n, 1]``."""
        return cast(Tensor, self.head(self.features(x)))


def _stage(spec: NetSpec, channels_in: int, channels_out: int) -> list[nn.Module]:
    same = 1 if spec.padding == "same" else 0
    layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=same)]
    if spec.batch_norm:
        layers.append(nn.BatchNorm2d(channels_out))
    shrink = pool(spec, channels_out, 3, 4, same)
    if spec.pooling == "max" and spec.activation in MONOTONE:
        return [*layers, shrink, activation(spec)]  # equal, and a sixteenth of the activations
    return [*layers, activation(spec), shrink]


def _flat(features: nn.Module, spec: NetSpec) -> int:
    """Return the values per picture after ``features``."""
    try:
        with torch.no_grad():
            return int(features(torch.zeros(1, spec.channels, spec.height, spec.width)).numel())
    except RuntimeError:
        raise InputError(
            f"arch reference cannot take {spec.width}×{spec.height} pixels.",
            "Give a larger --size (335 is the original) or another --arch.",
        ) from None
