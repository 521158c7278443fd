"""Where a network places pictures: what its last dense layer sees of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.learning.fitting import logits_of

if TYPE_CHECKING:
    from pipeline.learning.models import TruckNet

BATCH = 256


def features_of(net: TruckNet, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return penultimate features ``float32[n, d]`` of pictures ``uint8[n, c, h, w]``."""
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    seen: list[NDArray[np.float32]] = []

    def keep(_module: Any, given: tuple[Any, ...]) -> None:  # noqa: ANN401 - torch's hook
        seen.append(given[0].flatten(1).float().cpu().numpy())

    views, net.views = net.views, ()  # one look at each picture
    hook = head.register_forward_pre_hook(keep)
    try:
        logits_of(net, torch.from_numpy(np.ascontiguousarray(pixels)), BATCH)
    finally:
        hook.remove()
        net.views = views
    return np.concatenate(seen) if seen else np.zeros((0, head.in_features), np.float32)
