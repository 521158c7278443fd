"""Going on from the weights of another network: its head first, then the rest, from the top down.

A network taught elsewhere sees the right things but answers another question. So the last dense
layer is fitted by itself on what the rest makes of the pictures, computed once
(:func:`fit_head`: seconds). With ``--freeze`` that is all; with ``--thaw`` the blocks below join
one after the other, lower ones moving more slowly (:class:`Thaw`; Howard & Ruder 2018, arXiv
1801.06146), so that what was known is not swept away by the first steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from pipeline.learning.models import TruckNet

SLOWEST = 0.1  # pace of the lowest block beside the head's
_STEPS = 200
_BATCH = 256


@dataclass(frozen=True)
class Thaw:
    """Which blocks of a network learn, and how fast: the head at once, the lowest last.

    ``blocks`` from the head down; ``share`` of training after which all of them learn; parameters
    that never learn by the ids in ``fixed``; ``loose`` ones of no block go with the lowest.
    """

    blocks: tuple[nn.Module, ...]
    share: float
    fixed: frozenset[int] = frozenset()
    loose: tuple[nn.Parameter, ...] = ()

    def joined(self, epoch: int, epochs: int) -> int:
        """Return how many blocks learn in ``epoch`` of ``epochs``, counted from 0.

        >>> thaw = Thaw((nn.Linear(1, 1),) * 4, share=0.5)
        >>> [thaw.joined(epoch, 8) for epoch in range(8)]
        [1, 2, 3, 4, 4, 4, 4, 4]
        """
        span = self.share * epochs
        part = min(1.0, epoch / (span - 1)) if span > 1 else 1.0
        return 1 + int(part * (len(self.blocks) - 1) + 1e-9)

    def begin(self, epoch: int, epochs: int) -> None:
        """Let those learn that have joined; the others keep their weights and their statistics."""
        joined = self.joined(epoch, epochs)
        for i, block in enumerate(self.blocks):
            learns = i < joined
            block.train(learns)
            held = [*block.parameters(), *(self.loose if i == len(self.blocks) - 1 else ())]
            for parameter in held:
                parameter.requires_grad_(learns and id(parameter) not in self.fixed)

    def paces(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Return how fast each block moves, 1 for the head and ``SLOWEST`` at the end, and what."""
        last = max(len(self.blocks) - 1, 1)
        found = [
            (SLOWEST ** (i / last), [p for p in block.parameters() if id(p) not in self.fixed])
            for i, block in enumerate(self.blocks)
        ]
        found[-1][1].extend(p for p in self.loose if id(p) not in self.fixed)
        return found


def thawing(net: TruckNet, share: float) -> Thaw:
    """Return how ``net`` thaws over a ``share`` of training."""
    fixed = frozenset(id(p) for p in net.parameters() if not p.requires_grad)
    blocks = blocks_of(net.body)
    held = {id(p) for block in blocks for p in block.parameters()}
    return Thaw(blocks, share, fixed, tuple(p for p in net.parameters() if id(p) not in held))


def blocks_of(body: nn.Module) -> tuple[nn.Module, ...]:
    """Return the parts of a network that learn, from the head down; lists count by their members.

    What merely wraps one part is looked into. Parameters that a network holds by itself, beside its
    parts, move with the lowest (:func:`thawing`).

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
    head = head_of(net)
    seen, scale = _seen_by(net, head, pixels)
    target, weight = target.to(seen.device), (weight / weight.sum()).to(seen.device)
    w = torch.zeros(seen.shape[1], device=seen.device, requires_grad=True)
    b = torch.zeros((), device=seen.device, requires_grad=head.bias is not None)
    known = [w, b] if head.bias is not None else [w]
    mover = torch.optim.LBFGS(known, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        losses = F.binary_cross_entropy_with_logits(
            scale * (seen @ w + b), target, reduction="none"
        )
        return (losses * weight).sum() + 0.5 * decay * (w @ w)

    def closure() -> Tensor:
        mover.zero_grad()
        found = cost()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    mover.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.copy_(w[None])
        if head.bias is not None:
            head.bias.copy_(b[None])
        right = ((scale * (seen @ w + b) > 0) == (target > 0.5)).float()
        return {"loss": float(cost()), "accuracy": float((right * weight).sum()), "rate": 0.0}


@torch.no_grad()
def _seen_by(net: TruckNet, head: nn.Linear, pixels: Tensor) -> tuple[Tensor, float]:
    """Return the head's input ``float32[n, d]``, and what multiplies its answer afterwards."""
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
    return torch.cat(kept), float((answers @ out) / (out @ out).clamp_min(1e-12))
