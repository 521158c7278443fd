"""`truck-counter record`: one process per live camera, watched, begun again when it dies.

Cameras whose source is files are left alone. Stopping (the time is over, Ctrl-C, SIGTERM) closes
every clip: the children are told, and waited for.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import FootageError, InputError, TruckCounterError
from pipeline.footage.files import is_live
from pipeline.footage.live.recorder import Tally, checked
from pipeline.progress import note

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.store import Workspace

SAY_EVERY_S = 60.0
CLOSING_S = 30.0
_RESTART_S = 5.0


@dataclass
class _Child:
    """A camera's recorder: what it said last, and what the ones before it came to."""

    camera_id: str
    process: subprocess.Popen[bytes] | None = None
    before: Tally | None = None
    now: Tally | None = None
    refused: str = ""
    due: float = 0.0
    text: bytes = b""

    def heard(self, text: bytes) -> None:
        """Take what the process wrote."""
        *lines, self.text = (self.text + text).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self.refused = said.pop("refused", self.refused)
            if said:
                self.now = Tally(**said)

    def tally(self) -> Tally:
        """Return what all its processes came to together."""
        one, other = self.before or Tally(self.camera_id), self.now or Tally(self.camera_id)
        sums = {
            name: getattr(one, name) + getattr(other, name)
            for name in ("clips", "seconds", "pictures", "connections", "failures")
        }
        failure = other.last_failure or one.last_failure
        return Tally(self.camera_id, **sums, last_failure=failure)


@dataclass(frozen=True)
class Report:
    """What a recording came to: a tally per camera, and why others were not recorded."""

    tallies: tuple[Tally, ...]
    refused: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        cameras = [{**vars(tally), "seconds": round(tally.seconds, 3)} for tally in self.tallies]
        return {"cameras": cameras, "refused": self.refused, "skipped": list(self.skipped)}

    def as_text(self) -> str:
        """Return it as lines for a person."""
        lines = [_line(tally) for tally in self.tallies if tally.camera_id not in self.refused]
        lines += [f"{camera}: not recorded: {why}" for camera, why in self.refused.items()]
        lines += [f"{camera}: its source is files; left alone" for camera in self.skipped]
        return "\n".join(lines)


def _line(tally: Tally) -> str:
    text = (
        f"{tally.camera_id}: {tally.clips} clip(s), {tally.seconds:.1f} s, "
        f"{tally.pictures} pictures, {tally.connections} connection(s)"
    )
    if tally.failures:
        text += f", {tally.failures} failure(s), the last: {tally.last_failure}"
    return text


def record(
    ws: Workspace,
    registry: Registry,
    camera_ids: Iterable[str] = (),
    for_s: float | None = None,
) -> Report:
    """Record live cameras until told to stop.

    Args:
        ws: the workspace; clips go to ``footage/<camera>/``.
        registry: the cameras.
        camera_ids: which of them; none means all that are live.
        for_s: seconds; None: until SIGINT or SIGTERM.

    Raises:
        NotFoundError: an unknown camera.
        InputError: no live camera, or one asked for is not.
        RefusedError: the only live camera is refused.
        FootageError: nothing came from any camera.
    """
    asked = list(camera_ids)
    live, skipped = _live(registry, asked)
    refused: dict[str, str] = {}
    children: list[_Child] = []
    for camera_id in live:
        try:
            checked(registry.camera(camera_id), dt.datetime.now(dt.UTC))
            children.append(_Child(camera_id))
        except TruckCounterError as error:
            refused[camera_id] = str(error)
    until = None if for_s is None else time.monotonic() + for_s
    with _stopping() as stop:
        _watch(ws.root, children, stop, until)
    refused |= {child.camera_id: child.refused for child in children if child.refused}
    report = Report(tuple(child.tally() for child in children), refused, tuple(skipped))
    _check(report)
    return report


def _live(registry: Registry, asked: list[str]) -> tuple[list[str], list[str]]:
    chosen = registry.chosen(asked)
    live = [name for name in chosen if is_live(registry.camera(name))]
    others = [name for name in chosen if name not in live]
    if others and asked:
        raise InputError(
            f"camera {others[0]!r} is not live: its source is files.",
            "Only rtsp://, http:// and https:// sources are recorded.",
        )
    if not live:
        raise InputError("no camera is live.", "Give one an rtsp://, http:// or https:// source.")
    return live, others


def _check(report: Report) -> None:
    """Let an ending without any clip be an error, so that schedulers see it."""
    if any(tally.clips for tally in report.tallies):
        return
    told = [f"{camera}: {why}" for camera, why in report.refused.items()]
    told += [f"{t.camera_id}: {t.last_failure}" for t in report.tallies if t.last_failure]
    if told:
        raise FootageError("nothing was recorded.", " ".join(told))


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(root: Path, children: list[_Child], stop: threading.Event, until: float | None) -> None:
    """Keep the children running until it is time, then end them."""
    said = time.monotonic()
    try:
        while not stop.is_set() and (until is None or time.monotonic() < until):
            for child in children:
                _keep(root, child)
            if not any(child.process for child in children) and all(c.refused for c in children):
                return
            _listen(children, 0.2)
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                for child in children:
                    note(_line(child.tally()))
    finally:
        _end(children)


def _keep(root: Path, child: _Child) -> None:
    """Start a child that does not run; one that died gets a pause first."""
    if child.process is not None and child.process.poll() is not None:
        said, _ = child.process.communicate()
        child.heard(said)
        code, child.process = child.process.returncode, None
        child.before, child.now, child.text = child.tally(), None, b""
        child.due = time.monotonic() + _RESTART_S
        if not child.refused:
            note(f"{child.camera_id}: its recorder died ({code}); again in {_RESTART_S:g} s")
    if child.process is None and not child.refused and time.monotonic() >= child.due:
        child.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.footage.live.recorder", str(root), child.camera_id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=_environment(),
        )


def _environment() -> dict[str, str]:
    home = str(Path(__file__).resolve().parents[3])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}


def _listen(children: list[_Child], wait_s: float) -> None:
    """Take what the children say within ``wait_s``."""
    lines = {c.process.stdout: c for c in children if c.process and c.process.stdout}
    for line in select.select(list(lines), [], [], wait_s)[0]:
        chunk = os.read(line.fileno(), 1 << 16)
        lines[line].heard(chunk)
        if not chunk:
            time.sleep(0.05)  # it ended: its exit code comes in a moment


def _end(children: list[_Child]) -> None:
    """Tell the children to close their clips, and wait for them."""
    running = [child for child in children if child.process is not None]
    for child in running:
        assert child.process is not None
        child.process.terminate()
    for child in running:
        assert child.process is not None
        try:
            said, _ = child.process.communicate(timeout=CLOSING_S)
            child.heard(said)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.communicate()
            note(f"{child.camera_id}: its recorder did not end; the next one saves its last clip")
