"""``truck-counter up``, ``status`` and ``down``: the whole installation on one machine.

``up`` starts a Prefect server, a process work pool and its worker, and the deployments for the time
zones of the registry; asked twice it starts what is missing. Everything lies under
``<root>/services``: records of the processes, logs, Prefect's database. No Prefect is imported
here; its command line and its HTTP interface do the work.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import _lean, _processes, _temporary, automations, deployments
from pipeline import cores, loopback, store
from pipeline.errors import InputError, TruckCounterError
from pipeline.progress import note

if TYPE_CHECKING:
    import httpx

    from pipeline.cameras import Registry
    from pipeline.store import Workspace

Row = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[1]
_LEASES = "prefect.server.concurrency.lease_storage.filesystem"


class Services:
    """The processes of one workspace."""

    def __init__(self, ws: Workspace) -> None:
        self.root = ws.root.resolve()
        self.folder = self.root / "services"
        self._path = self.folder / "services.json"
        self.records: dict[str, Row] = store.read_json(self._path) if self._path.is_file() else {}

    def is_alive(self, name: str) -> bool:
        """Tell whether a service runs."""
        return name in self.records and _processes.is_alive(self.records[name])

    @property
    def url(self) -> str:
        """Address of the Prefect server."""
        return str(self.records["server"]["url"])

    def _env(self, url: str) -> dict[str, str]:
        """Return what Prefect's processes and this project's flows in them need to know."""
        return {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{url}/api",
            **_temporary.NOTHING_REPORTED,
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true",  # an alert's channel is one
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(automations.HEARTBEAT_S),
            # In memory a restart forgets who holds a slot, and it stays taken for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
            "TRUCK_COUNTER_ROOT": str(self.root),
            "TRUCK_COUNTER_REPORTS_URL": f"{url}/{_lean.REPORTS}",
        }

    def start(self, name: str, command: Sequence[str], url: str = "", **env: str) -> None:
        """Start a service and note it, with its address where it has one."""
        known = {**self._env(url or self.url), **env}
        log = self.folder / f"{name}.log"
        self.records[name] = _processes.start(command, log, REPOSITORY, known) | {"url": url}
        store.write_json(self._path, self.records)

    def prefect(self, *arguments: str) -> None:
        """Run one command of Prefect's; its words are shown only where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            env={**os.environ, **self._env(self.url)},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-400:]
            raise TruckCounterError(f"prefect {' '.join(arguments)} failed: {said}")

    def ask(self, path: str, body: Row | None = None, method: str = "POST") -> Any:  # noqa: ANN401
        """Ask Prefect's interface and return its JSON; what exists already (409) is fine."""
        import httpx

        answer = self._answer(path, method, None if method == "GET" else body or {})
        if answer.status_code != httpx.codes.CONFLICT:
            self._refuse_failure(answer)
        return answer.json() if answer.content else None

    def find(self, path: str) -> Row | None:
        """Return what lies at a path of the interface; None where there is nothing."""
        import httpx

        answer = self._answer(path, "GET")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        self._refuse_failure(answer)
        found: Row = answer.json()
        return found

    def _answer(self, path: str, method: str, body: Row | None = None) -> httpx.Response:
        import httpx

        try:
            return httpx.request(method, f"{self.url}/api/{path}", json=body, timeout=30)
        except httpx.TransportError as error:
            raise TruckCounterError(
                f"the Prefect server at {self.url} does not answer: {error}.", "Ask again soon."
            ) from None

    def _refuse_failure(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise TruckCounterError(
                f"the Prefect server at {self.url} answers {answer.status_code} to "
                f"{answer.request.url.path}.",
                f"Ask again soon; its log is {self.folder / 'server.log'}.",
            )

    def forget(self, name: str) -> None:
        """Drop a service's record."""
        self.records.pop(name, None)
        store.write_json(self._path, self.records)


def up(ws: Workspace, registry: Registry, port: int = 4200, *, label_studio: bool = False) -> Row:
    """Start what does not run yet; return the addresses and process ids.

    Raises:
        InputError: the port is taken by someone else.
        TruckCounterError: the server did not start; the message ends with its log.
    """
    services = Services(ws)
    if not services.is_alive("server"):
        _start_server(services, port)
    _make_known(services, registry)
    if not services.is_alive("worker"):
        note("starting the worker")
        command = [sys.executable, "-m", "flows._lean", "worker", "start", "--type", "process"]
        services.start("worker", [*command, "--pool", deployments.POOL])
    if label_studio and not services.is_alive("label-studio"):
        _start_label_studio(services)
    running = {name: record["pid"] for name, record in services.records.items()}
    return {"prefect": services.url, "running": running, "logs": str(services.folder)}


def _start_server(services: Services, port: int) -> None:
    with socket.socket() as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
        raise InputError(f"port {port} is taken.", "Give another with --port.")
    note(f"starting the Prefect server on port {port}")
    if "worker" in services.records:  # it would go on asking where the old server was
        _processes.end(services.records["worker"])
        services.forget("worker")
    command = [sys.executable, "-m", "flows._lean", "server", "start", "--host", "127.0.0.1"]
    services.start("server", [*command, "--port", str(port)], url=f"http://127.0.0.1:{port}")
    _wait(services)


def _wait(services: Services, seconds: float = 300.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and services.is_alive("server"):
        if loopback.is_healthy(f"{services.url}/api/health"):
            return
        time.sleep(0.2)
    log = _processes.tail(services.folder / "server.log")
    raise TruckCounterError(f"the Prefect server did not start: {log}", "See its log.")


def _make_known(services: Services, registry: Registry) -> None:
    """Tell the server of the pool, the limits, the automation and the deployments."""
    note("telling it of the deployments")
    services.prefect("work-pool", "create", "--overwrite", "--type", "process", deployments.POOL)
    limits = {f"decode-{socket.gethostname()}": cores.usable(), "label-studio": 4}
    for name, limit in limits.items():
        services.ask("v2/concurrency_limits/", {"name": name, "limit": limit, "active": True})
    _automate(services, _alert_block(services))
    zones = sorted({camera.timezone for camera in registry.entries})
    text = deployments.prefect_yaml(zones, str(services.root))
    path = services.folder / "prefect.yaml"
    store.write_bytes(path, text.encode())
    services.prefect("deploy", "--all", "--prefect-file", str(path))


def _automate(services: Services, block_id: str | None) -> None:
    """Make or bring up to date every automation, by its name."""
    for wanted in automations.automations(block_id):
        named = {"automations": {"name": {"any_": [wanted["name"]]}}}
        known = services.ask("automations/filter", named)
        if known:
            services.ask(f"automations/{known[0]['id']}", wanted, method="PUT")
        else:
            services.ask("automations/", wanted)


def _alert_block(services: Services) -> str | None:
    """Keep the webhook of the settings on the server, encrypted; return its id, None without."""
    from pipeline.settings import read_settings

    url = read_settings().alert_url
    if url is None:
        return None
    kind = services.ask("block_types/slug/webhook", method="GET")["id"]
    found = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    content: Row = {
        "name": automations.BLOCK,
        "block_type_id": kind,
        "block_schema_id": services.ask("block_schemas/filter", found)[0]["id"],
        "data": {"url": url.get_secret_value(), "headers": {"Content-Type": "application/json"}},
    }
    path = f"block_types/slug/webhook/block_documents/name/{automations.BLOCK}"
    known = services.find(path)
    if known is None:
        return str(services.ask("block_documents/", content)["id"])
    changed = {key: content[key] for key in ("block_schema_id", "data")}
    services.ask(f"block_documents/{known['id']}", changed, method="PATCH")
    return str(known["id"])


def _start_label_studio(services: Services, port: int = 8080) -> None:
    """Start Label Studio (installed first where it is not); its credentials lie in its folder."""
    note(f"starting Label Studio on port {port}")
    code = (
        "import signal, sys; from pathlib import Path; from labeling.server import serve\n"
        "from flows._processes import leave_nothing_behind; leave_nothing_behind()\n"
        "with serve(Path(sys.argv[1]), int(sys.argv[2])): signal.pause()"
    )
    folder = str(services.folder / "label-studio")
    url = f"http://127.0.0.1:{port}"
    services.start("label-studio", [sys.executable, "-c", code, folder, str(port)], url)


def down(ws: Workspace) -> Row:
    """End every service of the workspace and all it started; return what ended, and how."""
    services = Services(ws)
    ended: Row = {}
    for name in ("worker", "label-studio", "server"):
        if name in services.records:
            killed = _processes.end(services.records[name])
            ended[name] = "ended" if not killed else f"ended, {killed} process(es) by force"
            services.forget(name)
    return {"ended": ended}


def status(ws: Workspace, registry: Registry) -> Row:
    """Return what runs, what is due, late and running, and the last counts. Changes nothing.

    Keys: ``services`` (name: alive), ``due`` (camera-days per camera up to the newest closed day),
    ``runs`` (per state; null where no server answers), ``counts`` (the last published day's).
    """
    services = Services(ws)
    alive = {name: services.is_alive(name) for name in services.records}
    runs = None
    if alive.get("server"):
        try:
            runs = _runs(services)
        except TruckCounterError as error:  # what is due and counted needs no server
            note(str(error))
    return {"services": alive, "due": _due(ws, registry), "runs": runs, "counts": _last_counts(ws)}


def _due(ws: Workspace, registry: Registry) -> dict[str, int] | None:
    import datetime as dt

    from flows import due
    from pipeline.daily import model_in_use

    if not ws.current_model.is_file():
        return None
    last = due.newest_closed_day(due.cameras_of(registry), dt.datetime.now(dt.UTC))
    found = due.backlog(ws, registry, model_in_use(ws), registry.ids, None, last)
    return {camera_id: len(days) for camera_id, days in found.days.items()}


def _runs(services: Services) -> dict[str, int]:
    """Count the server's runs by the name of their state."""
    names = ("Running", "Late", "Pending", "Scheduled", "Crashed", "Failed", "Incomplete")
    return {
        name.lower(): services.ask(
            "flow_runs/count", {"flow_runs": {"state": {"name": {"any_": [name]}}}}
        )
        for name in names
    }


def _last_counts(ws: Workspace) -> list[Row]:
    if not ws.daily_counts.is_file():
        return []
    rows = store.read_table(ws.daily_counts).to_pylist()
    last = max(row["date"] for row in rows) if rows else None
    keys = ("camera_id", "movement", "truck_count", "truck_count_lo", "truck_count_hi", "coverage")
    return [
        {"date": str(row["date"].date()), **{key: row[key] for key in keys}}
        for row in rows
        if row["date"] == last
    ]


def status_text(found: Row) -> str:
    """Word :func:`status` for a person."""
    alive = ", ".join(f"{n} {'runs' if a else 'is gone'}" for n, a in found["services"].items())
    lines = [f"services: {alive or 'none; start them with truck-counter up'}"]
    if found["runs"] is not None:
        lines.append("runs: " + ", ".join(f"{n} {name}" for name, n in found["runs"].items()))
    if found["due"] is None:
        lines.append("due: no model yet")
    else:
        days = ", ".join(f"{c} {n}" for c, n in found["due"].items() if n)
        lines.append(f"due camera-days: {days or 'none'}")
    for row in found["counts"]:
        count = "none" if row["truck_count"] is None else f"{row['truck_count']:.1f}"
        lines.append(f"{row['date']} {row['camera_id']} {row['movement']}: {count}")
    return "\n".join(lines)
