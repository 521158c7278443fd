"""Features by hand, and that nothing published later changes an earlier row."""

from __future__ import annotations

import datetime as dt
import random
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import accounts, schemas, store, vintages
from pipeline.cameras import parse
from pipeline.errors import ConfigError, InputError, NotFoundError
from pipeline.features import adjusted_level, feature_rows, features, robust_z, write_features
from pipeline.sitedays import KnownSite
from pipeline.store import Workspace

CORNER = [[0, 0], [0.5, 0], [0.5, 0.5]]
SQUARE = [[0.1, 0.4], [0.9, 0.4], [0.9, 0.8], [0.1, 0.8]]  # as conftest has it
MONDAY = dt.date(2026, 1, 5)


def _row(day: dt.date, trucks: float | None, camera: str = "a", **keys) -> dict:
    """One published daily row without its ``as_of``."""
    counted = trucks is not None
    return {
        "camera_id": camera,
        "movement": "out",
        "date": dt.datetime.combine(day, dt.time()),
        "site": "dc-14",
        "truck_count": trucks,
        "truck_count_lo": trucks - 2 if counted else None,
        "truck_count_hi": trucks + 3 if counted else None,
        "method": "events" if counted else "none",
        "passages_seen": 0,
        "exposure_s": 86400.0,
        "coverage": 1.0 if counted else 0.0,
        "frames_scored": 0,
        "prevalence": None,
        "quality": "ok" if counted else "insufficient",
        "model_id": "m1",
        "label_set_id": "l1",
        "tradable_from": None,
        "revision_reason": "first",
        **keys,
    }


def _hours(row: dict, night: float) -> list[dict]:
    """Two hours of a daily row in Chicago's winter: 03:00 with ``night``, noon with the rest."""
    at = row["date"].replace(tzinfo=dt.UTC)
    return [
        {**row, "hour_start_at": at + dt.timedelta(hours=9), "truck_count": night},
        {
            **row,
            "hour_start_at": at + dt.timedelta(hours=18),
            "truck_count": row["truck_count"] - night,
        },
    ]


def _publish(ws: Workspace, as_of: dt.datetime, rows: list[dict], night: float = 0.0) -> None:
    for series, published in (
        (
            vintages.HOURLY,
            [h for r in rows if r["truck_count"] is not None for h in _hours(r, night)],
        ),
        (vintages.DAILY, rows),
    ):
        table = store.table_of([{**r, "as_of": as_of} for r in published], series.schema)
        store.write_table(series.vintage(ws, as_of), table, series.schema)


def _morning_after(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(12), dt.UTC) + dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch):
    """Hundreds of small files: what is written need not outlive a power cut."""
    monkeypatch.setattr(store, "_flush", lambda path: None)


@pytest.fixture
def registry(camera_entry):
    return parse({"camera": [camera_entry("a"), camera_entry("b")]})


@pytest.fixture
def ws(tmp_path):
    return Workspace(tmp_path)


def _series(ws: Workspace, values: list[float | None], first: dt.date = MONDAY) -> None:
    for i, trucks in enumerate(values):
        day = first + dt.timedelta(days=i)
        _publish(ws, _morning_after(day), [_row(day, trucks)])


def test_each_session_has_what_was_known_at_its_open(ws, registry):
    _series(ws, [10, 20, 30, 40, 50, 6, 7, 80])  # Monday to Monday
    rows = feature_rows(ws, registry)
    # Monday's count is published on Tuesday at noon UTC, before New York opens at 14:30.
    assert [str(r["session"].date()) for r in rows] == [
        "2026-01-06",
        "2026-01-07",
        "2026-01-08",
        "2026-01-09",
        "2026-01-12",
        "2026-01-13",
    ]
    assert [r["level"] for r in rows] == [10, 20, 30, 40, 50, 80]
    assert [r["staleness_days"] for r in rows] == [1, 1, 1, 1, 3, 1]
    assert [r["mean_5"] for r in rows] == [None, None, 20, 25, 30, 44]
    assert rows[4]["mean_5_lo"] == pytest.approx(28)
    assert rows[4]["mean_5_hi"] == pytest.approx(33)
    assert rows[5]["change_weekday"] is None  # one Monday before is too little
    assert rows[0]["tradable_from"] == dt.datetime(2026, 1, 6, 14, 30, tzinfo=dt.UTC)
    assert rows[0]["as_of"] == dt.datetime(2026, 1, 6, 12, tzinfo=dt.UTC)
    # Sunday's count was the last to be known before Monday opened.
    assert rows[4]["as_of"] == dt.datetime(2026, 1, 12, 12, tzinfo=dt.UTC)


