"""Simulated mornings one after another in one server's life: nothing grows, nothing is stuck.

``TRUCK_COUNTER_SOAK_CAMERAS`` (50) and ``TRUCK_COUNTER_SOAK_DAYS`` (30) set the size. Each day its
footage arrives, the hourly ingest runs, and the morning is scheduled for the day after: three runs,
of which two come late and find nothing to do. Memory is what the processes alone hold
(``Private_*``), so that a library shared with others does not count.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import statistics
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows import _processes

CAMERAS = int(os.environ.get("TRUCK_COUNTER_SOAK_CAMERAS", "50"))
DAYS = int(os.environ.get("TRUCK_COUNTER_SOAK_DAYS", "30"))
ZONE = "America/Chicago"
STUCK = ["Running", "Pending", "Late", "AwaitingRetry", "Cancelling", "Failed", "Crashed"]


def held(record: dict[str, Any]) -> tuple[float, int]:
    """Return a process's own memory in MB and its open files."""
    folder = Path("/proc") / str(record["pid"])
    lines = (folder / "smaps_rollup").read_text().splitlines()
    kept = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return kept / 1024, len(list((folder / "fd").iterdir()))


def grown(values: list[float]) -> float:
    """Return by which share the last third lies above the third before it (the first warms up)."""
    third = len(values) // 3
    before, after = values[third : 2 * third], values[-third:]
    return statistics.median(after) / statistics.median(before) - 1


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_month_of_mornings_leaves_nothing_behind(
    template: Path, tmp_path: Path, tools: ModuleType, request: pytest.FixtureRequest
) -> None:
    root = tmp_path / "world"
    cameras = {f"c{i:02d}": ZONE for i in range(CAMERAS)}
    tools.write_cameras(root, cameras)
    shutil.copytree(template / "models", root / "models", copy_function=shutil.copy2)
    clip = tmp_path / "clip.mp4"
    tools.lorry_clip(clip, 1, fps=2)
    server = tools.Server(tmp_path, None)

    def start(name: str, *words: str) -> dict[str, Any]:
        log = tmp_path / f"{name}.log"
        record = _processes.start(server.prefect(*words), log, tools.REPOSITORY, server.env)
        request.addfinalizer(lambda: _processes.end(record, patience_s=2))
        return record

    lasting = {"server": start("server", "server", "start", "--port", server.url.split(":")[-1])}
    tools.wait_until_healthy(server)
    server.call("prefect", "work-pool", "create", "-t", "process", "truck-counter")
    server.call("prefect", "--no-prompt", "deploy", "-n", "morning/america-chicago")
    server.call("prefect", "--no-prompt", "deploy", "-n", "ingest/hourly")
    lasting["worker"] = start("worker", "worker", "start", "--pool", "truck-counter")
    deployed = server.deployed()

    memory: dict[str, list[float]] = {name: [] for name in lasting}
    files: dict[str, list[float]] = {name: [] for name in lasting}
    for n in range(DAYS):
        day = tools.FIRST + dt.timedelta(days=n)
        for camera in cameras:
            tools.add_footage(root, clip, camera, ZONE, day)
        hourly = server.run(deployed["hourly"], {"root": str(root), "last": str(day)})
        assert server.wait_for([hourly])[0]["state_name"] == "Completed"
        at = f"{day + dt.timedelta(days=1)}T10:10:00Z"
        mornings = [
            server.run(deployed["america-chicago"], {"root": str(root), "timezone": ZONE}, at)
            for _ in range(3)
        ]
        ended = server.wait_for(mornings)
        assert {r["state_name"] for r in ended} <= {"Completed", "Cancelled"}, ended
        for name, record in lasting.items():
            mb, opened = held(record)
            memory[name].append(mb)
            files[name].append(opened)
        told = {name: (round(memory[name][-1]), files[name][-1]) for name in lasting}
        print(f"{day}: {told} at {time.monotonic():.0f} s", flush=True)

    import pandas as pd

    rows = pd.read_parquet(root / "features" / "daily_truck_counts.parquet")
    assert len(rows) == CAMERAS * DAYS
    assert (rows["passages_seen"] == 1).all()
    stuck = server.post("flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": STUCK}}}})
    assert stuck == []
    growth = {name: (grown(memory[name]), grown(files[name])) for name in lasting}
    print(f"{CAMERAS} cameras x {DAYS} days: growth of memory and open files {growth}")
    for name, (of_memory, of_files) in growth.items():
        assert of_memory < 0.05, (name, memory[name])
        assert of_files <= 0, (name, files[name])
