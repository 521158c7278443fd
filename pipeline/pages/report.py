"""The report: one HTML file that says what was counted, how surely, and how one may check.

Made only from what the workspace holds: published counts (the newest row per camera, movement and
day, and the vintages before it), clips, model cards, labels, passages, and footage for thumbnails.
Opening it asks nothing of any network. The same workspace gives the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import schemas, store, vintages
from pipeline.errors import NotFoundError
from pipeline.pages import charts, evidence, headline, parts, seen
from pipeline.pages.thumbnails import thumbnails
from pipeline.progress import track

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.store import Workspace

Row = dict[str, Any]
CameraDay = tuple[str, dt.date]

LARGEST_BYTES = 5_000_000
"""A report must travel by e-mail."""


@dataclass(frozen=True)
class Limits:
    """How much of each kind a report shows; the figures stay whole in the Parquet files."""

    pictures: int
    pictures_per_day: int
    charts: int
    strips: int
    rows: int


_LADDER = (
    Limits(pictures=72, pictures_per_day=6, charts=60, strips=200, rows=500),
    Limits(pictures=36, pictures_per_day=4, charts=40, strips=120, rows=300),
    Limits(pictures=12, pictures_per_day=2, charts=24, strips=60, rows=200),
    Limits(pictures=0, pictures_per_day=0, charts=8, strips=20, rows=100),
)


def write_report(ws: Workspace, registry: Registry, out: Path | None = None) -> Path:
    """Write the report to ``out`` (None: ``reports/report.html``) and return its path.

    Raises:
        NotFoundError: nothing is published yet.
        StoreError: it cannot be written.
    """
    path = out if out is not None else ws.reports / "report.html"
    rows = published(ws)
    for limits in _LADDER:
        html = _page(ws, registry, rows, limits, path).encode()
        if len(html) <= LARGEST_BYTES:
            break
    store.write_bytes(path, html)
    return path


def published(ws: Workspace) -> list[Row]:
    """Return the newest published row per camera, movement and day, ``date`` as a plain date.

    Movements that were renamed since are left out.

    Raises:
        NotFoundError: there is none.
    """
    table = vintages.latest(ws, vintages.DAILY, vintages.instants(ws))
    rows = vintages.still_counted(table.to_pylist())
    rows = [{**row, "date": row["date"].date()} for row in rows]
    if not rows:
        raise NotFoundError(
            f"nothing is published in {ws.root}.", "Run truck-counter count and publish first."
        )
    return sorted(rows, key=lambda r: (r["camera_id"], r["movement"], r["date"]))


def truth_of(ws: Workspace) -> dict[CameraDay, float]:
    """Return the demonstration's true count per camera-day; empty for any real workspace."""
    path = ws.root / "truth.parquet"
    if not path.is_file():
        return {}
    found: dict[CameraDay, float] = defaultdict(float)
    for row in store.read_table(path).to_pylist():
        found[row["camera_id"], _as_day(row["date"])] += float(row["truck_count"])
    return dict(found)


def _as_day(value: object) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value)[:10])


def _page(ws: Workspace, registry: Registry, rows: list[Row], limits: Limits, path: Path) -> str:
    truth = truth_of(ws)
    campaigns = evidence.campaigns(ws)
    models = _models(ws, rows)
    base = path.parent
    return parts.render(
        "report.html.j2",
        headline=headline.headline(rows, registry),
        truth_line=headline.beside_truth(rows, truth),
        caveats=headline.caveats(rows, bool(truth), campaigns),
        charts=_charts(rows, truth, limits),
        series=len({(r["camera_id"], r["movement"]) for r in rows}),
        cameras=seen.section(ws, registry, rows, limits.strips, base),
        strangers=seen.strangers(registry, rows),
        pictures=_pictures(ws, registry, rows, limits, base),
        models=models,
        campaigns=campaigns,
        rows=_table(ws, rows, truth, limits, base),
        all_rows=len(rows),
        movements=len({r["movement"] for r in rows}) > 1,
        has_truth=bool(truth),
        revised=_revised(ws),
        changes=_changes(ws),
        as_of=max(r["as_of"] for r in rows),
        reliability_chart=charts.reliability_chart,
    )


def _changes(ws: Workspace) -> list[Row]:
    """Return where a model took over and by what factor its counts differ, newest first."""
    table = vintages.latest(ws, vintages.MODEL_CHANGES, vintages.instants(ws))
    rows = [
        {**row, "first_date": row["first_date"].date(), "last_date": row["last_date"].date()}
        for row in table.to_pylist()
    ]
    return sorted(rows, key=lambda r: (r["as_of"], r["camera_id"], r["movement"]), reverse=True)


