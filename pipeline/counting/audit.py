"""Debiasing a count by audit windows: prediction-powered inference.

Angelopoulos, Bates, Fannjiang, Jordan & Zrnic (2023), "Prediction-powered inference", Science
382(6671). The rectified total is the model's total plus what people found beyond the model in a
random sample of windows, scaled up; its interval holds however poor the model is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_T975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


def debias(
    count_windows_model: Sequence[float],
    count_windows_human: Sequence[float],
    total_model: float,
    windows_total: int | None = None,
) -> tuple[float, float, float]:
    """Return the rectified total and its 95% interval.

    Args:
        count_windows_model: float[n] the model's count in each audited window.
        count_windows_human: float[n] what people counted in the same windows.
        total_model: The model's count over all windows.
        windows_total: How many windows the total spans; audited ones were drawn from them at
            random. Unknown: the correction is taken in proportion to the model's counts (a ratio).

    >>> debias([2, 2, 2, 2], [3, 2, 3, 2], 100, windows_total=50)[0]     # 100 + 50 · 0.5
    125.0
    """
    model = np.asarray(count_windows_model, dtype=np.float64)
    human = np.asarray(count_windows_human, dtype=np.float64)
    if model.shape != human.shape or model.size < 2:
        raise ValueError(f"need two or more audited windows, got {model.size} and {human.size}")
    if windows_total is None:
        windows_total = max(round(total_model / model.mean()), model.size) if model.sum() else 0
        if windows_total == 0:
            windows_total = model.size
    beyond = human - model
    estimate = total_model + windows_total * float(beyond.mean())
    finite = max(1.0 - model.size / windows_total, 0.0)
    se = windows_total * float(beyond.std(ddof=1)) / math.sqrt(model.size) * math.sqrt(finite)
    t = _T975[model.size - 2] if model.size - 2 < len(_T975) else 1.96 + 2.5 / (model.size - 1)
    return max(estimate, 0.0), max(estimate - t * se, 0.0), max(estimate + t * se, 0.0)
