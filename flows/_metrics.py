"""Figures for Prometheus' node exporter: ``<root>/reports/metrics/*.prom``.

A textfile rather than a port: it is written after every run, whole or not at all, and outlives the
run. Point ``--collector.textfile.directory`` at the folder. All figures are read from the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import store

if TYPE_CHECKING:
    from pipeline.store import Workspace

Row = Mapping[str, Any]
Sample = tuple[Mapping[str, str], float]


def write(
    ws: Workspace,
    kind: str,
    counts: Sequence[Row],
    missing: Sequence[Row],
    backlog: int | None = None,
) -> Path:
    """Write the figures of a run that has ended; other kinds of run keep theirs."""
    path = ws.root / "reports" / "metrics" / f"truck_counter_{kind}.prom"
    store.write_bytes(path, text(kind, counts, missing, backlog).encode())
    return path


def write_labels(ws: Workspace, campaign: str, summary: Row) -> Path:
    """Write a campaign's figures after its votes were pulled; their growth is the throughput."""
    path = ws.root / "reports" / "metrics" / f"truck_counter_label_{campaign}.prom"
    of = {"campaign": campaign}
    judged = [({**of, "label": k}, summary[k]) for k in ("truck", "no_truck", "unresolved")]
    content = _metric("votes", "votes of people, so far", [(of, summary["annotations"])])
    content += _metric("labels", "frames by what the votes say", judged)
    store.write_bytes(path, content.encode())
    return path


def text(
    kind: str, counts: Sequence[Row], missing: Sequence[Row], backlog: int | None = None
) -> str:
    """Return the figures in Prometheus' text format.

    >>> print(text("daily", [], []).splitlines()[2])
    truck_counter_camera_hours{run="daily"} 0
    """
    last: dict[tuple[str, str], Row] = {(r["camera_id"], r["movement"]): r for r in counts}
    failed = [m for m in missing if m["what"].endswith("failed")]
    seen = {(r["camera_id"], r["date"]): r["exposure_s"] for r in counts}
    run = {"run": kind}
    parts = [
        _metric(
            "camera_hours", "footage counted by the last run", [(run, sum(seen.values()) / 3600)]
        ),
        _metric("camera_days", "camera-days counted by the last run", [(run, len(seen))]),
        _metric("failures", "camera-days that failed in the last run", [(run, len(failed))]),
        _metric("missing", "counts that could not be made", [(run, len(missing) - len(failed))]),
        _metric(
            "backlog",
            "camera-days due after the last run",
            [(run, backlog)] if backlog is not None else [],
        ),
        _metric(
            "coverage",
            "share of the schedule seen, newest day of the last run",
            [
                ({"run": kind, "camera": c, "movement": m}, r["coverage"])
                for (c, m), r in last.items()
            ],
        ),
        _metric(
            "truck_count",
            "trucks of the newest day of the last run",
            [
                ({"run": kind, "camera": c, "movement": m}, r["truck_count"])
                for (c, m), r in last.items()
                if r["truck_count"] is not None
            ],
        ),
    ]
    return "".join(parts)


def _metric(name: str, meaning: str, samples: Iterable[Sample]) -> str:
    full = f"truck_counter_{name}"
    lines = [f"# HELP {full} {meaning}", f"# TYPE {full} gauge"]
    for labels, value in samples:
        told = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{full}{{{told}}} {value:g}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
