"""What every page shares: templates with escaping, the style sheet, and how figures are worded.

Pages are one file each: style, charts (SVG) and pictures (JPEG as data addresses) are inside it,
so a page mailed to someone reads as it did here, and opening it asks nothing of any network.
Nothing on a page depends on when or where it was made: the same workspace gives the same bytes.
"""

from __future__ import annotations

import base64
import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.localtime import zone_info

if TYPE_CHECKING:
    from jinja2 import Environment

Row = dict[str, Any]

NO_COUNT = "no count"

QUALITY = {
    "ok": "",
    "estimated": "part of the day was not seen and is filled in from the rest of it, and from this "
    "camera’s earlier days",
    "drift": "the scores no longer look like those the model was checked on",
    "view_changed": "the camera’s view has changed since its zones were drawn",
    "insufficient": "what was seen, or what the model can tell, is not enough to give a count",
}
"""What each value of the ``quality`` column says to a reader."""


@cache
def environment() -> Environment:
    """Return the template environment: everything is escaped unless it is markup of ours."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("pipeline.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        trucks=trucks, percent=percent, day=day_words, short_day=short_day, span=duration, n=whole
    )
    made.globals.update(signed=signed)
    return made


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Fill a template of ``pipeline/pages/templates``."""
    return environment().get_template(template).render(**values)


def picture(jpeg: bytes) -> str:
    """Return a JPEG as an address that holds the picture itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def trucks(value: float | None) -> str:
    """Word a count: whole from a hundred up or where it is whole, else to a tenth.

    >>> trucks(53.0), trucks(53.46), trucks(1234.6), trucks(None)
    ('53', '53.5', '1,235', 'no count')
    """
    if value is None:
        return NO_COUNT
    if abs(value) >= 99.95 or abs(value - round(value)) < 0.05:
        return f"{round(value):,}"
    return f"{value:.1f}"


def whole(value: float | None) -> str:
    """Word a whole number with thousands set off.

    >>> whole(101893)
    '101,893'
    """
    return "–" if value is None else f"{round(value):,}"


def percent(value: float | None) -> str:
    """Word a share; never rounded up to "100%" nor down to "0%" where it is not.

    >>> percent(1.0), percent(0.99999), percent(0.854), percent(0.0001), percent(None)
    ('100%', '99.9%', '85.4%', '0.1%', '–')
    """
    if value is None:
        return "–"
    if value in (0.0, 1.0) or not 0.0 < value < 1.0:
        return f"{value:.0%}"
    text = f"{min(max(value, 0.001), 0.999):.1%}"
    return text.replace(".0%", "%")


def duration(seconds: float) -> str:
    """Word a length of time in its two largest units.

    >>> duration(0.42), duration(42), duration(630), duration(3725), duration(90000)
    ('0.4 s', '42 s', '10 min 30 s', '1 h 2 min', '25 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] if hours else []
    return " ".join(parts + ([f"{minutes} min"] if minutes or not hours else []))


def signed(value: float, digits: int = 1) -> str:
    """Word a difference with its sign, a true minus among them.

    >>> signed(-7.46), signed(0.0)
    ('−7.5', '+0.0')
    """
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def day_words(day: dt.date) -> str:
    """Word a day in full.

    >>> day_words(dt.date(2026, 3, 4))
    'Wednesday 4 March 2026'
    """
    return f"{day:%A} {day.day} {day:%B %Y}"


def short_day(day: dt.date) -> str:
    """Word a day for a table.

    >>> short_day(dt.date(2026, 3, 4))
    'Wed 4 Mar 2026'
    """
    return f"{day:%a} {day.day} {day:%b %Y}"


def day_range(first: dt.date, last: dt.date) -> str:
    """Word a range of days as briefly as it can be.

    >>> day_range(dt.date(2026, 3, 4), dt.date(2026, 3, 6))
    '4–6 March 2026'
    >>> day_range(dt.date(2026, 3, 30), dt.date(2026, 4, 2))
    '30 March – 2 April 2026'
    """
    end = f"{last.day} {last:%B %Y}"
    if first == last:
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{end}"
    if first.year == last.year:
        return f"{first.day} {first:%B} – {end}"
    return f"{first.day} {first:%B %Y} – {end}"


def clock(at_s: float, timezone: str, *, seconds: bool = True) -> str:
    """Word a POSIX instant on the wall clock of ``timezone``.

    >>> clock(1772600400.0, "America/Chicago")
    '23:00:00'
    """
    local = dt.datetime.fromtimestamp(at_s, dt.UTC).astimezone(zone_info(timezone))
    return f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"


def plural(n: int, one: str, many: str = "") -> str:
    """Word a number of things.

    >>> plural(1, "camera"), plural(2, "camera"), plural(0, "day")
    ('1 camera', '2 cameras', '0 days')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(items: list[str]) -> str:
    """Join words as a sentence does.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
