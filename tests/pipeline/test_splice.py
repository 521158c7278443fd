"""Splice factors by hand, and published with the change of model."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from pipeline.publish import read_model_changes
from pipeline.splice import splice_factor


def test_the_factor_by_hand():
    assert splice_factor([10, 20], [11, 22]) == pytest.approx((1.1, 1.1, 1.1))
    # r = 22/20, residuals -1 and 1: variance 2/1 · 2/400, and t with one degree is 12.706.
    factor, low, high = splice_factor([10, 10], [10, 12])
    assert factor == pytest.approx(1.1)
    assert high - factor == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert low == 0.0
    assert splice_factor([10], [12]) == (1.2, None, None)
    assert splice_factor([0.0, 0.0], [1, 2]) == (None, None, None)
    assert splice_factor([], []) == (None, None, None)


def test_a_change_of_model_publishes_its_factor(counted):
    old, new = [40, 50, 60, None, 30], [44, 54, 67, 10, None]
    for i, trucks in enumerate(old):
        counted.count(f"2026-03-0{i + 1}", trucks)
    counted.publish("2026-03-10T00:00:00Z")
    assert read_model_changes(counted.ws.root).empty
    assert not (counted.ws.root / "features" / "model_changes.parquet").exists()
    counted.model("m2")
    for i, trucks in enumerate(new):
        counted.count(f"2026-03-0{i + 1}", trucks, model_id="m2")
    counted.count("2026-03-06", 70, model_id="m2")
    counted.publish("2026-03-11T00:00:00Z")
    frame = read_model_changes(counted.ws.root)
    pd.testing.assert_frame_equal(
        frame, pd.read_parquet(counted.ws.root / "features" / "model_changes.parquet")
    )
    (row,) = frame.to_dict("records")
    assert (row["old_model_id"], row["new_model_id"], row["days"]) == ("m1", "m2", 3)
    assert row["factor"] == pytest.approx(165 / 150)
    assert row["factor_lo"] < 1.1 < row["factor_hi"]
    assert row["last_date"] == pd.Timestamp("2026-03-03")
    assert read_model_changes(counted.ws.root, as_of="2026-03-10T12:00:00Z").empty


def test_the_table_survives_later_publications_and_kills(counted):
    counted.count("2026-03-01", 40)
    counted.publish("2026-03-10T00:00:00Z")
    counted.model("m2")
    counted.count("2026-03-01", 50, model_id="m2")
    counted.publish("2026-03-11T00:00:00Z")
    counted.count("2026-03-02", 50, model_id="m2")
    counted.publish("2026-03-12T00:00:00Z")
    latest = counted.ws.root / "features" / "model_changes.parquet"
    assert pd.read_parquet(latest)["factor"].tolist() == [1.25]
    latest.unlink()
    orphan = counted.ws.root / "features" / "vintages_models" / "2026-03-12T060000.000000Z.parquet"
    orphan.write_bytes(b"killed before its daily rows")
    assert read_model_changes(counted.ws.root)["factor"].tolist() == [1.25]
    counted.count("2026-03-03", 50, model_id="m2")
    counted.publish("2026-03-13T00:00:00Z")
    assert not orphan.exists()
    assert pd.read_parquet(latest)["as_of"].tolist() == [
        pd.Timestamp(dt.datetime(2026, 3, 11, tzinfo=dt.UTC))
    ]
