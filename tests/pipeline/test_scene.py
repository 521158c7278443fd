"""Rendered footage: geometry by hand, truth from the traffic, files that are what they claim."""

from __future__ import annotations

import datetime as dt
import itertools
import tomllib
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline import scene
from pipeline.errors import InputError
from pipeline.scene.footage import frame_count, frames
from pipeline.scene.optics import View, sun_position
from pipeline.scene.scenario import Window, zone_quads
from pipeline.scene.shapes import build
from pipeline.scene.solids import CORNERS
from pipeline.scene.traffic import SIZES_M, TRUCKS, Vehicle, vehicles, zone_length_m

UTC = dt.UTC


@pytest.fixture(scope="module")
def plan():
    return scene.plan(seed=7, days=7)


def shortened(segment, seconds=2.0):
    return replace(segment, duration_s=seconds)


def vehicle(kind="semi", length=16.0, speed=10.0, style=3, height=4.0):
    return Vehicle(kind, 0, 1000.0, speed, length, 2.5, height, 0.0, style)


# Geometry ------------------------------------------------------------------------------------


def test_a_point_on_the_optical_axis_falls_on_the_middle_of_the_picture():
    # 10 m up, tilted 45 degrees: the axis meets the ground 10 m ahead.
    view = View(eye_m=(0.0, 0.0, 10.0), pitch_deg=45.0, focal_px=600.0)
    np.testing.assert_allclose(view.project(np.array([0.0, 10.0, 0.0])), [320, 180])
    # One metre to the right at a depth of sqrt(200) m: 600 / 14.142 = 42.43 px.
    np.testing.assert_allclose(view.project(np.array([1.0, 10.0, 0.0])), [362.426, 180], atol=1e-3)


def test_the_ground_seen_at_a_pixel_projects_back_onto_it():
    view = View(eye_m=(-3.0, 0.0, 13.0), pitch_deg=22.5, yaw_deg=5.0)
    xs, ys = np.array([10.0, 320.0, 600.0]), np.array([350.0, 200.0, 90.0])
    x, y = view.ground(xs, ys)
    back = view.project(np.stack([x, y, np.zeros(3)], axis=-1))
    np.testing.assert_allclose(back, np.stack([xs, ys], axis=-1), atol=1e-9)


def test_above_the_horizon_there_is_no_ground():
    x, _ = View(eye_m=(0.0, 0.0, 5.0), pitch_deg=0.0).ground(np.array([320.0]), np.array([100.0]))
    assert np.isnan(x).all()


def test_the_sun_at_an_equinox_noon_stands_at_90_degrees_less_the_latitude():
    # 20 March 2026, true solar noon at Greenwich about 12:07 UTC.
    height, azimuth = sun_position(dt.datetime(2026, 3, 20, 12, 7, tzinfo=UTC), 52.0, 0.0)
    assert height == pytest.approx(38.0, abs=0.2)
    assert azimuth == pytest.approx(180.0, abs=1.0)


# Traffic and truth ---------------------------------------------------------------------------


def test_a_truck_dwells_for_its_own_length_and_that_of_the_zone():
    assert vehicle(length=16.0, speed=10.0).dwell_s(6.0) == pytest.approx(2.2)


def test_every_passage_lasts_between_one_and_three_and_a_half_seconds(plan):
    dwells = [(p.exited_at - p.entered_at).total_seconds() for p in scene.truth_passages(plan)]
    assert 1.0 < min(dwells) < max(dwells) < 3.5


def test_presence_is_true_from_the_front_arriving_to_the_tail_leaving(plan):
    passage = next(
        p
        for p in scene.truth_passages(plan)
        if not scene.presence(plan, p.camera_id, p.zone, [p.entered_at - dt.timedelta(seconds=1)])[
            0
        ]
    )
    edge = dt.timedelta(milliseconds=1)
    instants = [
        passage.entered_at - edge,
        passage.entered_at + edge,
        passage.middle,
        passage.exited_at - edge,
    ]
    seen = scene.presence(plan, passage.camera_id, passage.zone, instants)
    assert seen.tolist() == [False, True, True, True]


def test_presence_takes_posix_seconds_too(plan):
    passage = scene.truth_passages(plan)[0]
    instants = np.array([passage.middle.timestamp(), passage.middle.timestamp() + 86400 * 400])
    assert scene.presence(plan, passage.camera_id, passage.zone, instants).tolist() == [True, False]


