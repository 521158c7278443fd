"""Publication: what is new becomes a vintage, once, and stays for ever."""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline
import pipeline.publish as publishing
from pipeline import schemas, store, vintages
from pipeline.cameras import parse
from pipeline.errors import ConfigError, InputError, NotFoundError, StoreError
from pipeline.lineage import aim_of
from pipeline.publish import (
    publish,
    read_daily_counts,
    read_hourly_counts,
    revisions,
    tradable_from,
)
from pipeline.store import Workspace

T1, T2, T3 = "2026-03-10T12:00:00+00:00", "2026-03-11T12:00:00+00:00", "2026-03-12T12:00:00+00:00"
DAY, NEXT = "2026-03-08", "2026-03-09"  # the first has 23 hours in Chicago


def _utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text).tz_convert("UTC")


def _values(frame: pd.DataFrame) -> dict:
    return {
        (r.camera_id, r.movement, str(r.date.date())): r.truck_count
        for r in frame.itertuples(index=False)
    }


def test_first_publication_writes_one_vintage_and_the_latest_tables(counted):
    counted.count(DAY, 40)
    counted.count(NEXT, 44)
    done = counted.publish(T1)
    assert done.rows == 2
    assert done.path == counted.ws.vintages / "2026-03-10T120000.000000Z.parquet"
    assert done.path.is_file()
    frame = read_daily_counts(counted.ws.root)
    assert list(frame["truck_count"]) == [40.0, 44.0]
    assert list(frame["as_of"]) == [_utc(T1)] * 2
    assert list(frame["revision_reason"]) == ["first", "first"]
    hours = read_hourly_counts(str(counted.ws.root))
    assert hours.groupby("date")["truck_count"].agg(["size", "sum"]).values.tolist() == [
        [23.0, pytest.approx(40.0)],
        [24.0, pytest.approx(44.0)],
    ]


def test_plain_pandas_reads_the_same_frame(counted):
    counted.count(DAY, None)
    counted.count(NEXT, 44)
    counted.publish(T1)
    plain = pd.read_parquet(counted.ws.daily_counts)
    pd.testing.assert_frame_equal(plain, pipeline.read_daily_counts(counted.ws.root))
    assert list(plain.columns) == schemas.DAILY.names
    assert plain["truck_count"].isna().tolist() == [True, False]
    assert plain["date"].tolist() == [pd.Timestamp(DAY), pd.Timestamp(NEXT)]
    assert plain["date"].dt.tz is None
    assert str(plain["as_of"].dt.tz) == "UTC"
    assert not [c for c in plain if isinstance(plain[c].dtype, pd.CategoricalDtype)]
    pd.testing.assert_frame_equal(
        pd.read_parquet(counted.ws.hourly_counts), read_hourly_counts(counted.ws.root)
    )


def test_nothing_new_writes_nothing(counted):
    counted.count(DAY, 40)
    counted.count(NEXT, None)
    counted.publish(T1)
    before = _bytes(counted.ws)
    again = counted.publish(T2)
    assert (again.rows, again.path, again.as_of) == (0, None, _utc(T1))
    assert _bytes(counted.ws) == before


def test_a_model_that_comes_back_is_published_again(counted):
    for model_id, trucks in (("m1", 40), ("m2", 50), ("m1", 40), ("m1", 40)):
        counted.model(model_id)
        counted.count(DAY, trucks, model_id=model_id)
        counted.publish()
    history = revisions(counted.ws, "north-gate", dt.date.fromisoformat(DAY))
    assert [(r["model_id"], r["truck_count"]) for r in history] == [
        ("m1", 40.0),
        ("m2", 50.0),
        ("m1", 40.0),
    ]


def test_hours_that_alone_differ_are_published(counted):
    counted.count(DAY, 40)
    counted.publish(T1)
    path = counted.ws.counts_hourly("north-gate", dt.date.fromisoformat(DAY), "m1")
    rows = store.read_table(path, schemas.HOURLY).to_pylist()
    rows[0]["truck_count"] += 1
    rows[1]["truck_count"] -= 1
    store.write_table(path, store.table_of(rows, schemas.HOURLY), schemas.HOURLY)
    done = counted.publish(T2)
    assert (done.rows, done.path is not None) == (0, True)
    first = [
        read_hourly_counts(counted.ws.root, t)["truck_count"].iloc[:2].tolist() for t in (T1, T2)
    ]
    share = 40 / len(rows)
    assert first == [pytest.approx([share, share]), pytest.approx([share + 1, share - 1])]
    assert counted.publish(T3).path is None


