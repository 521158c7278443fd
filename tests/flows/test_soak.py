"""Simulated mornings one after another in one server's life: nothing grows, nothing is stuck.

``TRUCK_COUNTER_SOAK_CAMERAS`` (50) and ``TRUCK_COUNTER_SOAK_DAYS`` (30) set the size. Each day its
footage arrives, the hourly ingest runs, and the morning is scheduled for the day after: three runs,
of which two come late and find nothing to do. Memory is what the processes alone hold
(``Private_*``), so that a library shared with others does not count.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import statistics
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scipy.stats import kendalltau

from flows import _processes

CAMERAS = int(os.environ.get("TRUCK_COUNTER_SOAK_CAMERAS", "50"))
DAYS = int(os.environ.get("TRUCK_COUNTER_SOAK_DAYS", "30"))
ZONE = "America/Chicago"
STUCK = ["Running", "Pending", "Late", "AwaitingRetry", "Cancelling", "Failed", "Crashed"]


def held(record: dict[str, Any]) -> tuple[float, Counter[str]]:
    """Return a process's own memory in MB and its open files by kind."""
    folder = Path("/proc") / str(record["pid"])
    lines = (folder / "smaps_rollup").read_text().splitlines()
    kept = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    kinds: Counter[str] = Counter()
    for number in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):  # closed since
            kinds[os.readlink(number).rsplit("/", 1)[-1].split(":")[0]] += 1
    return kept / 1024, kinds


def held_at_rest(
    record: dict[str, Any], looks: int = 10, every_s: float = 0.5
) -> tuple[float, Counter[str]]:
    """Return the least memory, and the fewest open files, of several looks over five seconds.

    A server's connections come and go with what it happens to do; a leak stays.
    """
    memory, files = [], []
    for _ in range(looks):
        mb, opened = held(record)
        memory.append(mb)
        files.append(opened)
        time.sleep(every_s)
    return min(memory), min(files, key=Counter.total)


def leaking(values: list[float]) -> bool:
    """Tell whether numbers rise for certain after the first third (Kendall's trend, 1 in 100).

    A server's open files go up and down with its connections, also at rest, so that no two days are
    alike. Days close together are, so that it is told of oftener than that where there is none.
    """
    rest = values[len(values) // 3 :]
    trend = kendalltau(range(len(rest)), rest, alternative="greater")
    return bool(trend.pvalue < 0.01)


def grown(values: list[float]) -> float:
    """Return by which share the last third lies above the third before it (the first warms up)."""
    third = len(values) // 3
    before, after = values[third : 2 * third], values[-third:]
    return statistics.median(after) / statistics.median(before) - 1


def test_one_file_more_each_day_is_a_leak_and_coming_and_going_is_none() -> None:
    # 20 days count of 30; by hand: the server's open files of ten days, and over again
    seen = [29.0, 37, 43, 37, 50, 41, 38, 34, 48, 50] * 3
    assert not leaking(seen)
    assert leaking([value + day for day, value in enumerate(seen)])
    assert not leaking([22.0] * 30)  # nothing ever changes


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
        told = {}
        for name, record in lasting.items():
            mb, opened = held_at_rest(record)
            memory[name].append(mb)
            files[name].append(opened.total())
            told[name] = (round(mb), dict(opened))
        print(f"{day}: {told} at {time.monotonic():.0f} s", flush=True)

    import pandas as pd

    rows = pd.read_parquet(root / "features" / "daily_truck_counts.parquet")
    assert len(rows) == CAMERAS * DAYS
    assert (rows["passages_seen"] == 1).all()
    stuck = server.post("flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": STUCK}}}})
    assert stuck == []
    growth = {name: grown(memory[name]) for name in lasting}
    print(f"{CAMERAS} cameras x {DAYS} days: growth of memory {growth}, open files {files}")
    for name in lasting:
        assert growth[name] < 0.05, (name, memory[name])
        assert not leaking(files[name]), (name, files[name])