def test_a_holiday_is_no_weekday_to_compare_with(ws, registry):
    """Presidents' Day, 16 February 2026, has a fifth of a Monday's trucks."""
    first, holiday = dt.date(2026, 1, 26), dt.date(2026, 2, 16)
    days = [first + dt.timedelta(days=i) for i in range(30)]
    _series(ws, [20 if d == holiday else 100 for d in days], first)
    changes = {str(r["date"].date()): r["change_weekday"] for r in feature_rows(ws, registry)}
    assert changes["2026-02-09"] == changes["2026-02-23"] == 0.0


def test_a_count_that_comes_after_the_open_waits_for_the_next_session(ws, registry):
    _publish(ws, dt.datetime(2026, 1, 6, 14, 30, tzinfo=dt.UTC), [_row(MONDAY, 10)])
    rows = feature_rows(ws, registry)
    assert [(str(r["session"].date()), r["level"]) for r in rows] == [("2026-01-07", 10)]


def test_dark_days_leave_the_last_level_and_make_it_stale(ws, registry):
    _series(ws, [10, 20, None, None, 50])
    assert [
        (r["level"], r["staleness_days"], r["quality"]) for r in feature_rows(ws, registry)
    ] == [
        (10, 1, "ok"),
        (20, 1, "ok"),
        (20, 2, "ok"),
        (20, 3, "ok"),
        (50, 3, "ok"),
    ]


def test_a_site_that_never_counted_has_nulls(ws, registry):
    _series(ws, [None])
    (row,) = feature_rows(ws, registry)
    assert row["level"] is None
    assert row["quality"] == "insufficient"
    assert row["staleness_days"] is None


def test_weekly_and_yearly_change_by_hand(ws, registry):
    days = [MONDAY - dt.timedelta(days=364) + dt.timedelta(days=i) for i in range(365)]
    rows = [_row(day, 100.0) for day in days[:200]] + [_row(day, 120.0) for day in days[200:-1]]
    _publish(ws, _morning_after(MONDAY), [*rows, _row(MONDAY, 150.0)])
    (row,) = feature_rows(ws, registry)
    assert row["mean_5"] == pytest.approx((4 * 120 + 150) / 5)
    assert row["change_weekday"] == pytest.approx(150 / 120 - 1)
    # A year before there is a single session day: too little for a mean.
    assert row["change_year"] is None
    _publish(
        ws,
        _morning_after(MONDAY + dt.timedelta(days=7)),
        [_row(MONDAY + dt.timedelta(days=i), 130.0) for i in range(1, 8)],
    )
    last = feature_rows(ws, registry)[-1]
    # 7 January 2025 on: 7, 8, 10, 13 and the 6th (New York mourned on the 9th), all 100.
    assert last["change_year"] == pytest.approx(130 / 100 - 1)


def test_cameras_add_up_within_a_model_linearly_and_across_in_quadrature():
    site = KnownSite(["a", "b", "c"], MONDAY, MONDAY)
    for camera, model, trucks in (("a", "m1", 10.0), ("b", "m1", 20.0), ("c", "m2", 30.0)):
        row = _row(MONDAY, trucks, camera, model_id=model)
        site.publish({**row, "as_of": _morning_after(MONDAY)})
    totals = site.totals()
    assert totals.total[0] == 60
    # Below: a and b share a model, 2 + 2; c stands alone, 2. Above: 3 + 3 and 3.
    assert totals.lo[0] == pytest.approx(60 - np.hypot(4, 2))
    assert totals.hi[0] == pytest.approx(60 + np.hypot(6, 3))


def test_a_camera_that_is_dark_late_or_gone():
    last = MONDAY + dt.timedelta(days=9)
    site = KnownSite(["a", "b"], MONDAY, last)
    for i in range(10):
        day = MONDAY + dt.timedelta(days=i)
        site.publish({**_row(day, 10.0, "a"), "as_of": _morning_after(day)})
    for i, trucks in ((1, 5.0), (2, None)):
        day = MONDAY + dt.timedelta(days=i)
        site.publish({**_row(day, trucks, "b"), "as_of": _morning_after(day)})
    totals = site.totals()
    # b: not there yet; 5; dark on the third day; then silent for 7 days and still expected.
    assert totals.total[:2].tolist() == [10, 15]
    assert np.isnan(totals.total[2:]).all()
    assert totals.cameras.tolist() == [1, *[2] * 9]
    later = KnownSite(["a", "b"], MONDAY, last + dt.timedelta(days=1))
    for i in range(11):
        day = MONDAY + dt.timedelta(days=i)
        later.publish({**_row(day, 10.0, "a"), "as_of": _morning_after(day)})
    day = MONDAY + dt.timedelta(days=2)
    later.publish({**_row(day, 5.0, "b"), "as_of": _morning_after(day)})
    assert later.totals().total[[2, 10]].tolist() == [15, 10]  # gone after 7 silent days
    assert later.totals().cameras[10] == 1


