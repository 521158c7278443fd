"""Charts as SVG text: counts with intervals, a day's hours, a probability trace.

They take their colours from the page's style sheet (classes, so that dark, light and print differ),
carry a title and a description for those who do not see them, and hold no script. Coordinates are
rounded to a tenth: the same figures give the same bytes.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from markupsafe import Markup, escape

from pipeline.pages.parts import plural, short_day, trucks

Days = tuple[dt.date, dt.date]
Place = Callable[[float], float]
PlaceDay = Callable[[dt.date], float]

NARROW, WIDE = 480, 980
MOST_DOTS = 45  # beyond, whiskers touch: a line with a band instead

_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 12, 24


@dataclass(frozen=True)
class Point:
    """One day of one camera and movement; ``count`` is None where there is no count."""

    day: dt.date
    count: float | None
    lo: float | None
    hi: float | None
    quality: str = "ok"
    model_id: str = ""
    truth: float | None = None


def number(value: float) -> str:
    """Write a coordinate to a tenth."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if value else "0"


def _at(x: float, y: float) -> str:
    return f"{number(x)},{number(y)}"


def tag(name: str, text: object = None, **attributes: object) -> Markup:
    """Return an element; attribute names lose a trailing ``_`` and turn ``_`` into ``-``."""
    parts = [Markup("<") + Markup(name)]
    for key, value in attributes.items():
        shown = number(value) if isinstance(value, float) else value
        parts.append(Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), shown))
    if text is None:
        return Markup("").join([*parts, Markup("/>")])
    return Markup("").join([*parts, Markup(">"), escape(text), Markup(f"</{name}>")])


def svg(parts: Iterable[Markup], width: int, height: int, title: str, desc: str) -> Markup:
    """Return a chart of ``parts``, with a title and a description for those who do not see it."""
    inside = Markup("").join([tag("title", title), tag("desc", desc), *parts])
    box = f"0 0 {width} {height}"
    return tag("svg", inside, class_="chart", viewBox=box, role="img", aria_label=title)


def nice_ceiling(value: float) -> tuple[float, float]:
    """Return the top of an axis and the step of its ticks, three to six of them.

    >>> nice_ceiling(87), nice_ceiling(4), nice_ceiling(0)
    ((100.0, 20.0), (4.0, 1.0), (1.0, 1.0))
    """
    if value <= 0:
        return 1.0, 1.0
    unit = 10.0 ** math.floor(math.log10(value / 2))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0):
        step = max(unit * factor, 1.0)
        if value / step <= 5.0 and step == round(step):
            return math.ceil(value / step) * step, step
    return math.ceil(value / (unit * 10)) * unit * 10, unit * 10


def count_chart(points: Sequence[Point], title: str, span: Days | None = None) -> Markup:
    """Draw daily counts with their 95% intervals over every day of ``span``, first to last.

    Without ``span`` the axis runs from the first to the last of ``points``.

    A day without a count is a hatched column, never a point at zero. A hollow dot says that the
    row's quality is not ok; a short bar beside the dot is the truth where it is known; a dashed
    upright is the seam where another model took over.
    """
    points = sorted(points, key=lambda p: p.day)
    begin, end = span or (points[0].day, points[-1].day)
    days = (end - begin).days + 1
    width, height = (WIDE if days > MOST_DOTS else NARROW), 200
    slot = (width - _LEFT - _RIGHT) / days
    tops = [v for p in points for v in (p.hi, p.count, p.truth) if v is not None]
    ceiling, step = nice_ceiling(max(tops, default=0.0))

    def x(day: dt.date) -> float:
        return _LEFT + ((day - begin).days + 0.5) * slot

    def y(value: float) -> float:
        return height - _BOTTOM - value / ceiling * (height - _TOP - _BOTTOM)

    parts = [*_grid(ceiling, step, y, width), *_day_axis((begin, end), x, slot, height)]
    for p in points:
        if p.count is None:
            parts.append(_missing_day(p, x(p.day), slot, height))
            if p.truth is not None:
                parts.append(_truth(x(p.day), y(p.truth), slot))
    draw = _dots if days <= MOST_DOTS else _band
    parts += draw(points, x, y, slot)
    parts += _seams(points, x, slot, height)
    return svg(parts, width, height, title, _described(points))


def _described(points: Sequence[Point]) -> str:
    counted = [p.count for p in points if p.count is not None]
    without = len(points) - len(counted)
    text = f"{plural(len(counted), 'day')} counted"
    if counted:
        text += f", from {trucks(min(counted))} to {trucks(max(counted))} trucks a day"
    return text + (f"; {plural(without, 'day')} without a count." if without else ".")


def _grid(ceiling: float, step: float, y: Place, width: int) -> list[Markup]:
    parts = []
    for i in range(round(ceiling / step) + 1):
        at = y(i * step)
        kind = "axis" if i == 0 else "grid"
        parts.append(tag("line", class_=kind, x1=_LEFT, x2=width - _RIGHT, y1=at, y2=at))
        parts.append(tag("text", f"{i * step:,.0f}", class_="end", x=_LEFT - 7, y=at + 4))
    return parts


