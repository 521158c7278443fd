"""Prefect's temporary server, where none is named: started early, and once for all of a run.

Left to itself Prefect starts one when its client is first used, seconds of imports later, and every
process of a pool starts another on the same database. Here it starts before Prefect is imported,
which takes about as long, and every process of the run is told of it.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import _processes
from pipeline import loopback
from pipeline.errors import ConfigError, TruckCounterError
from pipeline.progress import note

OURS = "TRUCK_COUNTER_TEMPORARY_SERVER"
"""Environment variable that tells a run's processes that their server is one of these."""

PATIENCE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
NOTHING_REPORTED = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
DEFAULTS = {
    **NOTHING_REPORTED,
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    PATIENCE: "300",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
"""Block types that no flow here uses are left out."""

_NO = ("0", "off", "f", "false", "n", "no")  # as Prefect reads it
_AS_PREFECT_DOES = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_APP = "flows._turns:create_app"


def set_defaults() -> None:
    """Set what Prefect must know before its first import; whatever the operator says stands."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def at_hand() -> Iterator[None]:
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
    if os.environ.get("PREFECT_SERVER_EPHEMERAL_ENABLED", "true").lower() in _NO:
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
    if _started.cache_info().currsize:  # what Prefect's settings name is ours
        return False
    if "prefect" not in sys.modules and not _settings_are_there():
        return False
    from flows import _prefect

    return bool(_prefect.server())


def _settings_are_there() -> bool:
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    if any(file.is_file() for file in (profiles, Path(".env"), Path("prefect.toml"))):
        return True
    project = Path("pyproject.toml")
    return project.is_file() and "[tool.prefect" in project.read_text(encoding="utf-8")


@functools.cache
def _started() -> str:
    """Run the server as Prefect itself would; return its address once it answers.

    It ends after all that Prefect does at this process's exit, which is to send it the last logs:
    what is registered first is called last.
    """
    _processes.leave_nothing_behind()
    port = loopback.free_port()
    address = f"http://127.0.0.1:{port}"
    note(f"starting a temporary Prefect server at {address}")
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    command = [sys.executable, "-m", "uvicorn", "--factory", _APP, "--lifespan", "on", *where]
    record = _processes.start(command, None, Path.cwd(), _AS_PREFECT_DOES)
    atexit.register(_processes.end, record)
    # Threads of Prefect's own know no settings but those of its import: one that forwards a pool's
    # events would start another server.
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    try:
        importlib.import_module("flows._prefect")  # meanwhile
    finally:
        del os.environ["PREFECT_API_URL"]
    until = time.monotonic() + float(os.environ[PATIENCE])
    while time.monotonic() < until and _processes.is_alive(record):
        if loopback.is_healthy(f"{address}/api/health"):
            return address
        time.sleep(0.1)
    how = "did not start in time" if _processes.is_alive(record) else "ended while it started"
    raise TruckCounterError(
        f"the temporary Prefect server {how}.",
        "Run it again when the machine is less busy, or start a lasting one: truck-counter up.",
    )
