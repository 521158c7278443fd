"""``bench labels``: what more labels buy, and what choosing them buys, on the demonstration's days.

One point is a whole run: frames chosen (``chosen``: as ``sample`` does; ``random``: purely at
random) on the days that teach, judged by a simulated crowd of sound workers, a network trained, the
later days scored, counted and laid beside the scene's truth. Frames are judged as they come, trucks
being as rare as they are; instants within 0.25 s of a truck's entry or exit are left out, for there
people disagree too. A finished point is kept and not made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline import store
from pipeline.progress import note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.cameras import Registry
    from pipeline.daily import CameraDay
    from pipeline.scene import ScenePlan
    from pipeline.store import Workspace

Row = dict[str, Any]

CAMPAIGN = "curve"
VOTES = 3
EDGE_S = 0.25
WAYS: dict[str, float | None] = {"chosen": None, "random": 1.0}
"""How frames are chosen, and the share of them that is drawn at random: None, as ever."""


@dataclass(frozen=True)
class Setting:
    """One point: the way of choosing, frames per camera, and how long ``train`` goes on."""

    way: str
    labels: int
    finish: float
    days: int
    seed: int

    @property
    def name(self) -> str:
        """A folder's name: another for whatever would make another point."""
        from pipeline.daily import LOOKS
        from pipeline.learning.train import FOOTAGE_RECIPE

        rules = f"{FOOTAGE_RECIPE}-{LOOKS:g}-{VOTES}"
        return f"{self.way}-{self.labels}-{self.finish:g}-{self.days}-{self.seed}-{rules}"


def run(
    ws: Workspace, labels: Sequence[int], finish: float, days: int, seed: int
) -> tuple[list[Row], Path]:
    """Make every point that is missing; return one row each, and the figure's file.

    ``ws`` is a demonstration's workspace, or an empty one: footage that is missing is rendered.
    Each row has ``way``, ``labels_per_camera``, ``votes``, ``instants`` judged, ``accuracy``,
    ``sensitivity``, ``specificity`` (fractions), ``count_error`` (mean over camera-days of
    |counted − truth| ÷ truth; a day without a count is an error of 1), ``total_error`` (signed),
    ``held`` of ``camera_days`` intervals and ``model_id``.
    """
    from flows import demo
    from pipeline import scene

    plan = scene.plan(seed, days)
    note("footage, and its ingest, where they are missing")
    registry = demo.film(ws, plan)
    settings = [Setting(way, n, finish, days, seed) for n in sorted(labels) for way in WAYS]
    rows = []
    for i, setting in enumerate(settings):
        note(f"point {i + 1} of {len(settings)}: {setting.labels} labels, {setting.way}")
        rows.append(_point(ws, registry, plan, setting))
    path = ws.root / "reports" / "learning_curve.svg"
    store.write_bytes(path, figure(rows).encode())
    return rows, path


def _point(ws: Workspace, registry: Registry, plan: ScenePlan, setting: Setting) -> Row:
    from flows import demo
    from labeling import crowd, sample
    from pipeline import daily
    from pipeline.learning.options import TrainOptions
    from pipeline.learning.train import train_campaigns
    from pipeline.publish import publish

    own = ws.borrowed(ws.root / "learning_curve" / setting.name, "footage", "clips")
    result = own.root / "point.json"
    if result.is_file():
        return dict(store.read_json(result))
    n, share = setting.labels * len(registry.ids), WAYS[setting.way]
    taught = demo.taught(registry, plan)
    sample.sample(own, CAMPAIGN, n, *taught, setting.seed, random_share=share)
    demo.ask(own, CAMPAIGN, plan, crowd.SOUND, VOTES, setting.seed)
    options = TrainOptions(seed=setting.seed, finish=setting.finish)
    model_id = train_campaigns(own, [CAMPAIGN], options)
    days = demo.counted(own, registry, plan)
    daily.count_days(own, registry, days, model_id)
    publish(own, registry)
    row = {
        "way": setting.way,
        "labels_per_camera": setting.labels,
        "votes": VOTES,
        **frames_judged(own, plan, days, model_id),
        **counts_judged(demo.beside_truth(own, ws)),
        "model_id": model_id,
    }
    store.write_json(result, row)
    return row


def frames_judged(ws: Workspace, plan: ScenePlan, days: Sequence[CameraDay], model_id: str) -> Row:
    """Lay the scores of camera-days beside the scene: accuracy, sensitivity, specificity."""
    import numpy as np

    from pipeline import daily, metrics, scene

    truths, said = [np.zeros(0, dtype=bool)], [np.zeros(0)]
    for one in days:
        for zone in daily.zone_scores(ws, one.camera, one.day, model_id):
            there = partial(scene.presence, plan, one.camera.id, zone.zone)
            truth = there(zone.at_s)
            plain = (there(zone.at_s - EDGE_S) == truth) & (there(zone.at_s + EDGE_S) == truth)
            truths.append(truth[plain])
            said.append(zone.p_truck[plain])
    found = metrics.confusion(np.concatenate(truths), np.concatenate(said))
    trucks, others = found.tp + found.fn, found.tn + found.fp
    return {
        "instants": int(trucks + others),
        "accuracy": (found.tp + found.tn) / max(trucks + others, 1),
        "sensitivity": found.tp / max(trucks, 1),
        "specificity": found.tn / max(others, 1),
    }