def test_a_camera_that_is_always_late_is_waited_for():
    """Both count 100 a day; b's days come nine days after a's, whose week alone is no total."""
    site = KnownSite(["a", "b"], MONDAY, MONDAY + dt.timedelta(days=30))
    for i in range(31):
        as_of = _morning_after(MONDAY + dt.timedelta(days=i))
        site.publish({**_row(MONDAY + dt.timedelta(days=i), 100.0, "a"), "as_of": as_of})
        if i >= 9:
            day = MONDAY + dt.timedelta(days=i - 9)
            site.publish({**_row(day, 100.0, "b"), "as_of": as_of})
    total = site.totals().total
    assert total[:22].tolist() == [200.0] * 22
    assert np.isnan(total[22:]).all()


@pytest.mark.parametrize(
    ("changed", "second_day", "fifth_day"),
    [
        # Three of five days are needed for one mean, ten of twenty for the other.
        ({"zones": [{"name": "exit", "movement": "out", "polygon": CORNER}]}, None, (307.0, None)),
        # Nor do nights that are not filmed any more make a day quieter.
        ({"schedule": [["06:00", "22:00"]]}, None, (307.0, None)),
        ({"schedule": [["00:00", "12:00"], ["12:00", "24:00"]]}, 182.2, (307.0, 203.5)),
        # (100 + 100 + 100 + 305 + 306) / 5; (500 + 305 + 306 + 307 + 308 + 309) / 10
        ({"source": "other/*.mp4"}, 182.2, (307.0, 203.5)),
        # Nor is a second movement another look at the first.
        (
            {
                "zones": [
                    {"name": "entry", "movement": "in", "polygon": CORNER},
                    {"name": "exit", "movement": "out", "polygon": SQUARE},
                ]
            },
            182.2,
            (307.0, 203.5),
        ),
    ],
)
def test_a_camera_aimed_anew_is_not_compared_with_its_old_road(
    ws, camera_entry, changed, second_day, fifth_day
):
    """100 a day for a week; 305, 306, ... in the next, by other zones, hours, or a source."""
    for i, day in enumerate((0, 1, 2, 3, 4, 7, 8, 9, 10, 11)):
        date = MONDAY + dt.timedelta(days=day)
        _publish(ws, _morning_after(date), [_row(date, 100.0 if i < 5 else 300.0 + i)])
    later = {**camera_entry("a"), "valid_from": MONDAY + dt.timedelta(days=7), **changed}
    rows = feature_rows(ws, parse({"camera": [camera_entry("a"), later]}))
    assert [row["level"] for row in rows] == [100.0] * 5 + [305.0, 306.0, 307.0, 308.0, 309.0]
    assert rows[6]["mean_5"] == pytest.approx(second_day)
    assert (rows[9]["mean_5"], rows[9]["mean_20"]) == fifth_day


@pytest.mark.parametrize(
    "changed",
    [
        {"zones": [{"name": "exit", "movement": "out", "polygon": CORNER}]},
        {"schedule": [["06:00", "22:00"]]},
    ],
)
def test_an_aim_entered_late_leaves_the_rows_of_before_as_they_were(counted, camera_entry, changed):
    """100, 110, ... 140 from Monday on; a week later the camera is said to be moved on Thursday."""

    def count(day: int, trucks: float) -> None:
        date = MONDAY + dt.timedelta(days=day)
        camera = counted.registry.camera("north-gate", date)
        counted.count(str(date), trucks)
        beside = counted.ws.counts("north-gate", date, "m1").with_suffix(".json")
        store.write_json(beside, {"arithmetic": {}, "aim": accounts.aim_of(camera)})

    for day in range(5):
        count(day, 100.0 + 10 * day)
        counted.publish(_morning_after(MONDAY + dt.timedelta(days=day)).isoformat())
    before = feature_rows(counted.ws, counted.registry)
    assert [row["mean_5"] for row in before] == [None, None, 110.0, 115.0, 120.0]
    moved = {**camera_entry(), "valid_from": MONDAY + dt.timedelta(days=3), **changed}
    counted.registry = parse({"camera": [camera_entry(), moved]})
    assert feature_rows(counted.ws, counted.registry) == before
    count(3, 230.0)
    count(4, 240.0)
    counted.publish(_morning_after(MONDAY + dt.timedelta(days=7)).isoformat())
    *earlier, last = feature_rows(counted.ws, counted.registry)
    assert earlier == before
    # Of the new view there are two days, too few for a mean of five.
    assert (last["level"], last["mean_5"]) == (240.0, None)


