"""Does a network look at the truck? On rendered instants, where the truck's pixels are known.

A network may be right for the wrong reason: a shadow, the lamp of dusk, the camera's clock. Two
figures per class-activation map: the share of its mass on the truck's pixels, to be held against
the share of the crop that the truck covers; and whether its peak lies on the truck ("pointing
game", Zhang et al. 2018).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.learning import explain
from pipeline.learning.rendered import cropped, registry_of

if TYPE_CHECKING:
    from pipeline.learning.models import NetSpec, TruckNet
    from pipeline.scene import ScenePlan

LARGEST_SHARE = 0.6  # a truck that fills the crop leaves nowhere else to look
SMALLEST_SHARE = 0.1
MOMENTS = (0.05, 0.12, 0.2, 0.8, 0.88, 0.95)  # of the stay


@dataclass(frozen=True)
class Rendered:
    """Crops with a truck ``pixels`` uint8[n, c, h, w], and where it is, ``masks`` bool[n, h, w]."""

    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def attention(
    net: TruckNet,
    rendered: Rendered,
    heat_of: Callable[[TruckNet, NDArray[np.uint8]], NDArray[np.float32]] = explain.grad_cam,
) -> dict[str, Any]:
    """Return ``share_on_truck``, ``truck_share_of_crop``, ``peak_on_truck`` and the numbers.

    Only crops that the network calls a truck are asked why (``called`` of ``n``); the figures are
    means over them, null where there is none.
    """
    import torch

    with torch.no_grad():
        called = np.asarray(net(torch.from_numpy(rendered.pixels)) > 0)
    found: dict[str, Any] = {"n": len(called), "called": int(called.sum())}
    if not called.any():
        return {
            **found,
            "share_on_truck": None,
            "truck_share_of_crop": None,
            "peak_on_truck": None,
        }
    masks = rendered.masks[called]
    heat = heat_of(net, rendered.pixels[called])
    peaks = heat.reshape(len(heat), -1).argmax(axis=1)
    on_truck = masks.reshape(len(masks), -1)[np.arange(len(peaks)), peaks]
    return {
        **found,
        "share_on_truck": round(float(np.nanmean(explain.share_inside(heat, masks))), 4),
        "truck_share_of_crop": round(float(masks.mean()), 4),
        "peak_on_truck": round(float(on_truck.mean()), 4),
    }


def render(plan: ScenePlan, spec: NetSpec, n: int = 48, seed: int = 0) -> Rendered:
    """Render up to ``n`` crops of counted days, soon after a truck entered or before it leaves.

    In the middle of its stay a truck fills the crop, and there is nowhere else to look: crops that
    it covers to more than 60%, or less than 10%, are left out.
    """
    from pipeline import scene

    registry = registry_of(plan)
    passages = [p for p in scene.truth_passages(plan) if plan.counted(p.middle.date())]
    rng = np.random.default_rng(seed)
    pixels, masks = [], []
    for i in rng.permutation(len(passages)).tolist():
        passage, moment = passages[i], float(rng.choice(MOMENTS))
        instant = passage.entered_at + (passage.exited_at - passage.entered_at) * moment
        if not _filmed(plan, passage.camera_id, instant):
            continue
        shown = scene.study(plan, passage.camera_id, instant)
        crop, mask = cropped(shown, registry, passage.camera_id, passage.zone, spec)
        if SMALLEST_SHARE < mask.mean() < LARGEST_SHARE:
            pixels.append(crop)
            masks.append(mask)
        if len(pixels) == n:
            break
    return Rendered(np.array(pixels), np.array(masks))


def _filmed(plan: ScenePlan, camera_id: str, instant: dt.datetime) -> bool:
    from pipeline import scene

    return any(
        window.start <= instant < window.end
        for day in plan.dates()
        for window in scene.windows(plan, camera_id, day)
    )
