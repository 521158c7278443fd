"""Sparse frames with dense bursts."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.counting import Classifier, ZoneScores, count_day, learn_dwell
from pipeline.counting.bursts import dense_stretches, thinned

JUDGE = Classifier(0.2, tp=990, fn=10, fp=2, tn=3998)
HOURS = [(3600.0 * k, 3600.0 * (k + 1)) for k in range(24)]


def test_bursts_are_found_and_thinned() -> None:
    at_s = np.concatenate((np.arange(0.0, 100.0, 10.0), np.arange(100, 110, 0.2)))
    at_s = np.concatenate((at_s, np.arange(110.0, 400.0, 10.0)))
    ((start, end),) = dense_stretches(at_s, [(0.0, 400.0)])
    assert start == pytest.approx(100, abs=0.3)
    assert end == pytest.approx(110, abs=0.3)
    kept = at_s[thinned(at_s, [(start, end)])]
    assert kept.size == pytest.approx(40, abs=2)
    assert dense_stretches(np.arange(0.0, 100.0, 0.2), [(0.0, 100.0)]) == []
    windows = np.concatenate((np.arange(0.0, 60.0, 0.2), np.arange(9000.0, 9060.0, 0.2)))
    assert dense_stretches(windows, [(0.0, 60.0), (9000.0, 9060.0)]) == []


def test_a_day_of_sparse_frames_with_bursts_counts_itself() -> None:
    rng = np.random.default_rng(2)
    entered = np.sort(rng.uniform(0, 86_400, 900))
    exited = entered + 6.0 * rng.lognormal(-0.02, 0.2, 900)
    bursts = [np.arange(3600.0 * k + 600, 3600.0 * k + 840, 0.5) for k in range(24)]
    at_s = np.unique(np.concatenate([np.arange(5.0, 86_400, 10.0), *bursts]))
    came = np.searchsorted(entered, at_s, side="right")
    left = np.searchsorted(np.sort(exited), at_s, side="right")
    truck = came > left
    p_truck = np.where(truck, 0.97, 0.01)
    span = [(0.0, 86_400.0)]
    (row,) = count_day([ZoneScores("a", "out", at_s, p_truck)], span, span, HOURS, JUDGE).movements
    assert row.method == "occupancy"
    assert row.truck_count == pytest.approx(900, rel=0.15)
    assert row.lo is not None
    assert row.hi is not None
    assert row.lo <= 900 <= row.hi
    dense = np.concatenate(bursts)
    inside = np.isin(at_s, dense)
    zone = ZoneScores("a", "out", at_s[inside], p_truck[inside])
    spans = [(float(one[0]), float(one[-1])) for one in bursts]
    stay = learn_dwell([zone], spans, HOURS, JUDGE)["a"]
    assert stay.mean_s == pytest.approx(6.0, rel=0.12)
