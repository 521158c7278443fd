"""Decoding only what a wanted picture depends on (H.264, H.265 and MJPEG).

Three things are left out, none of which changes a pixel of what is wanted:

* whole groups of pictures without a wanted one, and the end of a group after its last wanted one:
  nothing beyond an IDR picture refers to anything before it;
* pictures that no other refers to (H.264 ``nal_ref_idc`` 0, ITU-T H.264 7.4.1; H.265 sub-layer
  non-reference pictures of the top sub-layer, ITU-T H.265 7.4.2.2) unless they are wanted;
* in long files, the bytes between: the reader seeks to the keyframe before the next wanted one.

Which pictures are wanted has to be known before they are decoded, from packet times alone. Packets
come in decoding order, so the picture shown after ``a`` is only certain once decoding times have
passed it (*settled*). Until then packets wait.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.footage import nal

if TYPE_CHECKING:
    import av
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from pipeline.footage.containers import Timing
    from pipeline.footage.video import Choice

LONGEST_WAIT_BYTES = 64 << 20


class UnsuitedError(Exception):
    """The stream does not keep the rules that selective decoding rests on; decode it all."""


@dataclass
class _Group:
    """Packets from one point of entry up to the next, in decoding order, not decoded yet."""

    waiting: deque[tuple[av.Packet, bool]] = field(default_factory=deque)
    last_shown: int = 0
    size: int = 0


def suits(stream: VideoStream, clock: Timing) -> bool:
    """Tell whether a stream can be decoded selectively."""
    known = stream.codec_context.codec.name in nal.READERS
    return known and clock.timebase == "container"


def entry_test(stream: VideoStream) -> Callable[[av.Packet], bool]:
    """Return how to tell whether decoding may begin at a packet of this stream."""
    reading = nal.READERS.get(stream.codec_context.codec.name)
    if reading is None:
        return lambda packet: bool(packet.is_keyframe and not packet.is_discard)
    kind = reading(stream.codec_context.extradata or b"")
    return lambda packet: kind(packet) is nal.Kind.ENTRY and not packet.is_discard


class Reader:
    """Takes packets in decoding order and gives back the wanted pictures in order of showing."""

    def __init__(self, stream: VideoStream, clock: Timing, choice: Choice) -> None:
        """Start with an empty decoder."""
        context = stream.codec_context
        reading = nal.READERS[context.codec.name]
        self._kind: Callable[[av.Packet], nal.Kind] = reading(context.extradata or b"")
        self._context: VideoCodecContext = context
        self._size = (clock.width_px, clock.height_px)
        self._first = clock.first
        self._choice = choice
        self._groups: deque[_Group] = deque()
        self._unsettled: list[int] = []  # heap of ticks
        self._settled = clock.first - 1
        self._chosen: set[int] = set()
        self._held: dict[int, VideoFrame] = {}  # decoded, not settled
        self._behind = False  # whether the decoder's group was left before its end
        self._last_dts: int | None = None
        self._landing = False  # whether the next packet is the first after a seek

    def take(self, packet: av.Packet) -> Iterator[tuple[int, VideoFrame]]:
        """Take the next packet and yield the wanted pictures that come of it.

        Raises:
            UnsuitedError: times are missing or out of order, or a wanted picture did not come.
        """
        pts, dts = packet.pts, self._risen(packet)
        if pts is None or pts < dts:
            raise UnsuitedError("times are missing")
        kind = self._kind(packet)
        if self._landing and (kind is not nal.Kind.ENTRY or pts > self._choice.next_latest):
            raise UnsuitedError("a seek led to no point of entry")
        self._landing = False
        if kind is nal.Kind.ENTRY or not self._groups:
            self._groups.append(_Group(last_shown=pts))
        group = self._groups[-1]
        group.waiting.append((packet, kind is nal.Kind.SPARE))
        group.size += packet.size
        if not packet.is_discard and pts >= self._first:
            group.last_shown = max(group.last_shown, pts)
            heapq.heappush(self._unsettled, pts)
        while len(self._unsettled) > 1 and min(self._unsettled[1:3]) <= dts:
            yield from self._settle(heapq.heappop(self._unsettled), self._unsettled[0])
        yield from self._leave_groups()
        if group.size > LONGEST_WAIT_BYTES:
            yield from self._decode_until(None)

    def _risen(self, packet: av.Packet) -> float:
        """Return a packet's decoding time, -inf where it is not known yet (Matroska's first)."""
        if packet.dts is None and self._last_dts is None:
            return -math.inf
        if packet.dts is None or (self._last_dts is not None and packet.dts <= self._last_dts):
            raise UnsuitedError("decoding times do not rise")
        self._last_dts = packet.dts
        return float(packet.dts)

    def finish(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield what is left when there are no more packets.

        Raises:
            UnsuitedError: a wanted picture did not come.
        """
        while self._unsettled:
            tick = heapq.heappop(self._unsettled)
            yield from self._settle(tick, self._unsettled[0] if self._unsettled else None)
        yield from self._drain()

    def leave(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield what is on its way and forget the rest: the next packet comes from elsewhere.

        Raises:
            UnsuitedError: a wanted picture did not come.
        """
        yield from self._drain()
        self._groups.clear()
        self._unsettled.clear()
        self._held.clear()
        self._last_dts = None
        self._landing = True

    def _settle(self, tick: int, following: int | None) -> Iterator[tuple[int, VideoFrame]]:
        """Decide about a picture, now that the one shown after it is known."""
        self._settled = tick
        wanted = self._choice.wants(tick, following)
        frame = self._held.pop(tick, None)
        if not wanted:
            return
        if frame is not None:
            yield tick, frame
            return
        self._chosen.add(tick)
        yield from self._decode_until(tick)

    def _decode_until(self, tick: int | None) -> Iterator[tuple[int, VideoFrame]]:
        """Decode what the picture at ``tick`` needs; None: everything that waits."""
        if not any(_awaits(group, tick) for group in self._groups):
            return  # it was decoded already and is on its way out
        while not _awaits(group := self._groups[0], tick):
            self._behind |= bool(group.waiting)
            self._groups.popleft()
        if self._behind:
            yield from self._drain(coming=tick)
        while group.waiting:
            packet, spare = group.waiting.popleft()
            group.size -= packet.size
            if not (spare and packet.pts <= self._settled and packet.pts not in self._chosen):
                yield from self._sorted_out(self._context.decode(packet))
            if packet.pts == tick:
                return

    def _leave_groups(self) -> Iterator[tuple[int, VideoFrame]]:
        """Drop groups that are settled to their end; nothing later refers to them."""
        while len(self._groups) > 1 and self._groups[0].last_shown <= self._settled:
            self._behind |= bool(self._groups[0].waiting)
            self._groups.popleft()
            if self._behind and self._chosen:
                yield from self._drain()

    def _drain(self, coming: int | None = None) -> Iterator[tuple[int, VideoFrame]]:
        """Get the last pictures out of the decoder and make it ready for a point of entry.

        All that was chosen must come of it, but for the one that is ``coming`` next.
        """
        yield from self._sorted_out(self._context.decode(None))
        self._context.flush_buffers()
        self._behind = False
        if self._chosen - {coming}:
            raise UnsuitedError("a wanted picture did not come")

    def _sorted_out(self, frames: list[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in frames:
            tick = frame.pts
            if tick is None or (frame.width, frame.height) != self._size:
                continue
            if tick in self._chosen:
                self._chosen.discard(tick)
                yield tick, frame
            elif tick > self._settled:
                self._held[tick] = frame


def _awaits(group: _Group, tick: int | None) -> bool:
    """Tell whether the picture at ``tick`` (None: any) waits in a group."""
    return tick is None or any(packet.pts == tick for packet, _ in group.waiting)
