"""The demonstration: footage rendered with a known truth, taken the ordinary way to a count.

ingest → sample → annotate → aggregate → train → infer → count → publish → report, through the same
calls as the commands. The one stand-in is the crowd: simulated workers of stated skill write
ordinary rows into ``annotations``. Days that teach the model are not days that are counted.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline import cores, store
from pipeline.errors import InputError
from pipeline.progress import note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labeling.crowd import Worker
    from pipeline.cameras import Registry
    from pipeline.daily import CameraDay
    from pipeline.scene import ScenePlan
    from pipeline.store import Workspace

CAMPAIGN = "demo"
FRAMES_PER_CAMERA = 400
VOTES = 5
FINISH = 1.3  # less than the recipe's, for the ten minutes that a demonstration may take


def run(ws: Workspace, days: int, seed: int) -> dict[str, Any]:
    """Run the demonstration in ``ws``; what is there already is not made again.

    Returns:
        JSON-able: per camera-day what was counted beside the truth, the files, and the printed
        table under ``text``.
    """
    from labeling import crowd, sample
    from pipeline import daily, scene
    from pipeline.pages.receipts import write_latest
    from pipeline.pages.report import write_report
    from pipeline.publish import publish

    plan = scene.plan(seed, days)
    note("1/5 footage: rendered where it is missing, and ingested")
    registry = film(ws, plan)
    note("2/5 labels: the crowd is simulated, everything else is not")
    sample.sample(
        ws, CAMPAIGN, FRAMES_PER_CAMERA * len(registry.ids), *taught(registry, plan), seed
    )
    ask(ws, CAMPAIGN, plan, crowd.CROWD, VOTES, seed)
    note("3/5 train")
    model_id = _train(ws, seed)
    note("4/5 infer, count, publish")
    daily.count_days(ws, registry, counted(ws, registry, plan), model_id)
    publish(ws, registry)
    note("5/5 report")
    write_latest(ws, registry)
    report = write_report(ws, registry)
    rows = beside_truth(ws)
    files = {
        "features": str(ws.daily_counts),
        "report": str(report),
        "model": str(ws.model(model_id)),
    }
    return {"counts": rows, **files, "text": _text(rows, files)}


def film(ws: Workspace, plan: ScenePlan) -> Registry:
    """Render what is not there yet, ingest it, and return the registry."""
    from pipeline import cameras
    from pipeline.ingest import ingest

    _write_world(ws, plan)
    registry = cameras.load(ws.cameras_toml)
    _render(ws.root, plan)
    ingest(ws, registry, registry.ids, None, None)
    return registry


def taught(registry: Registry, plan: ScenePlan) -> tuple[Sequence[str], dt.date, dt.date]:
    """Return cameras, first and last day from which labels may come."""
    return registry.ids, plan.first_day, _first_counted(plan) - dt.timedelta(days=1)


def counted(ws: Workspace, registry: Registry, plan: ScenePlan) -> list[CameraDay]:
    """Return the camera-days that teach nothing."""
    from pipeline import daily

    return [d for d in daily.camera_days(ws, registry) if d.day >= _first_counted(plan)]


def _first_counted(plan: ScenePlan) -> dt.date:
    return plan.first_day + dt.timedelta(days=plan.training_days)


def _write_world(ws: Workspace, plan: ScenePlan) -> None:
    """Write the registry and the truth (which only the simulated crowd and the table may read)."""
    import pyarrow as pa

    from pipeline import scene

    said = {"seed": plan.seed, "first_day": str(plan.first_day), "days": len(plan.dates())}
    told = ws.root / "demonstration.json"
    if told.is_file() and store.read_json(told) != said:
        raise InputError(
            f"{ws.root} holds another demonstration ({told.name}).",
            "Name another folder with --root, or remove this one.",
        )
    registry = scene.cameras_toml(plan).encode()
    if ws.cameras_toml.is_file() and ws.cameras_toml.read_bytes() != registry:
        raise InputError(
            f"{ws.cameras_toml} is not this demonstration's registry.",
            "Name an empty folder with --root.",
        )
    store.write_bytes(ws.cameras_toml, registry)
    store.write_json(told, said)
    truth = pa.Table.from_pylist(
        [
            {
                "camera_id": t.camera_id,
                "date": dt.datetime.combine(t.date, dt.time()),
                "truck_count": t.truck_count,
                "counted": t.counted,
            }
            for t in scene.truth_daily(plan)
        ]
    )
    store.write_table(ws.root / "truth.parquet", truth, truth.schema)


def _render(root: Path, plan: ScenePlan) -> None:
    from pipeline import scene

    wanted = [s for s in scene.segments(plan) if not (root / s.path).is_file()]
    wanted = [s for s in wanted if s.fault != "missing"]
    if not wanted:
        return
    for _ in cores.each(partial(scene.render, plan, root=root), wanted, "render"):
        pass


def ask(
    ws: Workspace, name: str, plan: ScenePlan, workers: Sequence[Worker], votes: int, seed: int
) -> None:
    """Have simulated workers judge a campaign's frames, and make labels of their votes."""
    from labeling import campaign, crowd
    from pipeline import scene

    truth: dict[str, bool | None] = {}
    frames = campaign.read_frames(ws, name)
    for _, of_zone in frames.groupby(["camera_id", "zone"]):
        camera_id, zone = of_zone[["camera_id", "zone"]].iloc[0]
        present = scene.presence(plan, camera_id, zone, list(of_zone["captured_at"]))
        truth |= dict(zip(of_zone["frame_id"], map(bool, present), strict=True))
    campaign.add_table(ws, name, crowd.annotate(truth, votes, workers, seed))
    labels = campaign.summary(campaign.aggregate(ws, name))
    flagged = ", ".join(f["worker"] for f in labels["flagged"]) or "nobody"
    note(
        f"labels: {labels['annotations']} simulated annotations of {labels['frames']} frames, "
        f"{labels['truck']} truck, {labels['unresolved']} unresolved; flagged: {flagged}"
    )


