"""Long-lived processes of this machine that outlive the command that starts them (Linux).

Each runs in a session of its own, with its output in a log beside its record. A record holds the
process id and the instant at which the kernel started it, so that an id used again by a stranger is
never taken for ours.

What a flow starts for itself (a temporary Prefect server, a pool of processes) must not outlive it,
not even where it dies by ``kill -9``: :func:`leave_nothing_behind`. Run as a script, this module is
the watcher that sees to it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]

MARK = "TRUCK_COUNTER_STARTED_BY"
"""Environment variable by which the watcher knows what a process has started (Label Studio's
environment, which holds no other of ours, holds it too: ``labeling.server.STARTED_BY``)."""


def start(command: Sequence[str], log: Path | None, cwd: Path, env: Mapping[str, str]) -> Record:
    """Start a command in a session of its own; return its record.

    What it says goes to ``log``; without one its errors go where ours go, and the rest nowhere.
    """
    with contextlib.ExitStack() as stack:
        sink = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            sink = stack.enter_context(log.open("ab"))
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=sink or subprocess.DEVNULL,
            stderr=sink,
            start_new_session=True,
        )
    process.returncode = 0  # it is meant to outlive us; Popen would warn of that
    return {"pid": process.pid, "started": _started(process.pid), "log": str(log or "")}


def is_alive(record: Record) -> bool:
    """Tell whether the recorded process still runs (and is that one)."""
    stat = _stat(record["pid"])
    return stat is not None and stat[0] != "Z" and stat[19] == record["started"]


def end(record: Record, patience_s: float = 8.0) -> int:
    """End a process and all it started, first politely; return how many had to be killed.

    What it started is found by its session and by descent, so a worker that ignores SIGTERM, and a
    flow run whose worker has died, end as well.
    """
    return _end_all(lambda: _family(record), patience_s)


def _end_all(found: Callable[[], dict[int, str]], patience_s: float) -> int:
    """End the processes that ``found`` finds, asked again while it waits; return those killed."""
    ours = found()
    _signal(ours, signal.SIGTERM)
    until = time.monotonic() + patience_s
    while (left := _still(ours | found())) and time.monotonic() < until:
        time.sleep(0.1)
    _signal(left, signal.SIGKILL)
    while _still(left):
        time.sleep(0.05)
    return len(left)


@functools.cache
def leave_nothing_behind() -> None:
    """See to it that all this process starts from now on ends when it does, however it ends.

    A watcher waits for the end of a pipe whose other end only this process holds. Nothing has to be
    done at a regular exit: what has ended by then is not looked for. Asked twice, it is done once.
    """
    if _HELD:
        return
    mark = uuid.uuid4().hex
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not meant for it
    )
    watcher.returncode = 0  # it outlives us; Popen would warn of that
    os.environ[MARK] = mark
    assert watcher.stdin is not None
    _HELD.append(watcher.stdin)


_HELD: list[Any] = []


def _watch(mark: str) -> None:
    """Wait until the process that holds our stdin is gone, then end what it left."""
    sys.stdin.buffer.read()
    _end_all(lambda: _marked(mark), patience_s=8.0)


def _marked(mark: str) -> dict[int, str]:
    """Return ``{pid: start}`` of the processes whose environment holds the mark."""
    told = f"{MARK}={mark}".encode()
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if told in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = _started(int(path.name))
    return found


def _family(record: Record) -> dict[int, str]:
    """Return ``{pid: start}`` of the recorded process, its session and their descendants."""
    everyone = {int(p.name): _stat(int(p.name)) for p in Path("/proc").glob("[0-9]*")}
    alive = {pid: stat for pid, stat in everyone.items() if stat is not None and stat[0] != "Z"}
    pid = record["pid"]
    leader = alive.get(pid)
    if leader is not None and leader[19] != record["started"]:
        return {}
    found = {p for p, stat in alive.items() if int(stat[3]) == pid or p == pid}
    while more := {p for p, stat in alive.items() if int(stat[1]) in found} - found:
        found |= more
    return {p: alive[p][19] for p in found}


def _signal(processes: Mapping[int, str], number: signal.Signals) -> None:
    for pid in _still(processes):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _still(processes: Mapping[int, str]) -> dict[int, str]:
    """Return those that still run."""
    found = {pid: _stat(pid) for pid in processes}
    return {
        pid: processes[pid]
        for pid, stat in found.items()
        if stat is not None and stat[0] != "Z" and stat[19] == processes[pid]
    }


def _started(pid: int) -> str:
    stat = _stat(pid)
    return stat[19] if stat is not None else ""


def _stat(pid: int) -> list[str] | None:
    """Return a process's fields from its state on: [0] state, [1] parent, [3] session, [19] start.

    See ``man 5 proc``; the command's name, which may hold anything, ends at the last bracket.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def tail(path: Path, lines: int = 5) -> str:
    """Return a log's last lines, for an error message."""
    text: Iterable[str] = path.read_text(errors="replace").splitlines() if path.is_file() else ()
    return " | ".join(list(text)[-lines:])


if __name__ == "__main__":
    _watch(sys.argv[1])
