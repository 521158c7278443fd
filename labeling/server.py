"""A real Label Studio on this machine, in a virtual environment of its own.

Its dependencies fight ours, so it never shares an environment. Everything it keeps lies in one
folder: ``data/`` (SQLite, unless a PostgreSQL address is given), ``server.log`` and
``credentials.json`` (mode 0600). It listens on loopback, sends no analytics, and serves no local
files.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pipeline import loopback
from pipeline.errors import InputError, TruckCounterError

VERSION: Final = "1.23.2"
EMAIL: Final = "manager@truck-counter.example"
READY_S: Final = 300.0


class ServerError(TruckCounterError):
    """Label Studio cannot be installed or does not start."""


@dataclass(frozen=True)
class Credentials:
    """How to reach a server. The secrets are left out of ``repr``."""

    url: str
    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)


STARTED_BY = "TRUCK_COUNTER_STARTED_BY"
"""Environment variable by which whoever starts the server may find it again, to end it."""


def default_environment() -> Path:
    """Return where the server is installed: a cache shared by all workspaces."""
    home = os.environ.get("TRUCK_COUNTER_LABEL_STUDIO_HOME")
    if home:
        return Path(home)
    cache = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    return cache / "truck-counter" / f"label-studio-{VERSION}"


def install(environment: Path | None = None) -> Path:
    """Install the server, unless it is there already, and return its executable.

    Raises:
        ServerError: the package registry cannot be reached, or the installation fails.
    """
    place = environment or default_environment()
    executable = place / "bin" / "label-studio"
    stamp = place / "truck-counter-version"
    if executable.is_file() and stamp.is_file() and stamp.read_text() == VERSION:
        return executable
    python = place / "bin" / "python"
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    package = f"label-studio=={VERSION}"
    if uv:
        _run([uv, "venv", "--clear", "--python", sys.executable, str(place)])
        _run([uv, "pip", "install", "--python", str(python), package])
    else:
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        _run([str(python), "-m", "pip", "install", "--disable-pip-version-check", package])
    stamp.write_text(VERSION)
    return executable


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ServerError(
            f"installing Label Studio {VERSION} failed: {last}",
            "Check the network, or set TRUCK_COUNTER_LABEL_STUDIO_URL to an existing server.",
        )


def read_credentials(folder: Path) -> Credentials | None:
    """Return the credentials kept in a server's folder, None where there are none."""
    path = folder / "credentials.json"
    if not path.is_file():
        return None
    return Credentials(**json.loads(path.read_text(encoding="utf-8")))


@contextlib.contextmanager
def serve(
    folder: Path,
    port: int = 0,
    environment: Path | None = None,
    database_url: str | None = None,
    serve_local_files: bool = False,
) -> Iterator[Credentials]:
    """Run the server while the context lasts; stop it cleanly at the end.

    Args:
        folder: where its data, log and credentials lie; made anew or used again.
        port: on loopback; 0 takes a free one.
        environment: where it is (to be) installed.
        database_url: ``postgresql://user:password@host:port/name``; None is SQLite.
        serve_local_files: let annotators' pages read files of this machine. Off unless asked for.

    Raises:
        InputError: the database's address is none, or the port is taken.
        ServerError: it cannot be installed, or is not ready in time.
    """
    _check_free(port)
    database = _postgres(database_url) if database_url else {}
    executable = install(environment)
    folder.mkdir(parents=True, exist_ok=True)
    credentials = _credentials(folder, port or loopback.free_port())
    settings = _environment(folder, database, serve_local_files) | {
        # By environment, not by argument: arguments are seen by everybody who lists processes.
        "LABEL_STUDIO_USERNAME": credentials.email,
        "LABEL_STUDIO_PASSWORD": credentials.password,
        "LABEL_STUDIO_USER_TOKEN": credentials.token,
    }
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            _command(executable, credentials),
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _until_ready(process, credentials.url, folder / "server.log")
            yield credentials
        finally:
            _stop(process)


def _credentials(folder: Path, port: int) -> Credentials:
    """Keep the password and token of an earlier start: the database knows them."""
    held = read_credentials(folder)
    made = Credentials(
        url=f"http://127.0.0.1:{port}",
        email=held.email if held else EMAIL,
        password=held.password if held else secrets.token_urlsafe(18),
        token=held.token if held else secrets.token_hex(20),
    )
    content = {k: getattr(made, k) for k in ("url", "email", "password", "token")}
    temporary = folder / ".credentials.json.part"
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    temporary.replace(folder / "credentials.json")
    return made


def _environment(folder: Path, database: dict[str, str], serve_local_files: bool) -> dict[str, str]:
    ours = ("TRUCK_COUNTER_", "LABEL_STUDIO_", "PREFECT_", "PYTHON", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if k == STARTED_BY or not k.startswith(ours)}
    local = "true" if serve_local_files else "false"
    return (
        kept
        | {
            "LABEL_STUDIO_BASE_DATA_DIR": str((folder / "data").absolute()),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": local,
            "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        | database
    )


def _postgres(url: str) -> dict[str, str]:
    """Split the address; it may hold a password, so no message repeats it."""
    parts = urlsplit(url)
    try:
        port = parts.port or 5432
    except ValueError:
        port = 0
    name = unquote(parts.path.lstrip("/"))
    fits = parts.scheme in ("postgresql", "postgres") and parts.hostname and parts.username
    if not (fits and name and port):
        raise InputError(
            f"bad database address with scheme {parts.scheme!r}.",
            "Write postgresql://user:password@host:port/name.",
        )
    return {
        "DJANGO_DB": "default",
        "POSTGRE_HOST": parts.hostname or "",
        "POSTGRE_PORT": str(port),
        "POSTGRE_USER": unquote(parts.username or ""),
        "POSTGRE_PASSWORD": unquote(parts.password or ""),
        "POSTGRE_NAME": name,
    }


def _command(executable: Path, credentials: Credentials) -> list[str]:
    port = str(urlsplit(credentials.url).port)
    return [
        *(str(executable), "start", "--no-browser", "--internal-host", "127.0.0.1"),
        *("--port", port),
    ]


def _check_free(port: int) -> None:
    """Refuse a port that is taken: Label Studio would quietly go elsewhere."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used ({error.strerror}).", "Name another with --port."
            ) from None


def _until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"Label Studio ended with code {process.returncode}.", f"See {log}.")
        if loopback.is_healthy(f"{url}/health"):
            return
        time.sleep(0.25)
    raise ServerError(f"Label Studio at {url} is not ready after {READY_S:.0f} s.", f"See {log}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole process group to end, then insist."""
    for how, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return