def test_history_published_in_one_go_does_not_wait_for_a_camera_long_gone():
    site = KnownSite(["a", "b"], MONDAY, MONDAY + dt.timedelta(days=170))
    now = _morning_after(MONDAY + dt.timedelta(days=171))
    for i in range(171):
        day = MONDAY + dt.timedelta(days=i)
        site.publish({**_row(day, 100.0, "b"), "as_of": now})
        if i <= 60:
            site.publish({**_row(day, 100.0, "a"), "as_of": now})
    total = site.totals().total
    assert total[[0, 60, 68, 170]].tolist() == [200.0, 200.0, 100.0, 100.0]
    assert np.isnan(total[61:68]).all()


def test_a_factor_without_an_interval_does_not_replace_a_good_one():
    site = KnownSite(["a"], MONDAY, MONDAY + dt.timedelta(days=1))
    for i, model in enumerate(("m1", "m2")):
        row = _row(MONDAY + dt.timedelta(days=i), 100.0 * (1 + i), model_id=model)
        site.publish({**row, "as_of": _morning_after(MONDAY)})
    change = {"camera_id": "a", "old_model_id": "m1", "new_model_id": "m2"}
    good = {**change, "days": 28, "factor": 0.9, "factor_lo": 0.85, "factor_hi": 0.95}
    site.publish_change(good)
    site.publish_change({**good, "factor": 0.8, "factor_lo": None, "factor_hi": None})
    assert site.on_basis_of(1).total.tolist() == [90.0, 200.0]
    # Nor does one of two days that came late; one of as many days does.
    site.publish_change({**good, "days": 2, "factor": 0.31, "factor_lo": 0.01, "factor_hi": 0.62})
    assert site.on_basis_of(1).total.tolist() == [90.0, 200.0]
    site.publish_change({**good, "factor": 0.95})
    assert site.on_basis_of(1).total.tolist() == [95.0, 200.0]


def test_a_late_day_of_the_model_before_last_does_not_replace_the_steps_between():
    """98 to 100 to 103 by m1, which m2 counts 0.9 times and m3 1.2 times that."""
    site = KnownSite(["a"], MONDAY, MONDAY + dt.timedelta(days=1))
    for i, model in enumerate(("m1", "m3")):
        row = _row(MONDAY + dt.timedelta(days=i), 100.0, model_id=model)
        site.publish({**row, "as_of": _morning_after(MONDAY)})

    def change(old: str, new: str, days: int, *by: float | None) -> None:
        ends = dict(zip(("factor", "factor_lo", "factor_hi"), by, strict=True))
        models = {"old_model_id": old, "new_model_id": new}
        site.publish_change({"camera_id": "a", **models, "days": days, **ends})

    def known() -> tuple[float, ...]:
        found = site.on_basis_of(1)
        return found.total[0], found.lo[0], found.hi[0]

    change("m1", "m2", 28, 0.9, 0.85, 0.95)
    assert np.isnan(known()).all()
    change("m2", "m3", 28, 1.2, 1.1, 1.3)
    by_steps = pytest.approx((108.0, 98 * 0.85 * 1.1, 103 * 0.95 * 1.3))
    assert known() == by_steps
    change("m1", "m3", 1, 1.4, None, None)
    assert known() == by_steps
    change("m1", "m3", 2, 0.31, 0.01, 0.62)
    assert known() == by_steps
    change("m3", "m1", 40, 0.9, 0.8, 1.0)  # a model used again leads back, not round in circles
    assert known() == by_steps
    change("m1", "m3", 28, 1.05, 1.0, 1.1)
    assert known() == pytest.approx((105.0, 98.0, 103 * 1.1))


def _change(ws: Workspace, as_of: dt.datetime, old: str, new: str, factor: float, n: int) -> None:
    row = {
        "camera_id": "a",
        "movement": "out",
        "old_model_id": old,
        "new_model_id": new,
        "first_date": dt.datetime.combine(MONDAY - dt.timedelta(days=n), dt.time()),
        "last_date": dt.datetime.combine(MONDAY, dt.time()),
        "as_of": as_of,
        "days": n,
        "factor": factor,
        "factor_lo": 0.9 * factor if n > 1 else None,
        "factor_hi": 1.1 * factor if n > 1 else None,
    }
    series = vintages.MODEL_CHANGES
    table = store.table_of([row], series.schema)
    store.write_table(series.vintage(ws, as_of), table, series.schema)


