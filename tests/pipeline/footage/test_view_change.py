"""A camera that moved is told from light, noise, lorries and night, which move nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.footage.view_change import (
    Look,
    Minutes,
    Verdict,
    fineness,
    judged,
    look_of,
    strength,
    to_json,
)

Grey = NDArray[np.uint8]


def street(seed: int = 99, size: tuple[int, int] = (100, 160)) -> NDArray[np.float64]:
    """A made-up scene, larger than the view: rectangles of many sizes on a slope of light."""
    draw = np.random.default_rng(seed)
    height, width = size
    scene = np.linspace(90, 130, height)[:, None] + np.zeros((height, width))
    for _ in range(60):
        y, x = draw.integers(0, height), draw.integers(0, width)
        h, w = draw.integers(3, 25), draw.integers(3, 30)
        scene[y : y + h, x : x + w] = draw.integers(40, 200)
    return scene


SCENE = street()


def view(
    right: int = 0,
    down: int = 0,
    light: float = 1.0,
    scene: NDArray[np.float64] = SCENE,
    n: int = 0,
) -> Grey:
    """What the camera sees, aimed so that the scene lies that far off; ``n`` seeds the noise."""
    part = scene[14 - down : 86 - down, 16 - right : 144 - right]
    noise = np.random.default_rng(1000 + n).normal(0, 1.5, part.shape)
    return np.clip(part * light + noise, 0, 255).astype(np.uint8)


def verdict(greys: Iterable[Grey], fines: Iterable[float] | None = None) -> Verdict:
    pictures = list(greys)
    fine = list(fines or [0.5] * len(pictures))
    looks = [Look(60.0 * i, 60.0 * (i + 1), grey, fine[i]) for i, grey in enumerate(pictures)]
    return judged(view(), 0.5, looks)


@pytest.mark.parametrize(("right", "down"), [(6, 0), (-7, 0), (0, 6), (0, -4), (5, -5), (14, 8)])
def test_a_shift_of_a_twentieth_is_a_change(right: int, down: int) -> None:
    before = [view(n=i) for i in range(4)]
    after = [view(right, down, n=10 + i) for i in range(4)]
    found = verdict([*before, *after])
    assert found.changed_s == 240.0  # four minutes were the reference's view
    assert found.shift == pytest.approx((right / 128, down / 72), abs=0.01)


def test_a_shift_from_the_first_picture_on_was_never_right() -> None:
    found = verdict([view(8, n=i) for i in range(3)])
    assert found.changed_s == -math.inf
    assert found.same_s is None


def test_it_shows_in_other_light_too_and_does_not_heal_by_itself() -> None:
    greys = [view(n=1), *(view(7, light=0.6, n=i) for i in range(4)), *[view(n=9)] * 5]
    found = verdict(greys)
    assert found.changed_s == 60.0


def test_a_nudge_of_a_pixel_and_one_odd_minute_are_no_change() -> None:
    greys = [view(1, n=1), view(-1, 1, n=2), view(9, n=3), view(n=4), view(9, n=5), view(n=6)]
    assert verdict(greys).changed_s is None


def test_light_from_noon_to_night_and_back_is_no_change() -> None:
    lights = [*np.linspace(1.0, 0.05, 60), *np.linspace(0.05, 1.6, 60)]
    found = verdict(view(light=light, n=i) for i, light in enumerate(lights))
    assert found.changed_s is None
    assert found.doubts == ()
    assert found.same_s == 7200.0


def test_night_with_lamps_is_no_change_and_a_move_in_it_shows_in_the_morning() -> None:
    def night(i: int) -> Grey:
        grey = np.random.default_rng(i).normal(12, 2, (72, 128))
        for x in (10, 50, 90):
            grey[8:14, x : x + 9] = 200
        return np.clip(grey, 0, 255).astype(np.uint8)

    day, dark = [view(n=i) for i in range(5)], [night(i) for i in range(40)]
    assert verdict([*day, *dark, *day]).changed_s is None
    moved = verdict([*day, *dark, *(view(7, n=50 + i) for i in range(4))])
    assert moved.changed_s == 300.0  # when it was last known to be right: before the night


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_lorry_that_stands_for_minutes_is_no_change(share: float) -> None:
    def with_lorry(i: int) -> Grey:
        grey = view(n=i)
        grey[20:65, 10 : 10 + round(118 * share)] = 215
        grey[55:65, 14 : 8 + round(118 * share)] = 30
        return grey

    found = verdict([view(n=1), *(with_lorry(i) for i in range(15)), view(n=2)])
    assert found.changed_s is None


def test_another_scene_in_the_same_light_counts_after_ten_minutes() -> None:
    other = street(7)
    away = [view(scene=other, n=i) for i in range(10)]
    assert verdict([view(n=1), *away[:9], view(n=2)]).changed_s is None
    found = verdict([view(n=1), *away])
    assert (found.changed_s, found.shift) == (60.0, None)


def test_ten_short_looks_elsewhere_are_no_ten_minutes() -> None:
    """Ten clips of 8 s, cut as something moves before the lens; the same over ten hours count."""
    other = view(scene=street(7))
    for step, changed in ((8.0, False), (3600.0, True)):
        looks = [Look(0.0, 60.0, view(), 0.5)]
        looks += [Look(60 + step * i, 68 + step * i, other, 0.5) for i in range(10)]
        assert (judged(view(), 0.5, looks).changed_s is not None) == changed


def test_fog_hides_and_changes_nothing() -> None:
    fog = [np.clip(view(n=i) * 0.05 + 150, 0, 255).astype(np.uint8) for i in range(30)]
    found = verdict([view(n=1), *fog, view(n=2)])
    assert found.changed_s is None


def test_blurred_is_said_of_minutes_in_day_light_only() -> None:
    fines = [0.5, 0.1, 0.1, 0.1, 0.5, 0.1, 0.5]
    found = verdict([view(n=i) for i in range(7)], fines)
    assert [d for d in found.doubts if d[1] == "blurred"] == [
        ((60.0, 120.0), "blurred"),
        ((120.0, 180.0), "blurred"),
        ((180.0, 240.0), "blurred"),
    ]
    dark = verdict([view(light=0.3, n=i) for i in range(7)], fines)
    assert dark.doubts == ()


@pytest.mark.parametrize(("hidden", "said"), [(2, 0), (8, 0), (9, 9), (20, 20)])
def test_a_few_short_clips_are_no_minute(hidden: int, said: int) -> None:
    """Looks of 7 s, one clip each: nine of them together are the first to make a minute."""
    grey = view(n=1)
    grey[:, 64:] = 90
    looks = [
        Look(7.0 * i, 7.0 * (i + 1), grey if i < hidden else view(n=i), 0.5) for i in range(30)
    ]
    found = judged(view(), 0.5, looks)
    assert sum(doubt == "obstructed" for _, doubt in found.doubts) == said


def test_obstructed_is_said_where_half_the_view_is_covered() -> None:
    def covered(i: int) -> Grey:
        grey = view(n=i)
        grey[:, :70] = 35
        return grey

    found = verdict([view(n=1), *(covered(i) for i in range(3)), view(n=2)])
    assert [span for span, doubt in found.doubts if doubt == "obstructed"] == [
        (60.0, 120.0),
        (120.0, 180.0),
        (180.0, 240.0),
    ]


def test_fineness_falls_with_blur_and_not_with_contrast() -> None:
    sharp = np.random.default_rng(3).integers(0, 2, (90, 160)).repeat(4, 0).repeat(4, 1) * 160.0
    kernel = np.ones(15) / 15
    soft = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 1, sharp)
    of_sharp, of_soft = (fineness(one.astype(np.uint8)) for one in (sharp, soft))
    assert of_soft < 0.3 * of_sharp
    assert fineness((sharp * 0.5).astype(np.uint8)) == pytest.approx(of_sharp, rel=0.05)


def test_a_minute_of_thumbnails_is_a_look_without_its_vehicles() -> None:
    minutes, looks = Minutes(), []
    for second in range(0, 130, 2):
        grey = view()
        grey[30:50, second % 100 : second % 100 + 20] = 255  # drives through
        looks += list(minutes.see(float(second), grey, 0.5))
    looks += list(minutes.end(130.0))
    assert [(look.start_s, look.end_s) for look in looks] == [
        (0.0, 60.0),
        (60.0, 120.0),
        (120.0, 130.0),
    ]
    assert np.abs(looks[0].grey.astype(int) - view()).max() <= 1
    back = look_of(to_json(looks[0]))
    assert np.array_equal(back.grey, looks[0].grey)
    assert strength(back.grey) > 2.0
    few = Minutes()
    assert [*few.see(0.0, view(), 0.5), *few.end(60.0)] == []
