"""What a workspace makes in an object store: on a server that speaks S3, and as ``file://``."""

from __future__ import annotations

import datetime as dt
import os
import time

import pandas as pd
import pytest

from pipeline import mirror, objects, store
from pipeline.errors import InputError, NotFoundError, StoreAwayError, StoreError
from pipeline.publish import read_daily_counts, read_hourly_counts
from pipeline.store import Workspace


@pytest.fixture(params=["s3", "file"])
def url(request, tmp_path) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3")("ws")
    return (tmp_path / "bucket" / "ws").as_uri()


def test_what_is_pushed_reads_the_same(counted, url):
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    assert mirror.push(counted.ws, url) == 1
    counted.count("2026-03-01", 11)
    counted.publish("2026-03-11T00:00:00Z")
    counted.count("2026-03-02", 12)
    counted.publish("2026-03-12T00:00:00Z")
    assert mirror.push(counted.ws, url) == 2
    assert mirror.push(counted.ws, url) == 0
    for as_of in (None, "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"):
        for read in (read_daily_counts, read_hourly_counts):
            pd.testing.assert_frame_equal(read(url, as_of), read(counted.ws.root, as_of))


def test_a_mistyped_root_is_said_and_left_as_it_is(tmp_path, url):
    with pytest.raises(NotFoundError, match=r"nothing is published in .*nowhere"):
        mirror.push(Workspace(tmp_path / "nowhere"), url)
    assert list(tmp_path.iterdir()) == []


def test_two_histories_are_not_mixed(counted, url, tmp_path, counted_workspace):
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    mirror.push(counted.ws, url)
    other = counted_workspace(tmp_path / "other")
    other.count("2026-03-01", 99)
    other.publish("2026-03-11T00:00:00Z")
    with pytest.raises(StoreError, match=r"2026-03-10T000000\.000000Z"):
        mirror.push(other.ws, url)
    assert read_daily_counts(url)["truck_count"].tolist() == [10.0]


def test_an_empty_or_unknown_store_is_said(counted, url):
    with pytest.raises(NotFoundError, match="nothing is published"):
        read_daily_counts(url)
    with pytest.raises(InputError, match="gopher"):
        read_daily_counts("gopher://there")
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    with pytest.raises(InputError, match="gopher"):
        mirror.push(counted.ws, "gopher://there")


def test_a_store_that_cannot_be_written_is_said(counted, s3, tmp_path):
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    (tmp_path / "bucket").write_bytes(b"a file where a folder should be")
    for url in ((tmp_path / "bucket" / "ws").as_uri(), s3("ws").replace("s3://", "s3://not-")):
        with pytest.raises(StoreAwayError, match="cannot be used"):
            mirror.push(counted.ws, url)


def test_a_publication_is_there_once_its_daily_vintage_is(counted, url, monkeypatch):
    """Whoever reads in between sees hours and factors early, never a count without them."""
    for day, at in (("2026-03-01", "2026-03-10"), ("2026-03-02", "2026-03-11")):
        counted.count(day, 10)
        counted.publish(f"{at}T00:00:00Z")
    put, order = objects.put, []

    def noted(remote, path, target):
        order.append(path.relative_to(counted.ws.root / "features").as_posix())
        put(remote, path, target)

    monkeypatch.setattr(objects, "put", noted)
    mirror.push(counted.ws, url)
    names = [f"2026-03-{day}T000000.000000Z.parquet" for day in (10, 11)]
    folders = ("vintages_hourly", "vintages_models", "vintages")
    vintages = [f"{folder}/{name}" for name in names for folder in folders]
    latest = [f"{name}.parquet" for name in ("hourly_truck_counts", "model_changes")]
    expected = [*vintages, *latest, "daily_truck_counts.parquet"]
    there = [name for name in expected if (counted.ws.root / "features" / name).is_file()]
    assert order == there
    assert {*names} == {name.rpartition("/")[2] for name in order if name.startswith("vintages/")}


def test_what_is_no_vintage_does_not_stand_in_the_way(counted, tmp_path):
    """Such as what a push that was killed left on a disk."""
    url = (tmp_path / "bucket").as_uri()
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    store.write_bytes(tmp_path / "bucket/features/vintages/.2026-03-09.parquet.part", b"half")
    assert mirror.push(counted.ws, url) == 1


def test_features_go_along(counted, url):
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    counted.ws.features.write_bytes(b"features")
    mirror.push(counted.ws, url)
    with objects.reached(url) as (remote, base):
        assert remote.open_input_stream(f"{base}/features/features.parquet").read() == b"features"


def model(ws: Workspace, model_id: str, **files: bytes) -> None:
    for name, content in {"model.onnx": b"graph", "card.json": b"{}", **files}.items():
        store.write_bytes(ws.model(model_id) / name, content)


