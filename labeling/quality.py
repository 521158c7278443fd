"""Who can be trusted, and which labels to look at again.

Worker skill on gold frames with an interval, flags for workers whose votes carry next to nothing,
and labels that disagree with a model which never saw them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from labeling.aggregate import Aggregation

Z95: Final = 1.959963984540054
MIN_VOTES: Final = 20
"""Fewer decided votes than this raise no flag: anyone can have a bad start."""

SPAMMING: Final = 0.25
POOR: Final = 0.5
"""Informedness below which (with 95% confidence) a worker is spamming, or poor."""

CONSTANT: Final = 0.97
"""Share of one answer from which a worker without informedness counts as constant."""


def wilson(right: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's 1927 interval for a share; ``(0, 1)`` where ``n`` is 0.

    >>> [round(x, 3) for x in wilson(9, 10)]
    [0.596, 0.982]
    """
    if n <= 0:
        return 0.0, 1.0
    share, square = right / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def gold_skill(votes: pd.DataFrame) -> pd.DataFrame:
    """Score each worker on gold tasks.

    Args:
        votes: columns of ``schemas.GOLD``.

    Returns:
        A row per worker who met gold, sorted by name: ``worker, n_gold, n_right, skill, skill_lo,
        skill_hi``. Can't-tells are left out of ``n_gold``: they are honest.
    """
    import pandas as pd

    met = votes[votes["label"] != "cant_tell"]
    right = (met["label"].eq("truck") == met["truck"].astype(bool)).groupby(met["worker"])
    rows = [
        (str(w), int(n), int(k), k / n, *wilson(int(k), int(n)))
        for w, n, k in right.agg(["size", "sum"]).sort_index().itertuples()
    ]
    columns = ["worker", "n_gold", "n_right", "skill", "skill_lo", "skill_hi"]
    return pd.DataFrame(rows, columns=columns)


def flags(result: Aggregation) -> pd.DataFrame:
    """List workers whose votes say little, judged against the posterior labels and on gold.

    The measure is informedness, J = sensitivity + specificity − 1 (Youden 1950): 0 for a coin and
    for a constant answer, 1 for a perfect judge. A worker is flagged only where the upper end of
    J's 95% interval (binomial variances, one right and one wrong vote added per class) lies below
    the limit: ``constant``, ``coin`` (below :data:`SPAMMING`) or ``poor`` (below :data:`POOR`).

    Returns:
        ``worker, flag, informedness, informedness_hi``, a row per flagged worker, sorted by name.
    """
    import pandas as pd

    says = result.workers.set_index("worker")["says_truck"]
    rows = []
    for worker, votes in result.confusion.groupby("worker", sort=True):
        j, upper, n = _informedness(votes)
        flag = _flag(upper, float(says[worker]), n)
        if flag:
            rows.append((str(worker), flag, j, upper))
    return pd.DataFrame(rows, columns=["worker", "flag", "informedness", "informedness_hi"])


def _informedness(votes: pd.DataFrame) -> tuple[float, float, float]:
    """Return J, the upper end of its interval, and the number of decided votes."""
    total = variance = decided = 0.0
    for truth in ("truck", "no_truck"):
        row = votes.loc[votes["truth"] == truth, ["truck", "no_truck"]].to_numpy(float)[0]
        n = float(row.sum())
        right = float(row[0] if truth == "truck" else row[1])
        share = (right + 1.0) / (n + 2.0)
        total, decided = total + share, decided + n
        variance += share * (1.0 - share) / (n + 2.0)
    return total - 1.0, total - 1.0 + Z95 * math.sqrt(variance), decided


def _flag(upper: float, says_truck: float, n: float) -> str:
    if n < MIN_VOTES or upper >= POOR:
        return ""
    if max(says_truck, 1.0 - says_truck) >= CONSTANT:
        return "constant"
    return "coin" if upper < SPAMMING else "poor"


def suspected(labels: ArrayLike, p_truck: ArrayLike) -> NDArray[np.intp]:
    """Return the positions of labels that are probably wrong, worst first.

    Confident learning (Northcutt, Jiang, Chuang 2021, *Journal of Artificial Intelligence Research*
    70): a class's threshold is the mean probability that the model gives it over the frames
    labelled so; a frame is suspected where the *other* class reaches its threshold, and reaches a
    higher probability than the given one. Own small implementation for two classes.

    Args:
        labels: bool[n], is it labelled a truck.
        p_truck: float[n] by a model that did not learn from these very labels (cross-validated).

    Returns:
        Positions sorted by falling margin P(other) − P(given).
    """
    truck = np.asarray(labels, bool)
    p = np.asarray(p_truck, float)
    if truck.all() or not truck.any():
        return np.empty(0, np.intp)
    threshold_truck, threshold_none = p[truck].mean(), (1.0 - p[~truck]).mean()
    given = np.where(truck, p, 1.0 - p)
    other = 1.0 - given
    reaches = other >= np.where(truck, threshold_none, threshold_truck)
    found = np.flatnonzero(reaches & (other > given))
    return found[np.argsort(-(other - given)[found], kind="stable")]
