"""Scoring with a stand-in engine: the mean brightness of the crop is the logit."""

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest

from pipeline import cameras, schemas, store
from pipeline.errors import NotFoundError
from pipeline.learning import infer
from pipeline.learning.calibration import Calibration
from pipeline.learning.infer import Scorer
from pipeline.store import Workspace, read_table

DAY = dt.date(2026, 3, 2)
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def _mean_brightness(pixels):
    return (pixels[:, :3].mean(axis=(1, 2, 3)) / 255.0).astype(np.float32)


@pytest.fixture
def scorer(monkeypatch):
    made = Scorer(_mean_brightness, Calibration(), width=24, height=32, channels=6)
    monkeypatch.setattr(Scorer, "open", classmethod(lambda *_: made))
    monkeypatch.setattr(infer, "_made_from", lambda *args: {"made_from": str(args[2])})
    return made


def _workspace(root, clips, timezone="UTC", hz=2.0):
    ws = Workspace(root)
    zones = [
        {"name": n, "polygon": [[x, 0.4], [x + 0.4, 0.4], [x + 0.4, 0.9], [x, 0.9]]}
        for n, x in (("left", 0.1), ("right", 0.5))
    ]
    entry = {"id": "gate", "site": "s", "timezone": timezone, "source": "x", "zones": zones}
    camera = cameras.parse({"camera": [{**entry, "sample_hz": hz}]}).camera("gate")
    rows = [
        {
            "camera_id": "gate",
            "clip_id": f"clip{i}",
            "uri": str(path),
            "started_at": start,
            "duration_s": n / 25,
            "frames_expected": n,
            "frames_read": n,
            "width_px": 192,
            "height_px": 108,
            "codec": "h264",
            "status": status,
            "reason": "",
            "timebase": "container",
            "content_hash": "",
            "covered": [{"start_s": a, "end_s": b} for a, b in (more or [[(0.0, n / 25)]])[0]],
        }
        for i, (path, start, n, status, *more) in enumerate(clips)
    ]
    table = store.table_of(rows, schemas.CLIPS)
    store.write_table(ws.clips("gate", DAY), table, schemas.CLIPS)
    return ws, camera


def _offsets(ws, zone="left"):
    table = read_table(ws.scores("gate", DAY, "m"), schemas.SCORES).to_pandas()
    return table[table["zone"] == zone]


def test_every_instant_of_every_zone_is_scored_once(tmp_path, make_clip, scorer):
    clip = make_clip("a.mp4", n=100)
    ws, camera = _workspace(tmp_path, [(clip, NOON, 100, "ok")])
    infer.infer_day(ws, camera, DAY, "m")

    left = _offsets(ws)
    # within half a frame of 0, 0.5, 1.0, …
    assert left["offset_s"].tolist() == pytest.approx([0.5 * i for i in range(8)], abs=0.021)
    assert len(_offsets(ws, "right")) == 8
    assert (left["captured_at"] - NOON).dt.total_seconds().to_numpy() == pytest.approx(
        left["offset_s"].to_numpy()
    )
    assert left["p_truck"].between(0.5, 0.75).all()


def test_overlapping_clips_speak_once_and_quarantined_ones_not_at_all(tmp_path, make_clip, scorer):
    clip = make_clip("a.mp4", n=100)
    later = NOON + dt.timedelta(seconds=2)
    ws, camera = _workspace(
        tmp_path,
        [
            (clip, NOON, 100, "ok"),
            (clip, later, 100, "ok"),
            (clip, NOON + dt.timedelta(hours=1), 100, "quarantined"),
        ],
    )
    infer.infer_day(ws, camera, DAY, "m")

    left = _offsets(ws)
    assert left["captured_at"].is_unique
    assert len(left) == 12  # six seconds, twice a second
    assert left.groupby("clip_id").size().to_dict() == {"clip0": 8, "clip1": 4}
    assert (left["captured_at"].sort_values().diff().dropna() > dt.timedelta(seconds=0.4)).all()


