"""Where a verification stood, so that one stopped halfway goes on instead of starting over.

A day's clip takes an hour to decode. Every half hour of footage, when a picture comes out at which
decoding may begin, what was counted up to it is put down; from there the same pictures come again.
Only while nothing was wrong: a damaged clip is judged in one go. MP4 and Matroska have the index
that the way back needs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.footage import nal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from pipeline.footage.verify import Seen

EVERY_S = 1800.0
_SEEKABLE = ("mov", "matroska")
_LOOK_BACK_PACKETS = 10_000  # from the seek to the picture itself

State = dict[str, Any]


class LostWayError(Exception):
    """The picture to go on from is not found again."""


@dataclass
class Stops:
    """Decides where a pass over a clip may be taken up again; ``due_s`` is the next such place."""

    due_s: float = EVERY_S
    _entries: set[int] = field(default_factory=set)

    def entry(self, tick: int | None) -> None:
        """Note a picture that decoding may begin at."""
        if tick is not None:
            self._entries.add(tick)

    def is_here(self, tick: int, at_s: float, seen: Seen, hurt: bool) -> bool:
        """Tell whether the picture at ``tick``, not counted yet, is a place to put things down."""
        if tick not in self._entries:
            return False
        self._entries = {entry for entry in self._entries if entry > tick}
        if at_s < self.due_s:
            return False
        self.due_s = at_s + EVERY_S
        wrong = hurt or seen.damaged or seen.backwards or seen.resized or seen.broken_off
        return not wrong


def suits(container: InputContainer, stream: VideoStream) -> bool:
    """Tell whether a clip's pictures can be found again by their times, and begin there cleanly."""
    known = stream.codec_context.codec.name in nal.READERS
    return known and str(container.format.name).startswith(_SEEKABLE)


def packets_from(container: InputContainer, stream: VideoStream, tick: int) -> Iterator[av.Packet]:
    """Yield the packets from the picture at ``tick`` on.

    Raises:
        LostWayError: there is none where there was one.
    """
    container.seek(tick, stream=stream)
    found = False
    for number, packet in enumerate(container.demux(stream)):
        found = found or packet.pts == tick
        if found:
            yield packet
        elif number > _LOOK_BACK_PACKETS or not packet.size:
            raise LostWayError(f"no picture at {tick}")


def put_down(seen: Seen, tick: int, last: int, start: float, view: State) -> State:
    """Return everything that a pass needs to go on from the picture at ``tick``."""
    counted = {**asdict(seen), "packets": seen.frames + seen.cut_away}
    flags = [{"span": list(flag.span), "fault": flag.fault} for flag in seen.flags]
    return {
        "tick": tick,
        "last": last,
        "start": start,
        "view": view,
        "seen": {**counted, "flags": flags},
    }


def take_up(state: State) -> dict[str, Any]:
    """Return the fields of ``Seen`` as they were put down."""
    from pipeline.footage.picture_health import Flag

    counted = dict(state["seen"])
    for name in ("covered", "damaged"):
        counted[name] = [(start, end) for start, end in counted[name]]
    counted["flags"] = [Flag((f["span"][0], f["span"][1]), f["fault"]) for f in counted["flags"]]
    return counted
