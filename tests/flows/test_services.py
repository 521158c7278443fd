"""``up``, ``status`` and ``down``, and ending what does not want to end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from flows import _processes, services
from flows.cli import cli
from pipeline import loopback
from pipeline.store import Workspace

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
own_session = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
subprocess.Popen([sys.executable, "-c", child])
print("ready", flush=True)
time.sleep(600)
"""


def test_what_ignores_sigterm_ends_with_all_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    record = _processes.start([sys.executable, "-c", STUBBORN], log, tmp_path, {})
    until = time.monotonic() + 20
    while "ready" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    family = set(_processes._family(record))
    assert len(family) == 3
    assert _processes.is_alive(record)
    time.sleep(0.5)  # the children, too, have to get as far as ignoring
    assert _processes.end(record, patience_s=0.5) == 3
    assert not _processes.is_alive(record)
    assert not [pid for pid in family if (stat := _processes._stat(pid)) and stat[0] != "Z"]


FLOW = """
import subprocess, sys, time
from flows import _processes
_processes.leave_nothing_behind()
child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
print(subprocess.Popen([sys.executable, "-c", child], start_new_session=True).pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_flow_process_has_started_ends_too() -> None:
    flow = subprocess.Popen([sys.executable, "-c", FLOW], stdout=subprocess.PIPE, text=True)
    assert flow.stdout is not None
    child = int(flow.stdout.readline())
    assert _processes._stat(child) is not None
    flow.kill()
    flow.wait()
    flow.stdout.close()
    until = time.monotonic() + 20
    while (stat := _processes._stat(child)) and stat[0] != "Z":
        assert time.monotonic() < until, "it runs on"
        time.sleep(0.05)


def test_a_process_id_used_again_by_another_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = {"pid": stranger.pid, "started": "1", "log": ""}
        assert not _processes.is_alive(record)
        assert _processes.end(record, patience_s=0.1) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_status_and_down_where_nothing_runs(world: Path) -> None:
    found = CliRunner().invoke(cli, ["status", "--root", str(world)], standalone_mode=False)
    assert "services: none" in found.output
    assert "due camera-days: west 3, east 3" in found.output
    ended = CliRunner().invoke(cli, ["down", "--root", str(world)], standalone_mode=False)
    assert ended.output == "nothing was running\n"


REFUSING = """
import http.server, sys

class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_error(503)

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Refusing).serve_forever()
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [("import time; time.sleep(60)", "does not answer"), (REFUSING, "answers 503")],
)
def test_a_server_that_has_no_answer_keeps_nothing_else_back(
    world: Path, code: str, said: str
) -> None:
    from pipeline.store import Workspace

    port, own = loopback.free_port(), services.Services(Workspace(world))
    url = f"http://127.0.0.1:{port}"
    own.start("server", [sys.executable, "-c", code, str(port)], url)
    try:
        if code == REFUSING:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
        found = CliRunner().invoke(
            cli, ["status", "--root", str(world)], standalone_mode=False, catch_exceptions=False
        )
    finally:
        services.down(Workspace(world))
    assert f"the Prefect server at {url} {said}" in found.stderr
    assert "services: server runs" in found.stdout
    assert "due camera-days: west 3, east 3" in found.stdout


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_label_studio_ends_with_the_command_that_serves_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    """A closed terminal, a polite end and a kill; a sleeper stands in for the server."""
    home = tmp_path / "label-studio"
    (home / "bin").mkdir(parents=True)
    pid_file = tmp_path / "pid"
    (home / "bin" / "label-studio").write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec sleep 600\n")
    (home / "bin" / "label-studio").chmod(0o755)
    (home / "bin" / "python").symlink_to(sys.executable)
    from labeling.server import VERSION

    (home / "truck-counter-version").write_text(VERSION)
    words = ["label", "serve", "--port", "0", "--root", str(tmp_path / "ws")]
    serving = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words],
        env={**os.environ, "TRUCK_COUNTER_LABEL_STUDIO_HOME": str(home)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # these may run by nohup
    )
    until = time.monotonic() + 30
    while not (pid_file.is_file() and pid_file.read_text().strip()):
        assert time.monotonic() < until, "it did not start"
        time.sleep(0.05)
    server = int(pid_file.read_text())
    serving.send_signal(how)
    serving.wait(30)
    until = time.monotonic() + 20
    while (stat := _processes._stat(server)) and stat[0] != "Z":
        assert time.monotonic() < until, "it runs on"
        time.sleep(0.05)


def test_a_taken_port_is_named(world: Path) -> None:
    from pipeline import cameras
    from pipeline.errors import InputError
    from pipeline.store import Workspace

    ws = Workspace(world)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} is taken.*--port"):
            services.up(ws, cameras.load(ws.cameras_toml), port)


def test_handing_over_without_a_server_is_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.errors import InputError

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    words = ["backfill", "--to", "2026-03-02", "--schedule", "--root", str(world)]
    with pytest.raises(InputError, match=r"no Prefect server is named.*truck-counter up"):
        CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)


