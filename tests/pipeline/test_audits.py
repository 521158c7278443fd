"""Audit windows of a workspace: which are known by a day, and what the model counted in them."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline import audits, lineage, schemas, store
from pipeline.audits import Counted
from pipeline.cameras import parse
from pipeline.counting import DayCount, HourCount, MovementCount, Passage
from pipeline.vintages import revisions

DAY = dt.date(2026, 2, 3)
NOON = dt.datetime(2026, 2, 3, 18, tzinfo=dt.UTC)  # 12:00 in Chicago


def window(number: int, trucks: float, days: int = 0, **other) -> dict:
    start = NOON + dt.timedelta(days=days, minutes=5 * number)
    return {
        "window_id": f"{days}-{number}",
        "camera_id": "north-gate",
        "movement": "out",
        "started_at": start,
        "ended_at": start + dt.timedelta(minutes=5),
        "truck_count": trucks,
        "n_workers": 2,
        **other,
    }


def annotate(counted, rows: list[dict], campaign: str = "eyes") -> None:
    path = counted.ws.campaign_labels(campaign) / "audit.parquet"
    store.write_table(path, store.table_of(rows, schemas.AUDIT), schemas.AUDIT)


def result(trucks: float = 24.0, per_window: int = 2) -> DayCount:
    """The hour after noon, in twelve windows of five minutes, so many passages in each."""
    start = NOON.timestamp()
    middles = [start + 300 * k + 100 * (j + 0.5) for k in range(12) for j in range(per_window)]
    passages = tuple(Passage("exit", m - 2, m + 2, 0.99, 0.9) for m in middles)
    hour = HourCount(start, start + 3600.0, trucks, trucks - 3, trucks + 3, 3600.0, 3600.0)
    lines = (("passages found", trucks), ("truck_count", trucks))
    count = MovementCount(
        "out", trucks, trucks - 3, trucks + 3, "events", "ok", passages, 3600.0, 3600.0, 1.0,
        9, 0.1, (hour,), lines,
    )  # fmt: skip
    return DayCount((count,), ())


def debiased(counted, given: DayCount, day: dt.date = DAY) -> MovementCount:
    camera = counted.registry.camera("north-gate", day)
    return audits.debiased(counted.ws, camera, day, "m1", given).movement("out")


def test_the_model_in_a_window_by_hand() -> None:
    span = ((0.0, 3600.0), 30.0, 1800.0)  # 30 trucks seen in half an hour
    # 24 trucks in passages for 30 seen: each stands for 1.25.
    shown = Counted(((10.0, 20.0), (100.0, 3.0), (200.0, 1.0)), (span,))
    assert shown.within((100.0, 200.0)) == pytest.approx(3.75)
    assert Counted((), (span,)).within((3000.0, 4200.0)) == pytest.approx(10.0)  # 600 s · 30 / 1800


def test_without_windows_nothing_changes(counted) -> None:
    assert debiased(counted, result()) == result().movement("out")
    annotate(counted, [window(k, 9, camera_id="another") for k in range(12)])
    assert debiased(counted, result()) == result().movement("out")


def test_a_days_own_windows_correct_it(counted) -> None:
    annotate(counted, [window(k, 3) for k in range(12)])
    found = debiased(counted, result())
    assert found.truck_count == pytest.approx(36.0)  # 3 for 2, all twelve windows seen by people
    assert (found.lo, found.hi, found.method) == (36.0, 36.0, "events+audit")
    assert found.arithmetic[-2] == ("corrected by 12 audit windows", pytest.approx(12.0))


def test_a_window_of_two_campaigns_is_one_counted_by_the_people_of_both(counted) -> None:
    annotate(counted, [window(k, 3) for k in range(12)])
    annotate(counted, [window(k, 6, n_workers=1) for k in range(12)], "more")
    found = debiased(counted, result())
    # (2 x 3 + 1 x 6) / 3 = 4 trucks in each of twelve windows
    assert (found.truck_count, found.lo, found.hi) == (48.0, 48.0, 48.0)
    assert found.arithmetic[-2][0] == "corrected by 12 audit windows"


def test_windows_outside_the_schedule_correct_nothing(counted, camera_entry) -> None:
    """The count holds noon to one o'clock; people also counted in the hour before."""
    noon = {"schedule": [["12:00", "13:00"]]}
    counted.registry = parse({"camera": [camera_entry(**noon)]})
    annotate(counted, [window(k, 3) for k in range(-12, 12)])
    found = debiased(counted, result())
    assert found.truck_count == pytest.approx(36.0)
    assert found.arithmetic[-2][0] == "corrected by 12 audit windows"


