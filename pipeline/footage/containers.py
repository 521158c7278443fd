"""Opening footage safely, and telling when each of its pictures was shown.

Footage is input from outside. A playlist renamed ``.mp4`` would make FFmpeg open other files or
addresses, a forged header can ask for gigabytes: only local files, known containers and sane
picture sizes are let in (:func:`opened`).

Time is kept in integer *ticks*: container presentation times where they are usable, else the
picture's index. :class:`Timing` turns ticks into seconds after the first presented picture, exactly
(``Fraction``), so 29.97 fps stays 30000/1001 and a day does not drift.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import FootageError

CONTAINERS = "mov,matroska,avi,mpegts,asf"
MAX_PIXELS = 40_000_000  # 8K is 33 million
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
_NOMINAL_PACKETS = 256
_ORDER_FRAMES = 64
# Containers without presentation times of their own: what FFmpeg makes up has to be checked.
_DOUBTFUL_TIMES = ("avi", "asf")

Timebase = Literal["container", "index"]


@dataclass(frozen=True)
class Probe:
    """What a clip's header promises. Nothing here is proof: see ``verify``."""

    container: str
    codec: str
    width_px: int
    height_px: int
    fps: Fraction | None
    frames_expected: int | None
    duration_s: float | None


@dataclass(frozen=True)
class Timing:
    """A clip's clock.

    ``first`` is the tick of the first presented picture, ``tick_s`` one tick in seconds,
    ``interval`` the nominal time between two pictures in ticks, and ``lead_s`` how long the stream
    ran before its first decodable picture (a recording cut off before a keyframe).
    """

    timebase: Timebase
    first: int
    tick_s: Fraction
    interval: Fraction
    width_px: int
    height_px: int
    lead_s: float = 0.0

    @property
    def interval_s(self) -> float:
        """Nominal seconds between two pictures."""
        return float(self.interval * self.tick_s)

    def offset_s(self, tick: int) -> float:
        """Return a tick as seconds after the first presented picture."""
        return float((tick - self.first) * self.tick_s)

    def tick_at(self, offset_s: float, intervals: Fraction = Fraction(0)) -> int:
        """Return the last tick at or before an offset, ``intervals`` nominal intervals later."""
        # A microsecond forgives what seconds lose as a float, e.g. 1/3.
        exact = (Fraction(offset_s) + Fraction(1, 1_000_000)) / self.tick_s
        return self.first + math.floor(exact + intervals * self.interval)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a clip's first video stream for one-threaded decoding.

    Raises:
        FootageError: not a file, not an accepted container, no video, or an absurd picture size.
    """
    if not path.is_file():
        raise FootageError(f"{path.name} is not a file.")
    try:
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise FootageError(
            f"{path.name} cannot be opened as footage: {_words(error)}.",
            f"Accepted containers: {CONTAINERS}.",
        ) from error
    with container:
        yield container, _video(container, path)


def _video(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise FootageError(f"{path.name} holds no video.")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None or not context.width or not context.height:
        raise FootageError(f"{path.name} has no picture size or an unknown codec.")
    if context.width * context.height > MAX_PIXELS:
        size = f"{context.width}x{context.height}"
        raise FootageError(f"{path.name} claims {size} pixels, over the {MAX_PIXELS} allowed.")
    context.thread_count = 1
    return stream


def _words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).rstrip(".")


def probe(path: Path) -> Probe:
    """Read a clip's header.

    Raises:
        FootageError: it cannot be opened.
    """
    with opened(path) as (container, stream):
        context = stream.codec_context
        return Probe(
            container=container.format.name,
            codec=context.codec.name,
            width_px=context.width,
            height_px=context.height,
            fps=frame_rate(stream),
            frames_expected=stream.frames or None,
            duration_s=declared_s(container, stream),
        )


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Return the header's frame rate, or None where it states none that can be true."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= 1000:
            return Fraction(rate)
    return None


def declared_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the duration that the header states, in seconds."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        return float(container.duration / 1_000_000)
    return None


def timing(path: Path) -> Timing:
    """Decode up to the first picture and find the clip's clock.

    Raises:
        FootageError: it cannot be opened, or nothing in it decodes.
    """
    with opened(path) as (container, stream):
        doubtful = container.format.name in _DOUBTFUL_TIMES
        ticks, shown, size = _beginning(container, stream, _ORDER_FRAMES if doubtful else 1)
        if size is None:
            raise FootageError(f"{path.name} has no picture that decodes.")
        rate = frame_rate(stream)
        usable = stream.time_base is not None and all(tick is not None for tick in shown)
        times = [tick for tick in shown if tick is not None]
        if not usable or any(b <= a for a, b in pairwise(times)):
            return Timing("index", 0, 1 / (rate or Fraction(25)), Fraction(1), *size)
        assert stream.time_base is not None
        interval = _nominal(ticks, rate, Fraction(stream.time_base))
        lead = float((times[0] - min([*ticks, times[0]])) * stream.time_base)
        return Timing("container", times[0], Fraction(stream.time_base), interval, *size, lead)


def _beginning(
    container: InputContainer, stream: VideoStream, frames: int
) -> tuple[list[int], list[int | None], tuple[int, int] | None]:
    """Return the first packets' ticks, the first pictures' ticks, and the picture size."""
    ticks: list[int] = []
    shown: list[int | None] = []
    size: tuple[int, int] | None = None
    for packet in packets(container, stream):
        if packet.pts is not None and packet.size and not packet.is_discard:
            ticks.append(packet.pts)
        if len(shown) < frames:
            for frame in decoded(stream, packet):
                shown.append(frame.pts)
                size = size or (frame.width, frame.height)
        elif len(ticks) >= _NOMINAL_PACKETS:
            break
    return ticks, shown, size


def _nominal(ticks: list[int], rate: Fraction | None, tick_s: Fraction) -> Fraction:
    """Return the median step between pictures: a stalled link must not stretch it."""
    ordered = sorted(set(ticks))
    steps = [b - a for a, b in pairwise(ordered)]
    if steps:
        return Fraction(statistics.median_low(steps))
    return 1 / ((rate or Fraction(25)) * tick_s)


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Yield the stream's packets and last an empty one; a damaged container just ends early."""
    # PyAV answers a packet of a stream that the header did not list with an IndexError.
    with contextlib.suppress(av.FFmpegError, IndexError):
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    yield av.Packet()


def decoded(stream: VideoStream, packet: av.Packet) -> list[VideoFrame]:
    """Decode one packet (an empty one drains the decoder); a damaged one gives nothing."""
    try:
        return stream.codec_context.decode(packet if packet.size else None)
    except av.FFmpegError:
        return []