def test_where_a_clip_is_frozen_one_that_overlaps_it_is_heard(tmp_path, make_clip, scorer):
    clip = make_clip("a.mp4", n=100)
    ws, camera = _workspace(
        tmp_path,
        [
            (clip, NOON, 100, "partial", [(0.0, 1.0), (3.0, 4.0)]),
            (clip, NOON + dt.timedelta(seconds=0.5), 100, "ok"),
        ],
    )
    infer.infer_day(ws, camera, DAY, "m")

    left = _offsets(ws).sort_values("captured_at")
    at = (left["captured_at"] - NOON).dt.total_seconds()
    # 4.5 s twice a second; the first clip's seconds 1 to 3, and what comes after it, by the second.
    assert at.to_list() == pytest.approx([0.5 * i for i in range(9)], abs=0.021)
    assert left["clip_id"].to_list() == ["clip0"] * 2 + ["clip1"] * 4 + ["clip0"] * 2 + ["clip1"]


def test_only_instants_of_the_local_day(tmp_path, make_clip, scorer):
    # In Berlin the second of March ends at 23:00 UTC: two of four seconds belong to it.
    clip = make_clip("a.mp4", n=100)
    start = dt.datetime(2026, 3, 2, 22, 59, 58, tzinfo=dt.UTC)
    ws, camera = _workspace(tmp_path, [(clip, start, 100, "ok")], "Europe/Berlin")
    infer.infer_day(ws, camera, DAY, "m")

    assert len(_offsets(ws)) == 4
    assert _offsets(ws)["captured_at"].max() < dt.datetime(2026, 3, 2, 23, tzinfo=dt.UTC)


def test_the_same_again_decodes_nothing(tmp_path, make_clip, scorer, monkeypatch):
    ws, camera = _workspace(tmp_path, [(make_clip("a.mp4", n=100), NOON, 100, "ok")])
    path = infer.infer_day(ws, camera, DAY, "m")
    before = path.read_bytes()
    monkeypatch.setattr(infer.video, "read_at", lambda *_: pytest.fail("decoded again"))
    left = path.with_suffix(".parts") / "clip0.0.parquet"  # by a kill at the very end
    store.write_bytes(left, before)

    assert infer.infer_day(ws, camera, DAY, "m").read_bytes() == before
    assert not left.parent.exists()


def test_the_background_of_long_clips_changes_with_the_block(
    tmp_path, make_clip, monkeypatch, scorer
):
    monkeypatch.setattr("pipeline.view.LONGEST_BLOCK_S", 1.0)
    monkeypatch.setattr("pipeline.view.blocks.__defaults__", (1.0,))
    seen = []
    monkeypatch.setattr(
        "pipeline.view.background", lambda crops: (seen.append(len(crops)), crops[0])[1]
    )
    ws, camera = _workspace(tmp_path, [(make_clip("a.mp4", n=100), NOON, 100, "ok")])
    infer.infer_day(ws, camera, DAY, "m")

    assert seen == [1] * 8  # four blocks of a second, two zones
    assert len(_offsets(ws)) == 8


def test_a_sparse_camera_is_read_at_keyframes(tmp_path, make_clip, monkeypatch, scorer):
    seen, asked = [], []
    monkeypatch.setattr(
        "pipeline.view.background", lambda crops: (seen.append(len(crops)), crops[0])[1]
    )
    monkeypatch.setattr(infer.video, "keyframe_offsets", lambda _: (0.0, 1.0, 2.0, 3.0))
    read_at = infer.video.read_at
    monkeypatch.setattr(
        infer.video, "read_at", lambda *given: (asked.append(given[1]), read_at(*given))[1]
    )
    ws, camera = _workspace(tmp_path, [(make_clip("a.mp4", n=100), NOON, 100, "ok")], hz=0.4)
    infer.infer_day(ws, camera, DAY, "m")

    # 0 s and 2.5 s, the latter at the keyframe before; the background from all four keyframes.
    assert _offsets(ws)["offset_s"].tolist() == pytest.approx([0.0, 2.0], abs=0.021)
    assert asked == [[0.0, 1.0, 2.0, 3.0]]
    assert seen == [4, 4]