def test_a_model_goes_from_one_workspace_to_another(url, tmp_path):
    one, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "other")
    with pytest.raises(NotFoundError, match="no model at"):
        mirror.pull_models(other, url)
    model(one, "residual-1")
    model(one, "residual-2")
    (one.model("half") / "model.onnx").parent.mkdir()
    (one.model("half") / "model.onnx").write_bytes(b"training has not ended")
    store.write_bytes(one.model("residual-1") / ".hidden", b"ours alone")
    assert mirror.push_models(one, url) == ["residual-1", "residual-2"]
    model(other, "residual-2", **{"card.json": b'{"engine": "its own"}'})
    assert mirror.pull_models(other, url) == ["residual-1"]
    assert other.trained() == ["residual-1", "residual-2"]
    assert sorted(p.name for p in other.model("residual-1").iterdir()) == [
        "card.json",
        "model.onnx",
    ]
    assert (other.model("residual-1") / "model.onnx").read_bytes() == b"graph"
    assert (other.model("residual-2") / "card.json").read_bytes() == b'{"engine": "its own"}'
    assert not other.current_model.exists()
    assert (mirror.push_models(one, url), mirror.pull_models(other, url)) == ([], [])


def test_a_model_is_there_once_its_card_is(url, tmp_path, monkeypatch):
    """Killed before its card: nobody takes half a model, and the next push ends it."""
    one, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "other")
    model(one, "m")
    put = objects.put

    def dies(remote, path, target):
        if path.name == "card.json":
            raise KeyboardInterrupt
        put(remote, path, target)

    monkeypatch.setattr(objects, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        mirror.push_models(one, url)
    monkeypatch.setattr(objects, "put", put)
    with pytest.raises(NotFoundError):
        mirror.pull_models(other, url)
    assert mirror.push_models(one, url) == ["m"]
    get = objects.get

    def breaks(remote, source, size, path, *_):
        if path.name == "card.json":
            raise StoreAwayError("the network is gone.")
        get(remote, source, size, path)

    monkeypatch.setattr(objects, "get", breaks)
    with pytest.raises(StoreAwayError):
        mirror.pull_models(other, url)
    monkeypatch.setattr(objects, "get", get)
    assert other.trained() == []
    assert mirror.pull_models(other, url) == ["m"]


def scored(ws: Workspace, camera: str, day: str, content: bytes, at: float = 0.0) -> None:
    paths = [
        ws.clips(camera, dt.date.fromisoformat(day)),
        ws.scores(camera, dt.date.fromisoformat(day), "m"),
    ]
    for path in (*paths, paths[1].with_suffix(".json")):
        store.write_bytes(path, content)
        if at:
            os.utime(path, (at, at))


def test_scores_go_with_the_clips_they_were_made_from(url, tmp_path):
    one, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "other")
    all_days = mirror.Chosen()
    with pytest.raises(NotFoundError, match="no such scores in"):
        mirror.push_scores(one, url, all_days)
    scored(one, "gate", "2026-03-01", b"1")
    scored(one, "gate", "2026-03-02", b"2")
    scored(one, "yard", "2026-03-02", b"3")
    store.write_bytes(one.clips("gate", dt.date(2026, 3, 3)), b"not scored so far")
    store.write_bytes(one.root / "clips" / "gate" / "verified" / "a.json", b"{}")
    assert mirror.push_scores(one, url, all_days) == 9
    assert mirror.push_scores(one, url, all_days) == 0
    with pytest.raises(NotFoundError, match="no such scores at"):
        mirror.pull_scores(other, url, mirror.Chosen(frozenset({"lane"})))
    second = mirror.Chosen(frozenset({"gate"}), first=dt.date(2026, 3, 2))
    assert mirror.pull_scores(other, url, second) == 3
    assert mirror.pull_scores(other, url, mirror.Chosen(last=dt.date(2026, 3, 1))) == 3
    assert mirror.pull_scores(other, url, all_days) == 3
    assert mirror.pull_scores(other, url, all_days) == 0
    for table in ("clips", "scores"):
        assert other.days(table, "gate") == [dt.date(2026, 3, 1), dt.date(2026, 3, 2)]
    assert other.scores("yard", dt.date(2026, 3, 2), "m").read_bytes() == b"3"


def test_of_two_scores_that_differ_the_later_stays(url, tmp_path):
    one, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "other")
    day, all_days = dt.date(2026, 3, 1), mirror.Chosen()
    scored(one, "gate", str(day), b"first")
    mirror.push_scores(one, url, all_days)
    mirror.pull_scores(other, url, all_days)
    later = time.time() + 60
    scored(one, "gate", str(day), b"again", at=later)  # of the same length
    assert mirror.push_scores(one, url, all_days) == 3
    before = time.time() - 60
    scored(other, "gate", str(day), b"first", at=before)
    assert mirror.pull_scores(other, url, all_days) == 3
    assert other.scores("gate", day, "m").read_bytes() == b"again"
    scored(other, "gate", str(day), b"its own", at=later)
    assert mirror.pull_scores(other, url, all_days) == 0
    assert other.scores("gate", day, "m").read_bytes() == b"its own"
