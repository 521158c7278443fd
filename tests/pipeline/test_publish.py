"""Publication: what is new becomes a vintage, once, and stays for ever."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pyarrow.parquet as pq
import pytest

import pipeline
import pipeline.publish as publishing
from pipeline import schemas, store
from pipeline.accounts import aim_of
from pipeline.cameras import parse
from pipeline.digests import digest_of
from pipeline.errors import ConfigError, InputError, NotFoundError, StoreError
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


def test_a_count_of_less_footage_does_not_come_back_with_its_model(counted, capsys):
    """A clip came after m1 had counted; m2 counted with it, and m1 is used again."""
    day = dt.date.fromisoformat(DAY)

    def count(model_id, trucks, exposure_s):
        counted.model(model_id)
        counted.count(DAY, trucks, model_id=model_id, exposure_s=exposure_s)
        beside = counted.ws.counts("north-gate", day, model_id).with_suffix(".json")
        clips = digest_of(counted.ws.clips("north-gate", day))
        store.write_json(beside, {"arithmetic": {}, "clips": clips})

    clips = counted.ws.clips("north-gate", day)
    store.write_bytes(clips, b"half a day")
    count("m1", 20, 40000.0)
    assert counted.publish(T1).rows == 1
    store.write_bytes(clips, b"the whole day")
    count("m2", 40, 80000.0)
    assert counted.publish(T2).rows == 1
    counted.model("m1")
    assert counted.publish(T3).rows == 0
    said = f"north-gate {DAY} left out: what is published knows more of its footage; count it again"
    assert said in capsys.readouterr().err
    count("m1", 41, 80000.0)
    assert counted.publish().rows == 1
    assert read_daily_counts(counted.ws.root)["truck_count"].tolist() == [41.0]


@pytest.mark.parametrize("damaged", ["", "[]", '{"aim": {"zones": []}}', '{"aim": 3}'])
def test_a_damaged_note_beside_a_count_keeps_that_day_back_alone(counted, capsys, damaged):
    counted.count(DAY, 40)
    counted.count(NEXT, 44)
    beside = counted.ws.counts("north-gate", dt.date.fromisoformat(DAY), "m1").with_suffix(".json")
    beside.write_text(damaged)
    assert counted.publish(T1).rows == 1
    assert f"north-gate {DAY} left out: {beside}" in capsys.readouterr().err
    assert read_daily_counts(counted.ws.root)["truck_count"].tolist() == [44.0]


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
        ("XNYS", "2027-01-01T00:30:00+13:00", "2026-12-31T14:30:00Z"),  # a new year elsewhere
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
