"""Charts along a clock or a calendar: a day's hours, a probability trace, coverage by week.

Same manner as :mod:`pipeline.pages.charts`: SVG text, colours from the style sheet, no script.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from pipeline.domain import Span
from pipeline.localtime import day_span
from pipeline.pages.charts import WIDE, number, svg, tag
from pipeline.pages.coverage import DayCoverage
from pipeline.pages.parts import clock, percent, plural, short_day


@dataclass(frozen=True)
class Scale:
    """Scheduled time from 0 to 1, with a small break where nothing is scheduled between.

    A camera that films four windows of three minutes shows twelve minutes, not a day.

    >>> two = Scale(((0.0, 60.0), (6000.0, 6060.0)))
    >>> two.at(0.0), round(two.at(60.0), 3), round(two.at(6000.0), 3), round(two.at(6060.0), 3)
    (0.0, 0.494, 0.506, 1.0)
    """

    windows: tuple[Span, ...]

    def at(self, at_s: float) -> float:
        """Place a POSIX instant; one outside the schedule goes to the nearest window's edge."""
        total = sum(end - start for start, end in self.windows)
        usable = 1.0 - _BREAK * (len(self.windows) - 1)
        place = 0.0
        for start, end in self.windows:
            if at_s <= end:
                return place + max(at_s - start, 0.0) / total * usable
            place += (end - start) / total * usable + _BREAK
        return place - _BREAK

    def marks(self, day: dt.date, timezone: str, most: int) -> list[tuple[float, str]]:
        """Return what to write below: round hours of one window, or each window's own times."""
        if len(self.windows) == 1:
            (start, end) = self.windows[0]
            midnight, next_midnight = day_span(day, timezone)
            return [
                (self.at(t), "24:00" if t == next_midnight else clock(t, timezone, seconds=False))
                for t in ticks(start, end, most, midnight)
            ]
        brief = len(self.windows) > _MOST_NAMED
        return [
            (self.at(start), _window(start, None if brief else end, timezone))
            for start, end in self.windows
        ]


def _window(start: float, end: float | None, timezone: str) -> str:
    first = clock(start, timezone, seconds=False)
    if end is None:
        return first
    last = clock(end, timezone, seconds=False)
    return f"{first}–{'24:00' if last == '00:00' else last}"


def strip(cover: DayCoverage) -> Markup:
    """Draw a day's schedule as a bar 1,000 wide: what was seen, and each gap by its kind."""
    scale = Scale(cover.scheduled)
    shown = [(span, "sched") for span in cover.scheduled] + [(span, "seen") for span in cover.seen]
    shown += [((g.start_s, g.end_s), g.kind) for g in cover.gaps if g.kind != "missing"]
    parts = [
        tag("rect", class_=kind, y=0, height=10, **_across(span, scale)) for span, kind in shown
    ]
    title = f"{cover.camera_id}, {short_day(cover.day)}: {percent(cover.share)} seen"
    return tag(
        "svg",
        Markup("").join([tag("title", title), *parts]),
        class_="strip",
        viewBox="0 0 1000 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=title,
    )


def _across(span: Span, scale: Scale, left: float = 0.0, width: float = 1000.0) -> dict[str, float]:
    """Place a span; what is there at all stays visible (1 of 1,000 at least)."""
    start, end = scale.at(span[0]), scale.at(span[1])
    return {"x": left + start * width, "width": max((end - start) * width, 1.0)}


_BREAK = 0.012
_MOST_NAMED = 5
_STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)


def ticks(start: float, end: float, most: int = 9, midnight: float = 0.0) -> list[float]:
    """Return at most ``most`` + 1 instants in ``[start, end]``, a round time after ``midnight``.

    >>> ticks(0.0, 86400.0)
    [0.0, 10800.0, 21600.0, 32400.0, 43200.0, 54000.0, 64800.0, 75600.0, 86400.0]
    """
    step = next((s for s in _STEPS if (end - start) / s <= most), _STEPS[-1])
    first = midnight + math.ceil((start - midnight) / step - 1e-9) * step
    return [float(first + i * step) for i in range(int((end - first) / step + 1e-9) + 1)]