def _train(ws: Workspace, seed: int) -> str:
    from pipeline.learning.options import TrainOptions
    from pipeline.learning.train import train_campaigns

    return train_campaigns(ws, [CAMPAIGN], TrainOptions(seed=seed, finish=FINISH))


def beside_truth(ws: Workspace, truth_of: Workspace | None = None) -> list[dict[str, Any]]:
    """Return one row per counted camera-day: the count, summed over movements, and the truth."""
    from pipeline import read_daily_counts

    published = read_daily_counts(ws.root)
    truth = store.read_table((truth_of or ws).root / "truth.parquet").to_pandas()
    rows: list[dict[str, Any]] = []
    for true in truth[truth["counted"]].itertuples():
        mine = published[
            (published["camera_id"] == true.camera_id) & (published["date"] == true.date)
        ]
        for row in mine.itertuples():
            rows.append(
                {
                    "camera_id": true.camera_id,
                    "date": str(true.date.date()),
                    "truck_count": _number(row.truck_count),
                    "truck_count_lo": _number(row.truck_count_lo),
                    "truck_count_hi": _number(row.truck_count_hi),
                    "truth": int(true.truck_count),
                    "coverage": row.coverage,
                    "quality": row.quality,
                }
            )
    return rows


@dataclass(frozen=True)
class Summed:
    """Camera-days that have a count: trucks counted, true ones, intervals that hold the truth."""

    counted: float
    truth: int
    held: int

    @property
    def error(self) -> float:
        """Counted ÷ true − 1."""
        return self.counted / max(self.truth, 1) - 1


def summed(rows: Sequence[dict[str, Any]]) -> Summed:
    """Add up the rows of :func:`beside_truth`."""
    made = [r for r in rows if r["truck_count"] is not None]
    held = sum(r["truck_count_lo"] <= r["truth"] <= r["truck_count_hi"] for r in made)
    return Summed(sum(r["truck_count"] for r in made), sum(r["truth"] for r in made), held)


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _text(rows: list[dict[str, Any]], files: dict[str, str]) -> str:
    lines = ["camera           day         counted  95% interval      truth  coverage  quality"]
    for r in rows:
        shown, interval = "   none", ""
        if r["truck_count"] is not None:
            shown = f"{r['truck_count']:>7.1f}"
            interval = f"{r['truck_count_lo']:.1f} to {r['truck_count_hi']:.1f}"
        lines.append(
            f"{r['camera_id']:<16} {r['date']}  {shown}  {interval:<16} "
            f"{r['truth']:>6}  {r['coverage']:>7.1%}  {r['quality']}"
        )
    whole = summed(rows)
    lines += [
        f"in all: {whole.counted:.1f} counted, {whole.truth} true ({whole.error:+.1%}); "
        f"{whole.held} of {len(rows)} intervals hold the truth",
        "rendered footage, simulated crowd; model, counts and intervals are real",
        *(f"{name:<9} {path}" for name, path in files.items()),
    ]
    return "\n".join(lines)
