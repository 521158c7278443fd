"""Debiasing a count by audit windows: prediction-powered inference.

In stretches of footage drawn at random people count the trucks themselves. Angelopoulos, Bates,
Fannjiang, Jordan & Zrnic (2023), "Prediction-powered inference", Science 382(6671), correct the
model's total by what people found beyond the model, and the interval holds however poor the model
is. Windows of several days are pooled, and a quiet day's errors are not a busy day's: the
correction is the ratio of people's count to the model's (Cochran, "Sampling Techniques", 1977,
chapter 6), with a variance that grows with the trucks.

With h people's and f the model's count in a window, F the sum of f over all audited windows, M over
those of the day in question and D that day's total:

    R = sum(h) / F        count = R D        φ = (sum((h - R f)²) n / (n - 1) + 1) / F
    variance = φ (D² / F + max(D, 1) - 2 D M / F)

the error of R, the day's own errors, and what the two share. The 1 in φ is an error nobody saw, so
that windows in which all agree do not promise certainty; nor does a day of which the model saw no
truck: it may miss one as on other days.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.counting.interval import truck_interval
from pipeline.counting.records import Flags, Floats, HourCount, Method, MovementCount

CORRECTED = "corrected by "
LEAST_WINDOWS = 10
LEAST_TRUCKS = 10.0
_T975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
_Z975 = 1.96
_WHOLLY_SEEN = 0.995


@dataclass(frozen=True)
class AuditWindows:
    """Audited windows of one movement: what the model and what people counted in each.

    float64[n] ``model`` and ``human``; bool[n] ``today``: whether it is of the day to be corrected.
    """

    model: Floats
    human: Floats
    today: Flags

    def __post_init__(self) -> None:
        """Refuse vectors that do not belong together."""
        if not self.model.shape == self.human.shape == self.today.shape:
            raise ValueError("model, human and today must be equally long vectors")

    @property
    def suffice(self) -> bool:
        """Whether there are windows, and trucks in them, enough to correct by."""
        return self.model.size >= LEAST_WINDOWS and float(self.model.sum()) >= LEAST_TRUCKS


def debias(windows: AuditWindows, total_model: float) -> tuple[float, float]:
    """Return the corrected total of a day and its variance, Student's t allowed for.

    >>> ones = np.ones(40)
    >>> found = debias(AuditWindows(ones, 1.25 * ones, np.zeros(40, bool)), 80.0)
    >>> found[0], round(found[1], 2)         # φ = 1/40: 80²/40 + 80 = 240 times that, and t
    (100.0, 6.4)
    """
    size, seen = windows.model.size, float(windows.model.sum())
    if size < 2 or seen <= 0:
        raise ValueError(f"{size} audited windows with {seen:g} trucks correct nothing")
    ratio = float(windows.human.sum()) / seen
    beyond = windows.human - ratio * windows.model
    dispersion = (float(np.sum(beyond**2)) * size / (size - 1) + 1) / seen
    own = float(windows.model[windows.today].sum())
    errs = max(total_model, 1.0)
    shared = max(total_model**2 / seen + errs - 2 * total_model * own / seen, 0.0)
    t = _T975[size - 2] if size - 2 < len(_T975) else _Z975 + 2.5 / (size - 1)
    return ratio * total_model, dispersion * shared * (t / _Z975) ** 2


def audited(count: MovementCount, windows: AuditWindows) -> MovementCount:
    """Correct a movement's count by audit windows; one line of its arithmetic says by how much.

    Where part of the day was not seen the interval keeps what the count had for it. Too few
    windows correct nothing, and the line says that.
    """
    if count.truck_count is None or count.lo is None or count.hi is None or not windows.model.size:
        return count
    if not windows.suffice:
        said = f"{windows.model.size} audit windows: too few trucks to correct by"
        return replace(
            count, arithmetic=(*count.arithmetic[:-1], (said, 0.0), count.arithmetic[-1])
        )
    value, variance = debias(windows, count.truck_count)
    factor = value / count.truck_count if count.truck_count else 1.0
    if count.coverage < _WHOLLY_SEEN:
        variance += ((count.hi - count.lo) / 2 / _Z975 * factor) ** 2
    lo, hi = truck_interval(value, variance, 0.0)
    said = f"{CORRECTED}{windows.model.size} audit windows"
    lines = (*count.arithmetic[:-1], (said, value - count.truck_count), ("truck_count", value))
    method: Method = "events+audit" if count.method == "events" else "occupancy+audit"
    return replace(
        count,
        truck_count=value,
        lo=min(lo, value),
        hi=max(hi, value),
        method=method,
        hourly=_hourly(count, value, variance),
        arithmetic=lines,
    )


def _hourly(count: MovementCount, value: float, variance: float) -> tuple[HourCount, ...]:
    """Scale the hours to the corrected day; each hour's variance is its share of the day's."""
    rows = []
    for hour in count.hourly:
        if hour.truck_count is None:  # outside the schedule
            rows.append(hour)
            continue
        share = hour.truck_count / count.truck_count if count.truck_count else 0.0
        trucks = share * value
        lo, hi = truck_interval(trucks, variance * share, 0.0)
        rows.append(replace(hour, truck_count=trucks, lo=min(lo, trucks), hi=max(hi, trucks)))
    return tuple(rows)
