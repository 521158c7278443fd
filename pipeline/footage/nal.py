"""What a packet of H.264, H.265 or MJPEG is to the pictures around it, from its first bytes.

A *point of entry* is an IDR picture: decoding may begin there, and nothing after it refers to
anything before. A *spare* picture is one that no other refers to. Everything else has to be decoded
by whoever wants a later picture of its group. An H.264 recovery point and an H.265 CRA are treated
as ordinary pictures: leading pictures may reach across them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

_START = b"\x00\x00\x01"
_H264_PICTURE = range(1, 6)
_H264_IDR = 5
_H265_PICTURE = range(0, 32)
_H265_IDR = (19, 20)
_H265_LAST_SPARE = 14
_H265_SPS = 33


class Kind(enum.Enum):
    """What a packet is to others."""

    ENTRY = "entry"
    SPARE = "spare"
    NEEDED = "needed"


def h264(extradata: bytes) -> Callable[[av.Packet], Kind]:
    """Return how to tell an H.264 packet's kind; ``extradata`` tells how it is framed."""
    length_bytes = h264_length_bytes(extradata)

    def kind(packet: av.Packet) -> Kind:
        for head in units(memoryview(packet), length_bytes):
            if head[0] & 31 in _H264_PICTURE:
                if head[0] & 31 == _H264_IDR:
                    return Kind.ENTRY
                return Kind.NEEDED if head[0] >> 5 & 3 else Kind.SPARE
        return Kind.NEEDED

    return kind


def h264_length_bytes(extradata: bytes) -> int:
    """Return how many bytes tell a unit's length (avcC framing), 0 for start codes."""
    return (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0


def h265(extradata: bytes) -> Callable[[av.Packet], Kind]:
    """Return how to tell an H.265 packet's kind; ``extradata`` tells how it is framed."""
    in_boxes = len(extradata) > 22 and extradata[0] == 1
    length_bytes = (extradata[21] & 3) + 1 if in_boxes else 0
    top = _h265_top_layer(extradata)

    def kind(packet: av.Packet) -> Kind:
        for head in units(memoryview(packet), length_bytes):
            unit, layer = head[0] >> 1 & 63, (head[1] & 7) - 1
            if unit in _H265_PICTURE:
                if unit in _H265_IDR:
                    return Kind.ENTRY
                spare = unit <= _H265_LAST_SPARE and unit % 2 == 0 and layer == top
                return Kind.SPARE if spare else Kind.NEEDED
        return Kind.NEEDED

    return kind


def stills(extradata: bytes) -> Callable[[av.Packet], Kind]:
    """Return the same for a codec whose every picture stands alone."""
    return lambda packet: Kind.ENTRY


READERS: dict[str, Callable[[bytes], Callable[[av.Packet], Kind]]] = {
    "h264": h264,
    "hevc": h265,
    "mjpeg": stills,
}


def units(packet: memoryview, length_bytes: int) -> Iterator[memoryview]:
    """Yield each unit (two bytes or more), of length-prefixed or start-code framing.

    With start codes a unit is given up to the packet's end: only its beginning is looked at.
    """
    if length_bytes:
        at = 0
        while at + length_bytes + 2 <= len(packet):
            size = int.from_bytes(packet[at : at + length_bytes])
            at += length_bytes
            yield packet[at : at + max(size, 2)]
            at += size
        return
    stored = bytes(packet)
    at = stored.find(_START)
    while 0 <= at <= len(stored) - 5:
        yield packet[at + 3 :]
        at = stored.find(_START, at + 3)


def _h265_top_layer(extradata: bytes) -> int:
    """Return the highest temporal sub-layer that the parameter sets allow, or -1 if unknown.

    ``sps_max_sub_layers_minus1`` is bits 4-6 of the byte after an SPS's two-byte header.
    """
    heads = [bytes([_H265_SPS << 1, layer]) for layer in range(1, 8)]
    found = [extradata.find(head) for head in heads]
    at = min((i for i in found if i >= 0), default=-1)
    return extradata[at + 2] >> 1 & 7 if 0 <= at < len(extradata) - 2 else -1
