"""Footage in an object store, on a server that speaks S3: what is copied, and what is not."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import cameras, objects, schemas, store
from pipeline.cameras import Registry
from pipeline.errors import ConfigError, StoreAwayError, StoreError
from pipeline.footage import stored
from pipeline.footage.files import files_of, is_live
from pipeline.ingest import ingest
from pipeline.store import Workspace

MakeClip = Callable[..., Path]
Put = Callable[..., None]


def registry(*entries: dict[str, Any]) -> Registry:
    zone = {"name": "lane", "polygon": [[0, 0], [1, 0], [1, 1]]}
    plain = {"id": "gate", "site": "dc-1", "timezone": "Europe/Berlin", "zones": [zone]}
    return cameras.parse({"camera": [{**plain, **entry} for entry in entries]})


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


@pytest.fixture
def put(s3: Callable[[str], str], tmp_path: Path) -> Put:
    def put(key: str, content: Path | bytes = b"no video") -> None:
        source = tmp_path / "object"
        source.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        with objects.reached(s3("")) as (remote, bucket):
            objects.put(remote, source, f"{bucket}/{key}")

    return put


def here(ws: Workspace) -> set[str]:
    """What is copied, below the bucket's name; hidden files left out."""
    (folder, *_) = [*(ws.root / "fetched" / "gate").glob("[!.]*"), ws.root / "nothing"]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not Path(name).name.startswith(".")}


def copy_of(ws: Workspace, name: str) -> Path:
    (path,) = (ws.root / "fetched" / "gate").glob(f"*/{name}")
    return path


def counted(ws: Workspace, day: dt.date) -> None:
    store.write_bytes(ws.counts("gate", day, "m"), b"")


def test_a_camera_that_films_into_a_store_is_no_live_one(s3) -> None:
    (camera,) = registry({"source": s3("gate/*.mp4")}).entries
    assert not is_live(camera)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("s3://AKIA:hunter2@bucket/*.mp4", "environment"),
        ("s3://bucket", "s3://bucket names no files"),
        ("s3://bucket/gate/", "names no files"),
    ],
)
def test_a_source_that_names_no_objects_is_refused(source: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"'gate': source: .*{said}") as refused:
        registry({"source": source})
    assert "hunter2" not in str(refused.value)


