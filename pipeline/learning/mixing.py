"""What makes other pictures, or other questions, of a batch: mixup, CutMix, quarter turns.

Unlike :mod:`pipeline.learning.augment` these change the answer along with the picture. All draws
come from torch's global generator, which the training loop seeds per epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mixed(x: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend pictures and targets in pairs (mixup, Zhang et al. 2018); ``uint8`` become 0-1."""
    x = x if x.is_floating_point() else x.float() / 255.0
    lam = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(x), device=x.device)
    return torch.lerp(x[other], x, lam), torch.lerp(target[other], target, lam)


def pieced(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Put a box of another picture into each, and as much of its answer (CutMix, Yun et al. 2019).

    A box's share of the picture is uniform in 0-1 before what lies outside is cut off.
    """
    n, _, height, width = x.shape
    half = torch.rand(n, 1, 1, 1, device=x.device).sqrt() / 2
    rows = (torch.arange(height, device=x.device) + 0.5)[:, None] / height
    columns = (torch.arange(width, device=x.device) + 0.5) / width
    down, right = torch.rand(2, n, 1, 1, 1, device=x.device)
    box = ((rows - down).abs() < half) & ((columns - right).abs() < half)
    other = torch.randperm(n, device=x.device)
    share = box.float().mean(dim=(1, 2, 3))
    return torch.where(box, x[other], x), torch.lerp(target, target[other], share)


ANSWERS = 8  # no truck, or a truck, times four quarters


def with_turned(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Append a third of the pictures again, turned by one to three quarters (oblong ones by two).

    Also return what a second question asks of each: by how many quarters it is turned (Gidaris et
    al. 2018) and whether it shows a truck, both at once (Lee, Hwang & Shin 2020); ``float32[m, 8]``
    shares of no truck by 0 to 3 quarters, then of a truck by 0 to 3.
    """
    n, _, height, width = x.shape
    again = torch.randperm(n)[: n // 3]
    by = torch.randint(1, 4, again.shape) if height == width else torch.full_like(again, 2)
    groups = [(quarters, again[by == quarters].to(x.device)) for quarters in (1, 2, 3)]
    parts = [torch.rot90(x[rows], k, (2, 3)) for k, rows in groups if len(rows)]
    quarters = torch.cat([torch.zeros(n, dtype=torch.long), by.sort().values]).to(x.device)
    truck = torch.cat([target, *(target[rows] for _, rows in groups)])
    way = nn.functional.one_hot(quarters, ANSWERS // 2)
    answers = torch.cat([way * (1 - truck)[:, None], way * truck[:, None]], dim=1)
    return torch.cat([x, *parts]), answers
