import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import view
from pipeline.domain import Zone
from pipeline.view import Crop


def _zone(*points):
    return Zone("lane", points)


def test_crop_of_a_rectangle_reaches_above_it_and_keeps_its_aspect():
    # 320×180 px; margin 6% a side; reach 0.6·√(358·202) = 161 px above the widened top edge
    crop = Crop.of(_zone((0.25, 0.5), (0.75, 0.5), (0.75, 1.0), (0.25, 1.0)), 640, 360)

    left, top, right, bottom = crop.box
    assert (left, right, bottom) == (140, 500, 360)
    assert 20 <= top <= 30
    assert crop.size == (128, 120)


def test_a_slanted_lane_is_straightened():
    # A lane leaning right: its left edge runs from (100, 300) to (200, 100) in the picture.
    zone = _zone(
        (200 / 400, 100 / 400), (260 / 400, 100 / 400), (200 / 400, 300 / 400), (0.25, 0.75)
    )
    picture = np.zeros((400, 400, 3), np.uint8)
    rows = np.arange(400)
    for row in rows:  # paint the lane's left half green, its right half red
        left, right = np.interp(row, [100, 300], [200, 100]), np.interp(row, [100, 300], [260, 200])
        middle = int((left + right) / 2)
        picture[row, int(left) : middle, 1] = 200
        picture[row, middle : int(right), 0] = 200
    crop = Crop.of(zone, 400, 400)
    x0, y0, x1, y1 = crop.box
    shown = crop.extract(picture[y0:y1, x0:x1])

    lower = shown[shown.shape[0] * 2 // 3 :]
    third = lower.shape[1] // 3
    assert lower[:, 5:third, 1].mean() > 150 > 20 > lower[:, 5:third, 0].mean()
    assert lower[:, -third:-5, 0].mean() > 150 > 20 > lower[:, -third:-5, 1].mean()


def test_extract_of_a_plain_box_shows_the_same_pixels():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (100, 100, 3)).astype(np.uint8)
    crop = Crop(
        box=(10, 20, 60, 60), corners=((10, 20), (60, 20), (60, 60), (10, 60)), size=(50, 40)
    )

    assert (
        np.abs(crop.extract(picture[20:60, 10:60]).astype(int) - picture[20:60, 10:60]).max() <= 1
    )


def test_a_crop_cut_from_a_larger_box_is_the_same():
    crop = Crop.of(_zone((0.4, 0.5), (0.6, 0.5), (0.6, 0.8), (0.4, 0.8)), 200, 200)
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    x0, y0, x1, y1 = crop.box

    own = crop.extract(picture[y0:y1, x0:x1])

    assert np.array_equal(view.cut(picture, crop, (0, 0, 200, 200)), own)


unit = st.floats(0.0, 1.0, allow_nan=False)


@given(st.lists(st.tuples(unit, unit), min_size=3, max_size=6))
def test_no_polygon_explodes(points):
    crop = Crop.of(_zone(*points), 320, 240)
    x0, y0, x1, y1 = crop.box

    assert 0 <= x0 < x1 <= 320
    assert 0 <= y0 < y1 <= 240
    assert x0 % 2 == y0 % 2 == 0
    assert all(view.SHORTEST_SIDE_PX <= side <= view.LONGEST_SIDE_PX for side in crop.size)
    shown = crop.extract(np.full((y1 - y0, x1 - x0, 3), 77, np.uint8))
    assert shown.shape == (crop.size[1], crop.size[0], 3)
    assert (shown == 77).all()


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_corners_does_not_matter(turn, backwards):
    corners = [(0.4, 0.4), (0.6, 0.42), (0.7, 0.8), (0.3, 0.8)]
    turned = corners[turn:] + corners[:turn]

    assert Crop.of(_zone(*(turned[::-1] if backwards else turned)), 300, 300) == Crop.of(
        _zone(*corners), 300, 300
    )


def test_background_forgets_what_passes():
    road = np.full((9, 4, 4, 3), 100, np.uint8)
    road[3, :, :2] = 250  # something on it for less than half of the samples
    road[7] = 0

    assert (view.background(road) == 100).all()


def test_blocks_are_equal_and_at_most_five_minutes():
    assert view.blocks(301.0) == [(0.0, 150.5), (150.5, 301.0)]
    assert view.blocks(0.5) == [(0.0, 0.5)]
    assert len(view.background_offsets((0.0, 300.0))) == 31
    assert view.background_offsets((10.0, 12.0)) == [10.5, 11.5]


@pytest.mark.parametrize("polygon", [None, ((0.38, 0.45), (0.6, 0.45), (0.72, 0.9), (0.3, 0.9))])
def test_a_large_zone_shrunk_first_shows_every_place_where_it_is(polygon) -> None:
    """Pixels are averaged before they are straightened; nothing may shift by that."""
    zone = Zone("lane", polygon or ((0.35, 0.45), (0.65, 0.45), (0.65, 0.75), (0.35, 0.75)))
    crop = Crop.of(zone, 1280, 720)
    assert max(crop._warp[3]) >= 2
    x0, y0, x1, y1 = crop.box
    x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    middle, slope = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), 2.0  # grey levels a pixel

    def ramp(x, y):
        return [
            np.clip(128 + slope * (at - mid), 0, 255)
            for at, mid in zip((x, y), middle, strict=True)
        ]

    picture = np.stack([*ramp(x, y), 0 * x], axis=2)
    seen = crop.extract(np.round(picture).astype(np.uint8)).astype(float)
    width, height = crop.size
    corner = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    back = cv2.getPerspectiveTransform(corner, np.array(crop.corners, np.float32))
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    at = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    px, py, scale = back @ at
    for channel, wanted in enumerate(ramp(px / scale, py / scale)):
        steep = (wanted > 10) & (wanted < 245)
        off = (seen[..., channel].ravel() - wanted)[steep]
        assert steep.sum() > 1000
        assert abs(off.mean()) < 0.5  # a quarter of a pixel; shrunk pixels are two to four
        assert np.abs(off).max() < 2.5