@pytest.mark.parametrize("n", [1, 28])
def test_days_of_another_model_are_compared_by_its_published_factor(ws, registry, n):
    """40 weeks of 100 by m1, then m2 counts 130 and recounts the last five days."""
    days = [MONDAY - dt.timedelta(days=i) for i in range(1, 281)]
    _publish(ws, _morning_after(days[0]), [_row(day, 100.0) for day in days])
    now = _morning_after(MONDAY)
    _publish(ws, now, [_row(day, 130.0, model_id="m2") for day in [MONDAY, *days[:5]]])
    _change(ws, now, "m1", "m2", 1.3, n)
    row = feature_rows(ws, registry)[-1]

    assert (row["level"], row["model_id"]) == (130.0, "m2")
    if n == 1:  # a factor of one day has no interval: nothing to go by
        assert row["mean_20"] is None
        assert row["change_weekday"] is None
        return
    assert row["mean_20"] == pytest.approx(130.0)
    assert row["change_weekday"] == pytest.approx(0.0)
    # 17 of the 20 sessions are m1's (the 1st was a holiday): 98 × 0.9 × 1.3, the others 128.
    assert row["mean_20_lo"] == pytest.approx((17 * 98 * 0.9 * 1.3 + 3 * 128) / 20)
    assert row["mean_20_hi"] == pytest.approx((17 * 103 * 1.1 * 1.3 + 3 * 133) / 20)


def test_a_second_camera_and_one_that_went_change_no_comparison(ws, registry):
    """Gate a has 100 a day; gate b with 50 comes after 60 days, and goes 60 days later."""
    first = MONDAY - dt.timedelta(days=200)
    for i in range(200):
        day = first + dt.timedelta(days=i)
        rows = [_row(day, 100.0 + i % 3, "a")]
        if 60 <= i < 120:
            rows.append(_row(day, 50.0, "b"))
        _publish(ws, _morning_after(day), rows)
    rows = {row["date"].date(): row for row in feature_rows(ws, registry) if row["date"]}
    levels = [row["level"] for row in rows.values()]
    assert {round(level / 50) for level in levels} == {2, 3}
    for row in rows.values():
        assert row["mean_20"] is None or abs(row["level"] - row["mean_20"]) < 3
        assert row["change_weekday"] is None or abs(row["change_weekday"]) < 0.03
        assert row["robust_z"] is None or abs(row["robust_z"]) < 3
    came = rows[first + dt.timedelta(days=61)]
    assert (came["cameras"], came["mean_20"]) == (2, None)
    assert rows[first + dt.timedelta(days=197)]["mean_20"] is not None


def test_a_camera_day_published_for_another_site_is_no_longer_this_ones(ws, camera_entry):
    """b was counted at dc-14 by mistake; its recount says dc-15."""
    registry = parse({"camera": [camera_entry("a"), {**camera_entry("b"), "site": "dc-15"}]})
    _publish(ws, _morning_after(MONDAY), [_row(MONDAY, 40.0, "a"), _row(MONDAY, 60.0, "b")])
    later = _morning_after(MONDAY + dt.timedelta(days=1))
    _publish(ws, later, [_row(MONDAY, 60.0, "b", site="dc-15")])
    rows = [(r["site"], r["session"].day, r["level"]) for r in feature_rows(ws, registry)]
    assert rows == [("dc-14", 6, 100.0), ("dc-14", 7, 40.0), ("dc-15", 7, 60.0)]


@pytest.mark.parametrize(
    ("recount", "known"),
    [
        ({"trucks": 40.0, "movement": "exit"}, (60.0, 1, 8 / 24)),  # evenly over 24 hours
        ({"trucks": None, "exposure_s": 0.0}, (None, 0, None)),  # its footage is gone
    ],
)
def test_a_movement_that_is_renamed_is_not_missing_as_lost_footage_is(
    counted_workspace, registry, tmp_path, recount, known
):
    counted = counted_workspace(tmp_path, registry)
    for camera, trucks in (("a", 40.0), ("b", 60.0)):
        counted.count(str(MONDAY), trucks, camera)
    counted.publish(str(_morning_after(MONDAY)))
    counted.count(str(MONDAY), camera="a", **recount)
    counted.publish(str(_morning_after(MONDAY + dt.timedelta(days=1))))
    rows = feature_rows(counted.ws, registry, movement="out")
    told = [(r["level"], r["cameras"], r["night_share"]) for r in rows]
    assert told == [(100.0, 2, pytest.approx(8 / 24)), pytest.approx(known)]


