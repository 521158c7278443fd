"""A still that a public camera publishes every few seconds or minutes → clips of stills.

Each new still is put, byte for byte, into a Matroska clip of JPEG pictures at the time when it was
fetched, so everything that reads footage reads it. Beside the clip lies ``<start>.jsonl``, one line
per still: ``fetched_at``, ``offset_s`` in the clip, ``last_modified`` (what the server said, or
null; it is not believed, servers' clocks are off), ``blake2b`` of the bytes, and their number.

The address is asked ``sample_hz`` times a second, at most once a second. The same bytes again are
no new picture: a camera that went dark leaves a gap, not an hour of exposure.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from pipeline import store
from pipeline.errors import FootageError
from pipeline.footage.containers import MAX_PIXELS
from pipeline.footage.live.clips import OpenClip, Written
from pipeline.footage.live.fetching import fetch

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.stream import Stream

    from pipeline.domain import Camera
    from pipeline.footage.live.addresses import Address, Door
    from pipeline.footage.live.fetching import Reply

CLIP_S = 3600.0
MAX_BYTES = 16 << 20
FAILURES = 3
SIDECAR = ".jsonl"
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True)
class Still:
    """One picture as it was fetched."""

    fetched_at: float
    jpeg: bytes
    last_modified: str | None
    width: int
    height: int

    @property
    def digest(self) -> str:
        """BLAKE2b of the bytes, 32 hex digits."""
        return hashlib.blake2b(self.jpeg, digest_size=16).hexdigest()


@dataclass
class Asker:
    """Asks for a still and remembers which one came last, so that only new ones count."""

    door: Door
    address: Address
    clock: Callable[[], float] = time.time
    _last_digest: str = ""
    _known: dict[str, str] = field(default_factory=dict)

    def ask(self) -> Still | None:
        """Fetch the still; None where it is the one that came last.

        Raises:
            RefusedError: the address may not be connected to.
            FootageError: no JPEG comes.
            OSError: the network failed.
        """
        reply = fetch(self.door, self.address, self._known, MAX_BYTES)
        if reply.status == 304:
            return None
        still = read_still(reply, self.clock())
        said = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
        self._known = {ask: reply.headers[h] for ask, h in said.items() if h in reply.headers}
        if still.digest == self._last_digest:
            return None
        self._last_digest = still.digest
        return still


def is_still(content: bytes) -> bool:
    """Tell whether these bytes begin as a JPEG does."""
    return content.startswith(_START)


def read_still(reply: Reply, fetched_at: float) -> Still:
    """Take an answer for a still.

    Raises:
        FootageError: it is no whole JPEG of a sane size.
    """
    import simplejpeg

    shown, content = reply.address.shown, reply.body
    if not is_still(content):
        raise FootageError(f"{shown} does not send a JPEG.")
    if _END not in content[-4096:]:  # some cameras pad
        raise FootageError(f"{shown} sends a JPEG that breaks off.")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        raise FootageError(f"{shown} sends a damaged JPEG.") from None
    if not 0 < width * height <= MAX_PIXELS:
        raise FootageError(f"{shown} sends a picture of {width}x{height} pixels.")
    modified = reply.headers.get("last-modified")
    return Still(fetched_at, content, modified and modified[:100], width, height)


class StillClips:
    """Puts stills into clips; :meth:`take` each new one, then :meth:`close`."""

    def __init__(
        self,
        folder: Path,
        camera: Camera,
        on_clip: Callable[[Written], None],
        clip_s: float = CLIP_S,
    ) -> None:
        """Nothing is written before a still comes."""
        self._folder, self._camera = folder, camera
        self._on_clip, self._clip_s = on_clip, clip_s
        self._clip: OpenClip | None = None
        self._first: Still | None = None
        self._log: Path | None = None
        self._last_s = -1.0
        self.pictures = 0

    def take(self, still: Still) -> None:
        """Add a still, in a new clip where the hour is full, the size changes or the clock jumps.

        Raises:
            StoreError: the disk is full.
        """
        if self._first is None or self._does_not_fit(still, self._first):
            self.close()
            self._begin(still)
        assert self._clip is not None
        assert self._first is not None
        at_s = still.fetched_at - self._first.fetched_at
        packet = av.Packet(still.jpeg)
        packet.is_keyframe = True
        self._clip.put(packet, at_s, at_s)
        self._write_down(still, at_s)
        self._last_s = at_s
        self.pictures += 1

    def close(self) -> None:
        """End the clip that is open, and its list of stills.

        Raises:
            StoreError: the disk is full.
        """
        clip, self._clip, self._first = self._clip, None, None
        log, self._log = self._log, None
        if clip is None:
            return
        if log is not None:
            store.settle(log, clip.path.with_suffix(SIDECAR))
        self._on_clip(clip.close())

    def _does_not_fit(self, still: Still, first: Still) -> bool:
        at_s = still.fetched_at - first.fetched_at
        return (
            (still.width, still.height) != (first.width, first.height)
            or still.fetched_at // self._clip_s != first.fetched_at // self._clip_s
            or at_s < self._last_s + 0.001
        )

    def _begin(self, still: Still) -> None:
        def add_stream(container: OutputContainer) -> Stream:
            rate = 1 / Fraction(pause_s(self._camera)).limit_denominator(1000)
            size = {"width": still.width, "height": still.height}
            return container.add_mux_stream("mjpeg", rate, **size)

        started_at = dt.datetime.fromtimestamp(still.fetched_at, dt.UTC)
        self._clip = OpenClip(self._folder, self._camera, started_at, add_stream)
        self._log = store.part_of(self._clip.path.with_suffix(SIDECAR))
        self._first, self._last_s = still, -1.0

    def _write_down(self, still: Still, at_s: float) -> None:
        assert self._log is not None
        fetched_at = dt.datetime.fromtimestamp(still.fetched_at, dt.UTC)
        line = {
            "fetched_at": fetched_at.isoformat(timespec="milliseconds"),
            "offset_s": round(at_s, 3),
            "last_modified": still.last_modified,
            "blake2b": still.digest,
            "bytes": len(still.jpeg),
        }
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def salvage_lists(folder: Path) -> None:
    """Give the lists of stills that a killed recorder left their names, without a half line."""
    for part, meant in store.parts(folder, SIDECAR):
        whole = part.read_bytes().rpartition(b"\n")
        if whole[0]:
            store.write_bytes(meant, whole[0] + whole[1])
        part.unlink()


def pause_s(camera: Camera) -> float:
    """Return the seconds between two questions for a camera's still."""
    return max(1 / camera.sample_hz, 1.0)


def watched(asker: Asker, clips: StillClips, every_s: float) -> None:
    """Ask until the door is shut.

    Raises:
        RefusedError: the address may not be connected to.
        FootageError: it fails again and again.
        OSError: the network fails again and again.
    """
    failures, due = 0, time.monotonic()
    while not asker.door.is_shut():
        try:
            still = asker.ask()
            failures = 0
            if still is not None:
                clips.take(still)
        except (OSError, FootageError):
            failures += 1
            if failures >= FAILURES or asker.door.is_shut():
                raise
        due = max(due + every_s, time.monotonic())
        asker.door.pause(due - time.monotonic())