def day_line(cover: DayCoverage, passages: Sequence[Span], timezone: str) -> Markup:
    """Draw the day: a tick per passage above the bar of what was seen, hours below."""
    scale = Scale(cover.scheduled)
    left, width, base = 22, WIDE - 44, 46
    shown = [(span, "sched") for span in cover.scheduled] + [(span, "seen") for span in cover.seen]
    shown += [((g.start_s, g.end_s), g.kind) for g in cover.gaps if g.kind != "missing"]
    parts = [
        tag("rect", class_=kind, y=base, height=9, **_across(span, scale, left, width))
        for span, kind in shown
    ]
    for entered, exited in passages:
        at = left + scale.at((entered + exited) / 2) * width
        parts.append(tag("line", class_="passage", x1=at, x2=at, y1=12, y2=base - 4))
    several = len(cover.scheduled) > 1
    for place, words in scale.marks(cover.day, timezone, 9):
        at = left + place * width
        parts.append(tag("line", class_="axis", x1=at, x2=at, y1=base + 9, y2=base + 14))
        parts.append(tag("text", words, class_="" if several else "mid", x=at, y=base + 27))
    desc = f"{plural(len(passages), 'passage')}; {percent(cover.share)} of the schedule seen."
    return svg(parts, WIDE, base + 34, "The day, passage by passage", desc)


TRACE = (150, 34)


def trace(times: Sequence[float], p: Sequence[float], stay: Span, window: Span) -> Markup:
    """Draw p(truck) over ``window`` (POSIX seconds), the passage's own stay shaded.

    Breaks where two samples are more than four usual steps apart: nobody looked there.
    """
    width, height = TRACE
    start, end = window

    def x(at_s: float) -> float:
        return (min(max(at_s, start), end) - start) / (end - start) * width

    steps = sorted(b - a for a, b in pairwise(times))
    limit = 4 * steps[len(steps) // 2] if steps else 0.0
    paths, last = "", -math.inf
    for at_s, value in zip(times, p, strict=True):
        pen = "L" if paths and at_s - last <= limit else "M"
        paths += f"{pen}{number(x(at_s))} {number((1 - value) * (height - 4) + 2)}"
        last = at_s
    box = {"x": x(stay[0]), "width": max(x(stay[1]) - x(stay[0]), 1.0)}
    parts = [
        tag("rect", class_="stay", y=0, height=height, **box),
        tag("line", class_="grid", x1=0, x2=width, y1=height - 2, y2=height - 2),
        tag("path", class_="line", d=paths),
    ]
    peak = f"probability of a truck, highest {max(p, default=0.0):.2f}"
    inside = Markup("").join([tag("title", peak), *parts])
    return tag("svg", inside, class_="trace", viewBox=f"0 0 {width} {height}", role="img")


def heat_map(shares: Sequence[tuple[dt.date, float | None]], title: str) -> Markup:
    """Draw coverage day by day as a calendar: a column per week, Monday on top.

    The fuller the colour the more was seen; a day without a row is left blank.
    """
    cell, left, top = 11, 30, 16
    first = min(day for day, _ in shares)
    monday = first - dt.timedelta(days=first.weekday())
    weeks = (max(day for day, _ in shares) - monday).days // 7 + 1
    parts = [
        tag("text", name, x=0, y=top + row * cell + 9) for row, name in ((0, "Mon"), (4, "Fri"))
    ]
    shown = ""
    for week in range(weeks):
        month = f"{monday + dt.timedelta(days=7 * week + 6):%b}"
        if month != shown:
            parts.append(tag("text", month, x=left + week * cell, y=10))
        shown = month
    for day, share in sorted(shares):
        week, row = divmod((day - monday).days, 7)
        words = tag("title", f"{short_day(day)}: {percent(share)} seen")
        box = {"x": left + week * cell, "y": top + row * cell}
        kind = f"heat h{heat(share)}"
        parts.append(tag("rect", words, class_=kind, width=cell - 1, height=cell - 1, **box))
    width, height = left + max(weeks, 4) * cell, top + 7 * cell
    inside = Markup("").join([tag("title", title), *parts])
    return tag(
        "svg",
        inside,
        class_="chart calendar",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=title,
    )


def heat(share: float | None) -> int:
    """Return the class of a share: 0 nothing, 4 all but half a percent.

    >>> [heat(s) for s in (None, 0.0, 0.3, 0.7, 0.97, 0.999)]
    [0, 0, 1, 2, 3, 4]
    """
    if not share:
        return 0
    return 1 + sum(share >= least for least in (0.5, 0.9, 0.995))
