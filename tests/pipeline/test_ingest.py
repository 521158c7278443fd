"""Footage in, clips tables out: names, days, midnight, resuming, and files that are not footage."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import cameras, schemas, store
from pipeline import ingest as ingesting
from pipeline.cameras import Registry
from pipeline.digests import file_digest
from pipeline.domain import Camera, Clip
from pipeline.footage import contents, files, verify
from pipeline.footage.files import clip_start
from pipeline.footage.verify import Verification
from pipeline.footage.view_change import Look
from pipeline.ingest import clip_id, ingest
from pipeline.progress import spoken
from pipeline.store import Workspace

MakeClip = Callable[..., Path]
_DAY = dt.date(2026, 3, 29)


def _registry(**changes: Any) -> Registry:
    zone = {"name": "lane", "polygon": [[0, 0], [1, 0], [1, 1]]}
    entry = {
        "id": "gate",
        "site": "dc-1",
        "timezone": "Europe/Berlin",
        "source": "footage/gate/*",
        "zones": [zone],
    }
    return cameras.parse({"camera": [{**entry, **changes}]})


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "footage" / "gate").mkdir(parents=True)
    return Workspace(tmp_path)


def _put(ws: Workspace, clip: Path, name: str) -> Path:
    return Path(shutil.copy(clip, ws.root / "footage" / "gate" / name))


def _rows(ws: Workspace, day: dt.date) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.read_table(ws.clips("gate", day), schemas.CLIPS).to_pylist()
    return rows


def test_a_clip_becomes_a_row(ws: Workspace, make_clip: MakeClip) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0200.mp4")
    report = ingest(ws, _registry())
    assert (report.tally()["ok"], report.decoded, report.days) == (1, 1, 1)
    (row,) = _rows(ws, _DAY)
    assert row["uri"] == "footage/gate/2026-03-29T100000+0200.mp4"
    assert row["started_at"] == dt.datetime(2026, 3, 29, 8, tzinfo=dt.UTC)
    assert row["status"] == "ok"
    assert row["covered"] == [{"start_s": 0.0, "end_s": pytest.approx(2.0)}]
    assert row["clip_id"].startswith("2026-03-29T100000-0200-")


def test_a_clip_over_local_midnight_is_a_row_of_both_days(
    ws: Workspace, make_clip: MakeClip
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-28T225959+0000.mp4")  # 23:59:59 in Berlin
    ingest(ws, _registry())
    before, after = _rows(ws, dt.date(2026, 3, 28)), _rows(ws, _DAY)
    assert before == after
    assert len(after) == 1


def test_a_day_without_clips_between_others_gets_an_empty_table(
    ws: Workspace, make_clip: MakeClip
) -> None:
    for day in ("27", "29"):
        _put(ws, make_clip("a.mp4"), f"2026-03-{day}T120000+0000.mp4")
    ingest(ws, _registry())
    assert [len(_rows(ws, dt.date(2026, 3, d))) for d in (27, 28, 29)] == [1, 0, 1]


def test_a_second_ingest_decodes_nothing_and_changes_nothing(
    ws: Workspace, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    ingest(ws, _registry())
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in ws.root.rglob("*") if p.is_file()}
    monkeypatch.setattr(ingesting, "verify", lambda path, **_: pytest.fail(f"decoded {path} again"))
    monkeypatch.setattr(contents, "file_digest", lambda path: pytest.fail(f"read {path} again"))
    assert ingest(ws, _registry()).decoded == 0
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in ws.root.rglob("*") if p.is_file()}
    assert after == before


def test_a_clip_put_in_another_s_place_is_read_whatever_its_size_and_age(
    ws: Workspace, make_clip: MakeClip
) -> None:
    path = _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    other = bytearray(path.read_bytes())
    other[-1] ^= 1
    os.utime(path, (1.7e9, 1.7e9))
    ingest(ws, _registry())
    was = _rows(ws, _DAY)[0]["content_hash"]
    aside = path.with_suffix(".part")
    aside.write_bytes(other)
    os.utime(aside, (1.7e9, 1.7e9))
    aside.replace(path)
    kept = ws.root / "clips" / "gate" / "verified" / "files.json"
    assert ingest(ws, _registry()).decoded == 1
    assert _rows(ws, _DAY)[0]["content_hash"] == file_digest(path) != was
    kept.write_text("no JSON")
    assert ingest(ws, _registry()).decoded == 0
    assert store.read_object(kept).keys() == {"footage/gate/2026-03-29T100000+0000.mp4"}


def test_stopped_it_goes_on_where_it_was(ws: Workspace, make_clip: MakeClip) -> None:
    for hour in range(10, 14):
        clip = make_clip("a.mp4", n=20 + hour)
        _put(ws, clip, f"2026-03-29T{hour}0000+0000.mp4")

    def stop(clip: Clip) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(ws, _registry(), on_progress=stop)
    report = ingest(ws, _registry())
    assert len(report.clips) == 4
    assert 1 <= report.decoded <= 3


def test_stopped_within_a_clip_it_goes_on_there(
    ws: Workspace, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    look = Look(0.0, 60.0, np.full((9, 16), 7, np.uint8), 0.5)
    given: list[Any] = []

    def halves(path: Path, on_look: Any, on_state: Any, state: Any, **_: Any) -> Verification:
        given.append(state)
        on_look(look)
        if state is None:
            on_state({"tick": 5})
            raise KeyboardInterrupt
        return Verification(status="ok", duration_s=120.0, covered=((0.0, 120.0),))

    monkeypatch.setattr(ingesting, "verify", halves)
    with pytest.raises(KeyboardInterrupt):
        ingest(ws, _registry())
    assert ingest(ws, _registry()).tally()["ok"] == 1
    assert given == [None, {"tick": 5}]
    (kept,) = (ws.root / "clips" / "gate" / "verified").glob("*/*.looks.json")
    assert len(store.read_json(kept)) == 2
    assert not list(kept.parent.glob("*.half.json"))


def test_a_range_of_days_takes_in_the_clip_that_reaches_into_it(
    ws: Workspace, make_clip: MakeClip
) -> None:
    for name in (
        "2026-03-27T120000",
        "2026-03-28T120000",
        "2026-03-28T225959",
        "2026-03-30T120000",
    ):
        _put(ws, make_clip("a.mp4"), f"{name}+0000.mp4")
    report = ingest(ws, _registry(), (), _DAY, _DAY)
    assert [row["clip_id"][:17] for row in _rows(ws, _DAY)] == ["2026-03-28T225959"]
    assert len(report.clips) == 1
    assert ws.days("clips", "gate") == [_DAY]


def test_a_name_without_a_start_has_no_day(ws: Workspace, make_clip: MakeClip) -> None:
    _put(ws, make_clip("a.mp4"), "holiday.mp4")
    ingest(ws, _registry())
    assert ws.days("clips", "gate") == []
    unplaced = store.read_table(ws.root / "clips" / "gate" / "unplaced.parquet", schemas.CLIPS)
    (row,) = unplaced.to_pylist()
    assert row["status"] == "quarantined"
    assert "holiday" in row["uri"]
    assert "%Y-%m-%dT%H%M%S%z" in row["reason"]


def test_bad_files_are_rows_with_a_reason(ws: Workspace, tmp_path: Path) -> None:
    folder = ws.root / "footage" / "gate"
    (folder / "2026-03-29T100000+0000.mp4").write_bytes(b"")
    (folder / "2026-03-29T110000+0000.mp4").write_text("#EXTM3U\n/etc/hostname\n")
    (folder / "2026-03-29T120000+0000.mp4").symlink_to("/etc/hostname")
    (folder / "2026-03-29T130000+0000.mp4").symlink_to("nowhere")
    os.mkfifo(folder / "2026-03-29T140000+0000.mp4")
    ingest(ws, _registry())
    rows = _rows(ws, _DAY)
    assert [row["status"] for row in rows] == ["quarantined"] * 5
    reasons = [row["reason"] for row in rows]
    for reason, said in zip(
        reasons, ["opened", "opened", "leads out", "leads nowhere", "not a regular"], strict=True
    ):
        assert said in reason
        assert "\n" not in reason
    assert all(row["covered"] == [] and row["duration_s"] == 0.0 for row in rows)


def test_a_long_clip_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    hear = spoken("day.mp4", clock=iter([0.0, 3.0, 6.0, 8.0, 60.0]).__next__)
    hear(300.0, 86_400.0)
    hear(600.0, 86_400.0)
    hear(800.0, 86_400.0)
    hear(6_000.0, None)
    assert capsys.readouterr().err.splitlines() == [
        "day.mp4: 10.0 min decoded, 100 x real time, 858 s left",
        "day.mp4: 100.0 min decoded, 100 x real time",
    ]


def test_no_footage_is_a_remark(ws: Workspace) -> None:
    report = ingest(ws, _registry())
    assert report.as_dict()["remarks"] == ["gate: no file matches footage/gate/*"]


@pytest.mark.parametrize(
    ("pattern", "stem", "start"),
    [
        ("%Y-%m-%dT%H%M%S%z", "2026-07-01T060000-0500", "2026-07-01T11:00:00+00:00"),
        ("%Y%m%d_%H%M%SZ", "20260701_060000Z", "2026-07-01T06:00:00+00:00"),
        ("%Y%m%dT%H%M%SZ_gate", "20260701T060000Z_gate", "2026-07-01T06:00:00+00:00"),
        ("cam_%Y%m%d_%H%M%S", "cam_20260701_060000", "2026-07-01T04:00:00+00:00"),
        ("%Y%m%d_%H%M%SZone", "20260701_060000Zone", "2026-07-01T04:00:00+00:00"),
        ("%Y%m%d_%H%M%S", "20261025_023000", "2026-10-25T00:30:00+00:00"),  # the first of two
        ("%Y%m%d", "noon", None),
    ],
)
def test_clip_start(pattern: str, stem: str, start: str | None) -> None:
    camera = Camera("gate", "dc", "Europe/Berlin", "*", (), clip_start=pattern)
    found = clip_start(stem, camera)
    assert (found.isoformat() if found else None) == start


def test_clip_ids_are_safe_and_tell_folders_apart() -> None:
    assert clip_id("a/x.mp4") != clip_id("b/x.mp4")
    for uri in ("a/../é x;rm.mp4", "a/....mp4", "a/" + "y" * 300 + ".ts"):
        store.checked_name(clip_id(uri), "clip")


def test_clips_whose_files_are_gone_stay_known_until_they_are_to_be_forgotten(
    ws: Workspace, make_clip: MakeClip
) -> None:
    """Footage is deleted to make room, or its disk is not there: what was counted was counted."""
    first = _put(ws, make_clip("a.mp4"), "2026-03-28T100000+0000.mp4")
    _put(ws, make_clip("b.mp4", n=60), "2026-03-28T110000+0000.mp4")
    kept = _put(ws, make_clip("c.mp4", n=70), "2026-03-29T100000+0000.mp4")
    ingest(ws, _registry())
    days = [dt.date(2026, 3, 28), _DAY]
    for day in days:
        ws.counts("gate", day, "m").parent.mkdir(parents=True)
    before = [_rows(ws, day) for day in days]
    first.unlink()
    for over in ((None, None), (days[0], days[0])):
        report = ingest(ws, _registry(), (), *over)
        assert report.remarks == ("gate: 1 clip(s) whose files are gone stay known (--forget)",)
        assert [_rows(ws, day) for day in days] == before
    # Moved, it is there under its new name only; taken out of the camera, it is forgotten.
    kept.rename(kept.with_name("2026-03-29T100001+0000.mp4"))
    ingest(ws, _registry())
    assert [row["started_at"].second for row in _rows(ws, _DAY)] == [1]
    ingest(ws, _registry(source="footage/gate/2026-03-29*"))
    assert [row["clip_id"] for row in _rows(ws, days[0])] == [before[0][0]["clip_id"]]
    ingest(ws, _registry(), forget=True)
    assert [row["clip_id"] for row in _rows(ws, days[0])] == [before[0][1]["clip_id"]]


def test_one_clip_of_a_clock_that_was_reset_makes_no_years_of_dark_days(
    ws: Workspace, make_clip: MakeClip
) -> None:
    for start in ("2020-01-01T000003+0000", "2026-03-27T120000+0000", "2026-03-29T120000+0000"):
        _put(ws, make_clip("a.mp4"), f"{start}.mp4")
    report = ingest(ws, _registry())
    assert [str(day) for day in ws.days("clips", "gate")] == [
        "2020-01-01", "2026-03-27", "2026-03-28", "2026-03-29",
    ]  # fmt: skip
    assert report.days == 4
    assert report.remarks[0].startswith("gate: nothing between 2020-01-01 and 2026-03-27, too long")


def test_a_small_file_hides_no_clip_that_reaches_over_midnight(
    ws: Workspace, make_clip: MakeClip
) -> None:
    # In Berlin midnight is 23:00 UTC: the first clip's last second belongs to the 29th.
    _put(ws, make_clip("a.mp4", n=100), "2026-03-28T225957+0000.mp4")
    (ws.root / "footage" / "gate" / "2026-03-28T225958+0000.mp4").write_bytes(b"")
    _put(ws, make_clip("b.mp4", n=5), "2026-03-28T225959+0000.mp4")
    ingest(ws, _registry())
    (whole,) = _rows(ws, _DAY)
    ingest(ws, _registry(), (), _DAY, _DAY)
    assert _rows(ws, _DAY) == [whole]


def test_a_damaged_record_of_a_check_is_made_anew(ws: Workspace, make_clip: MakeClip) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    ingest(ws, _registry())
    (kept,) = [
        p for p in (ws.root / "clips/gate/verified").glob("*/*.json") if "looks" not in p.name
    ]
    kept.write_text("[]")
    assert ingest(ws, _registry()).decoded == 1


def test_the_same_bytes_under_two_starts_are_a_remark(ws: Workspace, make_clip: MakeClip) -> None:
    (ws.root / "footage" / "gate" / "copy").mkdir()
    registry = _registry(source="footage/gate/**/*.mp4")
    for name in ("2026-03-29T100000+0000", "copy/2026-03-29T100000+0000"):
        _put(ws, make_clip("a.mp4"), f"{name}.mp4")
    assert ingest(ws, registry).remarks == ()  # one start: seen once
    _put(ws, make_clip("a.mp4"), "2026-03-29T110000+0000.mp4")
    (remark,) = ingest(ws, registry).remarks
    assert remark == (
        "gate: 1 clip(s) hold the same bytes as one with another start, such as "
        "footage/gate/2026-03-29T110000+0000.mp4 and footage/gate/2026-03-29T100000+0000.mp4: "
        "their trucks count twice until you remove the misnamed one"
    )


def test_a_day_not_counted_yet_is_what_is_there(ws: Workspace, make_clip: MakeClip) -> None:
    gone = _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    _put(ws, make_clip("b.mp4", n=60), "2026-03-29T110000+0000.mp4")
    ingest(ws, _registry())
    gone.unlink()
    assert ingest(ws, _registry()).remarks == ()
    assert [row["started_at"].hour for row in _rows(ws, _DAY)] == [11]


def test_a_header_that_claims_thousands_of_years_stops_nothing(
    ws: Workspace, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-28T220000+0000.mp4")
    _put(ws, make_clip("b.mp4"), "2026-03-28T223000+0000.mp4")
    probed = files.probe
    monkeypatch.setattr(
        files, "probe", lambda path: dataclasses.replace(probed(path), duration_s=1e12)
    )
    ingest(ws, _registry(), (), _DAY, _DAY)
    assert _rows(ws, _DAY) == []


def test_a_decoder_that_was_killed_is_tried_again(
    ws: Workspace, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    killed = Verification(reason="the decoder crashed (SIGKILL)", passing=True)
    truly, given = ingesting.verify, list[Any]()

    def dies(path: Path, on_state: Any, state: Any, **_: Any) -> Verification:
        given.append(state)
        on_state({"tick": len(given)})
        return killed

    monkeypatch.setattr(ingesting, "verify", dies)
    assert [ingest(ws, _registry()).decoded for _ in range(4)] == [1, 1, 1, 0]
    assert given[:3] == [None, {"tick": 1}, {"tick": 2}]  # each goes on where the last one died
    assert len(given) == 6  # two at once, thrice
    for path in (ws.root / "clips").rglob("verified/*/*.json"):
        path.unlink()
    assert ingest(ws, _registry()).tally()["quarantined"] == 1
    for path in (ws.root / "clips").rglob("*.half.json"):  # of no true decoder
        path.unlink()
    monkeypatch.setattr(ingesting, "verify", truly)
    assert ingest(ws, _registry()).tally()["ok"] == 1
    assert ingest(ws, _registry()).decoded == 0


def test_a_decoder_that_is_killed_is_passing_and_a_crash_is_not() -> None:
    assert verify._ended(-9, "").passing
    assert not verify._ended(-11, "").passing
    assert not verify._ended(1, "MemoryError").passing


def test_files_that_cannot_be_read_or_named_stop_nothing(
    ws: Workspace, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    locked = _put(ws, make_clip("a.mp4"), "2026-03-29T110000+0000.mp4")
    gone = _put(ws, make_clip("a.mp4"), "2026-03-29T120000+0000.mp4")
    hashed = contents.file_digest

    def refused(path: Path) -> str:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        if path == gone:
            raise FileNotFoundError(2, "No such file or directory")
        return hashed(path)

    monkeypatch.setattr(contents, "file_digest", refused)
    os.rename(
        _put(ws, make_clip("a.mp4"), "x.mp4"), os.fsencode(ws.root / "footage/gate") + b"/\xff.mp4"
    )
    (ws.root / "footage" / "gate" / "loop").symlink_to(".")
    (ws.root / "footage" / "gate" / "0.mp4").symlink_to("2026-03-29T100000+0000.mp4")
    report = ingest(ws, _registry(source="footage/gate/**/*"))
    assert report.tally() == {"ok": 1, "partial": 0, "quarantined": 3}
    reasons = {Path(clip.uri).name: clip.reason for clip in report.clips}
    assert reasons["2026-03-29T110000+0000.mp4"] == "it cannot be read (Permission denied)"
    assert reasons["2026-03-29T120000+0000.mp4"] == "it cannot be read (No such file or directory)"
    assert "no UTF-8" in reasons["\\xff.mp4"]
    monkeypatch.setattr(contents, "file_digest", hashed)
    assert ingest(ws, _registry(source="footage/gate/**/*")).tally()["ok"] == 3


@pytest.mark.parametrize("year", ["0001", "1970", "9999"])
def test_a_clock_that_was_never_set_tells_no_start(
    ws: Workspace, make_clip: MakeClip, year: str
) -> None:
    _put(ws, make_clip("a.mp4"), f"{year}-01-01T000000+0000.mp4")
    report = ingest(ws, _registry())
    assert (report.tally()["quarantined"], report.days) == (1, 0)
    assert "does not tell its start" in report.clips[0].reason


def test_a_slip_in_the_days_asked_for_makes_no_centuries_of_dark_days(
    ws: Workspace, make_clip: MakeClip
) -> None:
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    ingest(ws, _registry())
    far = ingest(ws, _registry(), first_day=dt.date(1026, 3, 1), last_day=_DAY)
    assert far.days == 367  # a year's darkness is possible
    again = ingest(ws, _registry(), first_day=dt.date(1026, 3, 1), last_day=_DAY)
    assert (again.days, len(ws.days("clips", "gate"))) == (367, 367)  # and no second one before it
    ahead = ingest(ws, _registry(), first_day=_DAY, last_day=dt.date(9999, 1, 1))
    assert ahead.days == (dt.datetime.now(dt.UTC).date() - _DAY).days + 2


def test_spaces_of_other_scripts_are_names_like_any(tmp_path: Path, make_clip: MakeClip) -> None:
    ws = Workspace(tmp_path / "カメラ\u3000一")
    (ws.root / "footage" / "gate").mkdir(parents=True)
    _put(ws, make_clip("a.mp4"), "2026-03-29T100000+0000.mp4")
    _put(ws, make_clip("a.mp4"), "10.30\u202fPM.mp4")
    reasons = [clip.reason for clip in ingest(ws, _registry()).clips]
    assert len(reasons) == 2
    assert not any("UTF-8" in reason for reason in reasons)
