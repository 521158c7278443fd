"""Where a new model takes over: by what factor its counts differ, on days that both have counted.

A publication in which a camera's model changes notes, per camera and movement, the ratio of new to
old counts over the days revised (``schemas.MODEL_CHANGES``). The history itself is re-counted as a
new vintage; the factor is for whoever holds figures of the old model and wants them comparable.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def splice_factor(
    old: Sequence[float], new: Sequence[float]
) -> tuple[float | None, float | None, float | None]:
    """Return Σnew ÷ Σold with its 95% interval; null where the days do not tell.

    The days are a sample of days: with r the ratio and e_i = new_i − r·old_i, its variance is
    n ÷ (n − 1) · Σe_i² ÷ (Σold)², and the interval takes Student's t with n − 1 degrees of freedom
    (Cochran 1977, *Sampling Techniques*, ch. 6). One day gives no interval.

    >>> splice_factor([10, 20, 30], [11, 22, 33])[0]
    1.1
    """
    from scipy.stats import t

    total, n = math.fsum(old), len(old)
    if total <= 0:
        return None, None, None
    ratio = math.fsum(new) / total
    if n < 2:
        return ratio, None, None
    squares = math.fsum((b - ratio * a) ** 2 for a, b in zip(old, new, strict=True))
    half = float(t.ppf(0.975, n - 1)) * math.sqrt(n / (n - 1) * squares) / total
    return ratio, max(ratio - half, 0.0), ratio + half


def model_changes(revised: pa.Table) -> list[Row]:
    """Return the splice factors in a publication's revised rows (columns ``x`` and ``was_x``)."""
    import pyarrow.compute as pc

    columns = ["camera_id", "movement", "date", "truck_count", "model_id"]
    table = revised.filter(
        pc.fill_null(pc.not_equal(revised["was_model_id"], revised["model_id"]), False)
    )
    pairs: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in table.select([*columns, "was_truck_count", "was_model_id"]).to_pylist():
        if row["truck_count"] is not None and row["was_truck_count"] is not None:
            key = (row["camera_id"], row["movement"], row["was_model_id"], row["model_id"])
            pairs[key].append(row)
    return [_change(key, rows) for key, rows in sorted(pairs.items())]


def _change(key: tuple[str, ...], rows: Sequence[Row]) -> Row:
    camera, movement, old_model, new_model = key
    factor, low, high = splice_factor(
        [row["was_truck_count"] for row in rows], [row["truck_count"] for row in rows]
    )
    return {
        "camera_id": camera,
        "movement": movement,
        "old_model_id": old_model,
        "new_model_id": new_model,
        "first_date": min(row["date"] for row in rows),
        "last_date": max(row["date"] for row in rows),
        "days": len(rows),
        "factor": factor,
        "factor_lo": low,
        "factor_hi": high,
    }
