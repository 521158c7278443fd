"""Record one live camera until told to stop: connect, write clips, connect again.

Run as a process of its own (``python -m pipeline.footage.live.recorder ROOT CAMERA``), because what
comes from a camera is read by FFmpeg: a crash there must not end the other cameras' recordings.
It says what happened on stdout, a JSON object a line (:class:`Tally` at the end of each clip, and
``refused`` with the reason), and stops at SIGTERM, SIGINT, or when its parent is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av

from pipeline import cameras
from pipeline.errors import FootageError, InputError, StoreError, TruckCounterError
from pipeline.footage.live import addresses, clips, hls, stills, streams
from pipeline.footage.live.addresses import Door, RefusedError
from pipeline.footage.live.fetching import fetch
from pipeline.progress import note
from pipeline.store import Workspace, checked_name

if TYPE_CHECKING:
    import datetime as dt

    from pipeline.domain import Camera
    from pipeline.footage.live.clips import Written

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
MEMORY_BYTES = 2 << 30
LOCK = ".recording.lock"
_LOCK_WAIT_S = 5.0
_FAILURES = (OSError, FootageError, StoreError, av.FFmpegError, MemoryError)


@dataclass
class Tally:
    """What one camera's recording came to so far."""

    camera_id: str
    clips: int = 0
    seconds: float = 0.0
    pictures: int = 0
    connections: int = 0
    failures: int = 0
    last_failure: str = ""


