"""Going on from the weights of another network: its head first, then the rest, from the top down.

A network taught elsewhere sees the right things but answers another question. So the last dense
layer is fitted by itself on what the rest makes of the pictures, computed once
(:func:`fit_head`: seconds). With ``--freeze`` that is all; with ``--thaw`` the blocks below join
one after the other, lower ones moving more slowly (:class:`Thaw`; Howard & Ruder 2018, arXiv
1801.06146), so that what was known is not swept away by the first steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import metrics
from pipeline.learning.models import TruckNet

SLOWEST = 0.1  # pace of the lowest block beside the head's
_BATCH = 256


@dataclass(frozen=True)
class Thaw:
    """Which blocks of a network learn, and how fast: the head at once, the lowest last.

    ``blocks`` from the head down, with what ``learns`` of each; ``share`` of training after which
    all of them do.
    """

    blocks: tuple[nn.Module, ...]
    learns: tuple[list[nn.Parameter], ...]
    share: float

    def joined(self, epoch: int, epochs: int) -> int:
        """Return how many blocks learn in ``epoch`` of ``epochs``, counted from 0.

        >>> thaw = Thaw((nn.Linear(1, 1),) * 4, ([],) * 4, share=0.5)
        >>> [thaw.joined(epoch, 8) for epoch in range(8)]
        [1, 2, 3, 4, 4, 4, 4, 4]
        """
        span = self.share * epochs
        part = min(1.0, epoch / (span - 1)) if span > 1 else 1.0
        return 1 + int(part * (len(self.blocks) - 1) + 1e-9)

    def begin(self, epoch: int, epochs: int) -> None:
        """Let those learn that have joined; the others keep their weights and their statistics."""
        joined = self.joined(epoch, epochs)
        for i, (block, parameters) in enumerate(zip(self.blocks, self.learns, strict=True)):
            block.train(i < joined)
            for parameter in parameters:
                parameter.requires_grad_(i < joined)

    def paces(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Return how fast each block moves, 1 for the head and ``SLOWEST`` at the end, and what."""
        last = max(len(self.blocks) - 1, 1)
        return [(SLOWEST ** (i / last), found) for i, found in enumerate(self.learns)]


def thawing(net: TruckNet, share: float) -> Thaw:
    """Return how ``net`` thaws over a ``share`` of training.

    Parameters that a network holds by itself, beside its parts, go with the lowest block.
    """
    blocks = blocks_of(net.body)
    found = [list(block.parameters()) for block in blocks]
    held = {id(p) for parameters in found for p in parameters}
    found[-1] += [p for p in net.parameters() if id(p) not in held]
    learns = tuple([p for p in parameters if p.requires_grad] for parameters in found)
    return Thaw(blocks, learns, share)


def blocks_of(body: nn.Module) -> tuple[nn.Module, ...]:
    """Return the parts of a network that learn, from the head down; lists count by their members.

    What merely wraps one part is looked into.

    >>> [type(b).__name__ for b in blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 1)))]
    ['Linear', 'Conv2d']
    """
    inside = list(body.children())
    while len(inside) == 1 and list(inside[0].children()):
        inside = list(inside[0].children())
    found: list[nn.Module] = []
    for child in inside:
        listed = isinstance(child, nn.Sequential | nn.ModuleList)
        parts = child.children() if listed else [child]
        found += [part for part in parts if list(part.parameters())]
    return tuple(reversed(found))


def head_of(net: nn.Module) -> nn.Linear:
    """Return the last dense layer."""
    return [module for module in net.modules() if isinstance(module, nn.Linear)][-1]


def fit_head(
    net: TruckNet, pixels: Tensor, target: Tensor, weight: Tensor, decay: float
) -> dict[str, float]:
    """Fit the last dense layer to what the rest of ``net`` makes of pictures; nothing else moves.

    The optimum of a penalised logistic regression (L-BFGS from 0), so the order of rows and the
    seed do not matter.

    Args:
        net: a network with one logit, its weights given.
        pixels: ``uint8[n, c, h, w]``.
        target: ``float32[n]`` in 0-1.
        weight: ``float32[n]``.
        decay: pull of the weights (not of the bias) towards 0, in units of the mean loss.

    Returns:
        ``loss`` and ``accuracy`` over these pictures.
    """
    from scipy.optimize import minimize

    head = head_of(net)
    seen, scale = _seen_by(net, head, pixels)
    x = scale * np.c_[seen, np.ones(len(seen)) if head.bias is not None else seen[:, :0]]
    y, part = target.cpu().numpy().astype(float), (weight / weight.sum()).cpu().numpy()
    pull = np.r_[np.full(seen.shape[1], decay), np.zeros(x.shape[1] - seen.shape[1])]

    def cost(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = x @ w
        losses = np.logaddexp(0.0, z) - y * z
        slope = x.T @ (part * (metrics.sigmoid(z) - y))
        return float(part @ losses + 0.5 * pull @ w**2), slope + pull * w

    found = minimize(cost, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    w = torch.from_numpy(found.x).to(head.weight)
    with torch.no_grad():
        head.weight.copy_(w[None, : seen.shape[1]])
        if head.bias is not None:
            head.bias.copy_(w[-1:])
    right = (x @ found.x > 0) == (y > 0.5)
    return {"loss": float(found.fun), "accuracy": float(part @ right), "rate": 0.0}


@torch.no_grad()
def _seen_by(net: TruckNet, head: nn.Linear, pixels: Tensor) -> tuple[NDArray[np.float64], float]:
    """Return the head's input ``float64[n, d]``, and what multiplies its answer afterwards."""
    kept: list[Tensor] = []
    said: list[Tensor] = []

    def listen(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        kept.append(given[0])
        said.append(out.flatten())

    hook = head.register_forward_hook(listen)
    views, net.views = net.views, ()  # one look: what is learned is the plain picture
    net.eval()
    device = next(net.parameters()).device
    try:
        logits = [net(pixels[i : i + _BATCH].to(device)) for i in range(0, len(pixels), _BATCH)]
    finally:
        hook.remove()
        net.views = views
    answers, out = torch.cat(logits), torch.cat(said)
    return torch.cat(kept).cpu().numpy().astype(np.float64), float(
        (answers @ out) / (out @ out).clamp_min(1e-12)
    )