def test_hours_of_one_counting_and_a_day_of_another_are_not_published(counted, capsys):
    """A counting was killed between its two files: what was published before stands."""
    counted.count(DAY, 40)
    counted.publish(T1)
    day = dt.date.fromisoformat(DAY)
    before = counted.ws.counts("north-gate", day, "m1").read_bytes()
    counted.count(DAY, 48)
    after = counted.ws.counts("north-gate", day, "m1").read_bytes()
    counted.ws.counts("north-gate", day, "m1").write_bytes(before)
    assert counted.publish(T2).path is None
    assert f"north-gate {DAY} left out" in capsys.readouterr().err
    counted.ws.counts("north-gate", day, "m1").write_bytes(after)
    assert counted.publish(T2).rows == 1
    assert read_daily_counts(counted.ws.root)["truck_count"].tolist() == [48.0]
    assert read_hourly_counts(counted.ws.root)["truck_count"].sum() == pytest.approx(48.0)


def test_hours_outside_the_schedule_are_no_part_of_the_sum(counted):
    counted.count(NEXT, 48)
    path = counted.ws.counts_hourly("north-gate", dt.date.fromisoformat(NEXT), "m1")
    rows = store.read_table(path, schemas.HOURLY).to_pylist()
    for k, row in enumerate(rows):  # 24 hours of 2 trucks become 12 of 4
        row |= {"truck_count": 4.0} if k >= 12 else {"truck_count": None, "coverage": None}
    store.write_table(path, store.table_of(rows, schemas.HOURLY), schemas.HOURLY)
    counted.publish(T1)
    hours = read_hourly_counts(counted.ws.root)["truck_count"]
    assert (hours.isna().sum(), hours.sum()) == (12, 48.0)


def test_only_what_differs_is_published_again_and_history_stays(counted):
    counted.count(DAY, 40)
    counted.count(NEXT, 44)
    counted.publish(T1)
    first = (counted.ws.vintages / "2026-03-10T120000.000000Z.parquet").read_bytes()
    counted.count(NEXT, 46, exposure_s=80000.0)
    assert counted.publish(T2).rows == 1
    root = counted.ws.root
    assert _values(read_daily_counts(root, as_of=T1)) == {
        ("north-gate", "out", DAY): 40.0,
        ("north-gate", "out", NEXT): 44.0,
    }
    assert _values(read_daily_counts(root)) == {
        ("north-gate", "out", DAY): 40.0,
        ("north-gate", "out", NEXT): 46.0,
    }
    just_before = dt.datetime.fromisoformat(T2) - dt.timedelta(microseconds=1)
    assert read_daily_counts(root, as_of=just_before)["truck_count"].tolist() == [40.0, 44.0]
    assert (counted.ws.vintages / "2026-03-10T120000.000000Z.parquet").read_bytes() == first
    assert read_daily_counts(root, as_of="2026-03-01T00:00:00Z").empty


def test_a_dark_day_is_null_and_filled_later(counted):
    counted.count(DAY, None, exposure_s=0.0)
    counted.publish(T1)
    counted.count(DAY, 12)
    counted.publish(T2)
    assert read_daily_counts(counted.ws.root, as_of=T1)["truck_count"].isna().all()
    assert read_daily_counts(counted.ws.root)["truck_count"].tolist() == [12.0]


def test_reasons(counted):
    counted.count(DAY, 40, exposure_s=50000.0)
    counted.publish(T1)
    counted.count(DAY, 41, exposure_s=60000.0)
    counted.publish(T2)
    counted.count(DAY, 42, exposure_s=60000.0)
    counted.publish(T3)
    counted.model("m2")
    counted.count(DAY, 43, exposure_s=60000.0, model_id="m2")
    counted.publish("2026-03-13T12:00:00Z")
    counted.model("m3")
    counted.count(DAY, 44, exposure_s=70000.0, model_id="m3", label_set_id="l2")
    counted.publish("2026-03-14T12:00:00Z", reason="night shift relabelled")
    history = revisions(counted.ws, "north-gate", dt.date.fromisoformat(DAY))
    assert [row["revision_reason"] for row in history] == [
        "first",
        "more footage",
        "recount",
        "new model",
        "new labels, more footage: night shift relabelled",
    ]
    assert [row["change"] for row in history] == [None, 1.0, 1.0, 1.0, 1.0]
    with pytest.raises(NotFoundError, match="north-gate on 2026-01-01"):
        revisions(counted.ws, "north-gate", dt.date(2026, 1, 1))


