"""Views that show nothing, or something else, and views that only look so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.exposure import seconds
from pipeline.footage import picture_health, verify
from pipeline.footage.picture_health import Flag, flags, has_moved, shift_between, thumbnail_of

Grey = NDArray[np.uint8]


def _scene(seed: int = 0, light: float = 1.0) -> Grey:
    """Blocks of different brightness with sensor noise; the seed is that of the noise."""
    blocks = np.random.default_rng(99).integers(20, 180, (9, 16)).repeat(8, 0).repeat(8, 1)
    noise = np.random.default_rng(seed).normal(0, 3, blocks.shape)
    return np.clip(blocks * light + noise, 0, 255).astype(np.uint8)


def _at(pictures: list[Grey], step_s: float = 2.0) -> Iterator[tuple[float, Grey]]:
    return ((i * step_s, picture) for i, picture in enumerate(pictures))


def test_a_live_still_scene_has_no_fault() -> None:
    assert list(flags(_at([_scene(seed) for seed in range(20)]))) == []


def test_a_repeated_picture_is_frozen_from_its_first_showing() -> None:
    still = [_scene(3)] * 9
    pictures = [_scene(1), _scene(2), *still, _scene(4), _scene(5)]
    assert list(flags(_at(pictures))) == [Flag((4.0, 22.0), "frozen")]


def test_a_short_repeat_is_no_fault() -> None:
    assert list(flags(_at([_scene(1), *[_scene(2)] * 4, _scene(3)]))) == []


def test_pictures_between_keyframes_tell_when_it_froze_and_thawed() -> None:
    """Keyframes every 10 s; frozen from 13 to 34 s. Between live keyframes nothing is copied."""
    watch, found = picture_health.Watch(), []
    for second in range(60):
        picture = _scene(99 if 13 <= second < 34 else second)
        found += watch.see(float(second), picture, key=second % 10 == 0)
    assert [*found, *watch.end(60.0)] == [Flag((13.0, 34.0), "frozen")]


def test_a_still_scene_copied_between_live_keyframes_is_not_frozen() -> None:
    watch, found = picture_health.Watch(), []
    for second in range(60):
        found += watch.see(float(second), _scene(second // 10), key=second % 10 == 0)
    assert [*found, *watch.end(60.0)] == []


def test_what_it_remembers_goes_through_json() -> None:
    """Put down in the middle of a frozen stretch, and before one, it finds the same."""
    for stop in (9, 15, 25, 33):
        watch, found = picture_health.Watch(), []
        for second in range(60):
            if second == stop:
                told = json.loads(json.dumps(watch.state()))
                watch = picture_health.Watch()
                watch.restore(told)
            picture = _scene(99 if 13 <= second < 34 else second)
            found += watch.see(float(second), picture, key=second % 10 == 0)
        assert [*found, *watch.end(60.0)] == [Flag((13.0, 34.0), "frozen")]


def test_black_and_overexposed_count_at_once_and_are_not_frozen() -> None:
    black, white = np.full((72, 128), 17, np.uint8), np.full((72, 128), 250, np.uint8)
    pictures = [_scene(1), *[black] * 8, _scene(2), white, white]
    assert list(flags(_at(pictures), end_s=24.0)) == [
        Flag((2.0, 18.0), "black"),
        Flag((20.0, 24.0), "overexposed"),
    ]


def test_a_dark_street_with_lamps_is_alive() -> None:
    pictures = []
    for seed in range(10):
        night = np.random.default_rng(seed).normal(18, 2, (72, 128)).astype(np.uint8)
        night[10:14, 20:60] = 220
        pictures.append(night)
    assert list(flags(_at(pictures))) == []


@pytest.mark.parametrize(("right", "down"), [(8, 0), (-6, 0), (0, 5), (10, -4)])
def test_a_shifted_view_is_found(right: int, down: int) -> None:
    moved = np.roll(_scene(2), (down, right), (0, 1))
    assert shift_between(_scene(1), moved)[:2] == (right, down)
    assert has_moved(_scene(1), moved)


def test_other_light_is_no_move_and_another_scene_is() -> None:
    assert not has_moved(_scene(1), _scene(2, light=0.5))
    assert not has_moved(_scene(1), np.roll(_scene(2), 1, 1))
    assert has_moved(_scene(1), _scene(2)[::-1, ::-1].copy())


def test_a_thumbnail_keeps_pixels_as_they_are() -> None:
    grey = np.arange(720 * 1280, dtype=np.uint32).astype(np.uint8).reshape(720, 1280)
    small = thumbnail_of(grey)
    assert small.shape == (72, 128)
    assert small[3, 5] == grey[35, 55]
    assert thumbnail_of(grey[:40, :60]).shape == (40, 60)


def _film(path: Path, pictures: list[Grey], gop: int = 10, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        chosen = {"preset": "veryfast", **options}
        stream = container.add_stream("libx264", rate=5, options=chosen)
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        stream.gop_size = gop
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, 2), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_frozen_stretch_of_a_clip_is_no_exposure(tmp_path: Path) -> None:
    live = [_scene(seed) for seed in range(100)]
    path = _film(tmp_path / "frozen.mp4", [*live, *[_scene(7)] * 200, *live])
    found = verify.examined(path)
    assert found.status == "partial"
    assert "frozen picture for" in found.reason
    assert found.duration_s == pytest.approx(80.0)
    # 40 of 80 s are frozen; the first of them pass while the encoder still refines the picture
    assert 40.0 <= seconds(found.covered) <= 52.0


def test_a_freeze_is_found_to_the_second_whatever_the_keyframes(tmp_path: Path) -> None:
    """5 pictures a second, keyframes every 10 s; frozen from 23 to 60 s of 80."""
    live = [_scene(seed) for seed in range(215)]
    path = _film(tmp_path / "frozen.mp4", [*live[:115], *[live[115]] * 185, *live[115:]], gop=50)
    found = verify.examined(path)
    assert [round(at) for span in found.covered for at in span] == [0, 23, 60, 80]


def test_a_dark_clip_is_no_exposure(tmp_path: Path) -> None:
    path = _film(tmp_path / "dark.mp4", [np.zeros((72, 128), np.uint8)] * 50)
    found = verify.examined(path)
    assert (found.status, found.covered) == ("partial", ())
    assert "black picture for 10.0 s" in found.reason


def test_headlights_in_the_dark_do_not_choose_what_is_seen(tmp_path: Path) -> None:
    """A minute of a black road, on which a car passes with its lights on for 3 s of it, twice."""
    dark, lit = np.full((72, 128), 17, np.uint8), np.full((72, 128), 17, np.uint8)
    lit[30:60, 40:80] = 200
    pictures = [dark] * 100 + [lit] * 15 + [dark] * 60 + [lit] * 15 + [dark] * 110
    found = verify.examined(_film(tmp_path / "night.mp4", pictures, gop=5))
    assert (found.status, found.covered) == ("partial", ())
    assert "black picture for 60.0 s" in found.reason


def test_a_convoy_in_the_dark_is_not_seen_either() -> None:
    """Three cars 8 s apart: the black between them is short, but all of it is one night."""
    spans = [(0.0, 100.0), (105.0, 108.0), (113.0, 117.0), (122.0, 200.0)]
    found = picture_health.bridged(Flag(span, "black") for span in spans)
    assert seconds([flag.span for flag in found]) == 200.0
    found = picture_health.bridged(Flag(span, "black") for span in spans[:3])
    assert seconds([flag.span for flag in found]) == 117.0  # long on one side only


def test_day_between_two_black_moments_stays_seen() -> None:
    found = [Flag((0.0, 2.0), "black"), Flag((30.0, 31.0), "black"), Flag((200.0, 290.0), "black")]
    assert picture_health.bridged(found) == found


@pytest.mark.parametrize(("n", "most"), [(20, 4.0), (40, 2.0)])
def test_a_short_clip_that_is_one_picture_is_frozen(tmp_path: Path, n: int, most: float) -> None:
    """Of 4 s, too short to tell, and of 8 s, as recorders cut them; a keyframe a second."""
    path = _film(tmp_path / "short.mp4", [_scene(7)] * n, gop=5, qp="24")
    assert seconds(verify.examined(path).covered) <= most  # keyframes settle in the first seconds
    live = _film(tmp_path / "live.mp4", [_scene(i) for i in range(n)], gop=5)
    assert seconds(verify.examined(live).covered) == pytest.approx(n / 5)


@pytest.mark.parametrize("form", ["yuv420p10le", "gbrp"])
def test_pictures_of_other_formats_are_looked_at_too(tmp_path: Path, form: str) -> None:
    path = tmp_path / "deep.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb" if form == "gbrp" else "libx264", rate=5)
        stream.width, stream.height = 128, 72
        stream.pix_fmt = "rgb24" if form == "gbrp" else form
        for _ in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((72, 128, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).format.name == form
    found = verify.examined(path)
    assert (found.status, found.covered) == ("partial", ())
    assert "black picture for 10.0 s" in found.reason


def test_real_clips_show_something_and_stay_where_they_are(shared_data: Path) -> None:
    for path in sorted((shared_data / "clips").glob("*.[am][vp][i4]")):
        with av.open(str(path)) as container:
            grey = [
                thumbnail_of(frame.to_ndarray(format="gray8"))
                for index, frame in enumerate(container.decode(video=0))
                if index % 25 == 0
            ]
        assert list(picture_health.flags(_at(grey))) == []
        moved = [has_moved(grey[0], later) for later in grey]
        # Seen from above, a single car may hide most of what there is to recognise.
        assert sum(moved) <= len(moved) * (0.5 if path.name == "overhead_cars.mp4" else 0.0)
        assert all(has_moved(grey[0][:, :-8], later[:, 8:]) for later in grey)
