"""A camera that was knocked: what it films afterwards does not count, until someone says so."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import aim, cameras, daily, reference, schemas, store
from pipeline.domain import Clip
from pipeline.ingest import ingest
from pipeline.store import Workspace

FIRST, SECOND = dt.date(2026, 3, 2), dt.date(2026, 3, 3)
ENTRY = {
    "id": "gate",
    "site": "dc-1",
    "timezone": "UTC",
    "source": "footage/gate/*.mp4",
    "zones": [{"name": "lane", "movement": "out", "polygon": [[0, 0], [1, 0], [1, 1]]}],
    "schedule": [["10:00", "10:05"]],
}
AIMED = cameras.parse({"camera": [ENTRY]})
ANEW = cameras.parse({"camera": [ENTRY, {**ENTRY, "valid_from": SECOND}]})


def scene() -> np.ndarray:
    draw = np.random.default_rng(4)
    made = np.full((72, 160), 160.0)
    for _ in range(50):
        y, x = draw.integers(0, 72), draw.integers(0, 160)
        made[y : y + draw.integers(3, 20), x : x + draw.integers(3, 25)] = draw.integers(40, 200)
    return made


def film(ws: Workspace, start: str, right: int, seed: int) -> None:
    """A minute of a street, aimed so that it lies ``right`` pixels further right."""
    path = ws.root / "footage" / "gate" / f"{start}+0000.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    street, draw = scene()[:, 16 - right : 144 - right], np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        stream.gop_size = 4
        for _ in range(240):
            picture = np.clip(street + draw.normal(0, 3, street.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, 2), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two clips, a knock by a twentieth of the width, three more, and one the next day."""
    ws = Workspace(tmp_path_factory.mktemp("knocked"))
    for minute, right in enumerate((0, 0, 7, 7, 7)):
        film(ws, f"2026-03-02T10{minute:02d}00", right, minute)
    film(ws, "2026-03-03T100000", 7, 99)
    ingest(ws, AIMED, first_day=SECOND, last_day=SECOND)
    return ws


def rows(ws: Workspace, day: dt.date) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.read_table(ws.clips("gate", day), schemas.CLIPS).to_pylist()
    return found


def seen(ws: Workspace, day: dt.date) -> list[float]:
    return [sum(s["end_s"] - s["start_s"] for s in row["covered"]) for row in rows(ws, day)]


def tree(ws: Workspace) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in ws.root.rglob("*") if p.is_file()}


def test_one_look_elsewhere_on_its_own_changes_nothing(filmed: Workspace) -> None:
    assert seen(filmed, SECOND) == [pytest.approx(60.0)]


def test_what_follows_a_knock_is_not_trusted_and_the_days_after_neither(filmed: Workspace) -> None:
    report = ingest(filmed, AIMED, first_day=FIRST, last_day=FIRST)
    assert seen(filmed, FIRST) == pytest.approx([60.0, 60.0, 0.0, 0.0, 0.0])
    assert [row["status"] for row in rows(filmed, FIRST)] == ["ok"] * 2 + ["partial"] * 3
    for row in rows(filmed, FIRST)[2:]:
        assert row["reason"] == "view_changed: the scene lies +5% across and +0% down of its place"
    assert seen(filmed, SECOND) == [0.0]
    (remark,) = report.remarks
    assert "since 2026-03-02T10:02:00+00:00" in remark
    assert "cameras add gate --valid-from 2026-03-03" in remark
    before = tree(filmed)
    assert ingest(filmed, AIMED).remarks == report.remarks
    assert seen(filmed, SECOND) == [0.0]
    assert tree(filmed) == before


def test_a_view_that_changed_stays_changed_where_footage_was_deleted_since(
    filmed: Workspace,
) -> None:
    """A counted day is judged by what its clips showed, whether they are still there or not."""
    ingest(filmed, AIMED)
    counts = filmed.counts("gate", FIRST, "m")
    store.write_bytes(counts, b"")
    before = [row["reason"] for row in rows(filmed, FIRST)]
    clips = sorted((filmed.root / "footage" / "gate").glob("2026-03-02*"))
    kept = {path: path.read_bytes() for path in clips[2:]}
    for path in kept:  # all that tell of the knock
        path.unlink()
    report = ingest(filmed, AIMED)
    for path, content in kept.items():
        path.write_bytes(content)
    counts.unlink()
    assert "since 2026-03-02T10:02:00+00:00" in report.remarks[0]
    assert seen(filmed, SECOND) == [0.0]
    assert [row["reason"] for row in rows(filmed, FIRST)] == before


