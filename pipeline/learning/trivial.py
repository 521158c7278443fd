"""One change of any kind and strength to each picture: TrivialAugment (Müller & Hutter 2021).

There is nothing to choose: kind and strength are drawn evenly. The changes are torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Change = Callable[[Tensor, float], Tensor]


def changed(pixels: Tensor) -> Tensor:
    """Return ``uint8[n, c, h, w]`` with one change in thirteen to each picture, none among them.

    Pictures of a batch that are changed in one way share two strengths: one by one they would take
    many times as long. Draws come from torch's global generator.
    """
    out = pixels.clone()
    kinds = torch.randint(0, len(CHANGES) + 1, (len(pixels),))
    odd = torch.arange(len(pixels)) % 2 == 1
    for kind, change in enumerate(CHANGES.values(), start=1):
        for half in (odd, ~odd):
            strength = float(torch.rand(())) * 2 - 1
            rows = ((kinds == kind) & half).nonzero().flatten().to(pixels.device)
            if len(rows):
                out[rows] = change(pixels[rows], strength)
    return out


def _by(name: str, **settings: Callable[[float], Any]) -> Change:
    """Return a change that torchvision makes, its settings following the strength."""

    def change(x: Tensor, strength: float) -> Tensor:
        from torchvision.transforms.v2 import functional

        given = {key: told(strength) for key, told in settings.items()}
        out: Tensor = getattr(functional, name)(x, **given)
        return out

    return change


def _moved(
    *, turn: float = 0.0, zoom: float = 0.0, across: float = 0.0, down: float = 0.0
) -> Change:
    """Return a change of geometry, at its strongest by so many degrees or so much zoom."""

    def change(x: Tensor, strength: float) -> Tensor:
        from torchvision.transforms.v2 import InterpolationMode, functional

        s = strength
        moved: Tensor = functional.affine(
            x, turn * s, [0, 0], 1 + zoom * s, [across * s, down * s],
            interpolation=InterpolationMode.BILINEAR,
        )  # fmt: skip
        return moved

    return change


CHANGES: dict[str, Change] = {
    "posterize": _by("posterize", bits=lambda s: 8 - round(abs(s) * 5)),
    "solarize": _by("solarize", threshold=lambda s: 255 * (1 - abs(s))),
    "equalize": _by("equalize"),
    "autocontrast": _by("autocontrast"),
    "adjust_sharpness": _by("adjust_sharpness", sharpness_factor=lambda s: 1 + 0.99 * s),
    "adjust_contrast": _by("adjust_contrast", contrast_factor=lambda s: 1 + 0.9 * s),
    "adjust_brightness": _by("adjust_brightness", brightness_factor=lambda s: 1 + 0.9 * s),
    "adjust_saturation": _by("adjust_saturation", saturation_factor=lambda s: 1 + 0.99 * s),
    "shear_across": _moved(across=30.0),
    "shear_down": _moved(down=30.0),
    "turn": _moved(turn=30.0),
    "zoom": _moved(zoom=0.35),
}
"""Each takes pictures ``uint8[n, c, h, w]`` and a strength from -1 to 1; 0 is none, or least.

Solarizing turns what is white even then; equalising and stretching know no strength."""
