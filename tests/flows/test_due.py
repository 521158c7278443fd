"""Which days are closed and which are due, worked out by hand over a tiny workspace."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from flows import due
from pipeline import cameras
from pipeline.domain import Camera
from pipeline.errors import InputError, ModelError
from pipeline.store import Workspace, write_json

FIRST = dt.date(2026, 3, 2)
TO = dt.date(2026, 3, 31)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def camera(timezone: str) -> Camera:
    return Camera(timezone.rsplit("/")[-1], "", timezone, "", ())


def test_the_newest_closed_day_waits_for_the_last_time_zone() -> None:
    chicago, berlin = camera("America/Chicago"), camera("Europe/Berlin")
    # 5:30 UTC on the 10th is 0:30 in Chicago (UTC-5 since the 8th): the 9th is over everywhere.
    assert due.newest_closed_day([chicago, berlin], at("2026-03-10T05:30+00:00")).day == 9
    assert due.newest_closed_day([chicago, berlin], at("2026-03-10T04:59+00:00")).day == 8
    assert due.newest_closed_day([berlin], at("2026-03-10T04:59+00:00")).day == 9


def test_a_day_that_is_not_over_is_refused_with_the_newest_that_is() -> None:
    chicago = camera("America/Chicago")
    due.check_closed([chicago], dt.date(2026, 3, 9), at("2026-03-10T05:00+00:00"))
    with pytest.raises(InputError, match=r"2026-03-10 is not over.*Chicago.*newest.*2026-03-09"):
        due.check_closed([chicago], dt.date(2026, 3, 10), at("2026-03-10T05:00+00:00"))


def counted(ws: Workspace, camera_id: str, day: dt.date, *, later_by_s: float = 10.0) -> None:
    """Leave what a counting leaves, dated a little after the footage."""
    table = ws.counts(camera_id, day, "bright")
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes(b"")
    write_json(table.with_suffix(".json"), {})
    for path in (table, table.with_suffix(".json")):
        when = path.stat().st_mtime + later_by_s
        os.utime(path, (when, when))


def backlog(root: Path, first: dt.date | None = None, last: dt.date = TO) -> due.Backlog:
    ws = Workspace(root)
    registry = cameras.load(ws.cameras_toml)
    return due.backlog(ws, registry, "bright", registry.ids, first, last)


def taught(ws: Workspace, days: dict[str, list[str]]) -> None:
    """Have the model's card tell from which days of each camera it learned."""
    from pipeline import store

    card = store.read_json(ws.model("bright") / "card.json")
    write_json(ws.model("bright") / "card.json", card | {"training_days": days})


def test_a_card_that_does_not_tell_its_days_is_refused(world: Path) -> None:
    ws = Workspace(world)
    registry = cameras.load(ws.cameras_toml)
    card = ws.model("bright") / "card.json"
    taught(ws, {"west": ["2026-03-02", "2026-03-04"], "gone": ["2026-03-05"]})
    days = {FIRST, FIRST + dt.timedelta(days=2)}
    assert due.taught_days(ws, registry, "bright") == {"west": days}
    write_json(card, {"campaigns": {"march": "a1"}, "training_days": {}})
    assert due.taught_days(ws, registry, "bright") == {}  # it tells: loose pictures, no days
    write_json(card, {"campaigns": {"march": "a1"}})
    with pytest.raises(ModelError, match=r"bright does not tell from which days.* Train anew"):
        due.taught_days(ws, registry, "bright")


def test_every_day_with_footage_is_due_until_it_is_counted(world: Path) -> None:
    ws = Workspace(world)
    assert backlog(world).as_text()["west"] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert backlog(world, last=FIRST).as_text() == {"east": ["2026-03-02"], "west": ["2026-03-02"]}
    counted(ws, "west", FIRST)
    found = backlog(world)
    assert found.as_text()["west"] == ["2026-03-03", "2026-03-04"]
    assert (found.there, found.camera_days, found.unpublished) == (1, 5, True)
    for day in range(3):
        for camera_id in ("west", "east"):
            counted(ws, camera_id, FIRST + dt.timedelta(days=day))
    assert backlog(world).camera_days == 0


def test_a_hole_makes_the_days_after_it_due_again(world: Path) -> None:
    """Later days lean on the profile of earlier ones, so order must not matter."""
    ws = Workspace(world)
    for day in (0, 2):
        counted(ws, "west", FIRST + dt.timedelta(days=day))
    assert backlog(world).as_text()["west"] == ["2026-03-03", "2026-03-04"]


