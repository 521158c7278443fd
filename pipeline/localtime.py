"""UTC instants ↔ camera-local days. Pure: standard library only.

A local day has 23, 24 or 25 hours: it is the stretch between two local midnights, worked out in
UTC. Spans are half-open and in POSIX seconds (UTC), so their lengths are true seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.domain import Camera, Span
from pipeline.errors import ConfigError, InputError

UTC = dt.UTC


def zone_info(name: str) -> ZoneInfo:
    """Return the IANA time zone called ``name``.

    Raises:
        ConfigError: there is no such time zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"unknown time zone {name!r}.", "Use an IANA name such as America/Chicago."
        ) from None


def parse_day(text: str) -> dt.date:
    """Read ``YYYY-MM-DD``.

    Raises:
        InputError: ``text`` is not a date written so.
    """
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"bad date {text!r}.", "Write a calendar day as YYYY-MM-DD, e.g. 2026-03-29."
        ) from None


def parse_instant(text: str) -> dt.datetime:
    """Read an ISO 8601 instant with an offset (``Z`` is fine) and return it in UTC.

    Raises:
        InputError: not ISO 8601, or without an offset (a local time is ambiguous).
    """
    try:
        instant = dt.datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):  # the last: in UTC it lies before year 1 or after 9999
        pass
    raise InputError(
        f"bad instant {text!r}.", "Write it with its offset, e.g. 2026-03-29T06:00:00+00:00."
    )


def day_bounds(day: dt.date, timezone: str) -> tuple[dt.datetime, dt.datetime]:
    """Return the UTC instants at which the local ``day`` begins and ends.

    >>> start, end = day_bounds(dt.date(2026, 3, 29), "Europe/Berlin")   # clocks go forward
    >>> (end - start).total_seconds() / 3600
    23.0
    """
    return local_instant(day, 0, timezone), local_instant(day + dt.timedelta(days=1), 0, timezone)


def day_span(day: dt.date, timezone: str) -> Span:
    """Return :func:`day_bounds` in POSIX seconds."""
    start, end = day_bounds(day, timezone)
    return start.timestamp(), end.timestamp()


def local_instant(day: dt.date, minute: int, timezone: str) -> dt.datetime:
    """Return the UTC instant of wall-clock ``minute`` after midnight on ``day``.

    ``minute`` 1440 is the next midnight. A wall time that the clocks skip is the instant at which
    they skip it; one that happens twice is the first of the two.

    >>> local_instant(dt.date(2026, 3, 29), 150, "Europe/Berlin").isoformat()   # no 02:30 that day
    '2026-03-29T01:00:00+00:00'
    """
    zone = zone_info(timezone)
    day = day + dt.timedelta(days=minute // 1440)
    hour, minute = divmod(minute % 1440, 60)
    wall = dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    instant = wall.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return instant
    return _change_of_clocks(wall.replace(fold=1).astimezone(UTC), instant, zone)


def _change_of_clocks(before: dt.datetime, after: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the instant (to the second) in ``(before, after]`` from which the clocks differ."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > dt.timedelta(seconds=1):
        middle = before + dt.timedelta(seconds=(after - before).total_seconds() // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def local_day(instant: dt.datetime, timezone: str) -> dt.date:
    """Return the local calendar day in which ``instant`` (aware) falls."""
    return instant.astimezone(zone_info(timezone)).date()


def hour_spans(day: dt.date, timezone: str) -> list[Span]:
    """Cut the local day at its whole hours into 23, 24 or 25, in order, in POSIX seconds.

    Where clocks move by half an hour, one of them is half as long.
    """
    start, end = day_span(day, timezone)
    zone = zone_info(timezone)
    edges = [start]
    while edges[-1] < end:
        clock = dt.datetime.fromtimestamp(edges[-1], zone)
        edges.append(min(edges[-1] + 3600.0 - 60 * clock.minute - clock.second, end))
    return list(pairwise(edges))


def scheduled_spans(camera: Camera, day: dt.date) -> list[Span]:
    """Return the stretches of ``day`` in which ``camera`` is meant to film, in POSIX seconds."""
    spans: list[Span] = []
    for first, last in camera.schedule:
        start = local_instant(day, first, camera.timezone).timestamp()
        end = local_instant(day, last, camera.timezone).timestamp()
        if end > start:
            spans.append((start, end))
    return spans


def days_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """Return the calendar days from ``first`` to ``last``, both included."""
    return [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]


def touched_days(start: dt.datetime, duration_s: float, timezone: str) -> Sequence[dt.date]:
    """Return the local days that ``[start, start + duration_s)`` touches (always at least one)."""
    last = start + dt.timedelta(seconds=max(duration_s - 1e-6, 0.0))
    return days_between(local_day(start, timezone), local_day(last, timezone))
