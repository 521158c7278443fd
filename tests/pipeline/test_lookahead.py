"""The look-ahead gate: inputs cut off at T give exactly what is read as of T.

One workspace holds everything and replays its publications one by one; for each T another one holds
only the clips, scores and audit windows of days that were over by T. Counting, hour-of-week
profiles, corrections by audit, publication and features must not be able to tell the difference.
"""

from __future__ import annotations

import datetime as dt
import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline import daily, localtime, schemas, store
from pipeline.cameras import parse
from pipeline.features import feature_rows
from pipeline.publish import publish, read_daily_counts, read_hourly_counts
from pipeline.store import Workspace

FIRST, DAYS, HZ = dt.date(2026, 3, 4), 7, 2.0  # over the change of clocks on the 8th
CARD = {
    "model_id": "m1",
    "label_set_id": "l1",
    "prevalence": 0.05,
    "threshold": 0.5,
    "temperature": 1.0,
    "prior": {"shown": 0.5, "natural": 0.05},
    "held_out": {"tp": 95, "fn": 5, "fp": 5, "tn": 95},
}


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch):
    monkeypatch.setattr(store, "_flush", lambda path: None)
    monkeypatch.setattr(daily, "_score", lambda *_: {})  # the scores are there


@pytest.fixture
def registry(camera_entry):
    return parse({"camera": [camera_entry(schedule=[["11:00", "14:00"]], sample_hz=HZ)]})


def _day(i: int) -> dt.date:
    return FIRST + dt.timedelta(days=i)


def _film(ws: Workspace, registry, i: int) -> list[dict]:
    """Write one day's clip and scores: three hours, on every third day only the first two.

    Returns five windows of 20 minutes, from the day's beginning, as people counted them.
    """
    camera, rng = registry.camera("north-gate"), np.random.default_rng(i)
    ((start, end),) = localtime.scheduled_spans(camera, _day(i))
    seconds = end - start - (3600 if i % 3 == 2 else 0)
    at = np.arange(0.0, seconds, 1 / HZ)
    present = np.zeros(len(at), dtype=bool)
    every = rng.uniform(0, seconds - 10, 20 + 3 * i)
    for entered in every:
        present |= (at >= entered) & (at < entered + 4)
    p = np.where(present, rng.beta(20, 1, len(at)), rng.beta(1, 20, len(at)))
    begun = dt.datetime.fromtimestamp(start, dt.UTC)
    clip = {
        "camera_id": camera.id,
        "clip_id": "k",
        "uri": "footage/k.mp4",
        "started_at": begun,
        "duration_s": seconds,
        "frames_expected": len(at),
        "frames_read": len(at),
        "width_px": 640,
        "height_px": 360,
        "codec": "h264",
        "status": "ok",
        "reason": "",
        "timebase": "container",
        "content_hash": str(i),
        "covered": [{"start_s": 0.0, "end_s": seconds}],
    }
    key = {"camera_id": camera.id, "zone": "exit", "model_id": "m1", "clip_id": "k"}
    scores = [
        {**key, "captured_at": begun + dt.timedelta(seconds=t), "p_truck": q, "offset_s": t}
        for t, q in zip(at.tolist(), p.tolist(), strict=True)
    ]
    for path, rows, schema in (
        (ws.clips(camera.id, _day(i)), [clip], schemas.CLIPS),
        (ws.scores(camera.id, _day(i), "m1"), scores, schemas.SCORES),
    ):
        store.write_table(path, store.table_of(rows, schema), schema)
    return [
        {
            "window_id": f"{i}-{k}",
            "camera_id": camera.id,
            "movement": "out",
            "started_at": begun + dt.timedelta(minutes=20 * k),
            "ended_at": begun + dt.timedelta(minutes=20 * (k + 1)),
            "truck_count": float(np.sum((every + 2) // 1200 == k)) + k % 2,
            "n_workers": 2,
        }
        for k in range(5)
    ]


def _counted(ws: Workspace, registry, days: int, times: int = 1) -> Workspace:
    store.write_json(ws.model("m1") / "card.json", CARD)
    store.write_bytes(ws.current_model, b"m1")
    windows = [row for i in range(days) for row in _film(ws, registry, i)]
    path = ws.campaign_labels("eyes") / "audit.parquet"
    store.write_table(path, store.table_of(windows, schemas.AUDIT), schemas.AUDIT)
    for _ in range(times):  # the second time, the counts of later days are there to be seen
        daily.count_days(ws, registry, daily.camera_days(ws, registry), "m1")
    return ws


def _published(ws: Workspace, registry, instants) -> Workspace:
    for instant in instants:
        publish(ws, registry, as_of=instant)
    return ws


def test_inputs_cut_off_at_an_instant_give_what_was_known_then(tmp_path, registry):
    instants = [
        localtime.day_bounds(_day(i), "America/Chicago")[1] + dt.timedelta(hours=3)
        for i in range(DAYS)
    ]
    whole = _counted(Workspace(tmp_path / "whole"), registry, DAYS, times=2)
    _published(whole, registry, instants)
    features = {row["session"]: row for row in feature_rows(whole, registry)}
    latest = read_daily_counts(whole.root)
    assert latest["quality"].nunique() > 1  # some days lean on the profile
    assert latest["method"].tolist() == ["events"] + ["events+audit"] * (DAYS - 1)
    for i, instant in enumerate(instants):
        cut = Workspace(tmp_path / "cut")
        _published(_counted(cut, registry, i + 1), registry, instants[: i + 1])
        for read in (read_daily_counts, read_hourly_counts):
            then = read(whole.root, as_of=instant)
            assert len(then) >= i + 1
            pd.testing.assert_frame_equal(read(cut.root), then, check_exact=True)
        for row in feature_rows(cut, registry):
            if row["tradable_from"] <= instant:  # the last session has yet to open
                assert features[row["session"]] == row
        shutil.rmtree(cut.root)