def test_a_day_that_was_not_ingested_is_named(tmp_path, make_clip, scorer):
    ws, camera = _workspace(tmp_path, [])
    with pytest.raises(NotFoundError, match="2026-03-03"):
        infer.infer_day(ws, camera, dt.date(2026, 3, 3), "m")


def test_a_day_without_sound_clips_has_an_empty_table(tmp_path, make_clip, scorer):
    ws, camera = _workspace(tmp_path, [(make_clip("a.mp4"), NOON, 50, "quarantined")])

    assert read_table(infer.infer_day(ws, camera, DAY, "m")).num_rows == 0


def test_stopped_within_a_clip_it_goes_on_with_the_next_block(
    tmp_path, make_clip, monkeypatch, scorer
):
    monkeypatch.setattr("pipeline.view.LONGEST_BLOCK_S", 1.0)
    monkeypatch.setattr("pipeline.view.blocks.__defaults__", (1.0,))
    clip = make_clip("a.mp4", n=100, b_frames=2)
    whole, camera = _workspace(tmp_path / "whole", [(clip, NOON, 100, "ok")])
    expected = read_table(infer.infer_day(whole, camera, DAY, "m"), schemas.SCORES)

    ws, camera = _workspace(tmp_path / "stopped", [(clip, NOON, 100, "ok")])
    keep, asked = infer._Parts.keep, []

    def keep_two(self, clip_id, number, scores):
        if number == 2:
            raise KeyboardInterrupt
        keep(self, clip_id, number, scores)

    with monkeypatch.context() as patch:
        patch.setattr(infer._Parts, "keep", keep_two)
        with pytest.raises(KeyboardInterrupt):
            infer.infer_day(ws, camera, DAY, "m")
    read_at = infer.video.read_at
    monkeypatch.setattr(
        infer.video, "read_at", lambda path, at, box: (asked.extend(at), read_at(path, at, box))[1]
    )
    path = infer.infer_day(ws, camera, DAY, "m")
    assert min(asked) == 2.0  # the blocks up to 2 s were done
    assert read_table(path, schemas.SCORES).equals(expected)
    assert {p.name for p in path.parent.iterdir()} == {"m.parquet", "m.json"}


def test_what_was_begun_from_other_clips_is_not_gone_on_with(tmp_path, make_clip, scorer):
    ws, camera = _workspace(tmp_path, [(make_clip("a.mp4", n=100), NOON, 100, "ok")])
    parts = ws.scores("gate", DAY, "m").with_suffix(".parts")
    store.write_json(parts / "made_from.json", {"made_from": "others"})
    store.write_bytes(parts / "clip0.0.parquet", b"not even a table")
    infer.infer_day(ws, camera, DAY, "m")
    assert len(_offsets(ws)) == 8
    assert not parts.exists()


def test_scoring_takes_no_torch():
    """Torch is most of a process's memory, and seconds of its start."""
    code = "import sys, pipeline.learning.infer, pipeline.daily; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_scores_know_what_of_a_clip_was_trusted(tmp_path, make_clip):
    """What is trusted only later has no scores, and would count as seen without a truck."""
    clip = make_clip("a.mp4", n=100)
    told = []
    for covered in ([(0.0, 1.0)], [(0.0, 4.0)]):
        ws, camera = _workspace(tmp_path, [(clip, NOON, 100, "partial", covered)])
        clips = read_table(ws.clips("gate", DAY), schemas.CLIPS).to_pylist()
        told.append(infer._made_from(ws, camera, clips, "", "auto"))

    assert told[0] != told[1]