def test_vehicles_of_a_lane_never_touch(plan):
    site = plan.sites[1]
    window = scene.windows(plan, site.id, plan.first_day)[1]
    for lane in range(2):
        row = [v for v in vehicles(plan, window) if v.lane == lane]
        assert len(row) > 20
        for ahead, behind in itertools.pairwise(row):
            for place in (-60.0, 0.0, 60.0):
                cleared = ahead.entered_s + (place + ahead.length_m) / ahead.speed_mps
                assert behind.entered_s + place / behind.speed_mps > cleared + 0.5


def test_vehicles_keep_within_their_lane_zone(plan):
    for site in plan.sites:
        for v in vehicles(plan, scene.windows(plan, site.id, plan.first_day)[0]):
            assert abs(v.offset_m) + v.width_m / 2 < 1.85  # half a lane


def test_trucks_are_rare_and_of_every_kind(plan):
    everyone = [
        v
        for site in plan.sites
        for day in plan.dates()
        for window in scene.windows(plan, site.id, day)
        for v in vehicles(plan, window)
    ]
    share = np.mean([v.truck for v in everyone])
    assert 0.10 < share < 0.16
    assert {v.kind for v in everyone} == set(SIZES_M)


def test_daily_truth_adds_up_and_days_are_of_a_plausible_size(plan):
    rows = scene.truth_daily(plan)
    assert len(rows) == 14
    assert sum(row.truck_count for row in rows) == len(scene.truth_passages(plan))
    assert all(10 <= row.truck_count <= 70 for row in rows)
    assert [row.counted for row in rows[:7]] == [False] * 4 + [True] * 3


def test_the_middle_decides_the_window(plan):
    site = plan.sites[0]
    for passage in scene.truth_passages(plan):
        if passage.camera_id == site.id:
            day = passage.middle.astimezone(dt.timezone(dt.timedelta(hours=-6))).date()
            spans = scene.windows(plan, site.id, day)
            assert any(w.start <= passage.middle < w.end for w in spans)


def test_faults_leave_the_truth_alone(plan):
    sound = replace(plan, faults=False)
    assert scene.truth_passages(sound) == scene.truth_passages(plan)
    assert [s.fault for s in scene.segments(sound)] == [None] * len(scene.segments(sound))


# Plans, registry, names ----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_plan_and_another_seed_other_traffic(plan):
    assert scene.plan(seed=7, days=7) == plan
    assert scene.truth_passages(scene.plan(seed=8)) != scene.truth_passages(plan)


def test_a_longer_plan_does_not_change_the_earlier_days(plan):
    longer = scene.truth_passages(scene.plan(seed=7, days=9))
    assert [p for p in longer if p.middle < dt.datetime(2026, 3, 8, tzinfo=UTC)] == [
        p for p in scene.truth_passages(plan) if p.middle < dt.datetime(2026, 3, 8, tzinfo=UTC)
    ]


def test_one_day_is_too_few():
    with pytest.raises(InputError, match=r"1 day.*Use 2 or more"):
        scene.plan(days=1)


def test_file_names_tell_the_utc_start_across_a_change_of_clocks(plan):
    # Chicago goes from UTC-6 to UTC-5 on Sunday 8 March 2026.
    mornings = set()
    for segment in scene.segments(plan):
        name = segment.path.rsplit("/", 1)[1].removesuffix(".mp4")
        assert dt.datetime.strptime(name, "%Y-%m-%dT%H%M%S%z") == segment.start
        if segment.camera_id == "north-gate":
            mornings.add(segment.path)
    # 07:00 local, the day before and on the day itself.
    assert "footage/north-gate/2026-03-07T130000+0000.mp4" in mornings
    assert "footage/north-gate/2026-03-08T120000+0000.mp4" in mornings


def test_segments_tile_the_schedule(plan):
    for site in plan.sites:
        filmed = sum(s.duration_s for s in scene.segments(plan) if s.camera_id == site.id)
        days = [w for day in plan.dates() for w in scene.windows(plan, site.id, day)]
        assert filmed == sum((w.end - w.start).total_seconds() for w in days)
    assert all(60 <= s.duration_s <= 120 for s in scene.segments(plan))


def test_one_segment_is_missing_and_one_corrupt_on_counted_days(plan):
    faulty = {s.fault: s for s in scene.segments(plan) if s.fault}
    assert sorted(faulty) == ["corrupt", "missing"]
    assert faulty["missing"].camera_id != faulty["corrupt"].camera_id
    for segment in faulty.values():
        assert plan.counted(segment.start.date())


