"""A small residual network: the default for a fixed camera's crops (He et al. 2016, slimmed).

Stem, four pairs of 3×3 convolutions with shortcuts, and a head that sees both the mean and the
largest answer over the crop: a truck's corner at the zone's edge is a local matter. Crops are small
and what tells a bus from a lorry is a few pixels wide, so the first pair works at the stem's size:
at half of it buses were told from trucks by AUC 0.84, so 0.92 (README, Decisions).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.learning.models.parts import NetSpec, activation

SMALL_PX = 64
WIDTHS = (16, 32, 64, 128)
SMALL_WIDTHS = (32, 48, 96, 160)  # pictures of up to SMALL_PX can afford more channels


class ResidualNet(nn.Module):
    """Stem, a residual stage per width (all but the first halve), mean and max pooled head."""

    def __init__(self, spec: NetSpec, widths: tuple[int, ...] = ()) -> None:
        super().__init__()
        side = max(spec.height, spec.width)
        widths = widths or (WIDTHS if side > SMALL_PX else SMALL_WIDTHS)
        before = widths[0]
        step = 2 if side > 48 else 1
        self.stem = nn.Sequential(
            nn.Conv2d(spec.channels, before, 3, stride=step, padding=1, bias=False),
            nn.BatchNorm2d(before),
            activation(spec),
        )
        stages = []
        for i, width in enumerate(widths):
            stages.append(ResidualBlock(spec, before, width, stride=2 if i else 1))
            before = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(2 * before, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to logits ``[n, 1]``."""
        maps = self.stages(self.stem(x))
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return cast(Tensor, self.head(pooled))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut; the second starts at 0, so the block starts as one.

    Starting as the identity (Goyal et al. 2017) lets small runs take a high learning rate.
    """

    def __init__(self, spec: NetSpec, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.bend = activation(spec)
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            activation(spec),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        nn.init.zeros_(cast(nn.BatchNorm2d, self.body[-1]).weight)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.short = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / stride, w / stride]``."""
        return cast(Tensor, self.bend(self.body(x) + self.short(x)))
