"""The same flow on threads, processes, Dask and Ray: the same tables as plain library calls."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def by_hand(root: Path) -> Path:
    """Do the same with no flow at all."""
    import datetime as dt

    from pipeline import cameras, daily
    from pipeline.ingest import ingest
    from pipeline.store import Workspace

    ws = Workspace(root)
    registry = cameras.load(ws.cameras_toml)
    last = dt.date(2026, 3, 3)
    ingest(ws, registry, (), dt.date(2026, 3, 2), last)
    days = daily.camera_days(ws, registry, last=last)
    daily.count_days(ws, registry, days, daily.model_in_use(ws))
    return root


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("kind", ["threads", "processes", "dask", "ray"])
def test_every_task_runner_gives_the_same_tables(
    kind: str, world: Path, tmp_path: Path, tools: ModuleType
) -> None:
    if kind in ("dask", "ray") and importlib.util.find_spec(f"prefect_{kind}") is None:
        pytest.skip(f"the extra {kind} is not installed")
    expected = tools.tables(by_hand(Path(shutil.copytree(world, tmp_path / "by-hand"))))
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    env |= {"TRUCK_COUNTER_TASK_RUNNER": kind, "TRUCK_COUNTER_TASK_WORKERS": "2"}
    command = [sys.executable, "-m", "flows.cli", "backfill", "--to", "2026-03-03"]
    done = subprocess.run(
        [*command, "--root", str(world)],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("Completed: 4 camera-day(s) done, 4 row(s) published"), (
        done.stdout
    )
    tools.assert_same(tools.tables(world), expected)
    # One temporary server, ours, for all processes: those of a pool were found to start one each.
    assert done.stderr.count("starting a temporary Prefect server") == 1, done.stderr
    assert "Starting temporary server" not in done.stderr, done.stderr