def test_a_day_whose_forerunner_changed_after_it_was_counted_is_due_again(world: Path) -> None:
    """March first and February after it must end as February and then March."""
    ws = Workspace(world)
    for day in range(3):
        counted(ws, "west", FIRST + dt.timedelta(days=day))
    hours = ws.counts_hourly("west", FIRST, "bright")
    hours.parent.mkdir(parents=True)
    hours.write_bytes(b"")
    assert "west" not in backlog(world).as_text()
    when = hours.stat().st_mtime + 60
    os.utime(hours, (when, when))
    assert backlog(world).as_text()["west"] == ["2026-03-03", "2026-03-04"]
    second = FIRST + dt.timedelta(days=1)  # also where the change lies before the range
    assert backlog(world, first=second).as_text()["west"] == ["2026-03-03", "2026-03-04"]


def test_audit_windows_counted_later_make_the_days_from_theirs_on_due(world: Path) -> None:
    from pipeline import schemas, store

    ws = Workspace(world)
    for day in range(3):
        counted(ws, "west", FIRST + dt.timedelta(days=day))
    start = at("2026-03-04T03:30+00:00")  # 21:30 of the 3rd in Chicago
    windows = [
        {
            "window_id": f"w{minute}",
            "camera_id": "west",
            "movement": "out",
            "started_at": start + dt.timedelta(minutes=minute),
            "ended_at": start + dt.timedelta(minutes=minute, seconds=20),
            "truck_count": 2.0,
            "n_workers": 1,
        }
        for minute in range(10)
    ]
    path = ws.campaign_labels("eyes") / "audit.parquet"
    since = ["2026-03-03", "2026-03-04"]
    for n, later_by_s, days in ((10, 60, since), (10, -60, None), (9, 60, None)):  # nine: too few
        store.write_table(path, store.table_of(windows[:n], schemas.AUDIT), schemas.AUDIT)
        when = ws.counts("west", FIRST, "bright").stat().st_mtime + later_by_s
        os.utime(path, (when, when))
        assert backlog(world).as_text().get("west") == days
    path.write_bytes(b"no table")
    assert "west" not in backlog(world).as_text()


def test_zones_or_a_schedule_set_after_the_count_make_their_days_due(world: Path) -> None:
    from pipeline import accounts, daily
    from pipeline.digests import digest_of
    from pipeline.ingest import ingest

    ws = Workspace(world)
    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry, ["west"])
    daily.count_days(ws, registry, daily.camera_days(ws, registry, ["west"]), "bright")
    assert "west" not in backlog(world).as_text()
    account = accounts.read(ws, "west", FIRST, "bright")
    assert account["aim"] == accounts.aim_of(registry.camera("west", FIRST))
    assert account["clips"] == digest_of(ws.clips("west", FIRST))
    text = ws.cameras_toml.read_text()
    zone = ("America/Chicago", "America/Winnipeg")  # by the same clock, today
    for old, new in (("[0.7, 0.8]", "[0.7, 0.9]"), ('"12:01"', '"12:02"'), zone, ("5.0", "4.0")):
        ws.cameras_toml.write_text(text.replace(old, new))
        assert ("west" in backlog(world).as_text()) == (old != "5.0")
    entry = next(e for e in text.split("[[camera]]") if "west" in e).replace("0.8]", "0.9]")
    ws.cameras_toml.write_text(f"{text}\n[[camera]]\nvalid_from = 2026-03-03{entry}")
    assert backlog(world).as_text()["west"] == ["2026-03-03", "2026-03-04"]
    ws.cameras_toml.write_text(text)
    ws.counts("west", FIRST, "bright").with_suffix(".json").write_text("{")
    assert len(backlog(world).as_text()["west"]) == 3


def test_a_day_that_only_a_clip_of_the_evening_before_reaches_is_due(world: Path) -> None:
    from pipeline.ingest import ingest

    ws = Workspace(world)
    night = world / "footage" / "west" / "2026-03-05T055930+0000.mp4"  # 23:59:30 in Chicago
    shutil.copyfile(world / "made" / "3.mp4", night)  # a minute
    ingest(ws, cameras.load(ws.cameras_toml), ["west"])
    days = [FIRST + dt.timedelta(days=day) for day in range(4)]
    assert backlog(world).as_text()["west"] == [str(day) for day in days]
    for day in days:
        counted(ws, "west", day)
    assert "west" not in backlog(world).as_text()
    ws.clips("west", days[-1]).write_bytes(b"no table")  # which stops no other camera
    assert backlog(world).as_text()["east"] == [str(day) for day in days[:3]]
    shutil.rmtree(night.parent)
    assert "west" not in backlog(world).as_text()