class Recorder:
    """Records one camera; :meth:`run` returns when the door is shut."""

    def __init__(
        self,
        ws: Workspace,
        camera: Camera,
        door: Door,
        on_change: Callable[[Tally], None] = lambda tally: None,
        clip_s: float = streams.CLIP_S,
    ) -> None:
        """Take note of what to record.

        Raises:
            RefusedError: the source is not an address that may be opened.
        """
        self.tally = Tally(camera.id)
        self._ws, self._camera, self._door = ws, camera, door
        self._address = addresses.read(camera.source)
        self._folder = ws.root / "footage" / checked_name(camera.id, "camera")
        self._on_change, self._clip_s = on_change, clip_s
        self._asker = stills.Asker(door, self._address)
        self._next_number: int | None = None

    def run(self) -> Tally:
        """Record until the door is shut; failures are told and tried again, ever more slowly.

        Raises:
            RefusedError: the address is refused, and nothing was ever recorded from it.
            InputError: another recorder is at work on this camera.
        """
        with contextlib.suppress(OSError):  # one that is refused leaves nothing behind
            self._door.numbers(self._address)
        with _alone(self._folder, self._camera.id):
            wait_s = FIRST_WAIT_S
            while not self._door.is_shut():
                before = self.tally.pictures
                try:
                    self._salvage()
                    self._connection()
                    told = "the source ended."
                except RefusedError as error:
                    told = str(error)
                    if not self.tally.pictures:
                        raise
                except _FAILURES as error:
                    told = _words(error)
                if self._door.is_shut():
                    break
                wait_s = FIRST_WAIT_S if self.tally.pictures > before else wait_s
                self._failed(told, wait_s)
                self._door.pause(wait_s * random.uniform(0.8, 1.2))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        return self.tally

    def _failed(self, told: str, wait_s: float) -> None:
        self.tally.failures += 1
        self.tally.last_failure = told
        note(f"{self._camera.id}: {told} Again in {wait_s:g} s.")
        self._on_change(self.tally)

    def _salvage(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        stills.salvage_lists(self._folder)
        for clip in clips.salvage(self._folder, self._camera):
            note(f"{self._camera.id}: saved what a recorder that was killed left behind")
            self._closed(clip)

    def _connection(self) -> None:
        """Connect, and record until the source ends or fails."""
        if self._address.scheme == "rtsp":
            with streams.rtsp_source(self._door, self._address) as source:
                self._record(source)
        elif self._sends_stills():
            self._record_stills()
        else:
            feed = hls.Feed(self._door, self._address, self._next_number)
            try:
                with streams.hls_source(feed) as source:
                    self._record(source)
            finally:
                self._next_number = feed.next_number

    def _sends_stills(self) -> bool:
        path = self._address.target.partition("?")[0].lower()
        if path.endswith((".m3u8", ".m3u")):
            return False
        if path.endswith((".jpg", ".jpeg")):
            return True
        body = fetch(self._door, self._address, max_bytes=stills.MAX_BYTES).body
        if not stills.is_still(body) and not body.startswith(hls.MARK):
            raise FootageError(f"{self._address.shown} is neither an HLS playlist nor a JPEG.")
        return stills.is_still(body)

    def _record(self, source: streams.Source) -> None:
        self._connected(f"{source.stream.codec_context.width}x{source.stream.codec_context.height}")
        writing = streams.Clips(self._folder, self._camera, source, self._closed, self._clip_s)
        try:
            for packet in source.container.demux(source.stream):
                writing.take(packet)
        finally:
            self.tally.pictures += writing.pictures
            writing.close()

    def _record_stills(self) -> None:
        writing = stills.StillClips(self._folder, self._camera, self._closed)
        self._connected("stills")
        try:
            stills.watched(self._asker, writing, stills.pause_s(self._camera))
        finally:
            self.tally.pictures += writing.pictures
            writing.close()

    def _connected(self, what: str) -> None:
        self.tally.connections += 1
        note(f"{self._camera.id}: recording {self._address.shown}, {what}")

    def _closed(self, clip: Written) -> None:
        self.tally.clips += 1
        self.tally.seconds += clip.seconds
        where = clip.path.relative_to(self._ws.root)
        note(f"{self._camera.id}: {where}, {clip.seconds:.1f} s, {clip.pictures} pictures")
        self._on_change(self.tally)


def _words(error: BaseException) -> str:
    """Tell a failure in one line; FFmpeg's own text would quote the address with its password."""
    if isinstance(error, TruckCounterError):
        return str(error)
    if isinstance(error, av.FFmpegError):
        return f"the stream broke off ({error.strerror or type(error).__name__})."
    told = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return f"no connection ({' '.join(told.split())})."


@contextlib.contextmanager
def _alone(folder: Path, camera_id: str) -> Iterator[None]:
    """Hold the camera's lock; one just killed may take a moment to let go.

    Raises:
        InputError: another recorder holds it.
        StoreError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}.", "Fix permissions.") from error
    try:
        until = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise InputError(
                        f"camera {camera_id!r} is being recorded already.", "Stop that one first."
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def checked(camera: Camera, now: dt.datetime) -> None:
    """Refuse a live camera that cannot be recorded, without connecting.

    Raises:
        RefusedError: its address is of a kind that is not let in.
        ConfigError: its clips could not be named.
    """
    addresses.read(camera.source)
    clips.check_names(camera, now)


def _stop_with(door: Door, parent: int) -> None:
    """Shut the door at a signal, or when nobody is left to send one."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: door.shut())

    def watch() -> None:
        while os.getppid() == parent and door.pause(0.5):
            pass
        door.shut()

    threading.Thread(target=watch, daemon=True).start()


def main(root: Path, camera_id: str) -> None:
    """Record in this process; see the module."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ws = Workspace(root)
    camera = cameras.load(ws.cameras_toml).camera(camera_id)
    door = Door(camera.allow_private_addresses)
    _stop_with(door, os.getppid())
    # Signals are handled between two steps of Python, and FFmpeg may wait for long.
    recorder = Recorder(ws, camera, door, lambda tally: _say(**asdict(tally)))
    ending: list[str] = []

    def work() -> None:
        try:
            _say(**asdict(recorder.run()))
        except TruckCounterError as error:
            ending.append(str(error))
        finally:
            door.shut()

    working = threading.Thread(target=work)
    working.start()
    while working.is_alive():
        working.join(0.2)
    if ending:
        _say(refused=ending[0])


def _say(**said: object) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
