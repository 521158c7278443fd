"""A reference picture that is missing is noticed, though the decoder says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.footage import nal
from pipeline.footage.continuity import FrameNumbers

MakeClip = Callable[..., Path]


def _losses(path: Path, without: set[int]) -> list[int]:
    """Give the packets to the check, some left out; return where it says something is missing."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        numbers = FrameNumbers(stream.codec_context.extradata or b"")
        packets = [packet for packet in container.demux(stream) if packet.size]
        lost = {i: numbers.lost(packet) for i, packet in enumerate(packets) if i not in without}
    return [i for i, gone in lost.items() if gone]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("how", [{"gop": 40}, {"gop": 25, "b_frames": 3}, {"gop": 250}])
def test_a_whole_stream_has_no_jump(make_clip: MakeClip, name: str, how: dict[str, Any]) -> None:
    assert _losses(make_clip(name, n=100, **how), set()) == []


def test_a_lost_reference_is_a_jump_where_it_is_missing(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4", n=100, gop=40)  # I P P P …: all are references
    assert _losses(path, {10}) == [11]
    assert _losses(path, {10, 60, 61}) == [11, 62]
    assert _losses(path, {39}) == []  # the last before an IDR: nothing refers to it


def test_a_lost_spare_picture_is_none(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4", n=100, gop=25, b_frames=3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        kind = nal.h264(stream.codec_context.extradata or b"")
        kinds = [kind(packet) for packet in container.demux(stream) if packet.size]
    spare = {i for i, found in enumerate(kinds) if found is nal.Kind.SPARE}
    assert len(spare) > 10
    assert _losses(path, spare) == []


def test_nonsense_is_no_loss() -> None:
    numbers = FrameNumbers(b"\1\2\3")

    class Packet(bytes):
        pass

    for content in (b"", b"\0", b"\0\0\1", b"\0\0\1\x67", b"\0\0\1\x41\0\0", b"\0\0\1\x67\xff" * 9):
        assert not numbers.lost(Packet(content))
