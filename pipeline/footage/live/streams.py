"""One connection to an RTSP or HLS source → clips, begun and ended at keyframes.

A stream's own times say how far apart pictures are, not when they were taken. :class:`Anchor` ties
them to the clock of this machine: a picture cannot arrive before it was taken, so the least delayed
one tells best. What arrives within ``SETTLE_S`` of the opening is held until then, because a burst
of older pictures often comes first.

Clips end at the first keyframe after a full ``CLIP_S`` of the clock, and where times jump.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from pipeline.errors import FootageError
from pipeline.footage.containers import MAX_PIXELS
from pipeline.footage.live import rtsp
from pipeline.footage.live.clips import OpenClip, Written, copied
from pipeline.footage.live.hls import Feed

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from pipeline.domain import Camera
    from pipeline.footage.live.addresses import Address, Door

CLIP_S = 600.0
SETTLE_S = 0.3
JUMP_S = 10.0
DRIFT_S = 2.0
N_EARLY = 5  # FFmpeg gives the first picture of an RTSP source no time
_WINDOW_S = 60.0


class Anchor:
    """Media seconds ↔ POSIX seconds, from when pictures arrive."""

    def __init__(self, offset_s: float | None = None) -> None:
        """Start from a known offset between the two, or learn it from what arrives."""
        self._offset_s = offset_s
        self._low_s = float("inf")
        self._usual_s: float | None = None
        self._since: float | None = None
        self._latest = 0.0

    def arrived(self, at: float, media_s: float) -> None:
        """Note that a picture of ``media_s`` arrived at ``at``."""
        self._low_s = min(self._low_s, at - media_s)
        self._since = at if self._since is None else self._since
        self._latest = at

    def posix(self, media_s: float) -> float:
        """Return when the picture of ``media_s`` was taken."""
        if self._offset_s is None:
            self._offset_s = self._low_s
        return self._offset_s + media_s

    def next_window(self) -> None:
        """Between two clips: follow a camera whose clock runs off, or which was suspended."""
        offset_s = self.posix(0.0)
        if self._since is not None and self._latest - self._since >= _WINDOW_S:
            lag_s = self._low_s - offset_s
            if self._usual_s is None:
                self._usual_s = lag_s
            elif abs(lag_s - self._usual_s) > DRIFT_S:
                self._offset_s = offset_s + lag_s - self._usual_s
        self._low_s, self._since = float("inf"), None


@dataclass
class Source:
    """An open source: where packets come from, and when its first picture was, if that is known."""

    container: InputContainer
    stream: VideoStream
    started_at: float | None = None


@contextlib.contextmanager
def rtsp_source(door: Door, address: Address) -> Iterator[Source]:
    """Open an RTSP source; see :func:`~.rtsp.opened`."""
    with rtsp.opened(door, address) as container:
        yield Source(container, _video(container))


@contextlib.contextmanager
def hls_source(feed: Feed) -> Iterator[Source]:
    """Open what a playlist's feed gives.

    Raises:
        FootageError: it is not footage.
    """
    options = {"protocol_whitelist": "none", "format_whitelist": "mpegts,mov"}
    try:
        container = av.open(feed, format=feed.container, options=options)
    except (av.FFmpegError, ValueError) as error:
        told = getattr(error, "strerror", None) or type(error).__name__
        raise FootageError(f"the playlist's pieces do not open: {told}.") from None
    with container:
        yield Source(container, _video(container), feed.started_at)


def _video(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise FootageError("the source sends no video.")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None or not context.width or not context.height:
        raise FootageError("the source does not tell its picture's size.")
    if context.width * context.height > MAX_PIXELS:
        raise FootageError(f"the source claims {context.width}x{context.height} pixels.")
    return stream


class Clips:
    """Turns a connection's packets into clips; :meth:`take` every packet, then :meth:`close`."""

    def __init__(
        self,
        folder: Path,
        camera: Camera,
        source: Source,
        on_clip: Callable[[Written], None],
        clip_s: float = CLIP_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is written before a keyframe comes."""
        self._folder, self._camera, self._stream = folder, camera, source.stream
        self._on_clip, self._clip_s, self._clock = on_clip, clip_s, clock
        self._started_at = source.started_at
        self._anchor: Anchor | None = None
        self._early: list[tuple[Any, float | None]] | None = []
        self._held: list[tuple[Any, float, float | None]] = []
        self._settled_at = clock() + SETTLE_S
        self._clip: OpenClip | None = None
        self._first_s = self._last_s = 0.0
        self.pictures = 0

    def take(self, packet: Any) -> None:  # noqa: ANN401 - PyAV's packets have optional times
        """Take the next packet.

        Raises:
            StoreError: the disk is full.
        """
        if not packet.size:
            return
        shown = packet.dts if packet.pts is None else packet.pts
        shown_s = None if shown is None else float(shown * packet.time_base)
        if self._early is not None:
            self._early.append((packet, shown_s))
            self._begin_when_timed(N_EARLY)
        elif shown_s is not None:
            self._take(packet, shown_s)

    def _begin_when_timed(self, n: int) -> None:
        """Wait, where the first pictures have no times, until ``n`` have told how far apart."""
        early = self._early or []
        timed = sorted(shown_s for _, shown_s in early if shown_s is not None)
        if not timed or (len(timed) < len(early) and len(timed) < n):
            return
        self._early = None
        steps = [b - a for a, b in pairwise(timed) if b > a]
        untimed = [packet for packet, shown_s in early if shown_s is None]
        for place, packet in enumerate(untimed if steps else []):
            self._take(packet, timed[0] - (len(untimed) - place) * min(steps))
        for packet, shown_s in early:
            if shown_s is not None:
                self._take(packet, shown_s)

    def _take(self, packet: Any, shown_s: float) -> None:  # noqa: ANN401 - see take
        decoded_s = None if packet.dts is None else float(packet.dts * packet.time_base)
        at_s = shown_s if decoded_s is None else decoded_s
        if self._anchor is None:
            known = None if self._started_at is None else self._started_at - shown_s
            self._anchor = Anchor(known)
        elif abs(at_s - self._last_s) > JUMP_S or at_s < self._last_s - 1.0:
            self._jumped()
        self._last_s = at_s
        self._anchor.arrived(self._clock(), shown_s)
        self._held.append((packet, shown_s, decoded_s))
        if self._started_at is not None or self._clock() >= self._settled_at:
            self._release()

    def close(self) -> None:
        """End the clip that is open.

        Raises:
            StoreError: the disk is full.
        """
        try:
            self._begin_when_timed(2)
            self._release()
        finally:
            self._end()

    def _jumped(self) -> None:
        """The stream's times begin anew: so does the clip, and what ties them to the clock."""
        self._release()
        self._end()
        self._anchor, self._started_at = Anchor(), None
        self._settled_at = self._clock() + SETTLE_S

    def _release(self) -> None:
        held, self._held = self._held, []
        for packet, shown_s, decoded_s in held:
            if packet.is_keyframe and (self._clip is None or self._is_full(shown_s)):
                self._begin(shown_s)
            if self._clip is not None and shown_s >= self._first_s:
                decoded_s = None if decoded_s is None else decoded_s - self._first_s
                self._clip.put(packet, shown_s - self._first_s, decoded_s)
                self.pictures += 1

    def _is_full(self, shown_s: float) -> bool:
        assert self._anchor is not None
        posix = self._anchor.posix
        return posix(shown_s) // self._clip_s > posix(self._first_s) // self._clip_s

    def _begin(self, shown_s: float) -> None:
        assert self._anchor is not None
        if self._clip is not None:
            self._end()
            self._anchor.next_window()
        self._first_s = shown_s
        started_at = dt.datetime.fromtimestamp(self._anchor.posix(shown_s), dt.UTC)
        self._clip = OpenClip(self._folder, self._camera, started_at, copied(self._stream))

    def _end(self) -> None:
        clip, self._clip = self._clip, None
        if clip is not None:
            self._on_clip(clip.close())
