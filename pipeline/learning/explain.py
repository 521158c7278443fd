"""What a network looks at: class activation, occlusion, kernels and maps. All as arrays.

The attributions are Captum's. Pictures are ``uint8[n, c, h, w]``; heat is ``float32[n, h, w]``, 0
and more, at the picture's size. Two kinds of class activation: ``grad_cam`` (Selvaraju et al. 2017:
maps weighted by their mean gradient) and ``hires_cam`` (Draelos & Carin 2020: by the gradient in
each place, faithful also where the head tells places apart).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from pipeline.errors import InputError
from pipeline.learning.models import TruckNet
from pipeline.learning.models.parts import prepared

FEWEST_CELLS = 6  # across the shorter side of the map that class activation reads

Pixels = NDArray[np.uint8]
Heat = NDArray[np.float32]


def grad_cam(net: TruckNet, pixels: Pixels) -> Heat:
    """Return what speaks for a truck, by Grad-CAM."""
    cam: Any = _captum("LayerGradCam")
    with _readable(net, pixels) as (score, layer):
        heat = cam(score, layer).attribute(_input(pixels), relu_attributions=True)
    return _enlarged(heat, pixels)


def hires_cam(net: TruckNet, pixels: Pixels) -> Heat:
    """Return what speaks for a truck, by HiResCAM."""
    cam: Any = _captum("LayerGradientXActivation")
    with _readable(net, pixels) as (score, layer):
        products = cam(score, layer).attribute(_input(pixels))
    return _enlarged(products.sum(dim=1, keepdim=True).clamp_min(0.0), pixels)


def occlusion(net: TruckNet, pixels: Pixels, parts: int = 8) -> Heat:
    """Return by how much the logit falls where a patch of 1/``parts`` of the side is hidden.

    A patch shows the background where the network is given one (as if the road were empty there),
    otherwise the picture's mean.
    """
    x = _input(pixels)
    channels, height, width = x.shape[1:]
    hidden = x.mean(dim=(2, 3), keepdim=True).expand_as(x).clone()
    if channels == 6:
        hidden = torch.cat([x[:, 3:], x[:, 3:]], dim=1)
    patch = (channels, max(2, height // parts), max(2, width // parts))
    step = (channels, max(1, patch[1] // 2), max(1, patch[2] // 2))
    made: Any = _captum("Occlusion")
    with _readable(net, pixels) as (score, _):
        fall = made(score).attribute(
            x, sliding_window_shapes=patch, strides=step, baselines=hidden, perturbations_per_eval=8
        )
    return np.asarray(fall[:, 0].clamp_min(0.0).detach(), dtype=np.float32)


def first_kernels(net: TruckNet) -> NDArray[np.float32]:
    """Return the first convolution's kernels, ``float32[k, c, h, w]``; none for a network without.

    The channels are those of :func:`models.parts.prepared`: RGB, then crop − background.
    """
    for module in net.body.modules():
        if isinstance(module, nn.Conv2d):
            return np.asarray(module.weight.detach(), dtype=np.float32)
    return np.zeros((0, 3, 1, 1), dtype=np.float32)


def feature_maps(net: TruckNet, pixels: Pixels, most: int = 6) -> dict[str, NDArray[np.float32]]:
    """Return the maps ``float32[k, h, w]`` of the first picture after ``most`` of the layers.

    Of all layers that make maps of one size, the last is told; the names are the modules'.
    """
    kept: dict[tuple[int, ...], tuple[str, NDArray[np.float32]]] = {}
    for name, maps in _maps(net, pixels[:1]):
        kept[tuple(maps.shape[2:])] = (name, np.asarray(maps[0].float(), dtype=np.float32))
    return dict(list(kept.values())[:most])


def share_inside(heat: Heat, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of each picture's heat ``[n, h, w]`` inside its mask; NaN without heat.

    >>> heat = np.array([[[3.0, 1.0], [0.0, 0.0]]], dtype=np.float32)
    >>> share_inside(heat, np.array([[[True, False], [True, True]]])).tolist()
    [0.75]
    """
    mass = heat.sum(axis=(1, 2), dtype=np.float64)
    inside = (heat * mask).sum(axis=(1, 2), dtype=np.float64)
    shares = np.full(len(mass), np.nan)
    np.divide(inside, mass, out=shares, where=mass > 0)
    return shares


def _captum(name: str) -> Any:  # noqa: ANN401 - a class of an optional library
    try:
        from captum import attr
    except ImportError:
        raise InputError(
            "explaining a network needs Captum, which is not installed.",
            "Install it: pip install 'truck-counter[explain]'.",
        ) from None
    return getattr(attr, name)


@contextmanager
def _readable(
    net: TruckNet, pixels: Pixels
) -> Iterator[tuple[Callable[[Tensor], Tensor], nn.Module]]:
    """Give a copy's scoring function (one look per picture) and the layer to read."""
    plain = copy.deepcopy(net).float().eval()
    plain.views = ()
    for module in plain.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    layer = _layer_to_read(plain, pixels)

    def score(x: Tensor) -> Tensor:
        logits: Tensor = plain.body(prepared(x, plain.channels))
        return logits.flatten().float()

    yield score, layer


def _layer_to_read(net: TruckNet, pixels: Pixels) -> nn.Module:
    """Return the deepest layer whose map still tells places apart."""
    found = [(name, min(maps.shape[2:])) for name, maps in _maps(net, pixels[:1])]
    if not found:
        raise InputError("this network has no maps to look at.", "Choose a convolutional --arch.")
    fine = [name for name, cells in found if cells >= FEWEST_CELLS]
    return net.body.get_submodule(fine[-1] if fine else found[-1][0])


def _maps(net: TruckNet, pixels: Pixels) -> list[tuple[str, Tensor]]:
    """Return (module, output) of every module whose output is a map of 2×2 or more, in order."""
    found: list[tuple[str, Tensor]] = []

    def listen(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def heard(_: nn.Module, __: Any, out: Any) -> None:  # noqa: ANN401 - torch's hook
            if isinstance(out, Tensor) and out.ndim == 4 and min(out.shape[2:]) > 1:
                found.append((name, out.detach().clone()))

        return heard

    hooks = [m.register_forward_hook(listen(n)) for n, m in net.body.named_modules() if n]
    try:
        with torch.no_grad():
            net.body(prepared(torch.from_numpy(pixels), net.channels))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _input(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).float().div_(255.0).requires_grad_(True)


def _enlarged(heat: Tensor, pixels: Pixels) -> Heat:
    size = pixels.shape[2:]
    grown = F.interpolate(heat.detach(), size=tuple(size), mode="bilinear", align_corners=False)
    return np.asarray(grown[:, 0], dtype=np.float32)