def test_dark_days_are_told_unless_the_camera_is_entered_ahead(world: Path) -> None:
    ws = Workspace(world)
    text = ws.cameras_toml.read_text()
    entry = next(e for e in text.split("[[camera]]") if "west" in e).replace("west", "next")
    ws.cameras_toml.write_text(f"{text}\n[[camera]]\nvalid_from = 2026-03-09{entry}")
    registry = cameras.load(ws.cameras_toml)

    def dark(camera_id: str) -> list[int]:
        days = [dt.date(2026, 3, day) for day in range(5, 11)]  # its footage ends on the 4th
        found = due.dark_days(ws, registry, "bright", ["west", "next"], days)
        return [day.day for day in found[camera_id]]

    assert dark("west") == [5, 6, 7, 8, 9, 10]
    assert dark("next") == [9, 10]
    counted(ws, "west", dt.date(2026, 3, 7))
    other = ws.counts("west", dt.date(2026, 3, 8), "other")  # of footage that is gone
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    ws.counts("west", dt.date(2026, 3, 9), "other").parent.mkdir()  # the disk was full
    assert dark("west") == [5, 6, 9, 10]
    taught(ws, {"west": ["2026-03-05"]})
    assert dark("west") == [6, 9, 10]


def test_a_day_counted_while_its_disk_was_away_is_due_once_the_disk_is_back(world: Path) -> None:
    from pipeline.ingest import ingest

    ws = Workspace(world)
    registry = cameras.load(ws.cameras_toml)
    away = (world / "footage" / "west").rename(world / "away")
    ingest(ws, registry, ["west"], FIRST, FIRST)
    counted(ws, "west", FIRST)
    assert "west" not in backlog(world, last=FIRST).as_text()
    away.rename(world / "footage" / "west")  # the files are as old as they were
    assert backlog(world, last=FIRST).as_text()["west"] == [str(FIRST)]
    ingest(ws, registry, ["west"], FIRST, FIRST)
    counted(ws, "west", FIRST)
    assert "west" not in backlog(world, last=FIRST).as_text()