def test_labels_of_the_same_campaigns_are_corrected_ones(counted):
    for model_id, label_set_id, campaigns in (
        ("m1", "l1", {"first": "x"}),
        ("m2", "l2", {"first": "y"}),
        ("m3", "l3", {"first": "y", "second": "z"}),
    ):
        counted.model(model_id)
        card = {"model_id": model_id, "campaigns": campaigns}
        store.write_json(counted.ws.model(model_id) / "card.json", card)
        counted.count(DAY, 40, model_id=model_id, label_set_id=label_set_id)
        counted.publish()
    history = revisions(counted.ws, "north-gate", dt.date.fromisoformat(DAY))
    assert [r["revision_reason"] for r in history] == ["first", "corrected labels", "new labels"]


def test_a_movement_that_is_no_longer_counted_is_withdrawn_once(counted):
    counted.count(DAY, 40, movement=("out", "in"))
    counted.publish(T1)
    counted.count(DAY, 40, movement="leaving")
    assert counted.publish(T2).rows == 3
    latest = read_daily_counts(counted.ws.root).set_index("movement")
    assert latest["truck_count"].dropna().to_dict() == {"leaving": 40.0}
    assert latest.loc["in", "quality"] == "insufficient"
    assert latest.loc["in", "revision_reason"].startswith("withdrawn")
    assert read_hourly_counts(counted.ws.root)["truck_count"].sum() == pytest.approx(40.0)
    assert counted.publish(T3).rows == 0


def test_withdrawn_hours_outside_the_schedule_have_no_coverage(counted, camera_entry):
    counted.registry = parse({"camera": [camera_entry(schedule=[["06:00", "08:00"]])]})
    counted.count(DAY, 40)
    counted.publish(T1)
    counted.count(DAY, 40, movement="leaving")
    counted.publish(T2)
    hours = read_hourly_counts(counted.ws.root)
    gone = hours[hours["movement"] == "out"]
    assert gone["truck_count"].isna().all()
    assert gone["coverage"].dropna().tolist() == [0.0, 0.0]


def test_a_count_of_other_zones_does_not_come_back_with_its_model(counted, camera_entry, capsys):
    """The camera was moved after m1 had counted; m2 counted the new view, and m1 is used again."""

    def count(model_id, trucks, movement):
        counted.model(model_id)
        counted.count(DAY, trucks, model_id=model_id, movement=movement)
        camera = counted.registry.camera("north-gate", dt.date.fromisoformat(DAY))
        beside = counted.ws.counts("north-gate", dt.date.fromisoformat(DAY), model_id)
        store.write_json(beside.with_suffix(".json"), {"arithmetic": {}, "aim": aim_of(camera)})

    count("m1", 40, "out")
    assert counted.publish(T1).rows == 1
    corner = {"name": "exit", "movement": "leaving", "polygon": [[0, 0], [0.5, 0], [0.5, 0.5]]}
    counted.registry = parse({"camera": [camera_entry(zones=[corner])]})
    count("m2", 25, "leaving")
    assert counted.publish(T2).rows == 2
    counted.model("m1")
    assert counted.publish(T3).rows == 0
    assert f"north-gate {DAY} left out: it was counted in other zones" in capsys.readouterr().err
    latest = read_daily_counts(counted.ws.root).set_index("movement")
    assert latest["truck_count"].dropna().to_dict() == {"leaving": 25.0}


def test_a_day_whose_footage_is_gone_is_no_movement_withdrawn(counted):
    counted.count(DAY, 40)
    counted.publish(T1)
    counted.count(DAY, None, exposure_s=0.0)
    counted.publish(T2)
    history = revisions(counted.ws, "north-gate", dt.date.fromisoformat(DAY))
    assert [r["revision_reason"] for r in history] == ["first", "less footage"]


def test_days_that_are_not_over_are_left_out(counted, capsys):
    counted.count("2026-03-10", 10)
    counted.count("2026-03-11", 11)
    # Midnight after the 10th in Chicago (summer time) is 05:00 UTC on the 11th.
    with pytest.raises(NotFoundError):
        read_daily_counts(counted.ws.root)
    assert counted.publish("2026-03-11T04:59:59Z").rows == 0
    assert "2 camera-day(s) left out" in capsys.readouterr().err
    assert counted.publish("2026-03-11T05:00:00Z").rows == 1
    assert counted.publish("2026-03-12T05:00:00Z").rows == 1


def test_instants_must_move_forward_and_not_lie_ahead(counted):
    counted.count(DAY, 40)
    counted.publish(T2)
    counted.count(DAY, 41)
    with pytest.raises(InputError, match=r"2026-03-10T12:00:00\+00:00 is not after"):
        counted.publish(T1)
    with pytest.raises(InputError, match="is not after"):
        counted.publish(T2)
    ahead = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    with pytest.raises(InputError, match="in the future"):
        counted.publish(ahead)
    with pytest.raises(InputError, match="offset"):
        publish(counted.ws, counted.registry, as_of=dt.datetime(2026, 3, 12, 12))  # noqa: DTZ001
    assert read_daily_counts(counted.ws.root)["truck_count"].tolist() == [40.0]