def test_the_registry_describes_the_scene(plan):
    cameras = tomllib.loads(scene.cameras_toml(plan))["camera"]
    assert [c["timezone"] for c in cameras] == ["America/Chicago", "Europe/Berlin"]
    assert cameras[0]["schedule"][0] == ["07:00", "07:03"]
    for camera in cameras:
        assert len(camera["zones"]) == 2
        for zone in camera["zones"]:
            assert all(0 <= part <= 1 for corner in zone["polygon"] for part in corner)


def test_zone_polygons_are_the_ground_rectangles(plan):
    site = plan.sites[0]
    zone = tomllib.loads(scene.cameras_toml(plan))["camera"][0]["zones"][1]
    picture = np.array(zone["polygon"]) * [site.view.width_px, site.view.height_px]
    x, y = site.view.ground(picture[:, 0], picture[:, 1])
    lane = site.lanes[1]
    half = site.zone_width_m / 2
    np.testing.assert_allclose(
        x, [lane.x_m - half, lane.x_m + half, lane.x_m + half, lane.x_m - half], atol=0.01
    )
    np.testing.assert_allclose(y, [25, 25, 19, 19], atol=0.02)


def test_one_zone_over_the_carriageway_sees_every_truck():
    lanes = scene.plan(seed=3, days=2)
    wide = scene.plan(seed=3, days=2, zoning="carriageway")
    assert list(zone_quads(wide, wide.sites[0])) == ["exit"]
    assert {p.zone for p in scene.truth_passages(wide)} == {"exit", "ramp"}
    assert len(scene.truth_passages(wide)) == len(scene.truth_passages(lanes))


def test_a_caller_chooses_hours_flow_and_weather():
    busy = scene.plan(days=2, windows=(("06:00", "07:00"),), flow=20.0, weather=("fog",))
    assert busy.weather == ("fog", "fog")
    window = scene.windows(busy, "east-ramp", busy.first_day)[0]
    assert (window.end - window.start) == dt.timedelta(hours=1)
    within = [
        v
        for v in vehicles(busy, window)
        if window.start.timestamp() <= v.entered_s < window.end.timestamp()
    ]
    # 20 a minute for an hour: 1,200, Poisson standard deviation 35.
    assert 1050 < len(within) < 1350


def test_the_hard_profile_counts_in_weather_it_did_not_train_in():
    hard = scene.plan(profile="hard")
    assert not set(hard.weather[hard.training_days :]) & set(hard.weather[: hard.training_days])


# Pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(SIZES_M))
def test_faces_point_outward_and_stay_within_the_vehicle(kind):
    length, width, height = (np.mean(limits) for limits in SIZES_M[kind])
    built = build(Vehicle(kind, 0, 0.0, 9.0, length, width, height, 0.0, 5))
    np.testing.assert_allclose(np.linalg.norm(built.normals, axis=1), 1.0)
    assert built.sizes.max() <= CORNERS
    low, high = built.corners.min(axis=(0, 1)), built.corners.max(axis=(0, 1))
    assert low[1] > -length - 0.05
    assert high[1] < 0.05
    assert high[0] - low[0] < width + 0.1
    assert high[2] < height + 0.45  # wind deflectors and roof markings
    assert low[2] > -0.01


def test_the_mask_of_a_truck_lies_on_its_footprint(plan):
    passage = max(scene.truth_passages(plan), key=lambda p: p.exited_at - p.entered_at)
    site = plan.site(passage.camera_id)
    shown = scene.mask(plan, site.id, passage.middle)
    assert shown.shape == (288, 512)
    corners = np.array(zone_quads(plan, site)[passage.zone])
    middle = site.view.project(np.array([*corners.mean(axis=0), 0.5]))
    assert shown[round(middle[1]), round(middle[0])]


def test_an_empty_instant_has_an_empty_mask():
    quiet = scene.plan(days=2, flow=0.001)
    window = scene.windows(quiet, "north-gate", quiet.first_day)[0]
    assert not scene.mask(quiet, "north-gate", window.start).any()


def test_night_is_darker_than_noon(plan):
    spans = scene.windows(plan, "north-gate", plan.first_day)
    noon, night = (
        scene.picture(plan, "north-gate", spans[n].start + dt.timedelta(seconds=5)) for n in (1, 3)
    )
    assert noon.shape == (288, 512, 3)
    assert noon.dtype == np.uint8
    assert night.mean() < 0.8 * noon.mean()


