"""A made-up company: eight years of trucks at its warehouse, as published, and its quarterly sales.

Sales follow the trucks that truly left. What is published follows them less well: the first model
counts with noise and goes slowly blind as its lens gets dirty; in 2024 a better model recounts the
whole history as a new vintage. Publication is weekly, on Monday morning.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline import cameras, schemas, store, vintages
from pipeline.exchanges import tradable_from

FIRST, LAST = dt.date(2018, 1, 1), dt.date(2025, 12, 31)
RECOUNTED = dt.date(2024, 4, 1)
REPORTED_AFTER = dt.timedelta(days=30)

REGISTRY = """
[[camera]]
id = "dock"
site = "warehouse"
timezone = "America/New_York"
source = "footage/dock/*.mp4"
exchange = "XNYS"
zones = [{ name = "exit", movement = "out", polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }]
"""


def render(root: Path, seed: int = 0) -> pd.DataFrame:
    """Write the registry and every vintage under ``root``; return sales by quarter.

    Columns: ``sales``, ``reported_at`` (UTC); the index is a quarterly period.
    """
    rng = np.random.default_rng(seed)
    days = pd.date_range(FIRST, LAST, name="date")
    trucks = _trucks(days, rng)
    first_model = trucks * _dirt(days) * np.exp(rng.normal(0, 0.10, len(days)))
    better_model = trucks * np.exp(rng.normal(0, 0.03, len(days)))
    ws = store.Workspace(root)
    store.write_bytes(ws.cameras_toml, REGISTRY.encode())
    recounted = False
    for monday in pd.date_range(FIRST, LAST, freq="W-MON")[1:]:
        new = (days >= monday - pd.Timedelta(days=7)) & (days < monday)
        better = monday.date() >= RECOUNTED
        counts = better_model if better else first_model
        if better and not recounted:
            new, recounted = days < monday, True
        _publish(ws, monday, days[new], counts[new], "better" if better else "first", trucks[new])
    return _sales(days, trucks, rng)


def _trucks(days: pd.DatetimeIndex, rng: np.random.Generator) -> np.ndarray:
    """Demand wanders by about a tenth a year; weekends are quiet, autumn is busy."""
    demand, level = np.empty(len(days)), 0.0
    for i, step in enumerate(rng.normal(0, 0.011, len(days))):
        level = 0.996 * level + step
        demand[i] = level
    week = np.array([1.1, 1.1, 1.1, 1.1, 1.0, 0.5, 0.3])[days.day_of_week]
    year = 1 + 0.15 * np.sin(2 * np.pi * (days.day_of_year - 200) / 365.25)
    return rng.poisson(250 * week * year * np.exp(demand)).astype(float)


def _dirt(days: pd.DatetimeIndex) -> np.ndarray:
    """Return the share of trucks that still gets through a lens nobody wipes for months."""
    months = (days.year - FIRST.year) * 12 + days.month
    return 1 - 0.15 * (np.asarray(months) % 14) / 14


def _publish(ws, monday, days, counts, model_id, trucks) -> None:
    as_of = (monday + pd.Timedelta(hours=10)).tz_localize("UTC").to_pydatetime()
    half = 1.96 * (0.12 if model_id == "first" else 0.03)
    rows = [
        {
            "camera_id": "dock",
            "movement": "out",
            "date": day.to_pydatetime(),
            "as_of": as_of,
            "site": "warehouse",
            "truck_count": round(n, 1),
            "truck_count_lo": round(n * (1 - half), 1),
            "truck_count_hi": round(n * (1 + half), 1),
            "method": "events",
            "passages_seen": int(n),
            "exposure_s": 86400.0,
            "coverage": 1.0,
            "frames_scored": 432000,
            "prevalence": 0.02,
            "quality": "ok",
            "model_id": model_id,
            "label_set_id": model_id,
            "tradable_from": tradable_from("XNYS", as_of),
            "revision_reason": "first" if len(days) <= 7 else "new model",
        }
        for day, n in zip(days, counts, strict=True)
    ]
    path = vintages.DAILY.vintage(ws, as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(store.table_of(rows, schemas.DAILY), path)  # made up: no need to flush each


def _sales(days: pd.DatetimeIndex, trucks: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    by_quarter = pd.Series(trucks, days).groupby(days.to_period("Q")).sum()
    noise = np.exp(rng.normal(0, 0.015, len(by_quarter)))
    ends = by_quarter.index.end_time.normalize().tz_localize("UTC")
    return pd.DataFrame(
        {"sales": by_quarter * 4.2e-3 * noise, "reported_at": ends + REPORTED_AFTER}
    )


def registry(root: Path) -> cameras.Registry:
    """Return the company's camera registry."""
    return cameras.load(store.Workspace(root).cameras_toml)