def test_a_site_that_its_camera_has_left_keeps_its_rows_and_gets_no_more(ws, camera_entry):
    moved = {**camera_entry("a"), "site": "dc-15", "valid_from": MONDAY + dt.timedelta(days=1)}
    registry = parse({"camera": [camera_entry("a"), moved]})
    _publish(ws, _morning_after(MONDAY), [_row(MONDAY, 40.0)])
    for i in range(1, 20):
        day = MONDAY + dt.timedelta(days=i)
        _publish(ws, _morning_after(day), [_row(day, 50.0, site="dc-15")])
    rows = [(r["site"], r["session"].day, r["level"]) for r in feature_rows(ws, registry)]
    assert [row for row in rows if row[0] == "dc-14"] == [("dc-14", 6, 40.0)]
    assert rows[-1][::2] == ("dc-15", 50.0)


def test_a_movement_that_nobody_counts_leaves_the_file_as_it_was(ws, registry, capsys):
    _series(ws, [10, 20])
    path, _ = write_features(ws, registry)
    before = path.read_bytes()
    with pytest.raises(NotFoundError, match=r"dc-14 \(Out\).*--movement"):
        write_features(ws, registry, movement="Out")
    assert path.read_bytes() == before
    assert "site dc-14 counts 'Out', which a, b has no zone for" in capsys.readouterr().err


def test_a_site_that_is_no_longer_registered_is_named_and_so_is_another_exchange(
    ws, camera_entry, capsys
):
    """A backtest on the sites that are left alone would look better than it was."""
    rows = [_row(MONDAY, 10.0), _row(MONDAY, 40.0, "b", site="dc-9")]
    _publish(ws, _morning_after(MONDAY), rows)
    cameras = [camera_entry("a"), camera_entry("c", exchange="XETR")]
    told = feature_rows(ws, parse({"camera": cameras}))
    assert [(row["site"], row["level"]) for row in told] == [("dc-14", 10.0)]
    said = capsys.readouterr().err
    assert "site dc-9 left out: it is published, but no entry of cameras.toml is at it" in said
    assert "site dc-14 has the sessions of XNYS; a camera has XETR" in said


def test_hours_published_later_move_what_a_row_knew(ws, registry):
    noon = _morning_after(MONDAY)
    _publish(ws, noon, [_row(MONDAY, 40.0)], night=10.0)
    at = noon + dt.timedelta(hours=1)
    hours = [{**row, "as_of": at} for row in _hours(_row(MONDAY, 40.0), 20.0)]
    series = vintages.HOURLY
    store.write_table(series.vintage(ws, at), store.table_of(hours, series.schema), series.schema)
    daily = vintages.DAILY
    store.write_table(daily.vintage(ws, at), daily.schema.empty_table(), daily.schema)
    (row,) = feature_rows(ws, registry)
    assert (row["night_share"], row["as_of"]) == (0.5, at)


def test_nights_are_counted_in_local_hours(ws, registry):
    _publish(ws, _morning_after(MONDAY), [_row(MONDAY, 40.0)], night=10.0)
    assert feature_rows(ws, registry)[0]["night_share"] == pytest.approx(0.25)


def test_each_camera_has_nights_by_its_own_clock(ws, camera_entry):
    """10 of 40 at 03:00 in Chicago, 6 of 60 at 02:00 in Berlin, which is 19:00 in Chicago."""
    at, one, two = _morning_after(MONDAY), _row(MONDAY, 40.0, "a"), _row(MONDAY, 60.0, "b")
    night = {"hour_start_at": dt.datetime(2026, 1, 5, 1, tzinfo=dt.UTC), "truck_count": 6.0}
    hours = [*_hours(one, 10.0), {**two, **night}, _hours(two, 6.0)[1]]
    for series, published in ((vintages.HOURLY, hours), (vintages.DAILY, [one, two])):
        table = store.table_of([{**r, "as_of": at} for r in published], series.schema)
        store.write_table(series.vintage(ws, at), table, series.schema)
    cameras = [camera_entry("a"), camera_entry("b", timezone="Europe/Berlin")]
    (row,) = feature_rows(ws, parse({"camera": cameras}))
    assert row["night_share"] == pytest.approx((10 + 6) / 100)


def _share_of_nights(ws: Workspace, registry, rows: list[dict], unfilmed: str) -> float | None:
    """Publish rows with 10 trucks at 03:00 each; ``unfilmed`` cameras' nights aren't scheduled."""
    at = _morning_after(MONDAY)
    hours = [hour for row in rows for hour in _hours(row, 10.0)]
    for hour in hours:
        if hour["camera_id"] in unfilmed and hour["hour_start_at"].hour == 9:
            hour |= {"truck_count": None, "coverage": None}
    for series, published in ((vintages.HOURLY, hours), (vintages.DAILY, rows)):
        table = store.table_of([{**r, "as_of": at} for r in published], series.schema)
        store.write_table(series.vintage(ws, at), table, series.schema)
    return feature_rows(ws, registry)[0]["night_share"]


