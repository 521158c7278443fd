"""From a mean and a variance to an interval for a whole number of trucks."""

from __future__ import annotations

import math
from statistics import NormalDist


def truck_interval(
    mean: float, variance: float, sure: float, level: float = 0.95
) -> tuple[float, float]:
    """Return (lo, hi), whole numbers that hold the count with probability ``level``.

    ``sure`` trucks are beyond doubt; the rest is gamma distributed (Wilson & Hilferty's 1931
    approximation), which is nearly normal for many trucks and one-sided for few. Bounds are rounded
    to the nearest whole number: [lo - 1/2, hi + 1/2] holds the probability.

    >>> truck_interval(100.0, 25.0, 0.0)
    (90.0, 110.0)
    >>> truck_interval(37.02, 0.01, 37.0)
    (37.0, 37.0)
    >>> truck_interval(0.0, 1.0, 0.0)
    (0.0, 2.0)
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    if variance <= 0:
        return float(round(mean)), float(round(mean))
    sd = math.sqrt(variance)
    rest = mean - min(sure, mean)
    if rest <= 0 or rest > 6 * sd:
        low, high = mean - z * sd, mean + z * sd
    else:
        shape = max(rest * rest / variance, 0.05)
        low, high = (mean - rest + rest * _wilson_hilferty(shape, side) for side in (-z, z))
        if rest < sd / 2:  # next to nothing expected is not next to nothing possible
            high = max(high, mean + z * sd)
    return max(float(round(low)), 0.0), max(float(round(high)), 0.0)


def _wilson_hilferty(shape: float, z: float) -> float:
    """Return the quantile (by its normal score) of a gamma variable with mean 1."""
    return float(max(1 - 1 / (9 * shape) + z / (3 * math.sqrt(shape)), 0.0) ** 3)
