"""The well-known networks, from torchvision, with one logit and three or six input channels."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from pipeline.errors import InputError
from pipeline.learning.models.parts import NetSpec

ZOO: dict[str, str] = {
    "alexnet": "alexnet",
    "vgg11": "vgg11",
    "vgg13": "vgg13",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "googlenet": "googlenet",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "shufflenet_v2": "shufflenet_v2_x1_0",
    "efficientnet_b0": "efficientnet_b0",
    "vit_b_16": "vit_b_16",
    "convnext_tiny": "convnext_tiny",
}
SMALLEST = {"alexnet": 63, "googlenet": 15, "vit_b_16": 16}
PATCH = 16


def zoo_net(arch: str, spec: NetSpec, outputs: int = 1, *, imagenet: bool = False) -> nn.Module:
    """Build a torchvision network; with ``imagenet`` its published weights, but for the head.

    Raises:
        InputError: pictures are too small for it, or its published weights cannot be had.
    """
    smallest = SMALLEST.get(arch, 32)
    if min(spec.height, spec.width) < smallest:
        raise InputError(
            f"arch {arch} cannot take {spec.width}×{spec.height} pixels.",
            f"Give --size {smallest} or more.",
        )
    from torchvision import models

    extra: dict[str, Any] = {}
    if arch == "googlenet":
        extra = {} if imagenet else {"aux_logits": False, "init_weights": False}
    side = _whole_patches(max(spec.height, spec.width))
    if arch == "vit_b_16" and not imagenet:
        extra = {"image_size": side}
    if imagenet:
        try:
            net = models.get_model(ZOO[arch], weights="DEFAULT", **extra)
        except OSError as error:
            raise InputError(
                f"the ImageNet weights of {arch} cannot be had: {error}.",
                "Give weights you have by --weights FILE.",
            ) from None
        _new_head(net, outputs)
    else:
        net = models.get_model(ZOO[arch], weights=None, num_classes=outputs, **extra)
    if spec.channels != 3:
        _widen(net, spec.channels)
    _exportable(net, spec)
    if spec.dropout:
        head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        head.register_forward_pre_hook(partial(_dropped, spec.dropout))
    for module in net.modules():
        module.drawn = True
    return Squared(net, 224 if imagenet else side) if arch == "vit_b_16" else cast(nn.Module, net)


def _dropped(share: float, head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Drop a share of what comes into ``head`` while it learns; its weights keep their names."""
    return (F.dropout(inputs[0], share, head.training),)


class Squared(nn.Module):
    """A network that insists on one square size, fed with pictures stretched to it."""

    def __init__(self, net: nn.Module, side: int) -> None:
        super().__init__()
        self.net, self.side = net, side

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to logits ``[n, 1]``."""
        square = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        return cast(Tensor, self.net(square))


class GridMeans(nn.Module):
    """Adaptive average pooling as two matrix products: equal, and any exporter knows it.

    alexnet and vgg pool to a fixed grid; from maps that it does not divide ONNX has no such layer.
    """

    def __init__(self, grid: tuple[int, int], map_size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", _means(grid[0], map_size[0]), persistent=False)
        self.register_buffer("columns", _means(grid[1], map_size[1]).T, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to ``[n, c, *grid]``."""
        rows, columns = cast(Tensor, self.rows), cast(Tensor, self.columns)
        return rows @ x @ columns


def _means(cells: int, size: int) -> Tensor:
    """Return ``[cells, size]``: row i averages from ⌊i·size/cells⌋ up to ⌈(i + 1)·size/cells⌉."""
    out = torch.zeros(cells, size)
    for i in range(cells):
        first, end = i * size // cells, -(-(i + 1) * size // cells)
        out[i, first:end] = 1.0 / (end - first)
    return out


def _exportable(net: nn.Module, spec: NetSpec) -> None:
    """Replace pooling to a grid that does not divide the map."""
    pooling = getattr(net, "avgpool", None)
    if not isinstance(pooling, nn.AdaptiveAvgPool2d) or pooling.output_size in (1, (1, 1)):
        return
    with torch.no_grad():
        shape = net.features(torch.zeros(1, spec.channels, spec.height, spec.width)).shape  # type: ignore[operator]
    grid, size = cast(tuple[int, int], pooling.output_size), (int(shape[2]), int(shape[3]))
    if size[0] % grid[0] or size[1] % grid[1]:
        net.avgpool = GridMeans(grid, size)


def _whole_patches(side: int) -> int:
    return -(-side // PATCH) * PATCH


def _new_head(net: nn.Module, outputs: int) -> None:
    """Put a fresh last dense layer in place of the published one."""
    name, last = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, nn.Linear(last.in_features, outputs))


def _widen(net: nn.Module, channels: int) -> None:
    """Give the first convolution ``channels`` inputs; what it knew of RGB it keeps."""
    name, first = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    wide = nn.Conv2d(
        channels,
        first.out_channels,
        cast(Any, first.kernel_size),
        cast(Any, first.stride),
        cast(Any, first.padding),
        bias=first.bias is not None,
    )
    with torch.no_grad():
        wide.weight[:, :3] = first.weight
        wide.weight[:, 3:] *= 0.5
        if wide.bias is not None and first.bias is not None:
            wide.bias.copy_(first.bias)
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, wide)