def test_its_count_is_null_and_says_why(filmed: Workspace) -> None:
    ingest(filmed, AIMED)
    card = {"model_id": "m", "label_set_id": "l", "prevalence": 0.1, "threshold": 0.5}
    card["held_out"] = {"tp": 90, "fn": 10, "fp": 5, "tn": 95}
    card |= {"temperature": 1.0, "prior": {"shown": 0.5, "natural": 0.1}}
    store.write_json(filmed.model("m") / "card.json", card)
    (row,) = daily.count_day(filmed, daily.CameraDay(AIMED.camera("gate"), FIRST), "m")
    assert (row["truck_count"], row["quality"]) == (None, "view_changed")
    assert row["exposure_s"] == pytest.approx(120.0)  # of the five minutes that were to be filmed


def test_a_later_entry_is_trusted_again(filmed: Workspace) -> None:
    ingest(filmed, AIMED)
    report = ingest(filmed, ANEW)
    assert seen(filmed, FIRST) == pytest.approx([60.0, 60.0, 0.0, 0.0, 0.0])
    assert seen(filmed, SECOND) == [pytest.approx(60.0)]
    assert len(report.remarks) == 1
    pictures = [filmed.reference("gate", entry.valid_from) for entry in ANEW.entries]
    assert all(path.is_file() for path in pictures)


def test_a_reference_picture_of_the_new_view_makes_the_old_one_wrong(
    filmed: Workspace,
) -> None:
    """The picture is what is compared with: another one gives another verdict."""
    ingest(filmed, AIMED)
    own = filmed.reference("gate", AIMED.camera("gate").valid_from)
    before = own.read_bytes()
    knocked = np.repeat(scene()[:, 9:137, None], 3, 2).astype(np.uint8)
    store.write_bytes(own, reference.as_jpeg(knocked))
    try:
        ingest(filmed, AIMED)
        assert seen(filmed, FIRST) == pytest.approx([60.0, 60.0, 60.0, 60.0, 60.0])
    finally:
        store.write_bytes(own, before)


def test_a_day_that_proves_a_knock_takes_the_evening_before_with_it(tmp_path: Path) -> None:
    """Days ingested one by one come to what they come to all at once."""
    ws = Workspace(tmp_path)
    for minute, right in enumerate((0, 0, 0, 7, 7)):  # two minutes elsewhere prove nothing yet
        film(ws, f"2026-03-02T10{minute:02d}00", right, minute)
    for minute in range(3):
        film(ws, f"2026-03-03T10{minute:02d}00", 7, 10 + minute)
    ingest(ws, AIMED, first_day=FIRST, last_day=FIRST)
    assert seen(ws, FIRST) == pytest.approx([60.0] * 5)
    store.write_bytes(ws.counts("gate", FIRST, "m"), b"")
    (ws.root / "footage" / "gate" / "2026-03-02T100400+0000.mp4").unlink()  # counted, and deleted
    ingest(ws, AIMED, first_day=SECOND, last_day=SECOND)
    assert seen(ws, FIRST) == pytest.approx([60.0, 60.0, 60.0, 0.0, 60.0])
    before = tree(ws)
    ingest(ws, AIMED)
    assert tree(ws) == before


def test_what_was_said_of_a_view_is_said_once() -> None:
    """A clip of another day is read back from its table, with the reasons that it has there."""
    events = [aim.Event(AIMED.camera("gate"), -math.inf, math.inf, None)]
    start, reason = dt.datetime(2026, 3, 2, 10, tzinfo=dt.UTC), "times are index ÷ fps"
    clip = Clip("gate", "c", "c.avi", start, 60.0, 240, 240, 128, 72, "h264", "ok", reason)
    once = aim.without_events(clip, AIMED.entries, events)
    assert once.reason == f"{reason}; {events[0].as_text()}"
    assert aim.without_events(once, AIMED.entries, events) == once


def test_footage_of_another_camera_that_was_taken_away_is_forgotten(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for day in (FIRST, dt.date(2026, 3, 4)):
        film(ws, f"{day}T100000", 0, day.day)
    ingest(ws, AIMED)
    for minute in range(3):
        film(ws, f"2026-03-03T10{minute:02d}00", 7, 10 + minute)
    assert len(ingest(ws, AIMED).remarks) == 1
    for path in (ws.root / "footage" / "gate").glob("2026-03-03*"):
        path.unlink()
    assert ingest(ws, AIMED).remarks == ()
    assert seen(ws, dt.date(2026, 3, 4)) == [pytest.approx(60.0)]
