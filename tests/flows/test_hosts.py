"""Dask on two hosts that share nothing but footage and tables; one is cut off in the middle.

A host is a network namespace on a bridge of its own (Linux, root, iproute2). Where those are not
allowed it is a process, and cutting it off is stopping it: it answers nobody, and is not dead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline import loopback

REPOSITORY = Path(__file__).resolve().parents[2]
BRIDGE, NET = "tc-bridge", "10.231.7"


def ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, check=check)
    return done.returncode == 0


class Host:
    """One worker of Dask's, in a network of its own or as a plain process."""

    def __init__(self, number: int, apart: bool) -> None:
        self.number, self.apart = number, apart
        self.outer, self.inner, self.space = (f"tc-{w}{number}" for w in ("out", "in", "host"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.space] if self.apart else []

    def build(self) -> None:
        ip("netns", "add", self.space)
        ip("link", "add", self.outer, "type", "veth", "peer", "name", self.inner)
        ip("link", "set", self.inner, "netns", self.space)
        ip("link", "set", self.outer, "master", BRIDGE, "up")
        ip("-n", self.space, "addr", "add", f"{NET}.{self.number}/24", "dev", self.inner)
        ip("-n", self.space, "link", "set", self.inner, "up")
        ip("-n", self.space, "link", "set", "lo", "up")

    def start(self, scheduler: str, env: dict[str, str], log: Path) -> None:
        words = ["worker", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        command = [sys.executable, "-m", "dask", *words, "--name", f"host{self.number}"]
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*self.prefix, *command], env=env, cwd=log.parent, stdout=sink, stderr=sink
            )

    def cut_off(self) -> None:
        if self.apart:
            ip("link", "set", self.outer, "down")
        elif self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if self.apart:
            ip("netns", "del", self.space, check=False)
            ip("link", "del", self.outer, check=False)


@contextlib.contextmanager
def network() -> Iterator[bool]:
    """Lay a bridge, if that is allowed; tell whether it was."""
    allowed = (
        shutil.which("ip") is not None
        and os.geteuid() == 0
        and ip("link", "add", BRIDGE, "type", "bridge", check=False)
    )
    if not allowed:
        yield False
        return
    try:
        ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield True
    finally:
        ip("link", "del", BRIDGE)


class Cluster:
    """A Prefect server, Dask's scheduler and two hosts."""

    def __init__(self, server: Any, address: str, hosts: list[Host], env: dict[str, str]) -> None:
        self.server, self.address, self.hosts, self.env = server, address, hosts, env

    def backfill(self, root: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "flows.cli", "backfill", "--to", "2026-03-04"]
        told = {"TRUCK_COUNTER_TASK_RUNNER": "dask", "TRUCK_COUNTER_TASK_ADDRESS": self.address}
        with root.with_suffix(".log").open("w") as log:
            return subprocess.Popen(
                [*words, "--root", str(root)], env=self.env | told, stdout=log, stderr=log
            )


@pytest.fixture
def cluster(tmp_path: Path, tools: ModuleType) -> Iterator[Cluster]:
    pytest.importorskip("prefect_dask", reason="the extra dask is not installed")
    with contextlib.ExitStack() as stack:
        apart = stack.enter_context(network())
        here = f"{NET}.1" if apart else "127.0.0.1"
        server = tools.Server(tmp_path, None)
        port = server.url.rsplit(":", 1)[1]
        server.url = f"http://{here}:{port}"
        env = server.env | {
            "PREFECT_API_URL": f"{server.url}/api",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
        }
        stack.enter_context(server.running("server", "start", "--host", here, "--port", port))
        address = f"tcp://{here}:{loopback.free_port()}"
        words = ["scheduler", "--host", address, "--no-dashboard"]
        log = tmp_path / "dask.log"
        with log.open("ab") as sink:
            scheduler = subprocess.Popen(
                [sys.executable, "-m", "dask", *words], env=env, stdout=sink, stderr=sink
            )
        stack.callback(scheduler.wait)
        stack.callback(scheduler.kill)
        hosts = [Host(number, apart) for number in (2, 3)]
        for host in hosts:
            stack.callback(host.close)
            if apart:
                host.build()
            host.start(address, env, tmp_path / f"host{host.number}.log")
        tools.wait_until_healthy(server)
        yield Cluster(server, address, hosts, env)


def assert_complete(run: subprocess.Popen[bytes], root: Path) -> None:
    run.wait(900)
    said = root.with_suffix(".log").read_text()
    assert run.returncode == 0, said[-4000:]
    assert "Completed: 6 camera-day(s) done, 6 row(s) published" in said, said[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_two_hosts_give_the_same_tables_and_one_is_enough(
    cluster: Cluster, world: Path, tmp_path: Path, tools: ModuleType
) -> None:
    from distributed import Client

    from pipeline import cameras, daily
    from pipeline.ingest import ingest
    from pipeline.store import Workspace

    both, cut, by_hand = (
        Path(shutil.copytree(world, tmp_path / name)) for name in ("both", "cut", "by-hand")
    )
    ws = Workspace(by_hand)
    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry)
    daily.count_days(ws, registry, daily.camera_days(ws, registry), daily.model_in_use(ws))
    expected = tools.tables(by_hand)

    with Client(cluster.address, timeout=120) as client:
        client.wait_for_workers(2, timeout=120)
        took_part: set[str] = set()
        run = cluster.backfill(both)
        while run.poll() is None:
            took_part |= {worker for worker, keys in client.processing().items() if keys}
            time.sleep(0.2)
        assert_complete(run, both)
        tools.assert_same(tools.tables(both), expected)
        assert len(took_part) == 2

        run = cluster.backfill(cut)
        until = time.monotonic() + 300
        while not (all(client.processing().values()) and list(cut.glob("scores/*/*/*.parquet"))):
            assert run.poll() is None, cut.with_suffix(".log").read_text()[-4000:]
            assert time.monotonic() < until
            time.sleep(0.05)
        assert len(list(cut.glob("counts/*/*/*.parquet"))) < 6, "it was over before the cut"
        cluster.hosts[1].cut_off()
        assert_complete(run, cut)
        tools.assert_same(tools.tables(cut), expected)
        assert len(client.scheduler_info()["workers"]) == 1
