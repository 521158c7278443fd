"""Prefect's temporary server, where none is named: started early, and once for all of a run.

Left to itself Prefect starts one when its client is first used, seconds of imports later, and every
process of a pool starts another on the same database. Here it starts before Prefect is imported,
which takes about as long, and every process of the run is told of it.
"""

from __future__ import annotations

import atexit
import functools
import http.client
import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import _processes
from pipeline.errors import ConfigError, TruckCounterError
from pipeline.progress import note

OURS = "TRUCK_COUNTER_TEMPORARY_SERVER"
"""Environment variable that tells a run's processes that their server is one of these."""

PATIENCE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    PATIENCE: "300",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
"""Nothing is reported to anyone; block types that no flow here uses are left out."""

_AS_PREFECT_DOES = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_APP = "prefect.server.api.server:create_app"


def set_defaults() -> None:
    """Set what Prefect must know before its first import; whatever the operator says stands."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def server() -> Iterator[None]:
    """Have a Prefect server answer inside the block: the one that is named, or a temporary one.

    The temporary one ends when this process does, however that ends.

    Raises:
        ConfigError: none is named, and a temporary one is not allowed.
        TruckCounterError: it did not come up in the time that ``PATIENCE`` gives it.
    """
    set_defaults()
    if OURS in os.environ or named():
        yield
        return
    if os.environ.get("PREFECT_SERVER_EPHEMERAL_ENABLED", "true").lower() in ("0", "false"):
        raise ConfigError(
            "no Prefect server is named, and PREFECT_SERVER_EPHEMERAL_ENABLED forbids one for now.",
            "Set PREFECT_API_URL, or start a lasting one: truck-counter up.",
        )
    address = _started()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    os.environ[OURS] = address
    try:
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}):
            yield
    finally:
        del os.environ[OURS]


def named() -> bool:
    """Tell whether a server is named: in the environment, a profile or a file of settings.

    Prefect itself, which is slow to import, is asked only where one of its files is there, or
    where it is imported already.
    """
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    files = (profiles, Path(".env"), Path("prefect.toml"))
    may_be = any(file.is_file() for file in files) or _settings_in(Path("pyproject.toml"))
    if not may_be and "prefect" not in sys.modules:
        return False
    from flows import _prefect

    return bool(_prefect.server())


def _settings_in(pyproject: Path) -> bool:
    return pyproject.is_file() and "[tool.prefect" in pyproject.read_text(encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@functools.cache
def _started() -> str:
    """Run the server as Prefect itself would; return its address once it answers.

    It ends after all that Prefect does at this process's exit, which is to send it the last logs:
    what is registered first is called last.
    """
    _processes.leave_nothing_behind()
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    note(f"starting a temporary Prefect server at {address}")
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", _APP, "--lifespan", "on", *where],
        env={**os.environ, **_AS_PREFECT_DOES},
    )
    atexit.register(_end, process)
    importlib.import_module("flows._prefect")  # meanwhile
    _wait_for(process, port)
    return address


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + float(os.environ[PATIENCE])
    while process.poll() is None and time.monotonic() < until:
        if _is_healthy(port):
            return
        time.sleep(0.1)
    ended = process.poll()
    raise TruckCounterError(
        "the temporary Prefect server "
        + ("did not start in time." if ended is None else f"ended with {ended} while it started."),
        "Run it again when the machine is less busy, or start a lasting one: truck-counter up.",
    )


def _is_healthy(port: int) -> bool:
    """Ask the server itself: no proxy that the environment may name is in between."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