@pytest.mark.parametrize(
    ("unfilmed", "share"),
    [
        ("", (10 + 10) / (40 + 60)),
        ("b", 10 / 40),  # b tells nothing of nights: the share is a's
        ("ab", None),
    ],
)
def test_a_night_that_nobody_films_is_no_night_without_trucks(ws, registry, unfilmed, share):
    rows = [_row(MONDAY, 40.0, "a"), _row(MONDAY, 60.0, "b")]
    assert _share_of_nights(ws, registry, rows, unfilmed) == share


def test_movements_are_not_added(ws, registry, camera_entry):
    rows = [_row(MONDAY, 40.0), _row(MONDAY, 30.0, movement="in")]
    _publish(ws, _morning_after(MONDAY), rows)
    assert feature_rows(ws, registry)[0]["level"] == 40.0
    assert feature_rows(ws, registry, movement="in")[0]["level"] == 30.0


def test_robust_z_by_hand():
    past = np.array([10.0] * 5 + [12.0] * 10 + [14.0] * 5)  # median 12, MAD 1 (half are 0, half 2)
    assert robust_z(past, 15.0) == pytest.approx(3 / 1.4826)
    assert np.isnan(robust_z(past[:19], 15.0))
    assert np.isnan(robust_z(np.full(30, 5.0), 6.0))


@pytest.mark.parametrize(("dark", "z"), [(40, 30 / 14.826), (41, None)])
def test_robust_z_takes_60_session_days_and_not_60_counts(dark, z):
    """90 and 110 in turn for 30 days, some dark ones, then 130; 20 counts of the 60 are enough."""
    last = 30 + dark
    site = KnownSite(["a"], MONDAY, MONDAY + dt.timedelta(days=last))
    for i in range(last + 1):
        trucks = 130.0 if i == last else 90.0 + i % 2 * 20 if i < 30 else None
        day = MONDAY + dt.timedelta(days=i)
        site.publish({**_row(day, trucks), "as_of": _morning_after(day)})
    row = features(site, np.ones(last + 1, dtype=bool))
    assert (row["level"], row["robust_z"]) == (130.0, pytest.approx(z))


def test_adjusted_level_takes_the_weekday_out():
    rng = np.random.default_rng(0)
    week = np.array([30.0, 10.0, 0.0, -10.0, -30.0, 5.0, -5.0])
    x = 200 + np.tile(week, 12) + rng.normal(0, 0.5, 84)
    usual = np.arange(84) % 7 < 5
    for last in (83, 82, 80, 77, 76):
        assert adjusted_level(x[: last + 1], usual[: last + 1]) == pytest.approx(200, abs=2)
    holiday = x.copy()
    holiday[70], closed = 20.0, usual.copy()
    closed[70] = False  # a Monday without a session
    assert adjusted_level(holiday, closed) == pytest.approx(adjusted_level(x, usual), abs=1)
    assert np.isnan(adjusted_level(x[:27], usual[:27]))


def test_a_weekday_on_which_nobody_films_does_not_hide_the_level():
    x = np.tile([10.0, 20, 30, 40, 50, 60, np.nan], 10)
    level = adjusted_level(x[:-2], np.tile([True] * 5 + [False] * 2, 10)[:-2])
    assert level == pytest.approx(35.0, abs=1.0)  # Friday's 50 less what Fridays are above the mean


def test_two_known_days_of_200_are_no_season():
    x = np.full(200, np.nan)
    x[[0, -1]] = 100.0
    assert np.isnan(adjusted_level(x, np.ones(200, dtype=bool)))


def test_a_missing_library_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.tsa.seasonal", None)
    with pytest.raises(ConfigError, match="pip install statsmodels"):
        adjusted_level(np.arange(40.0), np.ones(40, dtype=bool))


def test_a_prefix_without_counts_does_not_count():
    x = 100 + np.tile([3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0], 6)
    usual = np.ones(42, dtype=bool)
    longer = np.concatenate([np.full(9, np.nan), x])
    assert adjusted_level(longer, np.ones(51, dtype=bool)) == adjusted_level(x, usual)


