"""A process of its own for every clip, without paying for its start each time.

Decoding untrusted footage belongs in a child that has limits and can be killed. But to start Python
and import NumPy and PyAV costs as much as decoding a minute of small footage. So a *nursery* starts
once, imports, and then forks a child for each order: every child is as fresh, as limited and as
mortal as before, and comes in milliseconds.

Both ends speak JSON lines: orders go in one at a time; what the child says comes out as
``{kind: value}``, and after its end the nursery adds ``{"ended": [exit code, its last words]}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENDED = "ended"
_HOME = str(Path(__file__).resolve().parents[2])
_LAST_WORDS_BYTES = 4000


class Nursery:
    """One nursery: ``module`` is run, imports what its children need, and calls :func:`serve`."""

    def __init__(self, module: str) -> None:
        """Start it; in a process group of its own, so that a child goes with it."""
        paths = [_HOME, *filter(None, [os.environ.get("PYTHONPATH")])]
        found = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **found},
            process_group=0,
        )
        self._text = b""

    @property
    def alive(self) -> bool:
        """Whether it can take another order."""
        return self._process.poll() is None

    def order(self, order: dict[str, Any]) -> None:
        """Have a child do ``order``."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def heard(self, within_s: float) -> list[dict[str, Any]] | None:
        """Return what was said since; None if nothing was within the time."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        if not select.select([handle], [], [], within_s)[0]:
            return None
        chunk = os.read(handle, 65536)
        if not chunk:
            return [{ENDED: [self._process.wait(), "the nursery itself ended"]}]
        *lines, self._text = (self._text + chunk).split(b"\n")
        return [message for line in lines if (message := _message(line)) is not None]

    def kill(self) -> None:
        """End it and its child, whatever they are at."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let it end: there are no more orders."""
        with contextlib.suppress(BrokenPipeError), self._process:
            pass


class Nurseries:
    """Nurseries for whoever comes, from any thread; they stay warm until the ``with`` ends."""

    def __init__(self, module: str) -> None:
        """Start none yet."""
        self._module = module
        self._idle: list[Nursery] = []

    def __enter__(self) -> Nurseries:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End those that are idle."""
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def one(self) -> Iterator[Nursery]:
        """Lend a nursery. It is killed where its child is not known to have ended."""
        try:
            nursery = self._idle.pop()
        except IndexError:
            nursery = Nursery(self._module)
        try:
            yield nursery
        except BaseException:
            nursery.kill()
            raise
        if nursery.alive:
            self._idle.append(nursery)
        else:
            nursery.close()


def _message(line: bytes) -> dict[str, Any] | None:
    """Read a line; None for an empty one, and for one whose writer was killed over it."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def say(kind: str, value: object) -> None:
    """Say one thing to whoever gave the order."""
    sys.stdout.write(json.dumps({kind: value}) + "\n")
    sys.stdout.flush()


def serve(work: Callable[[dict[str, Any]], None]) -> None:
    """Be a nursery: fork a child for each order until there are no more."""
    for line in sys.stdin.buffer:
        with tempfile.TemporaryFile() as words:
            child = os.fork()
            if not child:
                os.dup2(words.fileno(), 2)
                os._exit(_obeyed(work, line))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            words.seek(max(words.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES, 0))
            sys.stdout.write("\n")  # a child may have been killed within a line
            say(ENDED, [code, words.read().decode(errors="replace")])


def _obeyed(work: Callable[[dict[str, Any]], None], line: bytes) -> int:
    try:
        work(json.loads(line))
    except BrokenPipeError:
        return 0  # nobody listens any more
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0
