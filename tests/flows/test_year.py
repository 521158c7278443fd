"""A year of four cameras, handed over in shuffled stretches to three workers, of which one dies.

``TRUCK_COUNTER_YEAR_DAYS`` says how long the year is (365). Clips are tiny and all alike.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows import _processes

DAYS = int(os.environ.get("TRUCK_COUNTER_YEAR_DAYS", "365"))
STRETCHES = max(1, min(4, DAYS // 3))
ZONES = {
    "a": "America/Chicago",
    "b": "Europe/Berlin",
    "c": "Asia/Tokyo",
    "d": "Australia/Lord_Howe",
}
FIRST = dt.date(2025, 3, 2)
LAST = FIRST + dt.timedelta(days=DAYS - 1)


def make_world(root: Path, template: Path, tools: ModuleType) -> None:
    tools.write_cameras(root, ZONES)
    shutil.copytree(template / "models", root / "models", copy_function=shutil.copy2)
    clip = root / "made" / "clip.mp4"
    tools.lorry_clip(clip, 1, fps=2)
    dates = [(c, z, FIRST + dt.timedelta(days=n)) for c, z in ZONES.items() for n in range(DAYS)]
    random.Random(4).shuffle(dates)
    for camera, timezone, day in dates:
        tools.add_footage(root, clip, camera, timezone, day)


def stretches() -> list[tuple[str, dt.date, dt.date]]:
    """Return (camera, first, last) of every stretch, shuffled."""
    starts = [FIRST + dt.timedelta(days=DAYS * i // STRETCHES) for i in range(STRETCHES)]
    ends = [start - dt.timedelta(days=1) for start in starts[1:]] + [LAST]
    found = [(c, a, b) for c in ZONES for a, b in zip(starts, ends, strict=True)]
    random.Random(365).shuffle(found)
    return found


def command(root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "backfill", "--root", str(root), *more]


def published(root: Path) -> list[tuple[str, str, int]]:
    import pandas as pd

    rows = pd.read_parquet(root / "features" / "daily_truck_counts.parquet")
    return sorted(
        (r.camera_id, str(r.date.date()), int(r.passages_seen)) for r in rows.itertuples()
    )


def kill(record: dict[str, Any]) -> None:
    _processes._signal(_processes._family(record), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_a_year_by_three_workers_one_dying(
    template: Path, tmp_path: Path, tools: ModuleType
) -> None:
    root = tmp_path / "world"
    make_world(root, template, tools)
    server = tools.Server(tmp_path, None)
    port = server.url.rsplit(":", 1)[1]
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(server.running("server", "start", "--port", port))
        tools.wait_until_healthy(server)
        server.call("prefect", "work-pool", "create", "-t", "process", "truck-counter")
        server.call("prefect", "--no-prompt", "deploy", "-n", "backfill/backfill")
        workers = []
        for n in range(3):
            words = server.prefect("worker", "start", "--pool", "truck-counter", "--limit", "1")
            log = tmp_path / f"worker{n}.log"
            workers.append(_processes.start(words, log, Path.cwd(), server.env))
            stack.callback(kill, workers[-1])
        for camera, first, last in stretches():
            span = ("--camera", camera, "--from", str(first), "--to", str(last), "--schedule")
            server.call("flows.cli", *command(root, *span)[3:])
        half = DAYS * len(ZONES) // 2
        while len(list(root.glob("counts/*/*/*.json"))) < half:
            time.sleep(1)
        kill(workers[0])
        quiet_since, seen = time.monotonic(), -1
        while time.monotonic() - quiet_since < 60:  # the two others do all that they can
            now = len(list(root.glob("counts/*/*/*.json")))
            if now != seen or any(_busy(record) for record in workers[1:]):
                quiet_since, seen = time.monotonic(), now
            time.sleep(1)
    by_workers_s = time.monotonic() - started
    left = len(ZONES) * DAYS - seen
    alone = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    alone["PREFECT_HOME"] = str(tmp_path / "home")
    done = subprocess.run(
        command(root, "--to", str(LAST)), env=alone, check=True, capture_output=True, text=True
    )
    assert published(root) == sorted(
        (c, str(FIRST + dt.timedelta(days=n)), 1) for c in ZONES for n in range(DAYS)
    )

    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    started = time.monotonic()
    again = subprocess.run(
        command(root, "--to", str(LAST)), env=alone, check=True, capture_output=True, text=True
    )
    told_s = time.monotonic() - started
    print(
        f"{DAYS} days: workers {by_workers_s:.0f} s, {left} camera-days never counted by them; "
        f"then {done.stdout.splitlines()[-1]!r}; a second time {told_s:.1f} s"
    )
    assert again.stdout.startswith(f"nothing to do: {len(ZONES) * DAYS} camera-day(s)")
    assert told_s < 10
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before

    quiet = tmp_path / "quiet"
    make_world(quiet, template, tools)
    _by_hand(quiet)
    tools.assert_same(tools.tables(root), tools.tables(quiet))


def _by_hand(root: Path) -> None:
    """Do the same in order, with no flow at all."""
    from pipeline import cameras, daily
    from pipeline.ingest import ingest
    from pipeline.store import Workspace

    ws = Workspace(root)
    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry)
    daily.count_days(ws, registry, daily.camera_days(ws, registry), daily.model_in_use(ws))


def _busy(worker: dict[str, Any]) -> bool:
    """Tell whether a worker runs a flow."""
    return len(_processes._family(worker)) > 1