def test_what_is_not_there_is_said(counted, tmp_path):
    with pytest.raises(NotFoundError, match="has counted nothing"):
        counted.publish(T1)
    with pytest.raises(InputError, match="in the future"):
        counted.publish("2100-01-01T00:00:00Z")
    assert not (counted.ws.root / "features").exists()
    with pytest.raises(NotFoundError, match="nothing is published"):
        read_daily_counts(tmp_path / "nowhere")
    counted.count(DAY, 40)
    counted.publish(T1)
    with pytest.raises(NotFoundError, match=r"'south'.*north-gate"):
        read_daily_counts(counted.ws.root, camera="south")
    with pytest.raises(InputError, match="offset"):
        read_daily_counts(counted.ws.root, as_of="2026-03-10")
    (counted.ws.vintages / "copy of a vintage.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match="copy of a vintage"):
        read_daily_counts(counted.ws.root)


def test_cameras_can_be_chosen(tmp_path, counted_workspace, camera_entry):
    registry = parse({"camera": [camera_entry("a"), camera_entry("b", exchange="XTKS")]})
    counted = counted_workspace(tmp_path, registry)
    counted.count(DAY, 1, camera="a")
    counted.count(DAY, 2, camera="b")
    counted.publish(T1)
    root = tmp_path
    assert read_daily_counts(root, camera="b")["truck_count"].tolist() == [2.0]
    assert len(read_daily_counts(root, camera=["a", "b"], as_of=T1)) == 2
    # Tuesday noon UTC: New York opens at 13:30 that day, Tokyo at 00:00 the next.
    opens = read_daily_counts(root).set_index("camera_id")["tradable_from"]
    assert opens["a"] == pd.Timestamp("2026-03-10T13:30Z")
    assert opens["b"] == pd.Timestamp("2026-03-11T00:00Z")


def test_a_nan_count_is_null_and_published_once(counted):
    counted.count(DAY, float("nan"))
    assert counted.publish(T1).rows == 1
    assert counted.publish(T2).rows == 0
    assert pq.read_table(counted.ws.daily_counts)["truck_count"].null_count == 1


@pytest.mark.parametrize(
    ("exchange", "instant", "expected"),
    [
        ("XNYS", "2026-03-06T14:30:00Z", "2026-03-09T13:30:00Z"),  # at the open, then a weekend
        ("XNYS", "2026-03-06T14:29:59.999999Z", "2026-03-06T14:30:00Z"),
        ("XNYS", "2026-07-02T20:00:00Z", "2026-07-06T13:30:00Z"),  # Independence Day observed
        ("XETR", "2026-04-02T16:00:00Z", "2026-04-07T07:00:00Z"),  # Good Friday, Easter Monday
        ("XNYS", "2026-12-31T20:00:00Z", "2027-01-04T14:30:00Z"),  # over the turn of the year
        ("XSHG", "2026-02-13T08:00:00Z", "2026-02-24T01:30:00Z"),  # Spring Festival
    ],
)
def test_tradable_from_is_the_first_open_strictly_after(exchange, instant, expected):
    found = tradable_from(exchange, dt.datetime.fromisoformat(instant))
    assert found == dt.datetime.fromisoformat(expected)
    assert tradable_from(None, dt.datetime.fromisoformat(instant)) is None


def test_a_kill_between_vintage_and_latest_is_repaired(counted):
    counted.count(DAY, 40)
    counted.publish(T1)
    stale = counted.ws.daily_counts.read_bytes(), counted.ws.hourly_counts.read_bytes()
    counted.count(DAY, 41)
    counted.publish(T2)
    expected = read_daily_counts(counted.ws.root)
    counted.ws.daily_counts.write_bytes(stale[0])
    counted.ws.hourly_counts.unlink()
    pd.testing.assert_frame_equal(read_daily_counts(counted.ws.root), expected)
    assert read_hourly_counts(counted.ws.root)["truck_count"].sum() == pytest.approx(41.0)
    assert counted.publish(T3).rows == 0
    pd.testing.assert_frame_equal(pd.read_parquet(counted.ws.daily_counts), expected)
    assert pd.read_parquet(counted.ws.hourly_counts)["truck_count"].sum() == pytest.approx(41.0)


def test_hours_without_their_days_do_not_exist(counted):
    counted.count(DAY, 40)
    counted.publish(T1)
    counted.count(DAY, 41)
    counted.publish(T2)
    (counted.ws.vintages / "2026-03-11T120000.000000Z.parquet").unlink()  # killed in between
    left = counted.ws.vintages / ".x.parquet.abc.part"
    left.write_bytes(b"half")
    assert read_hourly_counts(counted.ws.root)["truck_count"].sum() == pytest.approx(40.0)
    assert counted.publish(T3).rows == 1
    assert read_hourly_counts(counted.ws.root)["truck_count"].sum() == pytest.approx(41.0)
    assert not left.exists()
    orphan = counted.ws.root / "features" / "vintages_hourly" / "2026-03-11T120000.000000Z.parquet"
    assert not orphan.exists()


def test_reading_leaves_the_workspace_as_it_was(counted):
    counted.count(DAY, 40)
    counted.publish(T1)
    before = _bytes(counted.ws)
    read_daily_counts(counted.ws.root)
    read_daily_counts(counted.ws.root, as_of=T1)
    read_daily_counts(counted.ws.root, as_of="2100-01-01T00:00:00Z")
    assert _bytes(counted.ws) == before


def _bytes(ws: Workspace) -> dict[str, bytes]:
    files = sorted(p for p in (ws.root / "features").rglob("*") if p.is_file())
    return {str(p): p.read_bytes() for p in files}


# What was known at T never changes, whatever is published later.

_CAMERAS = ("a", "b")
_DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
_CHANGE = st.tuples(
    st.sampled_from(_CAMERAS),
    st.sampled_from(_DAYS),
    st.one_of(st.none(), st.integers(0, 3)),
    st.sampled_from(("m1", "m2")),
)
_HISTORY = st.lists(st.lists(_CHANGE, min_size=0, max_size=4), min_size=1, max_size=5)


@pytest.fixture
def unflushed(monkeypatch):
    """Thousands of small files: what is written need not outlive a power cut."""
    monkeypatch.setattr(store, "_flush", lambda path: None)


def _replay(history, folder, counted_workspace, registry) -> None:
    """Publish a random history, checking after each step all that was known at every step so far.

    The expectation is a plain dictionary, kept beside the workspace.
    """
    counted = counted_workspace(folder, registry)
    counts: dict[tuple, float | None] = {}
    published: dict[tuple, float | None] = {}
    known: list[tuple[dt.datetime, dict]] = []
    start = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
    for step, changes in enumerate(history):
        for camera, day, trucks, model_id in changes:
            counted.model(model_id)
            counted.count(day, trucks, camera=camera, model_id=model_id)
            counts[model_id, camera, day] = trucks
        if not counts:
            continue
        in_use = counted.ws.current_model.read_text()
        own = {(c, "out", d): v for (m, c, d), v in counts.items() if m == in_use}
        published = {**published, **own}
        instant = start + dt.timedelta(hours=step)
        publish(counted.ws, registry, as_of=instant)
        known.append((instant, published))
        for then, expected in known:
            got = _values(read_daily_counts(folder, as_of=then))
            assert {k: None if pd.isna(v) else v for k, v in got.items()} == expected
    if known:
        then = _values(read_daily_counts(folder, as_of=known[-1][0]))
        assert repr(then) == repr(_values(read_daily_counts(folder)))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=_HISTORY)
