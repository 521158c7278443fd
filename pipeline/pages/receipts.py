"""Receipts of one camera-day: every counted passage, every gap, and the sum, on one page.

A count that cannot show its trucks has to be believed; this one can be checked. The page holds a
row per passage (picture, local time, probability trace, clip and offset), what was not seen and
why, the arithmetic from passages to ``truck_count`` with each correction as a line, and the chain
of files behind the figure.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import accounts, daily, lineage, schemas, store, vintages
from pipeline.domain import Camera, Span
from pipeline.errors import NotFoundError
from pipeline.pages import coverage, hours, parts, strips
from pipeline.pages.seen import between, receipt_path
from pipeline.pages.thumbnails import smaller, thumbnails
from pipeline.progress import track

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    from pipeline.cameras import Registry
    from pipeline.store import Workspace

Row = dict[str, Any]

PICTURES_BYTES = 2_700_000
"""What all thumbnails of a page may weigh; a third more as text, the rest is traces and figures."""

MOST_PICTURES = 1200
_TRACE_POINTS = 60
_PAD_S = (3.0, 12.0)
_TOTAL = "truck_count"


@dataclass(frozen=True)
class Counted:
    """A camera-day's daily rows, by movement, and whether they are published.

    ``anew`` says that the workspace holds a newer count than the one published.
    """

    rows: list[Row]
    model_id: str
    published: bool
    anew: bool = False


def write_explain(
    ws: Workspace, registry: Registry, camera: str, day: dt.date, report: Path | None = None
) -> Path:
    """Write a camera-day's receipts to ``reports/explain/<camera>/<day>.html``; return the path.

    The published count is explained where there is one, else the one counted but not yet published.
    The page leads back to ``report``, which is about to be written; None is the workspace's own,
    where it has one.

    Raises:
        NotFoundError: no such camera, or that day was not counted.
        StoreError: it cannot be written.
    """
    own = ws.reports / "report.html"
    index = report or (own if own.is_file() else None)
    known = _camera(ws, registry, camera, day)
    path = receipt_path(ws, camera, day)
    store.write_bytes(path, _page(ws, known, day, path, index).encode())
    return path


def _camera(ws: Workspace, registry: Registry, camera: str, day: dt.date) -> Camera:
    if camera not in registry.ids:
        table = vintages.latest(ws, vintages.DAILY, vintages.instants(ws))
        if camera in table["camera_id"].to_pylist():
            raise NotFoundError(
                f"camera {camera!r} is published but no longer in cameras.toml.",
                "Put its entry back to explain its days.",
            )
    return registry.camera(camera, day)


def write_latest(
    ws: Workspace, registry: Registry, most: int = 28, report: Path | None = None
) -> list[Path]:
    """Write the receipts of the latest ``most`` published camera-days, for a report to link to.

    ``report`` is where that is about to be written (None: ``reports/report.html``). Cameras that
    the registry no longer has are left out.
    """
    from pipeline.pages.report import published

    known = {(r["date"], r["camera_id"]) for r in published(ws) if r["camera_id"] in registry.ids}
    latest = sorted(known, key=lambda k: (-k[0].toordinal(), k[1]))[:most]
    index = report or ws.reports / "report.html"
    days = track(sorted(latest), "receipts")
    return [write_explain(ws, registry, camera, day, index) for day, camera in days]


def _page(ws: Workspace, camera: Camera, day: dt.date, path: Path, index: Path | None) -> str:
    counted = _counted(ws, camera.id, day)
    found = _passages(ws, camera.id, day, counted.model_id)
    passages = found or []
    cover = coverage.of_day(camera, day, daily.clip_rows(ws, camera.id, day))
    stays = [_stay(p) for p in passages]
    return parts.render(
        "explain.html.j2",
        camera=camera,
        day=day,
        ledgers=_ledgers(ws, camera.id, day, counted),
        by_hour=_by_hour(ws, camera, day, counted),
        published=counted.published,
        anew=counted.anew,
        seen_then_s=_seen_then_s(ws, camera.id, day, counted, cover),
        model_id=counted.model_id,
        as_of=max((r["as_of"] for r in counted.rows), default=None) if counted.published else None,
        cover=cover,
        line=strips.day_line(cover, stays, camera.timezone) if cover.scheduled else "",
        gaps=[
            {
                "when": between(g.start_s, g.end_s, camera.timezone),
                "seconds": g.seconds,
                "kind": {"partial": "clip broken off", "quarantined": "clip set aside"}.get(g.kind),
                "reason": g.reason,
                "clip": g.clip_id,
            }
            for g in cover.gaps
        ],
        passages=_shown(ws, camera, day, counted.model_id, passages),
        passages_gone=found is None and any(row["passages_seen"] for row in counted.rows),
        movements=len({z.movement for z in camera.zones}) > 1,
        hours=_day_hours(camera, day),
        quality_words=lambda quality: parts.QUALITY.get(quality, quality),
        chain=lineage.lineage(ws, camera.id, day) if counted.published else None,
        report=_link(path, index) if index else None,
    )


def _seen_then_s(
    ws: Workspace, camera: str, day: dt.date, counted: Counted, cover: coverage.DayCoverage
) -> float | None:
    """Return the seconds that the count rests on, where clips now show more or less."""
    path = ws.counts(camera, day, counted.model_id)
    rows = store.read_table(path, schemas.COUNTS).to_pylist() if path.is_file() else counted.rows
    seen_s = max(float(row["exposure_s"]) for row in rows)
    return seen_s if abs(seen_s - cover.exposure_s) >= coverage.SHORTEST_GAP_S else None


def _link(page: Path, target: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


def _day_hours(camera: Camera, day: dt.date) -> int:
    from pipeline.localtime import day_span

    start, end = day_span(day, camera.timezone)
    return round((end - start) / 3600)


def _counted(ws: Workspace, camera: str, day: dt.date) -> Counted:
    """Return the published rows of a camera-day, else those of the model in use.

    Raises:
        NotFoundError: it was never counted.
    """
    table = vintages.latest(ws, vintages.DAILY, vintages.instants(ws))
    rows = [r for r in table.to_pylist() if r["camera_id"] == camera and r["date"].date() == day]
    if rows := vintages.still_counted(rows):
        rows.sort(key=lambda r: str(r["movement"]))
        model_id = str(max(rows, key=lambda r: r["as_of"])["model_id"])
        return Counted(rows, model_id, True, lineage.counted_anew(ws, camera, day, model_id))
    model_id = _unpublished_model(ws, camera, day)
    rows = store.read_table(ws.counts(camera, day, model_id), schemas.COUNTS).to_pylist()
    return Counted(sorted(rows, key=lambda r: str(r["movement"])), model_id, False)


def _unpublished_model(ws: Workspace, camera: str, day: dt.date) -> str:
    path = ws.current_model
    if path.is_file():
        model_id = path.read_text(encoding="utf-8").strip()
        if ws.counts(camera, day, model_id).is_file():
            return model_id
    raise NotFoundError(
        f"no count of camera {camera!r} on {day}.", "Run truck-counter count for that day first."
    )


def _passages(ws: Workspace, camera: str, day: dt.date, model_id: str) -> list[Row] | None:
    """Return the listed passages in order of entry; None where their file is gone."""
    path = ws.passages(camera, day, model_id)
    if not path.is_file():
        return None
    rows = store.read_table(path, schemas.PASSAGES).to_pylist()
    return sorted(rows, key=lambda p: (p["entered_at"], p["zone"]))


def _ledgers(ws: Workspace, camera: str, day: dt.date, counted: Counted) -> list[Row]:
    """Return, per movement, the row and its lines from passages to the count."""
    told = accounts.read(ws, camera, day, counted.model_id).get("arithmetic", {})
    return [
        {"row": row, "lines": ledger(told.get(row["movement"], []), row["truck_count"])}
        for row in counted.rows
    ]


def _by_hour(ws: Workspace, camera: Camera, day: dt.date, counted: Counted) -> list[Row]:
    """Return, per movement, its chart of local hours; none where they are not in the workspace."""
    path = ws.counts_hourly(camera.id, day, counted.model_id)
    rows = store.read_table(path, schemas.HOURLY).to_pylist() if path.is_file() else []
    charts = []
    for movement in [str(row["movement"]) for row in counted.rows]:
        own = [row for row in rows if row["movement"] == movement and row["coverage"] is not None]
        drawn = [
            hours.Hour(
                row["hour_start_at"], *(row[f"truck_count{end}"] for end in ("", "_lo", "_hi"))
            )
            for row in sorted(own, key=lambda row: row["hour_start_at"])
        ]
        title = f"Trucks by local hour, {movement}"
        if drawn:
            chart = hours.hour_chart(drawn, camera.timezone, title)
            charts.append({"movement": movement, "chart": chart})
    return charts


def ledger(told: Sequence[Sequence[Any]], total: float | None) -> list[Row]:
    """Word the arithmetic: the first line is where one starts, the others add or take away.

    Where the lines do not add up to ``total`` a line says by how much: a sum that is wrong must
    look wrong. So must one of lines that give a count where none was published.

    >>> lines = ledger([["passages found", 12], ["missed", 0.25]], 12.25)
    >>> [(line["label"], line["value"]) for line in lines]
    [('passages found', '12'), ('missed', '+0.25')]
    >>> ledger([["passages found", 12]], 13.0)[-1]["value"]
    '+1'
    """
    lines = [(str(label), value) for label, value in told if label != _TOTAL]
    worded = []
    for number, (label, value) in enumerate(lines):
        known = isinstance(value, int | float)
        worded.append({"label": label, "value": _term(value, number > 0) if known else "–"})
    known_sum = sum(v for _, v in lines if isinstance(v, int | float))
    if lines and total is not None and abs(known_sum - total) >= 0.005:
        worded.append({"label": "not accounted for", "value": _term(total - known_sum, True)})
    if lines and total is None and all(isinstance(v, int | float) for _, v in lines):
        worded.append({"label": "of another count: this one has none", "value": "–"})
    return worded


def _term(value: float, signed: bool) -> str:
    """Word one term of the sum, to a hundredth, with a true minus sign."""
    rounded = round(value, 2) + 0.0
    if not rounded:
        return "0"
    text = f"{abs(rounded):,.2f}".rstrip("0").rstrip(".")
    if rounded < 0:
        return "−" + text
    return ("+" if signed else "") + text


def _stay(passage: Row) -> Span:
    return passage["entered_at"].timestamp(), passage["exited_at"].timestamp()


def _shown(
    ws: Workspace, camera: Camera, day: dt.date, model_id: str, passages: Sequence[Row]
) -> list[Row]:
    """Return what the page shows of each passage."""
    pictures = _fitting(thumbnails(ws, camera, day, passages[:MOST_PICTURES]))
    pictures += [None] * (len(passages) - len(pictures))
    traces = _traces(ws, camera.id, day, model_id)
    movement = {z.name: z.movement for z in camera.zones}
    shown = []
    for number, (passage, jpeg) in enumerate(zip(passages, pictures, strict=True), start=1):
        entered, exited = _stay(passage)
        shown.append(
            {
                **passage,
                "number": number,
                "src": parts.picture(jpeg) if jpeg else None,
                "time": parts.clock((entered + exited) / 2, camera.timezone),
                "stay_s": exited - entered,
                "movement": movement.get(passage["zone"], ""),
                "trace": _trace(traces.get(passage["zone"]), (entered, exited)),
            }
        )
    return shown


def _fitting(pictures: Sequence[bytes | None]) -> list[bytes | None]:
    """Shrink pictures, all alike, until together they fit the page."""
    fitted = list(pictures)
    for factor in (0.8, 0.65, 0.5, 0.35, 0.25):
        if sum(len(p) for p in fitted if p) <= PICTURES_BYTES:
            break
        fitted = [smaller(p, factor) if p else None for p in pictures]
    return fitted


Trace = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _traces(ws: Workspace, camera: str, day: dt.date, model_id: str) -> dict[str, Trace]:
    """Return, per zone, the instants (POSIX seconds, sorted) and probabilities of its scores."""
    path = ws.scores(camera, day, model_id)
    if not path.is_file():
        return {}
    table = store.read_table(path, schemas.SCORES)
    at = np.asarray(table["captured_at"].cast("int64").to_numpy(), dtype=np.float64) / 1e6
    p = np.asarray(table["p_truck"].to_numpy(), dtype=np.float64)
    zones = np.asarray(table["zone"].to_pylist())
    found = {}
    for zone in np.unique(zones):
        own = np.flatnonzero(zones == zone)
        own = own[np.argsort(at[own], kind="stable")]
        found[str(zone)] = (at[own], p[own])
    return found


def _trace(scores: Trace | None, stay: Span) -> Markup | None:
    """Draw the probabilities around a stay: as long again before and after, within limits."""
    if scores is None:
        return None
    pad = float(np.clip(stay[1] - stay[0], *_PAD_S))
    window = (stay[0] - pad, stay[1] + pad)
    at, p = scores
    first, last = np.searchsorted(at, [window[0], window[1]])
    if last <= first:
        return None
    times, values = thinned(at[first:last], p[first:last], _TRACE_POINTS)
    return strips.trace(times, values, stay, window)


def thinned(
    at: NDArray[np.float64], p: NDArray[np.float64], most: int
) -> tuple[list[float], list[float]]:
    """Keep at most ``most`` points, of each stretch the one furthest from one half.

    >>> thinned(np.arange(4.0), np.array([0.1, 0.6, 0.4, 0.9]), 2)
    ([0.0, 3.0], [0.1, 0.9])
    """
    kept: list[int] = []
    for part in np.array_split(np.arange(len(at)), min(most, len(at))):
        kept.append(int(part[np.argmax(np.abs(p[part] - 0.5))]))
    return at[kept].tolist(), p[kept].tolist()
