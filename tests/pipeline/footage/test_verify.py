"""Judging clips: hand-worked counts, damaged files, and the real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.exposure import seconds
from pipeline.footage import verify
from pipeline.footage.verify import Seen, judged

MakeClip = Callable[..., Path]


def _seen(**changes: object) -> Seen:
    """A whole clip of 10 s at 25 fps, with changes."""
    whole: dict[str, object] = {
        "timebase": "container",
        "interval_s": 0.04,
        "expected": 250,
        "declared_s": 10.0,
        "packets": 250,
        "frames": 250,
        "end_s": 10.0,
        "covered": [(0.0, 10.0)],
    }
    return Seen(**{**whole, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({}, "ok", ""),
        ({"frames": 248}, "ok", "header promises 250 frames, 248 decode"),
        ({"frames": 230}, "partial", "20 pictures that the header promises do not decode"),
        ({"frames": 125, "end_s": 5.0}, "partial", "the last 5.00 s"),
        ({"lead_s": 1.86, "end_s": 8.14, "frames": 203}, "partial", "the first 1.86 s"),
        ({"covered": [(0.0, 4.0), (6.0, 10.0)]}, "partial", "1 gap(s), 2.00 s in all"),
        ({"frames": 230, "cut_away": 20}, "ok", "230 decode, 20 are cut away"),
        ({"damaged": [(2.0, 4.0)]}, "partial", "2.00 s of pictures are damaged"),
        ({"broken_off": "bad"}, "partial", "the container is damaged (bad)"),
        ({"frames": 0}, "quarantined", "no picture decodes"),
        ({"backwards": 40}, "quarantined", "times run backwards"),
        ({"backwards": 1}, "ok", ""),
        ({"resized": 100}, "quarantined", "size changes"),
        ({"end_s": 1e6}, "quarantined", "times span 278 h"),
        ({"timebase": "index", "frames": 200}, "quarantined", "50 of 250 pictures"),
        # Matroska counts its duration from 0 even where pictures begin later.
        ({"start_s": 5.0, "declared_s": 15.0}, "ok", ""),
    ],
)
def test_judgement(changes: dict[str, object], status: str, said: str) -> None:
    found, reason = judged(_seen(**changes))
    assert found == status
    assert said in reason


def test_a_whole_clip_is_ok(make_clip: MakeClip) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts"):
        found = verify.verify(make_clip(name, b_frames=2))
        assert (found.status, found.frames_read, found.reason) == ("ok", 50, "")
        assert seconds(found.covered) == pytest.approx(2.0, abs=0.01)


def test_a_truncated_clip_is_partial_and_exact(make_clip: MakeClip, tmp_path: Path) -> None:
    whole = make_clip("a.mp4", n=100, options={"movflags": "faststart"}).read_bytes()
    fragmented = make_clip("b.mkv", n=100).read_bytes()
    for name, content in (("cut.mkv", fragmented),):
        path = tmp_path / name
        path.write_bytes(content[: len(content) // 2])
        found = verify.verify(path)
        assert found.status == "partial"
        assert 0.5 < found.duration_s < 3.5
        assert seconds(found.covered) == pytest.approx(found.frames_read / 25, abs=0.05)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])  # its index was at the end: nothing can be found
    found = verify.verify(path)
    assert (found.status, found.covered, found.duration_s) == ("quarantined", (), 0.0)


def test_a_stall_is_a_gap(make_clip: MakeClip) -> None:
    times = [i / 25 for i in range(25)] + [3 + i / 25 for i in range(25)]
    found = verify.verify(make_clip("stall.mp4", times_s=times))
    assert found.status == "partial"
    assert [edge for span in found.covered for edge in span] == pytest.approx(
        [0.0, 1.0, 3.0, 4.0], abs=1e-3
    )


def test_too_little_memory_is_a_reason_not_a_crash(make_clip: MakeClip) -> None:
    found = verify.verify(make_clip("a.mp4"), memory_bytes=100 << 20)
    assert found.status == "quarantined"
    assert "memory" in found.reason


def test_a_hang_is_a_reason(make_clip: MakeClip) -> None:
    found = verify.verify(make_clip("a.mp4"), silent_s=0.001)
    assert (found.status, found.reason[:13]) == ("quarantined", "decoding hung")


def test_json_keeps_everything(make_clip: MakeClip) -> None:
    found = verify.examined(make_clip("a.mp4"))
    assert verify.verification(verify.to_json(found)) == found


_REAL = {
    "curve_no_trucks.mp4": ("ok", 341, 11.378),
    "highway_semi.mp4": ("ok", 126, 5.04),
    "junction_skip_lorry.mp4": ("ok", 60, 3.0),
    "overhead_cars.mp4": ("ok", 377, 30.16),
    # 19 of its 754 pictures come before the first keyframe; one stall of 0.78 s
    "street_school_bus.mp4": ("partial", 734, 72.53),
    "tree_road.avi": ("ok", 1699, 28.317),
    "uk_cctv.avi": ("ok", 748, 29.92),
}


@pytest.mark.parametrize("name", _REAL)
def test_real_clips(shared_data: Path, name: str) -> None:
    found = verify.verify(shared_data / "clips" / name)
    assert (found.status, found.frames_read) == _REAL[name][:2]
    assert seconds(found.covered) == pytest.approx(_REAL[name][2], abs=0.01)
    assert (found.timebase == "index") == name.endswith(".avi")


def test_whoever_waits_for_a_clip_can_stop(make_clip: MakeClip) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(verify.StoppedError):
        verify.verify(make_clip("a.mp4"), stop=stop)
