"""Reading wanted pictures out of a clip, exactly and cheaply.

``read_at`` gives, for each wanted instant, the picture shown then: the latest one presented at or
before the instant, with half a nominal interval of tolerance, so that the picture at 1/30 s is
found when 0.0333 is asked for. An instant in a gap or past the end gives nothing.

Colour: one conversion for every path, swscale from the stream's own matrix and range (BT.601 where
it states none) to full-range RGB24 with nearest chroma: the bytes of ``ffmpeg -pix_fmt rgb24``.
Nearest chroma makes a picture cropped on even pixels and then converted identical to one converted
and then cropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.exposure import stall_limit_s
from pipeline.footage import containers, selective
from pipeline.footage.containers import Probe, Timing, probe
from pipeline.footage.verify import Verification, verify

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.plane import VideoPlane
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

Box = tuple[int, int, int, int]

__all__ = ["Box", "Frame", "Probe", "Verification", "probe", "read_at", "verify"]

_SEEK_OVER_S = 20  # nearer than this, reading on costs less than a seek
_SEEKABLE = ("mov", "matroska")  # containers with an index
_SWSCALE = Interpolation.POINT | Interpolation.BITEXACT
# Planar 8-bit formats and how many pixels share a chroma sample, across and down.
_SUBSAMPLING = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv422p": (2, 1),
    "yuvj422p": (2, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture: ``offset_s`` seconds after the clip's first, ``rgb`` ``uint8[h, w, 3]`` RGB."""

    offset_s: float
    rgb: NDArray[np.uint8]


def read_at(
    path: Path, offsets_s: Sequence[float], box: Box | None = None, everything: bool = False
) -> Iterator[Frame]:
    """Yield the pictures shown at the wanted instants, in order, each once.

    Args:
        path: the clip.
        offsets_s: seconds after the clip's first presented picture, in any order.
        box: ``(x0, y0, x1, y1)`` in pixels, half-open, inside the picture; None for all of it.
        everything: decode every picture, also those that no wanted one depends on. It changes
            nothing but the cost, except in damaged clips.

    Yields:
        :class:`Frame` with its true presentation time. Two instants that fall on one picture give
        it once. Memory does not grow with the clip.

    Raises:
        FootageError: the clip cannot be opened, or nothing in it decodes.
    """
    clock = containers.timing(path)
    for tick, frame in pictures(path, clock, offsets_s, everything):
        yield Frame(clock.offset_s(tick), to_rgb(frame, box))


