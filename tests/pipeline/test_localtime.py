"""Local days of 23, 24 and 25 hours, worked by hand."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import localtime
from pipeline.domain import Camera, Zone
from pipeline.errors import ConfigError, InputError

ZONES = [
    "America/Chicago",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # clocks move by half an hour
    "America/Sao_Paulo",  # until 2019 the clocks skipped midnight itself
    "Pacific/Apia",
    "UTC",
]
DATES = st.dates(dt.date(2000, 1, 1), dt.date(2037, 12, 31))


def _utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


def _camera(timezone: str, *schedule: tuple[int, int]) -> Camera:
    zone = Zone("exit", ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)))
    return Camera("c", "s", timezone, "x", (zone,), schedule=schedule or ((0, 1440),))


@pytest.mark.parametrize(
    ("day", "timezone", "start", "hours"),
    [
        (dt.date(2026, 3, 8), "America/Chicago", _utc(2026, 3, 8, 6), 23),
        (dt.date(2026, 11, 1), "America/Chicago", _utc(2026, 11, 1, 5), 25),
        (dt.date(2026, 3, 29), "Europe/Berlin", _utc(2026, 3, 28, 23), 23),
        (dt.date(2026, 10, 25), "Europe/Berlin", _utc(2026, 10, 24, 22), 25),
        (dt.date(2026, 6, 1), "Europe/Berlin", _utc(2026, 5, 31, 22), 24),
        (dt.date(2026, 6, 1), "Asia/Kolkata", _utc(2026, 5, 31, 18, 30), 24),
        (dt.date(2026, 4, 5), "Australia/Lord_Howe", _utc(2026, 4, 4, 13), 24.5),
        (dt.date(2018, 11, 4), "America/Sao_Paulo", _utc(2018, 11, 4, 3), 23),
    ],
)
def test_days_have_the_hours_the_clocks_give(day, timezone, start, hours):
    begins, ends = localtime.day_bounds(day, timezone)
    assert begins == start
    assert (ends - begins).total_seconds() == hours * 3600
    spans = localtime.hour_spans(day, timezone)
    assert sum(b - a for a, b in spans) == hours * 3600


def test_a_day_that_never_was_has_no_hours():
    """Samoa went from 29 to 31 December 2011."""
    begins, ends = localtime.day_bounds(dt.date(2011, 12, 30), "Pacific/Apia")
    assert begins == ends
    assert localtime.hour_spans(dt.date(2011, 12, 30), "Pacific/Apia") == []


def test_hours_of_a_short_day_skip_two_in_the_morning():
    spans = localtime.hour_spans(dt.date(2026, 3, 8), "America/Chicago")
    zone = localtime.zone_info("America/Chicago")
    hours = [dt.datetime.fromtimestamp(a, zone).hour for a, _ in spans]
    assert hours == [0, 1, *range(3, 24)]


@pytest.mark.parametrize(
    ("day", "clocks"),
    [
        (dt.date(2026, 10, 4), ["00:00", "01:00", "02:30", "03:00"]),  # 02:00 becomes 02:30
        (dt.date(2026, 4, 5), ["00:00", "01:00", "01:30", "02:00"]),  # 02:00 becomes 01:30
    ],
)
def test_hours_begin_on_the_hour_again_where_clocks_move_by_half_of_one(day, clocks):
    spans = localtime.hour_spans(day, "Australia/Lord_Howe")
    zone = localtime.zone_info("Australia/Lord_Howe")
    begin = [f"{dt.datetime.fromtimestamp(a, zone):%H:%M}" for a, _ in spans]
    assert begin == clocks + [f"{hour:02d}:00" for hour in range(int(clocks[-1][:2]) + 1, 24)]
    assert [(b - a) / 3600 for a, b in spans] == [1, 1, 0.5, *[1] * (len(spans) - 3)]


@given(day=DATES, timezone=st.sampled_from(ZONES))
def test_hours_tile_the_day(day, timezone):
    start, end = localtime.day_span(day, timezone)
    spans = localtime.hour_spans(day, timezone)
    edges = [start, *(b for _, b in spans)]
    assert [a for a, _ in spans] == edges[:-1]
    assert edges[-1] == end
    assert all(0 < b - a <= 3600 for a, b in spans)


@given(day=DATES, timezone=st.sampled_from(ZONES))
def test_days_tile_time(day, timezone):
    after = day + dt.timedelta(days=1)
    assert localtime.day_bounds(day, timezone)[1] == localtime.day_bounds(after, timezone)[0]


@given(
    instant=st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2037, 1, 1)),  # noqa: DTZ001
    timezone=st.sampled_from(ZONES),
)
def test_an_instant_lies_in_its_local_day(instant, timezone):
    instant = instant.replace(tzinfo=dt.UTC)
    start, end = localtime.day_bounds(localtime.local_day(instant, timezone), timezone)
    assert start <= instant < end


@given(day=DATES, timezone=st.sampled_from(ZONES), cuts=st.sets(st.integers(1, 1439), max_size=5))
def test_a_schedule_that_covers_the_wall_clock_covers_the_day(day, timezone, cuts):
    edges = [0, *sorted(cuts), 1440]
    camera = _camera(timezone, *itertools.pairwise(edges))
    start, end = localtime.day_span(day, timezone)
    spans = localtime.scheduled_spans(camera, day)
    assert sum(b - a for a, b in spans) == end - start
    assert spans == sorted(spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("window", "day", "seconds"),
    [
        ((60, 240), dt.date(2026, 3, 8), 2 * 3600),  # 01:00-04:00, of which 02:00-03:00 is skipped
        ((60, 240), dt.date(2026, 11, 1), 4 * 3600),  # 01:00-02:00 comes twice
        ((360, 1320), dt.date(2026, 3, 8), 16 * 3600),  # 06:00-22:00 is untouched
        ((130, 170), dt.date(2026, 3, 8), 0),  # 02:10-02:50 does not exist that day
        ((130, 190), dt.date(2026, 3, 8), 10 * 60),  # 02:10-03:10: only 03:00-03:10 does
        ((90, 130), dt.date(2026, 3, 8), 30 * 60),  # 01:30-02:10: only 01:30-02:00 does
    ],
)
def test_schedules_over_a_change_of_clocks(window, day, seconds):
    spans = localtime.scheduled_spans(_camera("America/Chicago", window), day)
    assert sum(b - a for a, b in spans) == seconds


def test_local_instants_by_hand():
    assert localtime.local_instant(dt.date(2026, 6, 1), 390, "Europe/Berlin") == _utc(
        2026, 6, 1, 4, 30
    )
    assert localtime.local_instant(dt.date(2026, 6, 1), 1440, "UTC") == _utc(2026, 6, 2)
    # 01:30 comes twice in Chicago on 1 November: the first is in summer time, UTC-5.
    assert localtime.local_instant(dt.date(2026, 11, 1), 90, "America/Chicago") == _utc(
        2026, 11, 1, 6, 30
    )


def test_schedules_in_a_skipped_hour_do_not_overlap():
    camera = _camera("America/Chicago", (130, 150), (150, 190), (190, 200))
    start = _utc(2026, 3, 8, 8).timestamp()  # 02:00, when the clocks go to 03:00
    assert localtime.scheduled_spans(camera, dt.date(2026, 3, 8)) == [
        (start, start + 600),
        (start + 600, start + 1200),
    ]


def test_clips_touch_days():
    touched = localtime.touched_days
    late = _utc(2026, 6, 1, 21, 50)  # 23:50 in Berlin
    assert touched(late, 600.0, "Europe/Berlin") == [dt.date(2026, 6, 1)]
    assert touched(late, 601.0, "Europe/Berlin") == [dt.date(2026, 6, 1), dt.date(2026, 6, 2)]
    assert touched(late, 0.0, "Europe/Berlin") == [dt.date(2026, 6, 1)]


def test_days_between_are_both_included():
    assert localtime.days_between(dt.date(2026, 2, 27), dt.date(2026, 3, 1)) == [
        dt.date(2026, 2, 27),
        dt.date(2026, 2, 28),
        dt.date(2026, 3, 1),
    ]
    assert localtime.days_between(dt.date(2026, 3, 2), dt.date(2026, 3, 1)) == []


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "America", "\0", "x" * 300])
def test_an_unknown_time_zone_is_named_with_a_remedy(name):
    with pytest.raises(ConfigError) as caught:
        localtime.zone_info(name)
    assert repr(name) in str(caught.value)
    assert "America/Chicago" in str(caught.value)


def test_every_time_zone_is_known():
    assert all(localtime.zone_info(name).key == name for name in available_timezones())


@pytest.mark.parametrize("text", ["2026-13-01", "2026-02-30", "yesterday", "", "1.3.2026"])
def test_a_bad_date_is_named_with_a_remedy(text):
    with pytest.raises(InputError) as caught:
        localtime.parse_day(text)
    assert repr(text) in str(caught.value)
    assert "YYYY-MM-DD" in str(caught.value)


def test_instants_need_an_offset():
    assert localtime.parse_instant("2026-03-29T06:00:00+02:00") == _utc(2026, 3, 29, 4)
    assert localtime.parse_instant("2026-03-29T06:00:00Z") == _utc(2026, 3, 29, 6)
    far = ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00")  # no such years in UTC
    for text in ("2026-03-29T06:00:00", "2026-03-29", "noon", "", *far):
        with pytest.raises(InputError, match="offset"):
            localtime.parse_instant(text)