def test_a_temporary_server_is_no_lasting_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import _prefect, _temporary

    with temporary_settings({PREFECT_API_URL: ""}):
        assert not _prefect.lasting()
    with temporary_settings({PREFECT_API_URL: "http://there/api"}):
        assert _prefect.lasting()
        monkeypatch.setenv(_temporary.OURS, "http://there")
        assert not _prefect.lasting()


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import _prefect
    from pipeline.errors import TruckCounterError

    broken = {
        httpx.ConnectError("refused"): r"at http://there/api does not answer.*truck-counter up",
        RuntimeError("Failed to reach API at http://there/api/"): "there/api does not answer",
        ObjectNotFound(Exception()): "there/api knows no such deployment.*prefect deploy --all",
    }
    with temporary_settings({PREFECT_API_URL: "http://there/api"}):
        for error, told in broken.items():
            with pytest.raises(TruckCounterError, match=told), _prefect.answering():
                raise error
        with pytest.raises(RuntimeError, match="something else"), _prefect.answering():
            raise RuntimeError("something else")


def _busy(status: int) -> Exception:
    from prefect.exceptions import PrefectHTTPStatusError

    request = httpx.Request("POST", "http://there/api/create_flow_run")
    return PrefectHTTPStatusError("no", request=request, response=httpx.Response(status))


def test_a_busy_server_is_asked_again_and_then_told_of_in_one_line() -> None:
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import _prefect
    from pipeline.errors import TruckCounterError

    late = httpx.ReadTimeout("no answer")
    answers: list[Exception | str] = [_busy(503), late, _busy(500), "done"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _prefect.patiently(ask, waits=(0, 0, 0)) == "done"
    answers += [_busy(503), _busy(503)]
    with (
        temporary_settings({PREFECT_API_URL: "http://there/api"}),
        pytest.raises(TruckCounterError, match=r"there/api answers 503: too busy.*later"),
        _prefect.answering(),
    ):
        _prefect.patiently(ask, waits=(0,))
    answers += [_busy(404), "never asked"]
    with pytest.raises(PrefectHTTPStatusError):
        _prefect.patiently(ask, waits=(0,))
    assert answers == ["never asked"]


def truck_counter(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "flows.cli", *arguments, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_that_a_worker_has_taken_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the caller holds may be old: it is looked at again before it is set to run."""
    import uuid
    from contextlib import nullcontext
    from types import SimpleNamespace

    from prefect.client.schemas.objects import FlowRun, State, StateType

    from flows import _prefect

    def run(kind: StateType) -> FlowRun:
        return FlowRun(id=uuid.UUID(int=1), flow_id=uuid.UUID(int=2), state=State(type=kind))

    asked: list[str] = []
    for now, told in ((StateType.RUNNING, "Running"), (StateType.CRASHED, "Scheduled")):
        client = SimpleNamespace(
            read_flow_run=lambda _, now=now: run(now),
            set_flow_run_state=lambda _, state, **__: asked.append(state.name),
        )
        monkeypatch.setattr(_prefect, "get_client", lambda client=client, **_: nullcontext(client))
        assert _prefect.run_again(run(StateType.CRASHED)) == told
    assert asked == ["Scheduled"]


@pytest.mark.slow
def test_up_status_down(world: Path, runs: Callable[[int], bool]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    try:
        first = json.loads(truck_counter(world, "up", "--port", port, "--json"))
        assert set(first["running"]) == {"server", "worker"}
        again = json.loads(truck_counter(world, "up", "--port", port, "--json"))
        assert again["running"] == first["running"]
        assert "server runs, worker runs" in truck_counter(world, "status")
        os.kill(first["running"]["worker"], signal.SIGSTOP)  # it will not heed SIGTERM
    finally:
        ended = truck_counter(world, "down")
    assert "worker: ended, " in ended
    assert "by force" in ended
    assert not any(runs(pid) for pid in first["running"].values())


@pytest.mark.slow
def test_slots_held_when_the_power_fails_come_back(world: Path) -> None:
    limit = f"decode-{socket.gethostname()}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def up() -> str:
        truck_counter(world, "up", "--port", port)
        return f"http://127.0.0.1:{port}/api/v2/concurrency_limits"

    try:
        limits = up()
        asked = {"names": [limit], "slots": 1, "mode": "concurrency", "lease_duration": 60}
        httpx.post(f"{limits}/increment-with-lease", json=asked, timeout=60).raise_for_status()
        for record in services.Services(Workspace(world)).records.values():
            os.killpg(record["pid"], signal.SIGKILL)
        assert httpx.get(f"{up()}/{limit}", timeout=60).json()["active_slots"] == 1
        until = time.monotonic() + 300
        while httpx.get(f"{limits}/{limit}", timeout=60).json()["active_slots"]:
            assert time.monotonic() < until, "nobody will ever decode here again"
            time.sleep(1)
    finally:
        truck_counter(world, "down")