def test_what_was_known_at_an_instant_never_changes(
    history, tmp_path_factory, counted_workspace, camera_entry, unflushed
):
    registry = parse({"camera": [camera_entry(c) for c in _CAMERAS]})
    _replay(history, tmp_path_factory.mktemp("h"), counted_workspace, registry)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=_HISTORY)
def test_what_was_known_at_an_instant_never_changes_1000(
    history, tmp_path_factory, counted_workspace, camera_entry, unflushed
):
    registry = parse({"camera": [camera_entry(c) for c in _CAMERAS]})
    _replay(history, tmp_path_factory.mktemp("h"), counted_workspace, registry)


def test_a_workspace_cut_off_at_an_instant_answers_as_it_did_then(counted, tmp_path):
    """The look-ahead gate: vintages up to T alone give as_of(T) exactly."""
    rng = random.Random(6)
    instants = []
    for step in range(12):
        for day in rng.sample([f"2026-02-{d:02d}" for d in range(1, 20)], 4):
            counted.count(day, rng.randrange(100))
        instant = dt.datetime(2026, 3, 1 + step, 7, tzinfo=dt.UTC)
        counted.publish(instant.isoformat())
        instants.append(instant)
    cut = Workspace(tmp_path / "cut")
    for instant in instants:
        for series in (vintages.DAILY, vintages.HOURLY):
            path = series.vintage(cut, instant)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(series.vintage(counted.ws, instant).read_bytes())
        for read in (read_daily_counts, read_hourly_counts):
            pd.testing.assert_frame_equal(
                read(cut.root), read(counted.ws.root, as_of=instant), check_exact=True
            )


