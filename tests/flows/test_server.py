"""The flows on a real Prefect server, run by a real process worker, on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from pipeline import loopback


@contextlib.contextmanager
def postgres(tools: ModuleType) -> Iterator[str]:
    """Start PostgreSQL on a free port as a user who may run it; yield its address for Prefect."""
    if not shutil.which("initdb"):
        pytest.skip("no PostgreSQL here: its initdb is not on the PATH")
    import pwd

    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="truck-counter-pg-"))
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL cannot run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = loopback.free_port()
    data = folder / "db"
    quiet = {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run(
        [*as_user, "initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8"],
        **quiet,
    )
    settings = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    start = ["pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", settings, "start"]
    subprocess.run([*as_user, *start], **quiet)
    try:
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*as_user, "pg_ctl", "-D", str(data), "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tools: ModuleType
) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(tools)) if request.param == "postgresql" else None
        made = tools.Server(tmp_path_factory.mktemp("server"), database)
        port = made.url.rsplit(":", 1)[1]
        start = ("server", "start", "--host", "127.0.0.1", "--port", port)
        stack.enter_context(made.running(*start, TRUCK_COUNTER_ROOT=str(made.log.parent)))
        tools.wait_until_healthy(made)
        yield made


@pytest.mark.timeout(1200)
def test_deployed_scheduled_and_run_by_a_worker(server: Any, world: Path) -> None:
    import pandas as pd

    root = str(world)
    server.call("prefect", "work-pool", "create", "--type", "process", "truck-counter")
    server.call("prefect", "--no-prompt", "deploy", "--all")
    deployed = server.post("deployments/filter")
    assert isinstance(deployed, list)
    assert {d["name"] for d in deployed} >= {"hourly", "america-chicago", "weekly", "backfill"}

    backfill = ("flows.cli", "backfill", "--to", "2026-03-03", "--schedule", "--json")
    handed = json.loads(server.call(*backfill, "--root", root))
    again = json.loads(server.call(*backfill, "--root", root))
    assert handed["due"] == 4
    assert [r["run"] for r in again["runs"]] == [r["run"] for r in handed["runs"]]

    morning = next(d["id"] for d in deployed if d["name"] == "america-chicago")
    with server.running(
        "worker", "start", "--pool", "truck-counter", "--type", "process", TRUCK_COUNTER_ROOT=root
    ):
        runs = server.wait_for([r["run"] for r in handed["runs"]])
        # Scheduled for 4:10 in Chicago, where by then 3 March has closed, and 4 March. Both are
        # late: whichever runs counts both days, and the other is cancelled or finds nothing.
        told: dict[str, object] = {"root": root, "timezone": "America/Chicago"}
        late = [server.run(morning, told, f"2026-03-0{day}T10:10:00Z") for day in (4, 5)]
        mornings = server.wait_for(late)
    assert [r["state_name"] for r in runs] == ["Completed", "Completed"]
    states = {r["state_name"] for r in mornings}
    assert "Completed" in states, mornings
    assert states <= {"Completed", "Cancelled"}, mornings

    daily = pd.read_parquet(world / "features" / "daily_truck_counts.parquet")
    found = {(r.camera_id, r.date.day): r.passages_seen for r in daily.itertuples()}
    three_days = {("west", 2): 3, ("west", 3): 3, ("west", 4): 3, ("east", 2): 5, ("east", 3): 5}
    assert found == three_days

    figures = {path.stem for path in (world / "reports" / "metrics").glob("*.prom")}
    assert {"truck_counter_backfill-west", "truck_counter_backfill-east"} <= figures
    keys = {a["key"] for a in as_list(server.post("artifacts/filter"))}
    assert {f"backfill-{k}" for k in ("counts", "missing", "summary", "picture")} <= keys
    assert {"backfill-progress", "morning-america-chicago-counts"} <= keys
    everything = ("flow_runs", "task_runs", "deployments", "artifacts", "logs")
    for what in everything:
        assert server.secret not in json.dumps(server.post(f"{what}/filter")), what


def as_list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


def test_the_server_shows_the_reports_and_nothing_else_of_the_workspace(server: Any) -> None:
    reports = server.log.parent / "reports"
    shown = f"{server.url}/truck-counter"
    assert httpx.get(f"{shown}/report.html").status_code == httpx.codes.NOT_FOUND
    (reports / "explain").mkdir(parents=True)
    (reports / "explain" / "gate.html").write_text("every truck of that day")
    assert httpx.get(f"{shown}/explain/gate.html").text == "every truck of that day"
    for path in ("", "..%2fserver.log", "explain"):
        assert httpx.get(f"{shown}/{path}").status_code == httpx.codes.NOT_FOUND
    browser: dict[str, Any] = {"headers": {"Accept": "text/html"}, "follow_redirects": True}
    assert "Prefect" in httpx.get(f"{server.url}/runs", **browser).text  # its own pages


def test_scheduled_runs_lie_ahead(server: Any) -> None:
    """The scheduler has planned mornings at 4:10 local time, also across the change of clocks."""
    from zoneinfo import ZoneInfo

    until = time.monotonic() + 60
    while time.monotonic() < until:
        runs = as_list(server.post("flow_runs/filter", {"flows": {"name": {"any_": ["morning"]}}}))
        planned = [r for r in runs if r["auto_scheduled"]]
        if planned:
            break
        time.sleep(1)
    assert planned, "nothing was scheduled within a minute"
    for run in planned:
        instant = dt.datetime.fromisoformat(str(run["expected_start_time"]).replace("Z", "+00:00"))
        local = instant.astimezone(ZoneInfo("America/Chicago"))
        assert (local.hour, local.minute) == (4, 10)