def _charts(rows: Sequence[Row], truth: dict[CameraDay, float], limits: Limits) -> list[Row]:
    """Draw a chart per camera and movement, those with the most trucks first to stay."""
    movements: dict[str, set[str]] = defaultdict(set)
    series: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        movements[row["camera_id"]].add(row["movement"])
        series[row["camera_id"], row["movement"]].append(row)
    busiest = sorted(series, key=lambda k: (-sum(r["truck_count"] or 0 for r in series[k]), k))
    span = min(r["date"] for r in rows), max(r["date"] for r in rows)
    drawn = []
    for camera, movement in sorted(busiest[: limits.charts]):
        alone = len(movements[camera]) == 1
        points = [
            _point(r, truth.get((camera, r["date"])) if alone else None)
            for r in series[camera, movement]
        ]
        title = f"Trucks a day, {camera}, {movement}"
        drawn.append(
            {
                "camera": camera,
                "movement": movement,
                "site": series[camera, movement][0]["site"],
                "svg": charts.count_chart(points, title, span),
                "wide": (span[1] - span[0]).days >= charts.MOST_DOTS,
            }
        )
    return drawn


def _point(row: Row, truth: float | None) -> charts.Point:
    return charts.Point(
        row["date"],
        row["truck_count"],
        row["truck_count_lo"],
        row["truck_count_hi"],
        row["quality"],
        row["model_id"],
        truth,
    )


def _pictures(
    ws: Workspace, registry: Registry, rows: Sequence[Row], limits: Limits, base: Path
) -> list[Row]:
    """Return, per camera-day, pictures of the surest passages, the latest days first to stay."""
    with_trucks = [r for r in rows if r["passages_seen"] and r["camera_id"] in registry.ids]
    models = {(r["camera_id"], r["date"]): r["model_id"] for r in with_trucks}
    latest = sorted(models, key=lambda k: (-k[1].toordinal(), k[0]))
    each = limits.pictures_per_day
    chosen = latest[: limits.pictures // each if each else 0]
    shown = []
    for camera_id, day in track(sorted(chosen), "thumbnails"):
        path = ws.passages(camera_id, day, models[camera_id, day])
        if not path.is_file():
            continue
        camera = registry.camera(camera_id, day)
        passages = _surest(store.read_table(path, schemas.PASSAGES).to_pylist(), each)
        pictures = thumbnails(ws, camera, day, passages)
        shots = [
            {
                "src": parts.picture(jpeg),
                "time": parts.clock(_middle(p), camera.timezone),
                "zone": p["zone"],
                "p": p["peak_p_truck"],
            }
            for p, jpeg in zip(passages, pictures, strict=True)
            if jpeg is not None
        ]
        if shots:
            receipt = seen.receipt(ws, camera_id, day, base)
            shown.append({"camera": camera_id, "day": day, "shots": shots, "receipt": receipt})
    return shown


def _surest(passages: Iterable[Row], n: int) -> list[Row]:
    """Return the ``n`` passages with the highest peak, in order of time; none worth no truck.

    That is what was seen of a truck from the next zone, too.
    """
    worth = (p for p in passages if p["trucks"] > 0)
    best = sorted(worth, key=lambda p: (-p["peak_p_truck"], p["entered_at"], p["zone"]))[:n]
    return sorted(best, key=lambda p: (p["entered_at"], p["zone"]))


def _middle(passage: Row) -> float:
    entered, exited = passage["entered_at"].timestamp(), passage["exited_at"].timestamp()
    return float((entered + exited) / 2)


def _models(ws: Workspace, rows: Sequence[Row]) -> list[evidence.Model]:
    """Read the cards of the models behind the rows, the newest day's first (four at most)."""
    newest: dict[str, dt.date] = {}
    for row in rows:
        newest[row["model_id"]] = max(newest.get(row["model_id"], row["date"]), row["date"])
    ids = sorted(newest, key=lambda m: (-newest[m].toordinal(), m))
    found = [evidence.model(ws, m) for m in ids[:4] if m]
    return [m for m in found if m is not None]


def _table(
    ws: Workspace, rows: Sequence[Row], truth: dict[CameraDay, float], limits: Limits, base: Path
) -> list[Row]:
    """Return the latest rows with what the page adds to each."""
    alone = {k for k in truth if sum((r["camera_id"], r["date"]) == k for r in rows) == 1}
    kept = sorted(rows, key=lambda r: (-r["date"].toordinal(), r["camera_id"], r["movement"]))
    kept = sorted(kept[: limits.rows], key=lambda r: (r["camera_id"], r["movement"], r["date"]))
    return [
        {
            **row,
            "truth": truth.get((row["camera_id"], row["date"]))
            if (row["camera_id"], row["date"]) in alone
            else None,
            "receipt": seen.receipt(ws, row["camera_id"], row["date"], base),
        }
        for row in kept
    ]


def _revised(ws: Workspace, most: int = 60) -> list[Row]:
    """Return the latest publications that changed a value already published."""
    before: dict[tuple[str, str, dt.datetime], Row] = {}
    changed: list[Row] = []
    for instant in vintages.instants(ws):
        path = vintages.DAILY.vintage(ws, instant)
        for row in store.read_table(path, schemas.DAILY).to_pylist():
            key = row["camera_id"], row["movement"], row["date"]
            if key in before:
                was = before[key]["truck_count"]
                changed.append({**row, "date": row["date"].date(), "was": was})
            before[key] = row
    return sorted(changed, key=lambda r: r["as_of"], reverse=True)[:most]