def test_footage_in_a_store_becomes_rows(ws: Workspace, s3, put: Put, make_clip: MakeClip) -> None:
    put("cams/gate/2026/2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    put("cams/gate/2026/2026-03-29T110000+0200.mp4", b"no video")
    put("cams/gate/2026/2026-03-29T110000+0200.txt")
    put("cams/other/2026-03-29T100000+0200.mp4")
    cams = registry({"source": s3("cams/gate/**/*.mp4")})
    report = ingest(ws, cams)
    assert report.tally() == {"ok": 1, "partial": 0, "quarantined": 1}
    rows = store.read_table(ws.clips("gate", dt.date(2026, 3, 29)), schemas.CLIPS).to_pylist()
    folder = s3("").split("?")[0].replace("s3://", "fetched/gate/") + "cams/gate/2026"
    assert [row["uri"] for row in rows] == [
        f"{folder}/2026-03-29T100000+0200.mp4",
        f"{folder}/2026-03-29T110000+0200.mp4",
    ]
    assert rows[0]["covered"] == [{"start_s": 0.0, "end_s": pytest.approx(2.0)}]
    before = {path: path.stat() for path in ws.root.rglob("*.mp4")}
    again = ingest(ws, cams)
    assert again.decoded == 0
    assert {path: path.stat() for path in ws.root.rglob("*.mp4")} == before


def test_certain_days_bring_theirs_and_what_may_reach_into_them(
    ws: Workspace, s3, put: Put
) -> None:
    """Days are Berlin's: 23:30 UTC on the 28th is 0:30 on the 29th."""
    names = {
        "2026-03-27T225900+0000.mp4",  # the 27th
        "2026-03-27T230000+0000.mp4",  # the 28th: who knows how long it is
        "2026-03-28T220000+0000.mp4",
        "2026-03-28T233000+0000.mp4",
        "2026-03-29T215900+0000.mp4",  # summer time: 23:59 on the 29th
        "2026-03-29T220000+0000.mp4",  # the 30th
        "holiday.mp4",
    }
    for name in names:
        put(name)
    entries = registry({"source": s3("*.mp4")}).entries
    day = dt.date(2026, 3, 29)
    stored.fetch(ws, entries, day, day)
    assert here(ws) == names - {"2026-03-27T225900+0000.mp4", "2026-03-29T220000+0000.mp4"}
    stored.fetch(ws, entries)
    assert here(ws) == names


def test_copies_of_counted_days_may_be_deleted(ws: Workspace, s3, put: Put, make_clip) -> None:
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    put("2026-03-30T100000+0200.mp4", make_clip("a.mp4", n=60))
    cams = registry({"source": s3("*.mp4")})
    ingest(ws, cams)
    counted(ws, dt.date(2026, 3, 29))
    for path in ws.root.rglob("*.mp4"):
        path.unlink()
    report = ingest(ws, cams)
    assert here(ws) == {"2026-03-30T100000+0200.mp4"}  # the 29th is known and counted
    assert report.remarks == ("gate: 1 clip(s) whose files are gone stay known (--forget)",)
    known = [file.path.name for file in stored.files_here_and_there(ws, cams.entries)]
    assert known == ["2026-03-29T100000+0200.mp4", "2026-03-30T100000+0200.mp4"]
    ingest(ws, cams, first_day=dt.date(2026, 3, 29), last_day=dt.date(2026, 3, 29))
    assert here(ws) == {"2026-03-29T100000+0200.mp4", "2026-03-30T100000+0200.mp4"}
    copy_of(ws, "2026-03-29T100000+0200.mp4").unlink()
    ingest(ws, cams, forget=True)  # of what a store has, nothing is gone
    rows = store.read_table(ws.clips("gate", dt.date(2026, 3, 29)), schemas.CLIPS)
    assert rows.num_rows == 1


def test_a_clip_that_comes_late_is_copied_though_its_day_is_counted(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    cams = registry({"source": s3("*.mp4")})
    ingest(ws, cams)
    counted(ws, dt.date(2026, 3, 29))
    put("2026-03-29T110000+0200.mp4", make_clip("a.mp4"))
    ingest(ws, cams)
    assert len(here(ws)) == 2


def test_an_object_that_grew_is_copied_anew(ws: Workspace, s3, put: Put) -> None:
    name = "2026-03-29T100000+0200.mp4"
    entries = registry({"source": s3("*.mp4")}).entries
    for content in (b"half", b"the whole"):
        put(name, content)
        stored.fetch(ws, entries)
        assert copy_of(ws, name).read_bytes() == content


def test_a_camera_that_moved_to_another_bucket_has_both(ws: Workspace, s3, put: Put) -> None:
    """Each in a folder of its own, as they lie in the store."""
    old, new = "2026-03-28T100000+0000.mp4", "2026-03-29T100000+0000.mp4"
    for bucket in ("a", "b"):
        for name in (old, new):
            put(f"{bucket}/{name}", bucket.encode())
    entries = registry(
        {"source": s3("b/*.mp4"), "valid_from": dt.date(2026, 3, 29)}, {"source": s3("a/*.mp4")}
    ).entries
    stored.fetch(ws, entries)
    files = [(f.path.parent.name, f.path.name) for f in files_of(ws, entries)]
    assert files == [("a", old), ("b", old), ("a", new), ("b", new)]
    assert all(f.camera.source == s3(f"{f.path.parent.name}/*.mp4") for f in files_of(ws, entries))


def test_keys_that_no_file_can_have_are_left_and_said(ws: Workspace, s3, put: Put) -> None:
    put(f"gate/{'x' * 250}.mp4")
    put("gate/2026-03-29T100000+0000.mp4")
    put("gate/2026-03-29T110000+0000.mp4")
    put("gate/2026-03-29T110000+0000.mp4/part.mp4")
    fetched = stored.fetch(ws, registry({"source": s3("gate/**/*.mp4")}).entries)
    told = "gate: 2 object(s) left in the store: no file can have their names"
    assert fetched.remarks == (told,)
    assert here(ws) == {
        "gate/2026-03-29T100000+0000.mp4",
        "gate/2026-03-29T110000+0000.mp4/part.mp4",
    }


def test_a_key_whose_folder_is_a_copy_s_name_is_quarantined(
    ws: Workspace, s3, put: Put, make_clip: MakeClip
) -> None:
    cams = registry({"source": s3("gate/**/*.mp4")})
    put("gate/2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    ingest(ws, cams)
    put("gate/2026-03-29T100000+0200.mp4/2026-03-29T110000+0200.mp4", make_clip("a.mp4"))
    put("gate/2026-03-29T120000+0200.mp4", make_clip("a.mp4"))
    clips = {clip.uri.rpartition("/")[2][:13]: clip for clip in ingest(ws, cams).clips}
    assert {name: clip.status for name, clip in clips.items()} == {
        "2026-03-29T10": "ok",
        "2026-03-29T11": "quarantined",
        "2026-03-29T12": "ok",
    }
    assert "not copied: a copy here has the name of its folder" in clips["2026-03-29T11"].reason


@pytest.mark.parametrize("name", ["a/../b.mp4", "a/./b.mp4", "a//b.mp4", "a\nb.mp4", "\udc80.mp4"])
def test_no_such_key_becomes_a_path(name: str) -> None:
    assert not stored._can_be_kept(name)


def test_an_object_that_is_not_given_is_quarantined_and_asked_for_again(
    ws: Workspace, s3, put: Put, make_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where objects older than a month are moved to an archive."""
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    put("2026-03-29T110000+0200.mp4", make_clip("a.mp4"))
    cams, get = registry({"source": s3("*.mp4")}), objects.get

    def archived(remote: Any, source: str, *rest: Any) -> None:
        if source.endswith("110000+0200.mp4"):
            raise StoreAwayError(f"{source} cannot be used: it is in the archive.")
        get(remote, source, *rest)

    with monkeypatch.context() as cold:
        cold.setattr(objects, "get", archived)
        report = ingest(ws, cams)
    assert report.tally() == {"ok": 1, "partial": 0, "quarantined": 1}
    assert "not copied: " in report.clips[1].reason
    assert "archive" in report.clips[1].reason
    counted(ws, dt.date(2026, 3, 29))
    assert ingest(ws, cams).tally()["ok"] == 2


def test_a_store_that_is_away_is_said_and_leaves_the_tables(
    ws: Workspace, s3, put: Put, make_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    cams = registry({"source": s3("*.mp4")})
    ingest(ws, cams)
    put("2026-03-29T110000+0200.mp4", make_clip("a.mp4"))
    _copy = stored._copy

    def breaks(remote: Any, *_: Any) -> None:
        raise StoreAwayError("it broke off.")

    class Away:
        """A store that was listed, and then is gone."""

        def get_file_info(self, _: str) -> None:
            raise OSError("no route to host")

    monkeypatch.setattr(stored, "_copy", lambda _, one, stop: _copy(Away(), one, stop))
    monkeypatch.setattr(objects, "get", breaks)
    with pytest.raises(StoreAwayError, match="no route to host"):
        ingest(ws, cams)
    rows = store.read_table(ws.clips("gate", dt.date(2026, 3, 29)), schemas.CLIPS)
    assert rows["status"].to_pylist() == ["ok"]


def test_an_object_that_is_denied_stops_no_other(
    ws: Workspace, s3, put: Put, make_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that another account uploaded: listed, but neither described nor given."""
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    put("2026-03-29T110000+0200.mp4", make_clip("a.mp4"))
    _copy, get = stored._copy, objects.get

    class Denying:
        def __init__(self, remote: Any) -> None:
            self.remote = remote

        def get_file_info(self, asked: Any) -> Any:
            if isinstance(asked, str):
                raise OSError("ACCESS_DENIED")
            return self.remote.get_file_info(asked)

    def given(remote: Denying, source: str, *rest: Any) -> None:
        if source.endswith("110000+0200.mp4"):
            raise StoreAwayError("ACCESS_DENIED")
        get(remote.remote, source, *rest)

    monkeypatch.setattr(stored, "_copy", lambda r, one, stop: _copy(Denying(r), one, stop))
    monkeypatch.setattr(objects, "get", given)
    assert ingest(ws, registry({"source": s3("*.mp4")})).tally() == {
        "ok": 1,
        "partial": 0,
        "quarantined": 1,
    }


def test_what_breaks_off_once_is_asked_for_again_at_once(
    ws: Workspace, s3, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("2026-03-29T100000+0200.mp4", b"whole")
    get, asked = objects.get, []

    def breaks(remote: Any, source: str, *rest: Any) -> None:
        asked.append(source)
        if len(asked) == 1:
            raise StoreAwayError("it broke off.")
        get(remote, source, *rest)

    monkeypatch.setattr(objects, "get", breaks)
    assert stored.fetch(ws, registry({"source": s3("*.mp4")}).entries).refused == ()
    assert here(ws) == {"2026-03-29T100000+0200.mp4"}


def test_a_store_that_is_away_stops_no_other_camera(ws: Workspace, s3, put: Put, make_clip) -> None:
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    away = {"id": "east", "source": s3("*.mp4").replace("bucket-", "no-bucket-")}
    with pytest.raises(StoreAwayError, match="no-bucket-"):
        ingest(ws, registry(away, {"id": "gate", "source": s3("*.mp4")}))
    assert ws.clips("gate", dt.date(2026, 3, 29)).is_file()


def test_a_store_that_a_later_entry_has_replaced_may_be_gone(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    """Entries are never edited. Days from its own time are another matter."""
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    gone = s3("*.mp4").replace("bucket-", "no-bucket-")
    moved = dt.date(2026, 3, 20)
    cams = registry({"source": gone}, {"source": s3("*.mp4"), "valid_from": moved})
    report = ingest(ws, cams)
    assert report.tally()["ok"] == 1
    (remark,) = report.remarks
    assert "no-bucket-" in remark
    assert "The camera films elsewhere now." in remark
    day = dt.date(2026, 3, 29)
    assert ingest(ws, cams, first_day=day, last_day=day).tally()["ok"] == 1
    for first, last in ((dt.date(2026, 3, 21), day), (None, day)):
        with pytest.raises(StoreAwayError, match="no-bucket-"):
            ingest(ws, cams, first_day=first, last_day=last)


def test_a_clip_over_midnight_is_known_when_both_its_days_are_counted(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    """Berlin's midnight is 23:00 UTC; the clip is 2 s long."""
    name = "2026-03-28T225959+0000.mp4"
    put(name, make_clip("a.mp4"))
    cams, days = registry({"source": s3("*.mp4")}), [dt.date(2026, 3, 28), dt.date(2026, 3, 29)]
    ingest(ws, cams)
    for only in days:
        counted(ws, only)
        copy_of(ws, name).unlink()
        ingest(ws, cams)
        assert here(ws) == {name}, f"only {only} is counted"
        for day in days:
            assert store.read_table(ws.clips("gate", day), schemas.CLIPS).num_rows == 1
        shutil.rmtree(ws.root / "counts")
    for day in days:
        counted(ws, day)
    copy_of(ws, name).unlink()
    ingest(ws, cams)
    assert here(ws) == set()


def test_a_clip_that_begins_later_than_its_name_says_is_known(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    """Its first pictures cannot be decoded, and so it begins on the day after that of its name."""
    from flows import due

    name, named = "2026-03-28T225959+0000.mp4", dt.date(2026, 3, 28)
    put(name, make_clip("a.mp4"))
    put("2026-03-28T120000+0000.mp4", make_clip("a.mp4"))
    cams, day = registry({"source": s3("*.mp4")}), dt.date(2026, 3, 29)
    ingest(ws, cams)
    (row,) = store.read_table(ws.clips("gate", day), schemas.CLIPS).to_pylist()
    row["started_at"] += dt.timedelta(seconds=1.5)
    noon = store.read_table(ws.clips("gate", named), schemas.CLIPS).slice(0, 1)
    for at, table in ((named, noon), (day, store.table_of([row], schemas.CLIPS))):
        store.write_table(ws.clips("gate", at), table, schemas.CLIPS)
        counted(ws, at)
        store.write_json(ws.counts("gate", at, "m").with_suffix(".json"), {})
    copy_of(ws, name).unlink()
    assert stored.fetch(ws, cams.entries).refused == ()
    assert name not in here(ws)
    absent = due.footage(ws, cams, "gate")[named]
    assert any(path.name == name for path in absent)
    assert due.is_counted(ws, "gate", named, "m")
    assert due.counted_at(ws, "gate", named, "m", absent) > 0


def test_a_longer_object_in_place_of_one_that_ended_before_midnight_is_copied(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    name, day = "2026-03-28T225959+0000.mp4", dt.date(2026, 3, 29)
    put(name, make_clip("a.mp4", n=20))  # 0.8 s
    cams = registry({"source": s3("*.mp4")})
    ingest(ws, cams)
    assert not ws.clips("gate", day).exists()
    put(name, make_clip("b.mp4", n=50))
    ingest(ws, cams, first_day=day, last_day=day)
    assert store.read_table(ws.clips("gate", day), schemas.CLIPS).num_rows == 1


@pytest.mark.parametrize("day", [dt.date.min, dt.date.max])
def test_a_slip_of_the_pen_in_a_day_is_no_traceback(
    ws: Workspace, s3, put: Put, make_clip, day: dt.date
) -> None:
    for hour in (8, 9):
        put(f"2026-03-29T0{hour}0000+0000.mp4", make_clip("a.mp4"))
    cams = registry({"source": s3("*.mp4")})
    ingest(ws, cams)
    ingest(ws, cams, first_day=day)
    ingest(ws, cams, last_day=day)


def test_what_a_killed_copy_left_is_swept_away(ws: Workspace, s3, put: Put) -> None:
    put("2026-03-29T100000+0200.mp4")
    folder = ws.root / "fetched" / "gate" / "bucket"
    folder.mkdir(parents=True)
    old, new = folder / ".a.mp4.x.part", folder / ".b.mp4.y.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    stored.fetch(ws, registry({"source": s3("*.mp4")}).entries)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_reference_picture_takes_as_many_objects_as_it_needs(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    from pipeline import reference
    from pipeline.errors import NotFoundError

    (camera,) = registry({"source": s3("*.mp4")}).entries
    with pytest.raises(NotFoundError, match=r"no footage of camera 'gate' at s3://bucket-"):
        reference.kept(ws, camera)
    for hour, clip in ((9, b"no video"), (10, make_clip("a.mp4")), (11, make_clip("a.mp4"))):
        put(f"2026-03-29T{hour:02}0000+0200.mp4", clip)
    assert reference.kept(ws, camera).is_file()
    assert here(ws) == {"2026-03-29T090000+0200.mp4", "2026-03-29T100000+0200.mp4"}


def test_a_counted_day_stays_as_it_was_where_its_footage_is_archived(
    ws: Workspace, s3, put: Put, make_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copies deleted, its objects in an archive, and the day asked for again."""
    put("2026-03-29T100000+0200.mp4", make_clip("a.mp4"))
    put("2026-03-29T110000+0200.mp4", make_clip("b.mp4", n=60))
    cams, day = registry({"source": s3("*.mp4")}), dt.date(2026, 3, 29)
    ingest(ws, cams)
    counted(ws, day)
    before = ws.clips("gate", day).read_bytes()
    for path in ws.root.rglob("*.mp4"):
        path.unlink()

    def archived(*_: Any) -> None:
        raise StoreAwayError("it is in the archive.")

    monkeypatch.setattr(objects, "get", archived)
    report = ingest(ws, cams, first_day=day, last_day=day)
    assert report.remarks == ("gate: 2 clip(s) whose files are gone stay known (--forget)",)
    assert ws.clips("gate", day).read_bytes() == before


def test_what_may_be_listed_and_not_read_is_no_day_without_footage(
    ws: Workspace, s3, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("2026-03-29T100000+0200.mp4")

    def forbidden(*_: Any) -> None:
        raise StoreAwayError("access is denied.")

    monkeypatch.setattr(objects, "get", forbidden)
    with pytest.raises(StoreAwayError, match=r"none of 1 object\(s\) is given: access is denied"):
        ingest(ws, registry({"source": s3("*.mp4")}))


def test_a_long_clip_behind_a_short_one_reaches_over_midnight(
    ws: Workspace, s3, put: Put, make_clip
) -> None:
    """Until it is known that it does not."""
    clip = make_clip("a.mp4")
    for name in ("2026-03-28T200000+0000", "2026-03-28T223000+0000", "2026-03-29T100000+0000"):
        put(f"{name}.mp4", clip)  # Berlin's midnight is 23:00 UTC
    cams, day = registry({"source": s3("*.mp4")}), dt.date(2026, 3, 29)
    ingest(ws, cams, first_day=day, last_day=day)
    assert len(here(ws)) == 3
    ingest(ws, cams)
    for path in ws.root.rglob("2026-03-28*.mp4"):
        path.unlink()
    ingest(ws, cams, first_day=day, last_day=day)
    assert here(ws) == {"2026-03-29T100000+0000.mp4"}


def test_an_object_replaced_by_one_of_the_same_size_is_copied_anew(
    ws: Workspace, s3, put: Put
) -> None:
    name = "2026-03-29T100000+0200.mp4"
    entries = registry({"source": s3("*.mp4")}).entries
    put(name, b"first")
    stored.fetch(ws, entries)
    os.utime(copy_of(ws, name), (1.7e9, 1.7e9))  # of a while ago
    put(name, b"again")
    stored.fetch(ws, entries)
    assert copy_of(ws, name).read_bytes() == b"again"


def test_an_object_replaced_after_its_day_was_counted_is_copied_anew(
    ws: Workspace, s3, put: Put, make_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, cams = "2026-03-29T100000+0200.mp4", registry({"source": s3("*.mp4")})
    put(name, make_clip("a.mp4"))
    ingest(ws, cams)
    counted(ws, dt.date(2026, 3, 29))
    put(name, make_clip("b.mp4", n=60))
    get = objects.get

    def breaks(*_: Any) -> None:
        raise StoreAwayError("it broke off.")

    monkeypatch.setattr(objects, "get", breaks)
    (clip,) = ingest(ws, cams).clips  # by the copy that is here
    assert clip.frames_read == 50
    monkeypatch.setattr(objects, "get", get)
    (clip,) = ingest(ws, cams).clips
    assert clip.frames_read == 60


def test_footage_on_this_disk_is_never_written_to(ws: Workspace, s3, put: Put) -> None:
    name = "2026-03-29T100000+0200.mp4"
    original = ws.root / "footage" / "gate" / name
    store.write_bytes(original, b"the original")
    put(f"footage/gate/{name}", b"another")
    entries = registry(
        {"source": "footage/gate/*.mp4"},
        {"source": s3("footage/gate/*.mp4"), "valid_from": dt.date(2026, 3, 29)},
    ).entries
    stored.fetch(ws, entries)
    assert original.read_bytes() == b"the original"
    assert len(files_of(ws, entries)) == 2


@pytest.mark.parametrize("damage", [b"null", b"[1]", b'["../../a"]', b"{", b'{"a": 1}'])
def test_a_damaged_listing_is_as_none(ws: Workspace, s3, damage: bytes) -> None:
    (camera,) = registry({"source": s3("*.mp4")}).entries
    store.write_bytes(stored._listing(ws, camera), damage)
    assert stored.files_here_and_there(ws, [camera]) == []


def test_a_narrowed_source_leaves_what_it_no_longer_asks_for(ws: Workspace, s3, put: Put) -> None:
    for name in ("a/2026-03-29T100000+0000.mp4", "a/notes.txt", "b/2026-03-29T110000+0000.mp4"):
        put(name)
    stored.fetch(ws, registry({"source": s3("**")}).entries)
    assert len(here(ws)) == 3
    narrow = registry({"source": s3("a/*.mp4")}).entries
    (file,) = files_of(ws, narrow)
    assert file.path == copy_of(ws, "a/2026-03-29T100000+0000.mp4")


def test_a_disk_that_is_full_ends_the_other_copies_too(
    ws: Workspace, s3, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(10, 13):
        put(f"2026-03-29T{hour}0000+0200.mp4")
    ended = []
    begun = threading.Barrier(3)

    def full(remote: Any, key: str, size: int, path: Path, at: Any, stop: Any) -> None:
        begun.wait(20)  # one that has not begun would not have to be ended
        if "T10" in key:
            raise StoreError("the disk is full.")
        ended.append(stop.wait(20))
        raise StoreAwayError("ended early.")

    monkeypatch.setattr(objects, "get", full)
    with pytest.raises(StoreError, match="the disk is full"):
        stored.fetch(ws, registry({"source": s3("*.mp4")}).entries)
    assert ended == [True, True]
