"""Which camera-days a range stands for."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import cameras, daily, schemas, store
from pipeline.counting import Calibrated
from pipeline.domain import Camera, Zone
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

NOW = dt.datetime(2026, 3, 5, 11, tzinfo=dt.UTC)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> cameras.Registry:
    """At that instant it is 1:00 on the 6th on Kiritimati, 1:00 on the 5th in Honolulu."""
    monkeypatch.setattr(daily, "_now", lambda: NOW)
    zone = {"name": "exit", "movement": "out", "polygon": [[0, 0], [1, 0], [1, 1]]}
    shared = {"site": "s", "source": "x/*.mp4", "zones": [zone]}
    east = {"id": "east", "timezone": "Pacific/Kiritimati", **shared}
    west = {"id": "west", "timezone": "Pacific/Honolulu", **shared}
    return cameras.parse({"camera": [east, west]})


def days(found: list[daily.CameraDay]) -> list[tuple[str, int]]:
    return [(d.camera.id, d.day.day) for d in found]


def test_days_end_with_the_one_that_has_begun_at_the_camera(
    tmp_path: Path, registry: cameras.Registry
) -> None:
    ws, last = store.Workspace(tmp_path), dt.date.max
    found = daily.camera_days(ws, registry, first=dt.date(2026, 3, 4), last=last)
    assert days(found) == [("east", 4), ("east", 5), ("east", 6), ("west", 4), ("west", 5)]
    found = daily.camera_days(ws, registry, first=dt.date(2026, 3, 6), last=last)
    assert days(found) == [("east", 6)]
    with pytest.raises(InputError, match="2026-03-07 has not begun yet"):
        daily.camera_days(ws, registry, first=dt.date(2026, 3, 7), last=last)


def test_clips_of_a_camera_whose_clock_is_ahead_belong(
    tmp_path: Path, registry: cameras.Registry
) -> None:
    ws = store.Workspace(tmp_path)
    store.write_bytes(ws.clips("west", dt.date(2026, 3, 7)), b"")
    found = daily.camera_days(ws, registry, ["west"], dt.date(2026, 3, 6), dt.date(2026, 3, 9))
    assert days(found) == [("west", 6), ("west", 7)]


def test_days_before_there_were_clocks_to_count_from_are_refused(
    tmp_path: Path, registry: cameras.Registry
) -> None:
    ws = store.Workspace(tmp_path)
    with pytest.raises(InputError, match="no camera filmed on 0001-01-01"):
        daily.camera_days(ws, registry, first=dt.date.min, last=dt.date.min)
    with pytest.raises(NotFoundError, match="no clips of west"):
        daily.camera_days(ws, registry, ["west"])


def test_what_the_labels_left_open_goes_from_the_card_to_the_count() -> None:
    card = {
        "prevalence": 0.05,
        "threshold": 0.5,
        "temperature": 1.5,
        "prior": {"shown": 0.5, "natural": 0.05, "bias": 1.0},
        "held_out": {"tp": 95, "fn": 5, "fp": 5, "tn": 95},
    }
    # A card of before November 2026 says nothing of it.
    assert daily._classifier(card).calibrated == Calibrated(offset=1.0 - math.log(19))
    told = card | {"calibration_covariance": [[0.01, -0.002], [-0.002, 0.04]]}
    found = daily._classifier(told).calibrated
    assert found.offset == pytest.approx(1.0 - math.log(19))
    assert (found.log_t_var, found.covariance, found.offset_var) == (0.01, -0.002, 0.04)


def test_a_camera_aimed_anew_is_not_filled_by_the_hours_of_its_old_road(tmp_path: Path) -> None:
    ws, today = Workspace(tmp_path), dt.date(2026, 3, 16)
    for day in (today - dt.timedelta(days=n) for n in (1, 2)):
        row = {
            "camera_id": "gate",
            "movement": "out",
            "date": dt.datetime.combine(day, dt.time()),
            "site": "dc-1",
            "hour_start_at": dt.datetime.combine(day, dt.time(12), dt.UTC),
            "truck_count": 10.0,
            "truck_count_lo": 8.0,
            "truck_count_hi": 12.0,
            "exposure_s": 3600.0,
            "coverage": 1.0,
            "model_id": "m",
        }
        table = store.table_of([row], schemas.HOURLY)
        store.write_table(ws.counts_hourly("gate", day, "m"), table, schemas.HOURLY)
    zone = Zone("lane", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    camera = Camera("gate", "dc-1", "UTC", "footage/*.mp4", (zone,))
    assert daily._profile(ws, camera, today, "m") is not None
    anew = replace(camera, valid_from=today)
    assert daily._profile(ws, anew, today, "m") is None