def _day_axis(span: Days, x: PlaceDay, slot: float, height: int) -> list[Markup]:
    """Label days so that labels stand at least 46 px apart; the year never clutters the axis."""
    every = max(1, math.ceil(46 / slot))
    first, last = span
    days = [first + dt.timedelta(days=i) for i in range(0, (last - first).days + 1, every)]
    return [
        tag("text", f"{day.day} {day:%b}", class_="mid", x=x(day), y=height - 7) for day in days
    ]


def _missing_day(p: Point, at: float, slot: float, height: int) -> Markup:
    title = tag("title", f"{short_day(p.day)}: no count ({p.quality})")
    box = {"x": at - slot / 2 + min(2.0, slot / 8), "y": _TOP, "width": slot - min(4.0, slot / 4)}
    return tag("rect", title, class_="nocount", height=height - _TOP - _BOTTOM, **box)


def _dots(points: Sequence[Point], x: PlaceDay, y: Place, slot: float) -> list[Markup]:
    parts: list[Markup] = []
    radius = min(4.5, max(2.0, slot / 6))
    for p in points:
        if p.count is None:
            continue
        words = f"{short_day(p.day)}: {trucks(p.count)} trucks"
        at = x(p.day)
        marks = []
        if p.lo is not None and p.hi is not None:
            words += f", 95% interval {trucks(p.lo)} to {trucks(p.hi)}"
            marks.append(tag("line", class_="interval", x1=at, x2=at, y1=y(p.lo), y2=y(p.hi)))
        if p.quality != "ok":
            words += f" ({p.quality})"
        if p.truth is not None:
            words += f"; truth {trucks(p.truth)}"
            marks.append(_truth(at, y(p.truth), slot))
        kind = "dot" if p.quality == "ok" else "dot hollow"
        marks.append(tag("circle", class_=kind, cx=at, cy=y(p.count), r=radius))
        parts.append(tag("g", Markup("").join([tag("title", words), *marks])))
    return parts


def _truth(at: float, high: float, slot: float) -> Markup:
    half = min(11.0, max(slot / 3, 2.0))
    return tag("line", class_="truth", x1=at - half, x2=at + half, y1=high, y2=high)


def _band(points: Sequence[Point], x: PlaceDay, y: Place, slot: float) -> list[Markup]:
    """Draw a line and a band, broken wherever a day has no count or no row.

    A day that stands alone is drawn as a dot with its interval.
    """
    parts: list[Markup] = []
    counted = [(p, p.count) for p in points if p.count is not None]
    for _, numbered in groupby(enumerate(counted), key=lambda e: e[1][0].day.toordinal() - e[0]):
        run = [row for _, row in numbered]
        if len(run) == 1:  # a band from a day to itself has no width
            parts += _dots([run[0][0]], x, y, slot)
            continue
        upper = [_at(x(p.day), y(n if p.hi is None else p.hi)) for p, n in run]
        lower = [_at(x(p.day), y(n if p.lo is None else p.lo)) for p, n in run]
        parts.append(tag("polygon", class_="band", points=" ".join(upper + lower[::-1])))
        line = " ".join(_at(x(p.day), y(n)) for p, n in run)
        parts.append(tag("polyline", class_="line", points=line))
        for p, n in run:
            if p.quality != "ok":
                words = tag("title", f"{short_day(p.day)}: {trucks(n)} trucks ({p.quality})")
                at = {"cx": x(p.day), "cy": y(n)}
                parts.append(tag("circle", words, class_="dot hollow", r=2.2, **at))
            if p.truth is not None:
                parts.append(_truth(x(p.day), y(p.truth), slot))
    return parts


def _seams(points: Sequence[Point], x: PlaceDay, slot: float, height: int) -> list[Markup]:
    parts: list[Markup] = []
    for before, after in pairwise(points):
        if before.model_id != after.model_id:
            at = x(after.day) - slot / 2
            ends = {"x1": at, "x2": at, "y1": _TOP, "y2": height - _BOTTOM}
            words = f"{short_day(after.day)}: model {after.model_id} takes over"
            parts.append(tag("line", tag("title", words), class_="seam", **ends))
    return parts


def reliability_chart(rows: Sequence[tuple[float, float, float]]) -> Markup:
    """Draw what was said against what was: ``(weight, mean p, share of trucks)`` per bin.

    A calibrated model's dots lie on the diagonal; a dot's area is the bin's weight.
    """
    size, margin = 220, 30
    side = size - 2 * margin
    heaviest = max((weight for weight, _, _ in rows), default=1.0)

    def x(p: float) -> float:
        return margin + p * side

    def y(share: float) -> float:
        return size - margin - share * side

    parts = [tag("line", class_="seam", x1=x(0), y1=y(0), x2=x(1), y2=y(1))]
    parts += [tag("line", class_="axis", x1=x(0), x2=x(1), y1=y(0), y2=y(0))]
    for value in (0.0, 0.5, 1.0):
        text = f"{value:g}"
        parts.append(tag("text", text, class_="mid", x=x(value), y=size - margin + 15))
        parts.append(tag("text", text, class_="end", x=margin - 8, y=y(value) + 4))
    for weight, said, was in rows:
        words = tag("title", f"said {said:.2f}, was {was:.2f}")
        radius = 2 + 5 * math.sqrt(weight / heaviest)
        parts.append(tag("circle", words, class_="dot bin", cx=x(said), cy=y(was), r=radius))
    desc = f"{plural(len(rows), 'bin')} of predicted probability."
    return svg(parts, size, size, "Predicted probability against the share of trucks", desc)
