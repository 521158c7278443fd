"""Our own readable small ones: what came before, and why convolutions won.

``mlp`` sees a bag of pixels; ``lenet5`` (LeCun et al. 1998) and ``cifar`` (three convolutions of
32, 64 and 64 kernels and a dense layer of 64) see neighbourhoods.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.learning.models.parts import NetSpec, activation, pool


def mlp(spec: NetSpec, outputs: int = 1, hidden: int = 1000) -> nn.Module:
    """Flatten → 1,000 → outputs: on 224×224×3 the first layer alone has 150,528,000 weights."""
    flat = spec.channels * spec.height * spec.width
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(flat, hidden),
        activation(spec),
        nn.Dropout(spec.dropout),
        nn.Linear(hidden, outputs),
    )


def lenet5(spec: NetSpec, outputs: int = 1) -> nn.Module:
    """6@5×5 → pool → 16@5×5 → pool → 120 → 84 → outputs: 61,706 on 32×32 grey with 10 outputs."""
    features = [
        *_convolution(spec, spec.channels, 6, 5),
        pool(spec, 6, 2, 2),
        *_convolution(spec, 6, 16, 5),
        pool(spec, 16, 2, 2),
    ]
    return _with_dense("lenet5", spec, features, (120, 84), outputs)


def cifar(spec: NetSpec, outputs: int = 1) -> nn.Module:
    """32@3×3 → pool → 64@3×3 → pool → 64@3×3 → 64 → outputs: 122,570 on 32×32 RGB with 10."""
    features = [
        *_convolution(spec, spec.channels, 32, 3),
        pool(spec, 32, 2, 2),
        *_convolution(spec, 32, 64, 3),
        pool(spec, 64, 2, 2),
        *_convolution(spec, 64, 64, 3),
    ]
    return _with_dense("cifar", spec, features, (64,), outputs)


def _convolution(spec: NetSpec, before: int, after: int, kernel: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(before, after, kernel)]
    if spec.batch_norm:
        layers.append(nn.BatchNorm2d(after))
    return [*layers, activation(spec)]


def _with_dense(
    name: str, spec: NetSpec, features: Sequence[nn.Module], widths: Sequence[int], outputs: int
) -> nn.Module:
    try:
        with torch.no_grad():
            maps = nn.Sequential(*features).eval()(
                torch.zeros(1, spec.channels, spec.height, spec.width)
            )
    except RuntimeError:
        raise InputError(
            f"arch {name} cannot take {spec.width}×{spec.height} pixels.", "Give a larger --size."
        ) from None
    layers: list[nn.Module] = [*features, nn.Flatten()]
    before = int(maps.numel())
    for width in widths:
        layers += [nn.Linear(before, width), activation(spec)]
        before = width
    return nn.Sequential(*layers, nn.Dropout(spec.dropout), nn.Linear(before, outputs)).train()