def test_windows_of_later_days_and_of_another_aim_are_not_known(counted, camera_entry) -> None:
    annotate(counted, [window(k, 3, days=1) for k in range(12)])
    assert debiased(counted, result()).method == "events"
    annotate(counted, [window(k, 3) for k in range(12)])
    counted.registry = parse({"camera": [camera_entry(valid_from=DAY + dt.timedelta(days=1))]})
    camera = counted.registry.entries[0]
    aimed = audits.debiased(counted.ws, camera, DAY, "m1", result()).movement("out")
    assert aimed.method == "events"


def test_earlier_days_enter_as_they_were_before_their_own_audit(counted) -> None:
    """The day before: 48 a day evenly, of which 24 an audit added. Its windows: 1/12 truck each."""
    counted.count("2026-02-02", 48.0)
    folder = counted.ws.counts("north-gate", dt.date(2026, 2, 2), "m1")
    lines = [["passages found", 24.0], ["corrected by 30 audit windows", 24.0], ["truck_count", 48]]
    store.write_json(folder.with_suffix(".json"), {"arithmetic": {"out": lines}})
    annotate(counted, [window(k, 0.25, days=-1) for k in range(12)])
    annotate(counted, [window(k, 3) for k in range(12)], "more")
    found = debiased(counted, result())
    # people 12/4 + 36 = 39; the model 12/12 + 24 = 25
    assert found.truck_count == pytest.approx(24 * 39 / 25)


def test_earlier_days_count_though_their_nights_were_not_filmed(counted, camera_entry) -> None:
    """The day before: 48 from 06:00 to 22:00, so 3 an hour and a quarter in each window."""
    counted.registry = parse({"camera": [camera_entry(schedule=[["06:00", "22:00"]])]})
    counted.count("2026-02-02", 48.0)
    annotate(counted, [window(k, 0.5, days=-1) for k in range(12)])
    annotate(counted, [window(k, 3) for k in range(12)], "more")
    # people 12 · 0.5 + 36 = 42; the model 12 · 0.25 + 24 = 27 (an hour of exposure each)
    assert debiased(counted, result()).truck_count == pytest.approx(24 * 42 / 27)


def test_an_hour_of_clocks_that_move_by_half_an_hour_ends_where_the_next_begins(
    counted, camera_entry
) -> None:
    """On Lord Howe Island 02:00 is 02:30 that day; 23 hours and a half."""
    counted.registry = parse({"camera": [camera_entry(timezone="Australia/Lord_Howe")]})
    day, camera = dt.date(2026, 10, 4), counted.registry.entries[0]
    counted.count(str(day), 48.0)
    found = audits._of_files(counted.ws, camera, day, "m1", "out")
    assert found is not None
    spans = [span for span, _, _ in found.hours]
    assert [end - start for start, end in spans[:4]] == [3600.0, 3600.0, 1800.0, 3600.0]
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


def test_lineage_names_the_windows(counted) -> None:
    counted.count("2026-02-03", 24.0)
    path = counted.ws.counts("north-gate", DAY, "m1")
    rows = store.read_table(path, schemas.COUNTS).to_pylist()
    for row in rows:
        row["method"] = "events+audit"
    store.write_table(path, store.table_of(rows, schemas.COUNTS), schemas.COUNTS)
    annotate(counted, [window(k, 3) for k in range(12)])
    counted.publish("2026-02-05T00:00:00Z")
    told = lineage.lineage(counted.ws, "north-gate", DAY).as_text()
    assert "audit  labels/eyes/audit.parquet  12 rows" in told


def test_the_first_audit_is_a_reason(counted) -> None:
    counted.count("2026-02-03", 24.0)
    counted.publish("2026-02-05T00:00:00Z")
    counted.count("2026-02-03", 30.0)
    path = counted.ws.counts("north-gate", DAY, "m1")
    (row,) = store.read_table(path, schemas.COUNTS).to_pylist()
    row |= {"method": "events+audit", "truck_count_hi": 40.0}
    store.write_table(path, store.table_of([row], schemas.COUNTS), schemas.COUNTS)
    counted.publish("2026-02-06T00:00:00Z")
    history = revisions(counted.ws, "north-gate", DAY)
    assert [r["revision_reason"] for r in history] == ["first", "audit windows"]
