"""kill -9 at seeded moments of a backfill: run again, it ends in the tables of a quiet run.

``TRUCK_COUNTER_KILLS`` says how many moments (50). Each kill hits the flow process, the server, or
the worker with its run; whatever it leaves behind, the next run takes up in the same workspace. A
workspace that gets done is compared and a fresh one takes the next kills.
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
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from flows import _processes

if TYPE_CHECKING:
    import pandas as pd

KILLS = int(os.environ.get("TRUCK_COUNTER_KILLS", "50"))
CAMERAS = {
    "a": "America/Chicago",
    "b": "Europe/Berlin",
    "c": "Asia/Tokyo",
    "d": "Australia/Lord_Howe",
}
DAYS = 5
TO = "2026-03-06"
REPOSITORY = Path(__file__).resolve().parents[2]


def command(root: Path, *more: str) -> list[str]:
    backfill = [sys.executable, "-m", "flows.cli", "backfill", "--to", TO, "--json"]
    return [*backfill, "--root", str(root), *more]


def finish(root: Path, env: dict[str, str]) -> None:
    subprocess.run(command(root), env=env, check=True, capture_output=True, timeout=1800)


def contents(root: Path, tools: ModuleType) -> dict[str, pd.DataFrame]:
    """Read every table; publications as one, without the instants that differ from run to run."""
    import pandas as pd

    found: dict[str, pd.DataFrame] = tools.tables(root)
    for folder, key in (("vintages", "date"), ("vintages_hourly", "hour_start_at")):
        parts = [pd.read_parquet(p) for p in (root / "features" / folder).glob("*.parquet")]
        rows = pd.concat(parts).sort_values(["camera_id", key], ignore_index=True)
        told = ["as_of", "tradable_from", "revision_reason"]
        found[folder] = rows.drop(columns=told, errors="ignore")
    return found


@pytest.fixture(scope="module")
def busy_world(template: Path, tmp_path_factory: pytest.TempPathFactory, tools: ModuleType) -> Path:
    root = tmp_path_factory.mktemp("busy") / "world"
    shutil.copytree(template / "models", root / "models", copy_function=shutil.copy2)
    tools.write_cameras(root, CAMERAS)
    for c, (camera, timezone) in enumerate(CAMERAS.items()):
        for day in range(DAYS):
            clip = root / "made" / f"{c}{day}.mp4"
            tools.lorry_clip(clip, 1 + (3 * c + day) % 8)
            date = tools.FIRST + dt.timedelta(days=day)
            tools.add_footage(root, clip, camera, timezone, date)
    return root


def copy_of(world: Path, target: Path) -> Path:
    return Path(shutil.copytree(world, target, copy_function=shutil.copy2))


def kill_flow(root: Path, env: dict[str, str], moment: float) -> None:
    """Kill -9 a backfill's own process; what it has started must end by itself."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command(root), env=env, cwd=REPOSITORY, stdout=quiet, stderr=quiet)
    time.sleep(moment)
    process.kill()
    process.wait()
    until = time.monotonic() + 30
    while left := living_in(env["PREFECT_HOME"]):
        assert time.monotonic() < until, f"still running: {left}"
        time.sleep(0.1)


def living_in(home: str) -> list[str]:
    """Return the commands of the processes that keep their things in a home of Prefect's."""
    told, found = f"PREFECT_HOME={home}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if told in (path / "environ").read_bytes().split(b"\0"):
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


class Restartable:
    """A Prefect server that is started again, on the same database, when it has been killed."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.record: dict[str, Any] = {}
        self.deployed = False

    def start(self, name: str, *arguments: str) -> dict[str, Any]:
        log = self.server.log.with_name(f"{name}.log")
        return _processes.start(self.server.prefect(*arguments), log, REPOSITORY, self.server.env)

    def ready(self, healthy: Callable[[Any], None]) -> None:
        if not (self.record and _processes.is_alive(self.record)):
            port = self.server.url.rsplit(":", 1)[1]
            self.record = self.start("server", "server", "start", "--port", port)
            healthy(self.server)
        if not self.deployed:
            self.server.call("prefect", "work-pool", "create", "-t", "process", "truck-counter")
            self.server.call("prefect", "--no-prompt", "deploy", "-n", "backfill/backfill")
            self.deployed = True

    def close(self) -> None:
        if self.record:
            kill(self.record)


def kill(record: dict[str, Any]) -> None:
    """Kill -9 a process with all it started."""
    _processes._signal(_processes._family(record), signal.SIGKILL)


def disturb(server: Restartable, victim: str, moment: float, root: Path) -> None:
    """Hand the backfill to a worker and kill the worker (with its runs) or the server."""
    worker = server.start("worker", "worker", "start", "--pool", "truck-counter")
    try:
        env = server.server.env
        subprocess.run(command(root, "--schedule"), env=env, check=True, capture_output=True)
        time.sleep(moment)
        kill(server.record if victim == "server" else worker)
        if victim == "server":
            time.sleep(moment / 4)  # the runs go on for a while without it
    finally:
        kill(worker)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_any_moment_it_ends_as_if_undisturbed(
    busy_world: Path, tmp_path: Path, tools: ModuleType, request: pytest.FixtureRequest
) -> None:
    alone = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    alone["PREFECT_HOME"] = str(tmp_path / "home")
    quiet = copy_of(busy_world, tmp_path / "quiet")
    started = time.monotonic()
    finish(quiet, alone)
    usual_s = time.monotonic() - started
    expected = contents(quiet, tools)

    chance = random.Random(20260302)
    killed = dict.fromkeys(("flow", "server", "worker"), 0)
    compared = 0
    root = copy_of(busy_world, tmp_path / "world0")
    server = Restartable(tools.Server(tmp_path, None))
    request.addfinalizer(server.close)
    for kill_no in range(KILLS):
        victim, moment = chance.choice(list(killed)), chance.uniform(0.0, usual_s)
        killed[victim] += 1
        print(f"kill {kill_no + 1}: {victim} after {moment:.1f} s", flush=True)
        if victim == "flow":
            kill_flow(root, alone, moment)
        else:
            server.ready(tools.wait_until_healthy)
            disturb(server, victim, moment, root)
        if moment > 0.6 * usual_s:  # nearly done by now: finish, compare, and start afresh
            finish(root, alone)
            tools.assert_same(contents(root, tools), expected)
            compared += 1
            shutil.rmtree(root)
            root = copy_of(busy_world, tmp_path / f"world{compared}")
    finish(root, alone)
    tools.assert_same(contents(root, tools), expected)
    print(f"{KILLS} kills {killed}, {compared + 1} workspaces compared, usual {usual_s:.1f} s")
