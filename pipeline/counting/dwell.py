"""How many sampling cells a truck's stay fills, when stays are log-normally distributed.

A stay of S cells that begins at a uniformly random phase covers ``floor(S + U)`` cell centres, so
``P(at least j cells) = E[clip(S - j + 1, 0, 1)]``. That holds for dense sampling (many cells per
stay) and for sparse sampling (most stays fall between two samples and cover none) alike, which is
what lets one model serve both.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from pipeline.counting.records import Floats

_NODES = 160


@lru_cache(maxsize=256)
def _nodes(cv: float) -> tuple[Floats, Floats]:
    """Return nodes and weights of a log-normal variable with mean 1 and that spread.

    A stay is a length over a speed, and speeds multiply: log-normal.
    """
    sigma = math.sqrt(math.log1p(cv * cv))
    z = np.linspace(-4.0, 4.0, _NODES)
    node = np.exp(sigma * z)
    weight = np.exp(-0.5 * z * z)
    weight /= weight.sum()
    return node / float(np.sum(weight * node)), weight


def cells_pmf(mean_cells: float, cv: float, most: int) -> Floats:
    """Return float64[most + 1]: the probability that a stay covers 0, 1, ..., ``most`` cells.

    What lies beyond ``most`` is put on ``most``.

    >>> cells_pmf(0.25, 0.05, 2).round(3)      # a quarter of a cell: seen once in four times
    array([0.75, 0.25, 0.  ])
    """
    node, weight = _nodes(round(min(max(cv, 0.05), 1.2), 4))
    threshold = np.arange(1, most + 1)[:, None]
    at_least = np.clip(mean_cells * node[None, :] - threshold + 1.0, 0.0, 1.0) @ weight
    tail = np.concatenate(([1.0], at_least, [0.0]))
    pmf = tail[:-1] - tail[1:]
    pmf = np.maximum(pmf, 1e-12)
    return np.asarray(pmf / pmf.sum())


def longest_cells(mean_cells: float, cv: float, cap: int) -> int:
    """Return how many cells cover all but the rarest stays."""
    return int(min(cap, max(2, math.ceil(mean_cells * (1.0 + 3.0 * cv + 2.0 * cv * cv)) + 1)))
