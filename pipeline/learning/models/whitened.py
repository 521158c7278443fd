"""A fast, wide, shallow network for thumbnails, after Jordan (2024, arXiv 2404.00498).

Its first layer is not learned: 2×2 patches are projected on the training pictures' own principal
directions, scaled to unit variance (:func:`whiten`), so that learning starts well conditioned.
Then three groups of 3×3 convolutions, each pooled *before* its batch norm and activation: equal in
effect and a quarter of the work.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.learning.models.parts import NetSpec, prepared

WIDTHS = (64, 128, 256)
DEPTH = 2
SMALLEST = 9  # pixels a side; fewer leave a single place to look at after three poolings


class WhitenedNet(nn.Module):
    """Whitening layer, three convolution groups, global max pool, scaled linear head.

    ``spec.widen`` multiplies the channels of the groups (Zagoruyko & Komodakis 2016).
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        if min(spec.height, spec.width) < SMALLEST:
            raise InputError(
                f"arch whitened cannot take {spec.width}×{spec.height} pixels.",
                f"Give --size {SMALLEST} or more.",
            )
        directions = spec.channels * 4
        self.white = nn.Conv2d(spec.channels, 2 * directions, 2, bias=True)
        self.white.weight.requires_grad_(False)
        groups, before = [], 2 * directions
        for width in (max(1, round(width * spec.widen)) for width in WIDTHS):
            groups.append(ConvGroup(before, width, DEPTH, odd_rows=spec.odd_rows))
            before = width
        self.groups = nn.Sequential(*groups)
        self.drop = nn.Dropout(spec.dropout)
        self.turns = nn.Linear(before, spec.turns) if spec.turns else None
        self.head = nn.Linear(before, 1, bias=False)
        self.bend = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to logits ``[n, 1]``, or ``[n, 5]``: see :class:`TruckNet`."""
        maps = self.groups(self.bend(self.white(x)))
        seen = self.drop(maps.amax(dim=(2, 3)))
        said = cast(Tensor, self.head(seen))
        if self.turns is not None and self.training:
            said = torch.cat([said, self.turns(seen)], dim=1)
        return said / 4.0


class ConvGroup(nn.Module):
    """Convolution, pool, norm, bend; then ``depth − 1`` more, the last with a shortcut if three."""

    def __init__(self, channels_in: int, channels_out: int, depth: int, *, odd_rows: bool) -> None:
        super().__init__()
        self.first = _near_identity(channels_in, channels_out)
        self.pool = nn.MaxPool2d(2, ceil_mode=odd_rows)
        self.norms = nn.ModuleList(_norm(channels_out) for _ in range(depth))
        self.more = nn.ModuleList(
            _near_identity(channels_out, channels_out) for _ in range(depth - 1)
        )
        self.bend = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, ⌈h ÷ 2⌉, ⌈w ÷ 2⌉]`` or ⌊ ⌋."""
        x = self.bend(self.norms[0](self.pool(self.first(x))))
        before = x
        for i, (conv, norm) in enumerate(zip(self.more, list(self.norms)[1:], strict=True)):
            x = norm(conv(x))
            if i == 1:
                x = x + before
            x = self.bend(x)
        return x


def _norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with a learned shift only: the next layer's weights already hold the scale."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


def _near_identity(channels_in: int, channels_out: int) -> nn.Conv2d:
    """3×3 convolution whose first kernels pass their channel through (a Dirac), the rest drawn."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    conv.reset_parameters()
    nn.init.dirac_(conv.weight[: min(channels_in, channels_out)])
    conv.drawn = True  # type: ignore[assignment]
    return conv


@torch.no_grad()
def whiten(net: WhitenedNet, pictures: Tensor, channels: int, eps: float = 5e-4) -> None:
    """Set the first layer from ``uint8[n, c, h, w]``: principal directions and their negatives."""
    n = min(len(pictures), 5000)
    x = prepared(pictures[torch.arange(n) * len(pictures) // n], channels)
    c = x.shape[1]
    patches = x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).reshape(-1, c * 4)
    patches = patches[:: max(1, len(patches) // 500_000)]
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (vectors / torch.sqrt(values + eps)).T.flip(0).reshape(-1, c, 2, 2)
    net.white.weight.copy_(torch.cat([kernels, -kernels]))
    nn.init.zeros_(cast(Tensor, net.white.bias))
