"""Selective decoding gives the pictures, bytes and times of full decoding, for less work."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.footage import containers, nal, selective, video

MakeClip = Callable[..., Path]


def _read(path: Path, offsets: Sequence[float], everything: bool) -> list[tuple[int, bytes]]:
    clock = containers.timing(path)
    choice = video.Choice(clock, offsets)
    reading = video.every_picture if everything else video.wanted_pictures
    return [(tick, video.to_rgb(frame).tobytes()) for tick, frame in reading(path, clock, choice)]


def _assert_identical(path: Path, seed: int = 0) -> None:
    """Compare both ways at several rates and at random instants, seldom and often."""
    duration = containers.probe(path).duration_s or 10.0
    draw = random.Random(seed)
    plans = [[i / hz for i in range(int(duration * hz) + 1)] for hz in (0.3, 1.0, 5.0, 60.0)]
    plans += [sorted(draw.uniform(0, duration) for _ in range(n)) for n in (1, 2, 7)]
    for plan in plans:
        expected = _read(path, plan, everything=True)
        assert expected or len(plan) < 8
        assert _read(path, plan, everything=False) == expected


_STALLED = [i / 25 + (i > 40) * 0.4 + (i > 90) * 3 + (i % 7) * 0.004 for i in range(150)]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("gop2s.mp4", {"gop": 50, "b_frames": 3}),
        ("gop2s.mkv", {"gop": 50, "b_frames": 3}),
        ("gop2s.ts", {"gop": 50, "b_frames": 3}),
        ("gop10s-b.mp4", {"n": 270, "gop": 250, "b_frames": 3}),
        ("gop10s.mp4", {"n": 270, "gop": 250, "b_frames": 0}),
        ("2997.mp4", {"fps": Fraction(30000, 1001), "b_frames": 2}),
        ("2997.mkv", {"fps": Fraction(30000, 1001), "b_frames": 2}),
        ("vfr.mp4", {"n": 150, "times_s": _STALLED, "b_frames": 2}),
        ("vfr.mkv", {"n": 150, "times_s": _STALLED, "b_frames": 2}),
        ("open.mp4", {"b_frames": 3, "options": {"x264-params": "open-gop=1"}}),
        ("refresh.ts", {"b_frames": 2, "options": {"x264-params": "intra-refresh=1"}}),
        ("fields.mp4", {"b_frames": 2, "options": {"x264-params": "tff=1"}}),
        ("mjpeg.avi", {"codec": "mjpeg"}),
        ("mjpeg.mkv", {"codec": "mjpeg", "times_s": _STALLED, "n": 150}),
        ("h265.mp4", {"codec": "libx265", "b_frames": 3, "options": {"preset": "ultrafast"}}),
        (
            "h265-layers.mkv",
            {
                "codec": "libx265",
                "b_frames": 3,
                "options": {"preset": "ultrafast", "x265-params": "temporal-layers=3:open-gop=0"},
            },
        ),
    ],
)
def test_identical_to_full_decoding(make_clip: MakeClip, name: str, how: dict[str, object]) -> None:
    _assert_identical(make_clip(name, **{"n": 110, **how}))


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_identical_on_large_pictures(make_clip: MakeClip, size: tuple[int, int]) -> None:
    path = make_clip("large.mp4", n=16, gop=8, b_frames=3, size=size)
    plan = [0.0, 0.2, 0.28, 0.6]
    assert _read(path, plan, everything=False) == _read(path, plan, everything=True)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_seeking_far_ahead_changes_nothing(
    make_clip: MakeClip, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_SEEK_OVER_S", 2)
    path = make_clip(f"long.{suffix}", n=300, gop=25, b_frames=3)
    plan = [0.2, 4.0, 4.2, 9.0, 11.9]
    assert _read(path, plan, everything=False) == _read(path, plan, everything=True)


@pytest.mark.parametrize("extra", [["-ss", "0.5"], ["-output_ts_offset", "7"]])
def test_edit_lists_and_late_starts(make_clip: MakeClip, tmp_path: Path, extra: list[str]) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg program to cut a clip with")
    source = make_clip("gop2s.mp4", n=110, gop=50, b_frames=3)
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"cut.{suffix}"
        cut = ["-i", str(source), "-c", "copy", str(path)]
        at = ["-ss", "0.5", *cut] if extra[0] == "-ss" else [*cut[:-1], *extra, str(path)]
        subprocess.run(["ffmpeg", "-v", "error", *at], check=True)
        _assert_identical(path)
        (first,) = video.read_at(path, [0.0])
        assert first.offset_s == 0.0


def test_identical_on_real_clips(shared_data: Path) -> None:
    for path in sorted((shared_data / "clips").glob("*.mp4")):
        plan = [i * 0.5 for i in range(150)]
        assert _read(path, plan, everything=False) == _read(path, plan, everything=True)


@pytest.mark.parametrize("name", ["tree_road.avi", "uk_cctv.avi"])
def test_other_codecs_are_decoded_whole(shared_data: Path, name: str) -> None:
    path = shared_data / "clips" / name
    with pytest.raises(selective.UnsuitedError):
        _read(path, [1.0], everything=False)
    frames = list(video.read_at(path, [1.0, 20.0]))
    whole = _read(path, [1.0, 20.0], everything=True)
    assert [frame.rgb.tobytes() for frame in frames] == [pixels for _, pixels in whole]


@pytest.mark.parametrize(
    ("codec", "name"), [("mpeg4", "a.mp4"), ("mjpeg", "a.avi"), ("wmv2", "a.wmv")]
)
def test_every_codec_can_be_read(make_clip: MakeClip, codec: str, name: str) -> None:
    path = make_clip(name, codec=codec, n=50)
    frames = list(video.read_at(path, [0.0, 1.0, 1.5]))
    assert [frame.offset_s for frame in frames] == pytest.approx([0.0, 1.0, 1.5], abs=0.021)


def test_keyframes_are_found_and_cost_one_picture_each(make_clip: MakeClip) -> None:
    for name in ("gop.mp4", "gop.mkv", "gop.ts"):
        path = make_clip(name, n=110, gop=25, b_frames=3)
        offsets = video.keyframe_offsets(path)
        assert offsets == pytest.approx((0.0, 1.0, 2.0, 3.0, 4.0), abs=0.002)
        frames = list(video.read_at(path, offsets))
        assert [frame.offset_s for frame in frames] == pytest.approx(offsets)


def test_keyframes_of_other_codecs(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4", codec="mpeg4", n=50, gop=10)
    assert video.keyframe_offsets(path)[:3] == pytest.approx((0.0, 0.4, 0.8))


@pytest.mark.parametrize(
    ("name", "how", "most"),
    [("gop2s.mp4", {"gop": 50, "b_frames": 3}, 10), ("mjpeg.avi", {"codec": "mjpeg"}, 3)],
)
def test_less_is_decoded(
    make_clip: MakeClip,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    how: dict[str, object],
    most: int,
) -> None:
    path = make_clip(name, n=110, **how)
    clock = containers.timing(path)
    decoded = 0

    class Counting(selective.Reader):
        def _sorted_out(self, frames: list[av.VideoFrame]):  # type: ignore[no-untyped-def]
            nonlocal decoded
            decoded += len(frames)
            return super()._sorted_out(frames)

    monkeypatch.setattr(selective, "Reader", Counting)
    wanted = list(video.wanted_pictures(path, clock, video.Choice(clock, [0.0, 2.0, 4.0])))
    assert len(wanted) == 3
    assert decoded <= most  # of 110


def test_where_the_rules_are_broken_everything_is_decoded(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that turns unsuited half-way still gives every wanted picture once, in order."""
    path = make_clip("gop2s.mp4", n=110, gop=50, b_frames=3)
    take = selective.Reader.take

    def breaking(self: selective.Reader, packet: av.Packet):  # type: ignore[no-untyped-def]
        if packet.pts is not None and packet.pts * packet.time_base > 2.5:
            raise selective.UnsuitedError("for this test")
        yield from take(self, packet)

    monkeypatch.setattr(selective.Reader, "take", breaking)
    plan = [0.0, 1.0, 2.0, 3.0, 4.0]
    frames = list(video.read_at(path, plan))
    assert [frame.offset_s for frame in frames] == pytest.approx(plan)
    expected = _read(path, plan, everything=True)
    assert [frame.rgb.tobytes() for frame in frames] == [pixels for _, pixels in expected]