def pictures(
    path: Path, clock: Timing, offsets_s: Sequence[float], everything: bool = False
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the wanted pictures as decoded, with their ticks; see :func:`read_at`.

    Where a stream turns out not to suit selective decoding, all of it is decoded for the rest.
    """
    given = clock.first - 1
    if not everything:
        try:
            for tick, frame in wanted_pictures(path, clock, Choice(clock, offsets_s)):
                given = tick
                yield tick, frame
        except (selective.UnsuitedError, FFmpegError):
            pass
        else:
            return
    for tick, frame in every_picture(path, clock, Choice(clock, offsets_s)):
        if tick > given:
            yield tick, frame


def wanted_pictures(path: Path, clock: Timing, choice: Choice) -> Iterator[tuple[int, VideoFrame]]:
    """Decode what the wanted pictures depend on, and nothing else.

    Raises:
        UnsuitedError: the stream does not keep the rules for that.
    """
    with containers.opened(path) as (container, stream):
        if not selective.suits(stream, clock):
            raise selective.UnsuitedError("another codec")
        reader = selective.Reader(stream, clock, choice)
        far = math.floor(_SEEK_OVER_S / clock.tick_s)
        can_seek = container.format.name.startswith(_SEEKABLE)
        at = clock.first
        for packet in containers.packets(container, stream):
            if choice.done or not packet.size:
                break
            if can_seek and choice.next_latest - at > far:
                yield from reader.leave()
                at = choice.next_latest
                container.seek(at - far // 4, stream=stream)
                continue
            yield from reader.take(packet)
            at = max(at, packet.pts or at)
        yield from reader.finish()


def keyframe_offsets(path: Path) -> tuple[float, ...]:
    """Return when the clip's keyframes are shown, without decoding: the cheapest instants to ask.

    In H.264 and H.265 only pictures that decoding may begin at count.

    Raises:
        FootageError: the clip cannot be opened, or nothing in it decodes.
    """
    clock = containers.timing(path)
    ticks: list[int] = []
    with containers.opened(path) as (container, stream):
        is_entry = selective.entry_test(stream)
        sent = (packet for packet in containers.packets(container, stream) if packet.size)
        for index, packet in enumerate(sent):
            tick = index if clock.timebase == "index" else packet.pts
            if tick is not None and tick >= clock.first and is_entry(packet):
                ticks.append(tick)
    return tuple(clock.offset_s(tick) for tick in sorted(ticks))


class Choice:
    """Decides, picture by picture in order of presentation, which ones are wanted.

    Kept in integer ticks, so that every way of reading a clip decides alike.
    """

    def __init__(self, clock: Timing, offsets_s: Sequence[float]) -> None:
        """Note the wanted instants of a clip with this clock."""
        wanted = sorted({float(offset) for offset in offsets_s})
        self._clock = clock
        self._instants = [clock.tick_at(offset) for offset in wanted]
        # The picture for an instant is the latest whose tick is at most this.
        self._latest = [clock.tick_at(offset, Fraction(1, 2)) for offset in wanted]
        self._next = 0
        self._stall = stall_limit_s(clock.interval_s) / clock.tick_s

    @property
    def done(self) -> bool:
        """Whether every wanted instant has been decided."""
        return self._next >= len(self._instants)

    @property
    def next_latest(self) -> int:
        """The tick of the latest picture that can serve the next undecided instant."""
        return self._latest[self._next]

    def wants(self, tick: int, following: int | None) -> bool:
        """Tell whether the picture at ``tick``, followed by that at ``following``, is wanted.

        ``following`` is None for the last picture, which like one before a stall is shown for one
        nominal interval. Must be called in order of presentation.
        """
        if following is None or following - tick > self._stall:
            end = tick + self._clock.interval
        else:
            end = Fraction(following)
        wanted = False
        while not self.done and (following is None or self._latest[self._next] < following):
            serves = self._latest[self._next] >= tick
            wanted |= serves and self._instants[self._next] < end
            self._next += 1
        return wanted


def every_picture(path: Path, clock: Timing, choice: Choice) -> Iterator[tuple[int, VideoFrame]]:
    """Decode a clip from its first packet and yield the wanted pictures with their ticks."""
    shown: tuple[int, VideoFrame] | None = None
    with containers.opened(path) as (container, stream):
        for tick, frame in ticked(container, stream, clock):
            if shown is not None and choice.wants(shown[0], tick):
                yield shown
            shown = (tick, frame)
            if choice.done:
                return
    if shown is not None and choice.wants(shown[0], None):
        yield shown


def ticked(
    container: InputContainer, stream: VideoStream, clock: Timing
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode everything and yield ``(tick, picture)``, ticks rising.

    A picture whose time does not rise is never shown, so it is left out; so is one of another size
    than the first.
    """
    index, last = -1, clock.first - 1
    for packet in containers.packets(container, stream):
        for frame in containers.decoded(stream, packet):
            index += 1
            tick = index if clock.timebase == "index" else frame.pts
            if tick is None or tick <= last:
                continue
            if (frame.width, frame.height) != (clock.width_px, clock.height_px):
                continue
            last = tick
            yield tick, frame


def to_rgb(frame: VideoFrame, box: Box | None = None) -> NDArray[np.uint8]:
    """Convert the box of a decoded picture to ``uint8[h, w, 3]`` RGB.

    Raises:
        ValueError: the box is empty or reaches outside the picture.
    """
    x0, y0, x1, y1 = box or (0, 0, frame.width, frame.height)
    if not (0 <= x0 < x1 <= frame.width and 0 <= y0 < y1 <= frame.height):
        raise ValueError(f"box {box} is not inside the {frame.width}x{frame.height} picture")
    left, top = x0 - x0 % 2, y0 - y0 % 2
    if frame.format.name in _SUBSAMPLING and (x0, y0, x1, y1) != (0, 0, frame.width, frame.height):
        right, bottom = min(x1 + x1 % 2, frame.width), min(y1 + y1 % 2, frame.height)
        frame = _cut(frame, left, top, right, bottom)
    else:
        left = top = 0
    whole = VideoReformatter().reformat(frame, format="rgb24", interpolation=_SWSCALE, threads=1)
    rgb = np.asarray(whole.to_ndarray(), np.uint8)
    return np.ascontiguousarray(rgb[y0 - top : y1 - top, x0 - left : x1 - left])


def _cut(frame: VideoFrame, left: int, top: int, right: int, bottom: int) -> VideoFrame:
    """Copy a part of a planar picture; ``left`` and ``top`` are even."""
    part = VideoFrame(right - left, bottom - top, frame.format.name)
    part.colorspace, part.color_range = frame.colorspace, frame.color_range
    across, down = _SUBSAMPLING[frame.format.name]
    for number, (source, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
        x, y = (left // across, top // down) if number else (left, top)
        there = _samples(target)
        there[:] = _samples(source)[y : y + target.height, x : x + target.width]
    return part


def _samples(plane: VideoPlane) -> NDArray[np.uint8]:
    """View a plane as ``uint8[height, width]`` without copying."""
    stored = np.frombuffer(memoryview(plane), np.uint8)
    rows: NDArray[np.uint8] = stored.reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
