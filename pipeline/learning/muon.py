"""Muon: the optimiser whose steps turn all directions of a layer equally far (Jordan et al. 2024).

A gradient of a layer is mostly along a few directions; what tells a bus from a lorry is in the
others. The momentum of each layer, seen as a matrix, is replaced by the nearest orthogonal one, so
that rare directions move as far as common ones. Its size is that of an ordinary AdamW step (Liu et
al. 2025, arXiv 2502.16982), so a learning rate means the same. What is no matrix (norms, biases,
the head's one row) moves as by AdamW (Loshchilov & Hutter 2019). Its price is about ten products of
the matrix with its shorter side: a tenth more time for the residual network (README, Decisions),
but 1.5e12 multiply-adds for the dense layer of ``mlp`` at 224 pixels. Large matrices are turned in
bfloat16 where that is native, as Jordan does: a quarter of the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPS = 1e-8
SMALLEST = 1e-7  # norm of a gradient that counts; float32 takes that of a far smaller one for 0
ADAM_STEP = 0.2  # root mean square of a typical AdamW step, in learning rates (Liu et al.)

# Jordan's quintic: what is 1.5e-3 of the norm or more ends within 0.68 and 1.21 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_LARGE = 192  # rows and columns from which half precision pays


class Muon(torch.optim.Optimizer):
    """Groups hold ``params`` and ``weight_decay`` (decoupled); ``lr`` may be changed between steps.

    ``half`` lets large matrices be turned in bfloat16. All state is tensors of its parameter's
    device, so a checkpoint can hold it.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, *, half: bool = False) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.half = half

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: the loop has its loss
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if is_matrix(param):
                    move = _turned(param.grad, self.state[param], half=self.half)
                else:
                    move = _scaled(param.grad, self.state[param])
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.sub_(move, alpha=group["lr"])


def is_matrix(param: Tensor) -> bool:
    """Tell whether a parameter ``[rows, ...]`` is a matrix of more than one row and column."""
    return param.ndim > 1 and len(param) > 1 and param[0].numel() > 1


def orthogonal(matrix: Tensor, *, half: bool = False) -> Tensor:
    """Return nearly ``U V'`` of ``matrix = U S V'`` ``float[n, m]``, without computing either.

    Newton-Schulz: an odd polynomial of the matrix is one of its singular values. A matrix smaller
    than ``SMALLEST`` fades to nothing. With ``half`` a large one is computed in bfloat16.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(SMALLEST)
    if half and len(x) >= _LARGE:
        x = x.bfloat16()
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        square: Tensor = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def _turned(grad: Tensor, state: dict[str, Tensor], *, half: bool) -> Tensor:
    """Return the step of a matrix, in learning rates: orthogonal, of AdamW's size."""
    if not state:
        state["mean"] = torch.zeros_like(grad)
    state["mean"].lerp_(grad, 1 - MOMENTUM)
    ahead = grad.lerp(state["mean"], MOMENTUM)  # Nesterov's look ahead
    flat = ahead.reshape(len(ahead), -1)
    size = ADAM_STEP * math.sqrt(max(flat.shape))
    return size * orthogonal(flat, half=half).reshape(grad.shape)


def _scaled(grad: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the step of anything else, in learning rates, as AdamW takes it."""
    if not state:
        state["steps"] = torch.zeros((), device=grad.device)
        state["mean"], state["square"] = torch.zeros_like(grad), torch.zeros_like(grad)
    state["steps"] += 1
    state["mean"].lerp_(grad, 1 - BETAS[0])
    state["square"].lerp_(grad.square(), 1 - BETAS[1])
    mean, square = (
        state[name] / (1 - beta ** state["steps"])
        for name, beta in zip(("mean", "square"), BETAS, strict=True)
    )
    return mean / (square.sqrt() + EPS)