def test_the_file_is_written_once_and_named_by_ticker(ws, registry, tmp_path):
    _series(ws, [10, 20])
    mapping = tmp_path / "tickers.csv"
    mapping.write_text("site,ticker\ndc-14,ABC\n")
    path, rows = write_features(ws, registry, tickers=mapping)
    assert rows == 2
    table = store.read_table(path, schemas.FEATURES)
    assert table["ticker"].to_pylist() == ["ABC", "ABC"]
    before = path.stat().st_mtime_ns
    write_features(ws, registry, tickers=mapping)
    assert path.stat().st_mtime_ns == before
    mapping.write_text("site,ticker\ndc-99,ABC\n")
    with pytest.raises(InputError, match=r"'dc-99'.*dc-14"):
        write_features(ws, registry, tickers=mapping)
    mapping.write_text("site,ticker\ndc-14,ABC\ndc-14,XYZ\n")
    with pytest.raises(InputError, match=r"'dc-14' has 'ABC' and 'XYZ'"):
        write_features(ws, registry, tickers=mapping)
    mapping.write_text("site,ticker\n dc-14 , DEF \n")
    path, _ = write_features(ws, registry, tickers=mapping)
    assert store.read_table(path, schemas.FEATURES)["ticker"].to_pylist() == ["DEF", "DEF"]
    mapping.write_text("site,ticker\ndc-14,\n")
    path, _ = write_features(ws, registry, tickers=mapping)
    assert store.read_table(path, schemas.FEATURES)["ticker"].to_pylist() == [None, None]
    mapping.write_bytes("site,ticker\ndc-14,Straße\n".encode("latin-1"))
    with pytest.raises(InputError, match="is no UTF-8 CSV"):
        write_features(ws, registry, tickers=mapping)
    mapping.write_text("place,ticker\n")
    with pytest.raises(InputError, match="site,ticker"):
        write_features(ws, registry, tickers=mapping)
    with pytest.raises(NotFoundError, match=r"none\.csv"):
        write_features(ws, registry, tickers=tmp_path / "none.csv")


def test_what_is_missing_is_said(ws, registry, camera_entry):
    with pytest.raises(NotFoundError, match="nothing is published"):
        feature_rows(ws, registry)
    _series(ws, [10])
    bare = camera_entry("a")
    del bare["exchange"]
    with pytest.raises(NotFoundError, match="exchange"):
        feature_rows(ws, parse({"camera": [bare]}))


# Appending later publications never changes an earlier row.

_CHANGES = st.lists(
    st.tuples(
        st.integers(0, 3),  # hours, or days, after the publication before
        st.lists(
            st.tuples(
                st.sampled_from("ab"),
                st.integers(0, 40),  # days before the publication: backfills reach far
                st.one_of(st.none(), st.integers(0, 500)),
            ),
            min_size=1,
            max_size=12,
        ),
    ),
    min_size=2,
    max_size=8,
)


def _check_appending(changes, folder, registry) -> None:
    ws = Workspace(folder)
    instant = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
    earlier: dict = {}
    for days, rows in changes:
        instant += dt.timedelta(days=days, hours=5)
        published = {
            (camera, back): _row(
                instant.date() - dt.timedelta(days=back + 1),
                None if trucks is None else float(trucks),
                camera,
            )
            for camera, back, trucks in rows
        }
        _publish(ws, instant, list(published.values()))
        now = {(r["site"], r["session"]): r for r in feature_rows(ws, registry)}
        for key, row in earlier.items():
            # A session that had not opened by the new publication is still open to it.
            if row["tradable_from"] <= instant:
                assert now[key] == row
        earlier = now


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=_CHANGES)
def test_later_publications_never_change_an_earlier_row(changes, tmp_path_factory, registry):
    _check_appending(changes, tmp_path_factory.mktemp("f"), registry)


@pytest.mark.slow
@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=_CHANGES)
def test_later_publications_never_change_an_earlier_row_500(changes, tmp_path_factory, registry):
    _check_appending(changes, tmp_path_factory.mktemp("f"), registry)


def test_later_publications_never_change_a_long_history(ws, registry):
    """Long enough for every column to hold a figure, with late revisions and a late backfill."""
    rng = random.Random(4)
    days = [MONDAY + dt.timedelta(days=i) for i in range(120)]
    cut, earlier = {}, {}
    for i, day in enumerate(days):
        rows = [_row(day, float(rng.randrange(80, 120)), c) for c in "ab"]
        if i % 10 == 9:
            rows.append(_row(days[i - 5], float(rng.randrange(80, 120)), "a", model_id="m2"))
        if i == 110:
            long_ago = [MONDAY - dt.timedelta(days=k) for k in range(1, 400)]
            rows += [_row(d, float(rng.randrange(80, 120)), c) for d in long_ago for c in "ab"]
        _publish(ws, _morning_after(day), rows, night=5.0)
        if i in (60, 100):
            cut[i] = feature_rows(ws, registry)
    final = {r["session"]: r for r in feature_rows(ws, registry)}
    for rows in cut.values():
        earlier.update({r["session"]: r for r in rows[:-1]})
    assert len(earlier) > 60
    assert all(final[session] == row for session, row in earlier.items())
    last = final[max(final)]
    assert [name for name, value in last.items() if value is None] == []