def test_outside_its_hours_a_camera_sees_nothing(plan):
    with pytest.raises(InputError, match="does not film"):
        scene.picture(plan, "north-gate", dt.datetime(2026, 3, 2, 3, tzinfo=UTC))


def test_the_same_seed_gives_the_same_pixels(plan):
    segment = shortened(scene.segments(plan)[9], 0.5)
    first, second = (np.stack(list(frames(plan, segment))) for _ in range(2))
    assert first.shape == (5, 432, 512)
    np.testing.assert_array_equal(first, second)
    other = np.stack(list(frames(replace(plan, seed=8), segment)))
    assert (first != other).mean() > 0.3


# Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [0, 1])
def test_a_segment_is_h264_with_every_frame_at_its_time(plan, tmp_path, camera):
    site = plan.sites[camera]
    segment = shortened(next(s for s in scene.segments(plan) if s.camera_id == site.id), 4.0)
    path = scene.render(plan, segment, tmp_path)
    assert path == tmp_path / segment.path
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == site.fps
        decoded = list(container.decode(stream))
    assert len(decoded) == frame_count(site, segment) == int(4 * site.fps)
    times = [float(frame.pts * stream.time_base) for frame in decoded]
    np.testing.assert_allclose(times, np.arange(len(decoded)) / float(site.fps), atol=1e-4)
    keys = [n for n, frame in enumerate(decoded) if frame.key_frame]
    assert keys == list(range(0, len(decoded), round(2 * site.fps)))


def test_rendering_again_gives_the_same_bytes(plan, tmp_path):
    segment = shortened(scene.segments(plan)[0])
    first = scene.render(plan, segment, tmp_path / "a").read_bytes()
    assert scene.render(plan, segment, tmp_path / "b").read_bytes() == first


def test_the_missing_segment_is_not_there(plan, tmp_path):
    segment = next(s for s in scene.segments(plan) if s.fault == "missing")
    assert scene.render(plan, segment, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_the_corrupt_segment_cannot_be_decoded(plan, tmp_path):
    segment = shortened(next(s for s in scene.segments(plan) if s.fault == "corrupt"))
    path = scene.render(plan, segment, tmp_path)
    assert path.stat().st_size > 1000
    with pytest.raises(av.FFmpegError), av.open(str(path)) as container:
        list(container.decode(video=0))


def test_frame_rates_are_a_whole_one_and_a_broken_one(plan):
    assert [site.fps for site in plan.sites] == [Fraction(10), Fraction(10000, 1001)]
    # 60 s at 10000/1001 is 599.4 frames: the last one must end within the window.
    segment = next(s for s in scene.segments(plan) if s.camera_id == "east-ramp")
    assert frame_count(plan.sites[1], segment) == 599


def test_kinds_are_told_apart_by_size():
    for truck in TRUCKS:
        assert SIZES_M[truck][2][0] > SIZES_M["van"][2][1]


def test_a_window_may_end_at_midnight():
    late = scene.plan(days=2, windows=(("23:00", "24:00"),))
    window = scene.windows(late, "east-ramp", late.first_day)[0]
    assert isinstance(window, Window)
    assert window.end == dt.datetime(2026, 3, 2, 23, tzinfo=UTC)  # midnight at UTC+1
    assert zone_length_m(late.sites[1]) == 6.5


def test_what_is_left_undrawn_lies_outside_the_picture(plan):
    for site in plan.sites:
        view = replace(site.view, yaw_deg=0.0)
        near, far = view.reach_m(4.0)
        top = view.project(np.array([view.eye_m[0], near, 4.0]))
        ground = view.project(np.array([view.eye_m[0], far, 0.0]))
        assert top[1] == pytest.approx(view.height_px)
        assert ground[1] == pytest.approx(0.0, abs=1e-6)


def test_nothing_that_would_be_seen_is_left_undrawn(plan):
    from pipeline.scene.light import light_at
    from pipeline.scene.paint import Painter

    for site in plan.sites:
        for window in scene.windows(plan, site.id, plan.first_day):
            painter = Painter(plan, site, window, light_at(plan, site, window.start, window.date))
            far = Painter(plan, site, window, painter.light)
            far._reach = (3.0, 125.0)
            for after_s in range(5, 100, 10):
                instant = window.start.timestamp() + after_s
                apart = np.abs(painter.draw(instant).astype(int) - far.draw(instant)).max(axis=2)
                # A long shadow from outside may be missing, never a vehicle.
                assert (apart > 8).mean() < 0.002
