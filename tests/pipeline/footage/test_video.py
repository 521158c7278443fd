"""Wanted pictures: the right ones, at their true times, with the pixels of full decoding."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import FootageError
from pipeline.footage import video

MakeClip = Callable[..., Path]
ReadNumber = Callable[[NDArray[np.uint8]], int]


@pytest.mark.parametrize(
    ("fps", "b_frames", "suffix"),
    [
        (Fraction(25), 0, "mp4"),
        (Fraction(25), 3, "mp4"),
        (Fraction(30000, 1001), 2, "mkv"),
        (Fraction(30000, 1001), 2, "ts"),  # starts at 1.4 s or so
        (Fraction(25, 2), 0, "mov"),
    ],
)
def test_every_instant_gets_the_picture_shown_then(
    make_clip: MakeClip, read_number: ReadNumber, fps: Fraction, b_frames: int, suffix: str
) -> None:
    path = make_clip(f"a.{suffix}", fps=fps, b_frames=b_frames)
    offsets = [0.0, 0.32, 0.5, 1.0, 1.25]
    frames = list(video.read_at(path, offsets))
    half = float(1 / fps) / 2
    assert [frame.offset_s for frame in frames] == pytest.approx(offsets, abs=half + 0.001)
    numbers = [read_number(frame.rgb) for frame in frames]
    assert [float(n / fps) for n in numbers] == pytest.approx(
        [frame.offset_s for frame in frames], abs=0.0011
    )


def test_two_instants_on_one_picture_give_it_once(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4")
    frames = list(video.read_at(path, [0.4, 0.405, 0.41, 0.8]))
    assert [frame.offset_s for frame in frames] == pytest.approx([0.4, 0.8])


def test_nothing_is_invented_before_the_start_past_the_end_or_in_a_gap(
    make_clip: MakeClip, read_number: ReadNumber
) -> None:
    times = [i / 25 for i in range(25)] + [3 + i / 25 for i in range(25)]
    path = make_clip("stall.mp4", times_s=times)
    frames = list(video.read_at(path, [-1.0, 0.5, 0.98, 1.5, 2.9, 3.5, 4.0, 9.0]))
    assert [read_number(frame.rgb) for frame in frames] == [13, 24, 38]
    assert [frame.offset_s for frame in frames] == pytest.approx([0.52, 0.96, 3.52], abs=1e-3)


def test_a_short_stall_shows_the_picture_before_it(
    make_clip: MakeClip, read_number: ReadNumber
) -> None:
    times = [i / 25 for i in range(25)] + [1.4 + i / 25 for i in range(25)]
    path = make_clip("stall.mp4", times_s=times)
    assert [read_number(f.rgb) for f in video.read_at(path, [1.2, 1.36, 1.4])] == [24, 25]


@pytest.mark.parametrize("box", [(0, 0, 192, 108), (10, 20, 90, 108), (11, 21, 94, 77)])
def test_cropping_before_converting_changes_no_pixel(
    make_clip: MakeClip, box: tuple[int, int, int, int]
) -> None:
    path = make_clip("a.mp4")
    x0, y0, x1, y1 = box
    for whole, part in zip(
        video.read_at(path, [0.2, 1.0]), video.read_at(path, [0.2, 1.0], box), strict=True
    ):
        assert whole.rgb.shape == (108, 192, 3)
        np.testing.assert_array_equal(part.rgb, whole.rgb[y0:y1, x0:x1])


def test_a_box_outside_the_picture_is_refused(make_clip: MakeClip) -> None:
    with pytest.raises(ValueError, match="not inside"):
        next(video.read_at(make_clip("a.mp4"), [0.0], (0, 0, 193, 10)))


def test_colours_are_those_encoded(tmp_path: Path) -> None:
    path = tmp_path / "red.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        red = np.zeros((64, 64, 3), np.uint8)
        red[:, :, 0] = 200
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(red, "rgb24")))
        container.mux(stream.encode(None))
    (frame,) = video.read_at(path, [0.4])
    np.testing.assert_allclose(frame.rgb[32, 32], [200, 0, 0], atol=6)


def test_pixels_are_those_of_the_ffmpeg_program(make_clip: MakeClip) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("no ffmpeg program to compare with")
    path = make_clip("a.mp4", b_frames=3)
    raw = ["-vf", "select=eq(n\\,0)+eq(n\\,30)", "-fps_mode", "passthrough"]
    out = ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(
        [program, "-v", "error", "-i", str(path), *raw, *out], check=True, capture_output=True
    )
    expected = np.frombuffer(done.stdout, np.uint8).reshape(2, 108, 192, 3)
    for frame, pixels in zip(video.read_at(path, [0.0, 1.2]), expected, strict=True):
        np.testing.assert_array_equal(frame.rgb, pixels)


def test_a_playlist_by_another_name_is_not_opened(tmp_path: Path, make_clip: MakeClip) -> None:
    path = tmp_path / "innocent.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{make_clip('a.ts')}\n")
    with pytest.raises(FootageError, match=r"innocent\.mp4 cannot be opened"):
        video.probe(path)


def test_probe_reads_the_header(make_clip: MakeClip) -> None:
    found = video.probe(make_clip("b.mp4", n=60, fps=Fraction(30000, 1001)))
    assert (found.codec, found.width_px, found.height_px) == ("h264", 192, 108)
    assert (found.fps, found.frames_expected) == (Fraction(30000, 1001), 60)


def test_real_clips_start_at_zero_and_reach_their_end(shared_data: Path) -> None:
    for name, last in [("street_school_bus.mp4", 73.02), ("uk_cctv.avi", 29.88)]:
        frames = list(video.read_at(shared_data / "clips" / name, [0.0, last]))
        assert [frame.offset_s for frame in frames] == pytest.approx([0.0, last], abs=0.06)