class _Bytes(bytes):
    """Stands in for a packet."""


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        (0x65, nal.Kind.ENTRY),  # IDR slice
        (0x41, nal.Kind.NEEDED),  # slice, nal_ref_idc 2
        (0x01, nal.Kind.SPARE),  # slice, nal_ref_idc 0
        (0x06, nal.Kind.NEEDED),  # only SEI: better decoded
    ],
)
def test_h264_kinds(unit: int, kind: nal.Kind) -> None:
    start_codes = nal.h264(b"")
    assert start_codes(_Bytes(b"\0\0\0\1\x09\xf0\0\0\1" + bytes([unit, 0x9A, 0]))) is kind
    boxes = nal.h264(bytes([1, 100, 0, 40, 0xFF]))
    assert boxes(_Bytes(b"\0\0\0\2\x09\xf0\0\0\0\3" + bytes([unit, 0x9A, 0]))) is kind


def test_h265_kinds() -> None:
    sps = bytes([33 << 1, 1, 0b0000_0001])  # sps_max_sub_layers_minus1 = 0
    kind = nal.h265(b"\0\0\1" + sps)
    for unit, expected in [
        (19, nal.Kind.ENTRY),  # IDR_W_RADL
        (21, nal.Kind.NEEDED),  # CRA
        (1, nal.Kind.NEEDED),  # TRAIL_R
        (0, nal.Kind.SPARE),  # TRAIL_N
        (8, nal.Kind.SPARE),  # RASL_N
    ]:
        assert kind(_Bytes(b"\0\0\1" + bytes([unit << 1, 1, 0x80]))) is expected
    # Where the number of layers is unknown or higher, nothing can be spared at the lowest.
    assert nal.h265(b"")(_Bytes(b"\0\0\1\0\1\x80")) is nal.Kind.NEEDED
    two = nal.h265(b"\0\0\1" + bytes([33 << 1, 1, 0b0000_0011]))
    assert two(_Bytes(b"\0\0\1\0\1\x80")) is nal.Kind.NEEDED
    assert two(_Bytes(b"\0\0\1\0\2\x80")) is nal.Kind.SPARE


def test_pixels_are_rgb(make_clip: MakeClip) -> None:
    (frame,) = video.read_at(make_clip("gop2s.mp4", n=110, gop=50, b_frames=3), [1.0])
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.flags["C_CONTIGUOUS"]