# Processes that publish at once, die at once, and run out of disk.

_PUBLISHER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from pipeline import cameras, store
    from pipeline.publish import publish
    ws = store.Workspace(Path(sys.argv[1]))
    registry = cameras.load(ws.cameras_toml)
    own = cameras.Registry(tuple(c for c in registry.entries if c.id == sys.argv[2]))
    """
)
_COUNTING = textwrap.dedent(
    """
    import datetime as dt
    from pipeline import schemas
    camera, times = sys.argv[2], int(sys.argv[3])
    day = dt.date(2026, 3, 1)
    daily = store.read_table(ws.counts(camera, day, "m1"), schemas.COUNTS).to_pylist()
    hourly = store.read_table(ws.counts_hourly(camera, day, "m1"), schemas.HOURLY).to_pylist()
    for n in range(1, times + 1):
        for rows, path, schema in (
            (hourly, ws.counts_hourly(camera, day, "m1"), schemas.HOURLY),
            (daily, ws.counts(camera, day, "m1"), schemas.COUNTS),
        ):
            rows = [{**row, "truck_count": n / len(rows)} for row in rows]
            store.write_table(path, store.table_of(rows, schema), schema)
        done = publish(ws, own)
        assert done.rows == 1, done
        print(n, flush=True)
    """
)


def _write_registry(root: Path, entries) -> None:
    lines = []
    for e in entries:
        polygon = "[[0.1, 0.4], [0.9, 0.4], [0.9, 0.8], [0.1, 0.8]]"
        lines.append(
            f'[[camera]]\nid = "{e["id"]}"\nsite = "{e["site"]}"\ntimezone = "{e["timezone"]}"\n'
            f'source = "footage/*.mp4"\nexchange = "XNYS"\n'
            f'zones = [{{ name = "exit", movement = "out", polygon = {polygon} }}]\n'
        )
    (root / "cameras.toml").write_text("\n".join(lines))


def _start(script: str, *arguments: str, **keys) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keys,
    )


def _publish_at_once(folder, counted_workspace, camera_entry, processes: int, times: int) -> None:
    entries = [camera_entry(f"c{i}") for i in range(processes)]
    counted = counted_workspace(folder, parse({"camera": entries}))
    _write_registry(folder, entries)
    for e in entries:
        counted.count("2026-03-01", 0, camera=e["id"])
    counted.publish("2026-03-10T00:00:00Z")
    running = [_start(_PUBLISHER + _COUNTING, str(folder), e["id"], str(times)) for e in entries]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    known = vintages.instants(counted.ws)
    assert len(known) == 1 + processes * times
    seen = Counter()
    for instant in known[1:]:
        table = pq.ParquetFile(vintages.DAILY.vintage(counted.ws, instant)).read().to_pylist()
        hours = pq.ParquetFile(vintages.HOURLY.vintage(counted.ws, instant)).read().to_pylist()
        assert len(table) == 1
        assert table[0]["as_of"] == instant
        # Not mixed: the hours are of the same camera and count as the day.
        assert {(h["camera_id"], round(24 * h["truck_count"], 9)) for h in hours} == {
            (table[0]["camera_id"], table[0]["truck_count"])
        }
        seen[table[0]["camera_id"], table[0]["truck_count"]] += 1
    assert seen == Counter({(e["id"], float(n)): 1 for e in entries for n in range(1, times + 1)})
    assert set(read_daily_counts(folder)["truck_count"]) == {float(times)}
    pd.testing.assert_frame_equal(
        pd.read_parquet(counted.ws.daily_counts), read_daily_counts(folder, as_of=known[-1])
    )


def test_processes_that_publish_at_once_lose_nothing(tmp_path, counted_workspace, camera_entry):
    _publish_at_once(tmp_path, counted_workspace, camera_entry, processes=4, times=5)


@pytest.mark.slow
def test_8_processes_200_publications(tmp_path, counted_workspace, camera_entry):
    _publish_at_once(tmp_path, counted_workspace, camera_entry, processes=8, times=25)


def _kill_while_publishing(folder, counted_workspace, camera_entry, times: int) -> None:
    """Kill a busy publisher at random instants; after each kill, everything must be whole."""
    entries = [camera_entry("c0")]
    counted = counted_workspace(folder, parse({"camera": entries}))
    _write_registry(folder, entries)
    counted.count("2026-03-01", 0, camera="c0")
    counted.publish("2026-03-10T00:00:00Z")
    rng = random.Random(9)
    endless = _COUNTING.replace("range(1, times + 1)", "__import__('itertools').count(times)")
    history: dict[dt.datetime, float] = {}
    for round_ in range(1, times + 1):
        process = _start(_PUBLISHER + endless, str(folder), "c0", str(10_000 * round_))
        process.stdout.readline()  # it has published once
        time.sleep(rng.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        known = vintages.instants(counted.ws)
        for instant in known:
            days = pq.ParquetFile(vintages.DAILY.vintage(counted.ws, instant)).read()
            assert days["truck_count"].to_pylist() == [
                history.setdefault(instant, days["truck_count"][0].as_py())
            ]
        frame = read_daily_counts(folder)
        assert frame["truck_count"].tolist() == [history[known[-1]]]
        assert frame["as_of"].tolist() == [pd.Timestamp(known[-1])]
        hours = read_hourly_counts(folder)
        assert set((24 * hours["truck_count"]).round(9)) == {history[known[-1]]}
        assert set(hours["as_of"]) == {pd.Timestamp(known[-1])}
        for path in (counted.ws.daily_counts, counted.ws.hourly_counts):
            assert len(pd.read_parquet(path)) in (1, 24)
    assert len(history) > times


def test_a_kill_leaves_everything_whole(tmp_path, counted_workspace, camera_entry):
    _kill_while_publishing(tmp_path, counted_workspace, camera_entry, times=5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_50_kills_leave_everything_whole(tmp_path, counted_workspace, camera_entry):
    _kill_while_publishing(tmp_path, counted_workspace, camera_entry, times=50)


_LIMITED = textwrap.dedent(
    """
    import json, resource, signal
    import pandas as pd
    from pipeline import read_daily_counts
    from pipeline.errors import StoreError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)   # an error, as a full disk gives, not a signal
    longest = int(sys.argv[3])
    for i in range(20):
        said = None
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest * i // 20, resource.RLIM_INFINITY))
        try:
            publish(ws, own)
        except StoreError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(json.dumps({
            "said": said,
            "days": pd.read_parquet(ws.daily_counts)["truck_count"].tolist(),
            "hours": len(pd.read_parquet(ws.hourly_counts)),
            "known": read_daily_counts(ws.root)["truck_count"].tolist(),
            "left": [str(p) for p in (ws.root / "features").rglob("*.part")],
        }), flush=True)
    """
)


def test_a_full_disk_leaves_the_old_table_and_one_line(tmp_path, counted_workspace, camera_entry):
    """Writing fails after so many bytes of a file, at 20 offsets over the longest file."""
    entries = [camera_entry("c0")]
    counted = counted_workspace(tmp_path, parse({"camera": entries}))
    _write_registry(tmp_path, entries)
    for day in range(1, 20):
        counted.count(f"2026-02-{day:02d}", day, camera="c0")
    counted.publish("2026-03-10T00:00:00Z")
    for day in range(1, 20):
        counted.count(f"2026-02-{day:02d}", day + 100, camera="c0")
    old, new = [float(d) for d in range(1, 20)], [float(d + 100) for d in range(1, 20)]
    longest = max(p.stat().st_size for p in (tmp_path / "features").rglob("*.parquet"))
    process = _start(_PUBLISHER + _LIMITED, str(tmp_path), "c0", str(longest))
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    tried = [json.loads(line) for line in out.splitlines()]
    assert len(tried) == 20
    for outcome in tried:
        assert outcome["days"] in (old, new)
        assert outcome["known"] in (old, new)
        assert outcome["hours"] == 19 * 24
        assert outcome["left"] == []
        if outcome["said"] is not None:
            assert "File too large" in outcome["said"]
            assert "Free space" in outcome["said"]
            assert "\n" not in outcome["said"]
    assert sum(outcome["said"] is not None for outcome in tried) >= 15
    counted.publish()
    assert pd.read_parquet(counted.ws.daily_counts)["truck_count"].tolist() == new


def test_a_reader_of_now_waits_for_the_publisher(counted):
    """Else the same question would get less now than a moment later."""
    counted.count(DAY, 40)
    counted.publish(T1)
    read = "import sys; from pipeline import read_daily_counts as r; print(len(r(*sys.argv[1:])))"
    with vintages.publishing(counted.ws):
        later = _start(read, str(counted.ws.root), T2)
        assert _start(read, str(counted.ws.root), T1).communicate(timeout=300)[0] == "1\n"
        assert later.poll() is None
    assert later.communicate(timeout=300)[0] == "1\n"


@pytest.mark.slow
def test_a_year_of_200_cameras_loads_within_a_second(tmp_path, counted_workspace):
    """200 cameras × 365 days, published daily; loaded in a process of its own.

    CPU seconds, of all threads: on an idle machine loading takes no longer than that.
    """
    import pyarrow as pa

    counted = counted_workspace(tmp_path)
    counted.count(DAY, 40)
    counted.publish(T1)
    row = pq.ParquetFile(counted.ws.daily_counts).read().to_pylist()[0]
    vintages.DAILY.vintage(counted.ws, dt.datetime.fromisoformat(T1)).unlink()
    for i in range(365):
        day = dt.datetime(2025, 1, 1) + dt.timedelta(days=i)  # noqa: DTZ001
        as_of = (day + dt.timedelta(hours=30)).replace(tzinfo=dt.UTC)
        rows = [
            {**row, "camera_id": f"c{c:03d}", "date": day, "as_of": as_of, "truck_count": 1.0 * c}
            for c in range(200)
        ]
        path = vintages.DAILY.vintage(counted.ws, as_of)
        pq.write_table(pa.Table.from_pylist(rows, schema=schemas.DAILY), path)
    known = vintages.instants(counted.ws)
    table = vintages.folded(counted.ws, vintages.DAILY, known)
    vintages.write_latest(counted.ws, vintages.DAILY, table, known[-1])
    timed = textwrap.dedent(
        """
        import sys, time
        import pandas as pd
        from pipeline import read_daily_counts
        def best(load, *given, **known):
            spent = []
            for _ in range(3):
                started = time.process_time()
                rows = len(load(*given, **known))
                spent.append(time.process_time() - started)
            print(rows, min(spent))
        best(read_daily_counts, sys.argv[1])
        best(read_daily_counts, sys.argv[1], as_of="2030-01-01T00:00:00Z")
        best(pd.read_parquet, sys.argv[2])
        """
    )
    out, errors = _start(timed, str(tmp_path), str(counted.ws.daily_counts)).communicate()
    print(out, errors)
    for line in out.splitlines():
        rows, seconds = line.split()
        assert int(rows) == 200 * 365
        assert float(seconds) < 1.0
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize("error", [NotImplementedError("implemented by subclasses"), ValueError()])
def test_an_exchange_whose_calendar_cannot_be_computed_is_one_line(monkeypatch, error):
    import exchange_calendars

    from pipeline import exchanges

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(exchange_calendars, "get_calendar", fails)
    with pytest.raises(ConfigError, match=r"exchange 'XTAE' has no calendar here from 2026-01-01"):
        exchanges.sessions("XTAE", dt.date(2026, 1, 1), dt.date(2026, 12, 31))


def test_a_calendar_that_cannot_be_computed_keeps_nothing_back(
    tmp_path, counted_workspace, camera_entry, monkeypatch, capsys
):
    known = publishing.tradable_from

    def fails(exchange, instant):
        if exchange == "XTKS":
            raise ConfigError("exchange 'XTKS' has no calendar here", "Give another.")
        return known(exchange, instant)

    monkeypatch.setattr(publishing, "tradable_from", fails)
    publishing._first_open.cache_clear()
    registry = parse({"camera": [camera_entry("a"), camera_entry("b", exchange="XTKS")]})
    counted = counted_workspace(tmp_path, registry)
    for camera in "ab":
        counted.count(DAY, 1, camera=camera)
        counted.count(NEXT, 1, camera=camera)
    counted.publish(T1)
    publishing._first_open.cache_clear()
    opens = read_daily_counts(tmp_path).groupby("camera_id")["tradable_from"]
    assert opens.count().to_dict() == {"a": 2, "b": 0}
    assert capsys.readouterr().err.count("no tradable_from: exchange 'XTKS'") == 1


def test_a_publication_is_dated_when_it_can_be_read_not_when_it_was_begun(counted, monkeypatch):
    counted.count(DAY, 1)
    read: list[dt.datetime] = []
    collect = publishing._collect

    def slowly(*arguments):
        found = collect(*arguments)
        read.append(dt.datetime.now(dt.UTC))
        return found

    monkeypatch.setattr(publishing, "_collect", slowly)
    done = publishing.publish(counted.ws, counted.registry)
    assert done.as_of is not None
    assert done.as_of >= read[0]
    assert done.path == counted.ws.vintages / f"{done.as_of:%Y-%m-%dT%H%M%S.%fZ}.parquet"


def test_a_clock_set_back_is_told_to_be_the_trouble(counted, monkeypatch):
    counted.count(DAY, 40)
    publish(counted.ws, counted.registry)
    now = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)

    class Earlier(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return now.astimezone(tz)

    monkeypatch.setattr("pipeline.publish.dt.datetime", Earlier)
    counted.count(DAY, 41)
    with pytest.raises(InputError, match=r"lies in the future of this machine\. Put its clock"):
        publish(counted.ws, counted.registry)
