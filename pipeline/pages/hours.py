"""A day by local hour: a bar for each hour's count with its interval, as SVG text.

Hours that were not scheduled are left out; one that was scheduled but has no count is hatched, and
never a bar of height zero. A day of 23 or 25 hours has as many bars; a repeated hour shows its
offset.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.localtime import zone_info
from pipeline.pages import charts
from pipeline.pages.parts import trucks

_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 170, 38, 10, 12, 24


@dataclass(frozen=True)
class Hour:
    """One local hour of a movement; ``count`` is None where there is none."""

    start_at: dt.datetime
    count: float | None
    lo: float | None
    hi: float | None


def hour_chart(hours: Sequence[Hour], timezone: str, title: str) -> Markup:
    """Draw the hours of a day, in order."""
    names = labels(hours, timezone)
    most = max([h.hi or h.count or 0.0 for h in hours], default=0.0)
    ceiling, step = charts.nice_ceiling(most)
    slot = (charts.WIDE - _LEFT - _RIGHT) / max(len(hours), 1)
    floor = _HEIGHT - _BOTTOM

    def y(value: float) -> float:
        return floor - value / ceiling * (floor - _TOP)

    parts: list[Markup] = []
    for i in range(round(ceiling / step) + 1):
        kind, at = "axis" if i == 0 else "grid", y(i * step)
        ends = {"x1": _LEFT, "x2": charts.WIDE - _RIGHT, "y1": at, "y2": at}
        parts.append(charts.tag("line", class_=kind, **ends))
        parts.append(charts.tag("text", f"{i * step:,.0f}", class_="end", x=_LEFT - 7, y=at + 4))
    for i, (hour, name) in enumerate(zip(hours, names, strict=True)):
        parts += _bar(hour, name, _LEFT + i * slot, slot, y, floor)
        if i % max(1, round(46 / slot)) == 0:
            middle = _LEFT + (i + 0.5) * slot
            parts.append(charts.tag("text", name, class_="mid", x=middle, y=_HEIGHT - 7))
    counted = [h.count for h in hours if h.count is not None]
    told = f"{trucks(sum(counted))} trucks in {len(counted)} hours" if counted else "no count"
    return charts.svg(parts, charts.WIDE, _HEIGHT, title, f"{told}.")


def labels(hours: Sequence[Hour], timezone: str) -> list[str]:
    """Return each hour's local name; where a name comes twice, with its offset from UTC."""
    local = [h.start_at.astimezone(zone_info(timezone)) for h in hours]
    names = [f"{at:%H:%M}" for at in local]
    return [
        f"{name} ({at:%z})" if names.count(name) > 1 else name
        for at, name in zip(local, names, strict=True)
    ]


def _bar(
    hour: Hour, name: str, left: float, slot: float, y: charts.Place, floor: float
) -> list[Markup]:
    wide = {"x": left + slot * 0.15, "width": slot * 0.7}
    if hour.count is None:
        title = charts.tag("title", f"{name}: no count")
        return [charts.tag("rect", title, class_="nocount", y=_TOP, height=floor - _TOP, **wide)]
    words = f"{name}: {trucks(hour.count)} trucks"
    marks = [
        charts.tag("rect", class_="hour", y=y(hour.count), height=floor - y(hour.count), **wide)
    ]
    if hour.lo is not None and hour.hi is not None:
        words += f", 95% interval {trucks(hour.lo)} to {trucks(hour.hi)}"
        at = left + slot / 2
        ends = {"x1": at, "x2": at, "y1": y(hour.lo), "y2": y(hour.hi)}
        marks.append(charts.tag("line", class_="interval", **ends))
    return [charts.tag("g", Markup("").join([charts.tag("title", words), *marks]))]