def counts_judged(rows: Sequence[Row]) -> Row:
    """Lay daily counts beside the truth; a day without a count is an error of 1.

    >>> days = [{"truck_count": 22.0, "truck_count_lo": 19, "truck_count_hi": 25, "truth": 20},
    ...         {"truck_count": None, "truck_count_lo": None, "truck_count_hi": None, "truth": 20}]
    >>> counts_judged(days)
    {'count_error': 0.55, 'total_error': 0.1, 'held': 1, 'camera_days': 2}
    """
    from flows import demo

    whole = demo.summed(rows)
    errors = [
        1.0 if r["truck_count"] is None else abs(r["truck_count"] - r["truth"]) / max(r["truth"], 1)
        for r in rows
    ]
    return {
        "count_error": round(sum(errors) / max(len(rows), 1), 4),
        "total_error": round(whole.error, 4) if whole.truth else None,
        "held": whole.held,
        "camera_days": len(rows),
    }


def as_text(rows: Sequence[Row]) -> str:
    """Lay out the points as a table."""
    head = "frames  labels per camera  frame accuracy  sensitivity  specificity  count error"
    lines = [f"{head}   in all  intervals"]
    for r in rows:
        total = "   none" if r["total_error"] is None else f"{r['total_error']:+7.1%}"
        lines.append(
            f"{r['way']:<6}  {r['labels_per_camera']:>17}  {r['accuracy']:>14.2%}  "
            f"{r['sensitivity']:>11.3f}  {r['specificity']:>11.4f}  {r['count_error']:>11.1%}  "
            f"{total}  {r['held']} of {r['camera_days']} hold"
        )
    return "\n".join(lines)


_PANELS = (("accuracy", "frames right on later days"), ("count_error", "mean error of a day"))
_COLOURS = {"chosen": "#1f6feb", "random": "#9a6700"}
_SIDE, _TALL, _LEFT, _TOP = 380, 260, 52, 34


def figure(rows: Sequence[Row]) -> str:
    """Draw labels against frame accuracy and against count error, as a page-less SVG."""
    from markupsafe import Markup

    from pipeline.pages.charts import tag

    parts = [tag("rect", width=2 * _SIDE, height=_TALL, fill="#fff")]
    for i, (what, title) in enumerate(_PANELS):
        inside = Markup("").join(_panel(rows, what, title))
        parts.append(tag("g", inside, transform=f"translate({i * _SIDE},0)"))
    style = "font:12px sans-serif"
    size = {"width": 2 * _SIDE, "height": _TALL}
    title = tag("title", "Labels per camera against frame accuracy and count error")
    inside = Markup("").join([title, *parts])
    return str(tag("svg", inside, xmlns="http://www.w3.org/2000/svg", style=style, **size)) + "\n"


def _panel(rows: Sequence[Row], what: str, title: str) -> list[Any]:
    from pipeline.pages.charts import tag

    values = [float(r[what]) for r in rows]
    labels = sorted({int(r["labels_per_camera"]) for r in rows})
    low, high = min(values), max(values)
    low, high = (low, high) if high > low else (low - 0.01, high + 0.01)
    right, bottom = _SIDE - 70, _TALL - 40

    def x(n: float) -> float:
        return _LEFT + (right - _LEFT) * (n / max(labels[-1], 1))

    def y(value: float) -> float:
        return bottom - (bottom - _TOP) * (value - low) / (high - low)

    parts = [tag("text", title, x=_LEFT, y=18, font_weight="bold")]
    for value in (low, (low + high) / 2, high):
        parts.append(tag("line", x1=_LEFT, x2=right, y1=y(value), y2=y(value), stroke="#ddd"))
        parts.append(tag("text", f"{value:.1%}", x=_LEFT - 6, y=y(value) + 4, text_anchor="end"))
    for n in labels:
        parts.append(tag("text", n, x=x(n), y=bottom + 18, text_anchor="middle"))
    parts.append(tag("text", "labels per camera", x=right, y=_TALL - 6, text_anchor="end"))
    for way, colour in _COLOURS.items():
        mine = sorted((r["labels_per_camera"], r[what]) for r in rows if r["way"] == way)
        if not mine:
            continue
        line = " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value in mine)
        parts.append(tag("polyline", points=line, fill="none", stroke=colour, stroke_width=2))
        for n, value in mine:
            words = tag("title", f"{way}, {n} labels: {value:.2%}")
            parts.append(tag("circle", words, cx=x(n), cy=y(value), r=3.5, fill=colour))
        n, value = mine[-1]
        parts.append(tag("text", way, x=x(n) + 8, y=y(value) + 4, fill=colour))
    return parts
