"""Exchange sessions: when a published count can first be traded on.

Calendars come from ``exchange_calendars``; instants are aware UTC ``datetime``.
"""

from __future__ import annotations

import datetime as dt
import warnings
from bisect import bisect_right
from functools import lru_cache

from pipeline.errors import ConfigError


@lru_cache(maxsize=512)
def tradable_from(exchange: str | None, instant: dt.datetime) -> dt.datetime | None:
    """Return the first session open strictly after ``instant`` on ``exchange`` (null for none).

    >>> closed = dt.datetime(2026, 7, 2, 20, tzinfo=dt.UTC)  # the 3rd is a holiday
    >>> str(tradable_from("XNYS", closed))
    '2026-07-06 13:30:00+00:00'
    """
    if exchange is None:
        return None
    opens = _opens(exchange, instant.astimezone(dt.UTC).year)
    after = bisect_right(opens, instant)
    return opens[after] if after < len(opens) else None


@lru_cache(maxsize=64)
def _opens(exchange: str, year: int) -> tuple[dt.datetime, ...]:
    """Return the session opens of a year and the month after it, as UTC instants, in order."""
    return tuple(sessions(exchange, dt.date(year, 1, 1), dt.date(year, 12, 31)).values())


def sessions(exchange: str, first: dt.date, last: dt.date) -> dict[dt.date, dt.datetime]:
    """Return the exchange's sessions from ``first`` to a month after ``last``, with their opens.

    The month holds the next session however long the holidays are. Some exchanges fix their
    holidays a year at a time (Shanghai): what lies beyond is left out.

    Raises:
        ConfigError: its calendar does not cover the days, or cannot be computed.
    """
    import exchange_calendars
    from exchange_calendars.errors import NoSessionsError

    end, problem = last + dt.timedelta(days=31), ""
    with warnings.catch_warnings():  # it uses what pandas 3.1 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        for bounds in ({"start": str(first), "end": str(end)}, {}):  # where these are too wide
            try:
                calendar = exchange_calendars.get_calendar(exchange, **bounds)
                break
            except NoSessionsError:
                return {}
            except (ValueError, NotImplementedError) as error:
                problem = str(error)[:200]  # it may list every session since 2006
        else:
            raise ConfigError(
                f"exchange {exchange!r} has no calendar here from {first} to {last}: {problem}.",
                "Give another exchange in cameras.toml, or none.",
            )
    opens = ((day.date(), at.to_pydatetime()) for day, at in calendar.opens.items())
    return {day: at for day, at in opens if first <= day <= end}
