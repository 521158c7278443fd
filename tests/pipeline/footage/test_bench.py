"""The decoding benchmark measures what it says, and sees that pictures are the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import FootageError
from pipeline.footage import bench as benchmarks

MakeClip = Callable[..., Path]


def test_four_ways_on_one_clip(make_clip: MakeClip) -> None:
    figures = benchmarks.bench_decode(make_clip("a.mp4", n=110, gop=50, b_frames=3), rounds=1)
    assert figures["identical"] is True
    assert figures["pictures"] == 5
    assert figures["duration_s"] == pytest.approx(4.4)
    for name in ("ours_cpu_s", "full_decode_cpu_s", "opencv_read_cpu_s"):
        assert 0 < figures[name] < 20
    assert "5 pictures at 1 Hz, identical to full decoding" in benchmarks.as_text(figures)


def test_without_an_ffmpeg_program(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.shutil, "which", lambda name: None)
    figures = benchmarks.bench_decode(make_clip("a.mp4"), hz=2.0, rounds=1)
    assert figures["ffmpeg_cpu_s"] is None
    assert "ffmpeg       not found" in benchmarks.as_text(figures)


def test_a_clip_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(os.urandom(1000))
    with pytest.raises(FootageError, match=r"bad\.mp4 cannot be measured"):
        benchmarks.bench_decode(path)


def _street(path: Path, size: tuple[int, int], gop: int, b_frames: int) -> Path:
    """Film 20 s of a still street with sensor noise and a vehicle driving through."""
    width, height = size
    draw = np.random.default_rng(5)
    street = draw.integers(60, 160, (height // 8, width // 8), np.uint8).repeat(8, 0).repeat(8, 1)
    noise = [draw.normal(0, 2, street.shape) for _ in range(7)]
    options = {"preset": "veryfast", "crf": "26", "bf": str(b_frames), "sc_threshold": "0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        for number in range(500):
            picture = street + noise[number * 3 % 7]
            at = number * 6 % width
            picture[height // 2 : height // 2 + 120, at : at + 260] = 200
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = np.clip(picture, 0, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize(
    ("gop", "b_frames", "than_ffmpeg"), [(50, 3, 1.3), (250, 3, 1.3), (250, 0, 1.0)]
)
def test_cheaper_than_the_ffmpeg_program(
    tmp_path: Path, size: tuple[int, int], gop: int, b_frames: int, than_ffmpeg: float
) -> None:
    figures = benchmarks.bench_decode(_street(tmp_path / "a.mp4", size, gop, b_frames))
    assert figures["identical"] is True
    if figures["ffmpeg_cpu_s"] is None:
        pytest.skip("no ffmpeg program to compare with")
    assert figures["ffmpeg_cpu_s"] >= than_ffmpeg * figures["ours_cpu_s"], figures
