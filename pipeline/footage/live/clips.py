"""Live packets → closed clips ``footage/<camera>/<start>.mkv``, as they came, nothing encoded anew.

A clip is written under a hidden name (``.<start>.mkv.xxxxxxxx.part``) that no source pattern
matches, every picture on disk as the next one comes, and gets its own name when it is closed. What
a killed recorder left is closed by the next one (:func:`salvage`).

A name tells the instant of the first picture in UTC, as the camera's ``clip_start`` writes it.
Where that leaves out fractions of a second, the file's own ``creation_time`` has them (ingest reads
it); without them a cut would cost up to a second of overlap.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from pipeline import store
from pipeline.errors import ConfigError, StoreError
from pipeline.footage.files import clip_start, precise_start, says_utc

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

    from pipeline.domain import Camera

SUFFIX = ".mkv"
_MILLISECOND = Fraction(1, 1000)
_OPTIONS = {"cluster_time_limit": "0", "flush_packets": "1"}  # every picture goes to disk at once

AddStream = Callable[["OutputContainer"], "Stream"]


@dataclass(frozen=True)
class Written:
    """A closed clip; ``seconds`` from its first picture to the end of its last."""

    path: Path
    started_at: dt.datetime
    seconds: float
    pictures: int


def check_names(camera: Camera, now: dt.datetime) -> None:
    """Refuse a ``clip_start`` that cannot tell a recording's start.

    Raises:
        ConfigError: it is not UTC, or coarser than seconds.
    """
    pattern = camera.clip_start
    told = None
    if "%z" in pattern or says_utc(pattern):
        told = clip_start(_stem(camera, now), camera)
    if told is None or not 0 <= (now - told).total_seconds() < 1:
        raise ConfigError(
            f"camera {camera.id!r}: clip_start {pattern!r} cannot name a recording.",
            'Write UTC to the second: "%Y-%m-%dT%H%M%S%z".',
        )


def _stem(camera: Camera, at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime(camera.clip_start)


def _free_path(folder: Path, camera: Camera, started_at: dt.datetime) -> Path:
    """Return the path for a clip; where one began within the same second, a second later's."""
    while (path := folder / f"{_stem(camera, started_at)}{SUFFIX}").exists():
        started_at += dt.timedelta(seconds=1)
    return path


class OpenClip:
    """One clip while it is written; its first picture is its second 0."""

    def __init__(
        self, folder: Path, camera: Camera, started_at: dt.datetime, add_stream: AddStream
    ) -> None:
        """Begin a clip with a stream that ``add_stream`` puts into the container.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.started_at = started_at
        self._pictures = 0
        self._last_s = 0.0
        self._last_dts = 0
        with _told(folder):
            self.path = _free_path(folder, camera, started_at)
            self._part = store.part_of(self.path)
            self._container = av.open(str(self._part), "w", format="matroska", options=_OPTIONS)
        stamp = started_at.astimezone(dt.UTC).isoformat(timespec="microseconds")
        self._container.metadata["creation_time"] = stamp.replace("+00:00", "Z")
        self._stream = add_stream(self._container)

    def put(self, packet: av.Packet, at_s: float, decoded_at_s: float | None = None) -> None:
        """Add a picture, shown and (if that is known) decoded so long after the start.

        Raises:
            StoreError: the disk is full.
        """
        shown = round(at_s * 1000)
        decoded = self._last_dts if decoded_at_s is None else round(decoded_at_s * 1000)
        decoded = max(decoded, self._last_dts)
        if decoded > shown:  # a picture whose time has passed: it has no place
            return
        lasts_s = packet.duration * packet.time_base if packet.duration and packet.time_base else 0
        packet.stream = self._stream
        packet.time_base = _MILLISECOND
        packet.duration = round(lasts_s * 1000)
        packet.pts, packet.dts = shown, decoded
        self._last_dts = decoded
        with _told(self._part):
            self._container.mux_one(packet)
        self._pictures += 1
        self._last_s = max(self._last_s, at_s)

    def close(self) -> Written:
        """Finish the clip and give it its name.

        Raises:
            StoreError: it cannot be finished; what there is of it stays for :func:`salvage`.
        """
        with _told(self._part):
            self._container.close()
            store.settle(self._part, self.path)
        seconds = self._last_s * self._pictures / max(self._pictures - 1, 1)
        return Written(self.path, self.started_at, seconds, self._pictures)

    def abandon(self) -> None:
        """Leave no trace of it."""
        with contextlib.suppress(OSError):
            self._container.close()
        self._part.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what the disk objects to as a :class:`StoreError`."""
    try:
        yield
    except OSError as error:  # FFmpeg's own errors of reading and writing are OSErrors too
        told = error.strerror or type(error).__name__
        raise StoreError(f"cannot write {path}: {told}.", "Free space.") from error


def salvage(folder: Path, camera: Camera) -> list[Written]:
    """Close what a killed recorder left open: the pictures that are whole, copied as they are.

    Nobody may be recording into ``folder``. Leftovers without a picture are removed.

    Raises:
        StoreError: the copies cannot be written; the leftovers stay.
    """
    saved: list[Written] = []
    for part, meant in store.parts(folder, SUFFIX):
        started_at = clip_start(meant.stem, camera)
        if started_at is not None:
            with contextlib.suppress(av.FFmpegError):
                saved += _copied(part, folder, camera, started_at)
        part.unlink()
    return saved


def _copied(part: Path, folder: Path, camera: Camera, named: dt.datetime) -> list[Written]:
    clip: OpenClip | None = None
    first_s = 0.0
    with av.open(str(part), format="matroska", options={"protocol_whitelist": "file"}) as container:
        started_at = precise_start(named, container.metadata.get("creation_time", ""))
        stream = container.streams.video[0]
        try:
            for packet in _whole(container, stream):
                at_s = float(packet.pts * packet.time_base)
                if clip is None:
                    clip, first_s = OpenClip(folder, camera, started_at, copied(stream)), at_s
                clip.put(packet, at_s - first_s, float(packet.dts * packet.time_base) - first_s)
        except StoreError:
            if clip is not None:
                clip.abandon()
            raise
    return [clip.close()] if clip is not None else []


def _whole(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """Yield the packets that are whole; it ends where the recorder was killed."""
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and not packet.is_corrupt and packet.pts is not None:
                packet.dts = packet.pts if packet.dts is None else packet.dts
                yield packet


def copied(stream: VideoStream) -> AddStream:
    """Return what adds a stream of the same coding to a container."""
    return lambda container: container.add_stream_from_template(stream)