def test_a_camera_that_is_entered_ahead_is_no_camera_that_fails(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import _days
    from flows.daily import daily

    ws = Workspace(world)
    text = ws.cameras_toml.read_text()
    ahead = text.replace("[[camera]]", "[[camera]]\nvalid_from = 2026-03-09")
    ws.cameras_toml.write_text(ahead)
    ended = daily.fn(str(world), "2026-03-01")
    assert ended.is_completed()
    assert ended.message == "no camera is at work on 2026-03-01"
    worked: list[object] = []
    monkeypatch.setattr(_days, "work", lambda *given: worked.append(given[2]))
    daily.fn(str(world), "2026-03-01", ["west"])  # who names it means it
    daily.fn(str(world), "2026-03-02")
    assert worked == [{"west": ["2026-03-01"]}, {"east": ["2026-03-02"], "west": ["2026-03-02"]}]
    registry = cameras.load(ws.cameras_toml)
    at_work = [due.is_at_work(ws, registry, "west", FIRST - dt.timedelta(n)) for n in (-7, 0, 1)]
    assert at_work == [True, True, False]  # an entry counts for footage of before it, too
    stored = ahead.replace("footage/west/*.mp4", "s3://bucket/west/*.mp4")
    ws.cameras_toml.write_text(stored)  # where nobody has looked yet
    assert due.is_at_work(ws, cameras.load(ws.cameras_toml), "west", dt.date(2026, 3, 1))


def test_footage_that_came_after_the_count_makes_its_day_due(world: Path) -> None:
    ws = Workspace(world)
    for day in range(3):
        counted(ws, "west", FIRST + dt.timedelta(days=day))
    assert "west" not in backlog(world).as_text()
    late = world / "footage" / "west" / "2026-03-04T180100+0000.mp4"
    late.write_bytes(b"")
    when = late.stat().st_mtime + 60
    os.utime(late, (when, when))
    assert backlog(world).as_text()["west"] == ["2026-03-04"]


def test_footage_copied_later_with_the_recording_s_time_makes_its_day_due(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``rsync -a`` copies; what is in the clips table was merely touched."""
    from pipeline import schemas, store
    from pipeline.footage import contents
    from pipeline.ingest import ingest

    ws = Workspace(world)
    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry, ["west"])
    for day in range(3):
        counted(ws, "west", FIRST + dt.timedelta(days=day), later_by_s=0.0)
    first = next((world / "footage" / "west").glob("2026-03-04*"))
    late = first.with_name("2026-03-04T180100+0000.mp4")
    late.write_bytes(b"")
    for path in (first, late):
        os.utime(path, (1.7e9, 1.7e9))
    assert backlog(world).as_text()["west"] == ["2026-03-04"]
    late.unlink()
    own, other = first.read_bytes(), bytearray(first.read_bytes())
    other[-1] ^= 1
    for content, due_days in ((other, ["2026-03-04"]), (own, None)):  # replaced, and put back
        late.write_bytes(content)
        late.replace(first)
        os.utime(first, (1.7e9, 1.7e9))
        assert backlog(world).as_text().get("west") == due_days
    ingest(ws, registry, ["west"])
    with monkeypatch.context() as moved:  # another disk, cp -a: nothing is read
        moved.setattr(contents, "file_digest", lambda path: pytest.fail(f"read {path}"))
        shutil.copy2(first, late)
        late.replace(first)
        assert "west" not in backlog(world).as_text()
    late.symlink_to(world / "nowhere.mp4")  # ingest quarantines it
    assert "west" not in backlog(world).as_text()
    clips = store.read_table(ws.clips("west", FIRST + dt.timedelta(days=2)), schemas.CLIPS)
    assert clips.column("uri").to_pylist() == [str(first.relative_to(world))]
    damaged = ws.clips("west", FIRST + dt.timedelta(days=2))
    damaged.write_bytes(b"no table")
    os.utime(damaged, (1.7e9, 1.7e9))
    assert backlog(world).as_text()["west"] == ["2026-03-04"]  # that day fails, and no other


def test_footage_in_a_store_is_due_by_the_last_look(world: Path, s3) -> None:
    """Also where its copy was deleted; what cannot be asked for is told, the others count."""
    from pipeline import objects
    from pipeline.ingest import ingest

    ws = Workspace(world)
    text = ws.cameras_toml.read_text()
    ws.cameras_toml.write_text(text.replace("footage/west/*.mp4", s3("west/*.mp4")))
    registry = cameras.load(ws.cameras_toml)
    for path in (world / "footage" / "west").glob("*.mp4"):
        with objects.reached(s3("west")) as (remote, base):
            objects.put(remote, path, f"{base}/{path.name}")
        path.unlink()
    assert "west" not in backlog(world).as_text()
    assert due.look(ws, registry, ["west", "east"]) == []
    assert backlog(world).as_text()["west"] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    ingest(ws, registry, ["west"])
    for day in range(3):
        counted(ws, "west", FIRST + dt.timedelta(days=day))
    assert "west" not in backlog(world).as_text()
    for path in (world / "fetched").rglob("*.mp4"):
        path.unlink()
    assert "west" not in backlog(world).as_text()
    with objects.reached(s3("west")) as (remote, base):
        objects.put(remote, ws.cameras_toml, f"{base}/2026-03-04T200000+0000.mp4")
    assert due.look(ws, registry, ["west"]) == []
    assert backlog(world).as_text()["west"] == ["2026-03-04"]
    ws.cameras_toml.write_text(
        text.replace(
            "footage/west/*.mp4", "s3://no-bucket/*.mp4?scheme=http&" + s3("").split("&")[1]
        )
    )
    (line,) = due.look(ws, cameras.load(ws.cameras_toml), ["west", "east"])
    assert line.startswith("west: s3://no-bucket")


def test_a_camera_taken_out_of_the_registry_stops_no_other(world: Path) -> None:
    taught(Workspace(world), {"gone": ["2026-03-03"], "west": ["2026-03-02", "2026-03-03"]})
    assert backlog(world).as_text()["west"] == ["2026-03-04"]


def test_days_that_taught_the_model_are_left_out(world: Path) -> None:
    taught(Workspace(world), {"west": ["2026-03-03"], "east": []})
    found = backlog(world)
    assert found.as_text()["west"] == ["2026-03-04"]
    assert found.taught == 2
    assert len(found.as_text()["east"]) == 3


def a_year_done(ws: Workspace, tools: ModuleType, zones: dict[str, str]) -> None:
    """Leave 365 days of footage (empty files) with counts and a publication that are newer."""
    from pipeline.localtime import local_instant

    tools.write_cameras(ws.root, zones)
    write_json(ws.model("bright") / "card.json", {"model_id": "bright"})
    ws.current_model.write_text("bright\n")
    for camera_id, timezone in zones.items():
        folder = ws.root / "footage" / camera_id
        folder.mkdir(parents=True)
        for n in range(365):
            day = dt.date(2025, 3, 2) + dt.timedelta(days=n)
            start = local_instant(day, 12 * 60, timezone)
            (folder / f"{start:%Y-%m-%dT%H%M%S+0000}.mp4").touch()
            counted(ws, camera_id, day)
    ws.vintages.mkdir(parents=True)
    path = ws.vintages / "20260601T000000.000000Z.parquet"
    path.touch()
    later = path.stat().st_mtime + 60
    os.utime(path, (later, later))


def test_a_year_of_four_cameras_that_is_done_is_told_so_in_seconds(
    tmp_path: Path, tools: ModuleType
) -> None:
    """1,460 camera-days, by the command's CPU time, so that a busy machine does not matter."""
    import resource
    import subprocess
    import sys

    ws, cameras_ = Workspace(tmp_path), {f"c{i}": "America/Chicago" for i in range(4)}
    a_year_done(ws, tools, cameras_)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "flows.cli", "backfill", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.startswith("nothing to do: 1460 camera-day(s) are counted"), done.stdout
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < 10
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
