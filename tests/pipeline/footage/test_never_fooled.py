"""Damaged clips: no crash, no hang, and none said to be whole that is not.

Every picture of the footage shows its own number, so what is truly left of a clip can be read off
its pixels, whatever the container claims. Mutations are seeded: truncations, flipped bits, dropped
packets, swapped segments, over several containers and ways of coding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.exposure import seconds
from pipeline.footage import verify

MakeClip = Callable[..., Path]
ReadNumber = Callable[[NDArray[np.uint8]], int]
Mutate = Callable[[Path, Path, random.Random], None]

N, FPS, TOLERANCE_S = 200, 25, 0.5
_BASES: list[tuple[str, dict[str, Any]]] = [
    ("a.mp4", {"gop": 50, "b_frames": 3}),
    ("moov-first.mp4", {"gop": 250, "options": {}}),
    ("a.mkv", {"gop": 50, "b_frames": 2}),
    ("a.ts", {"gop": 50, "b_frames": 2}),
    ("a.avi", {"gop": 25, "codec": "mpeg4"}),
]


def truncate(source: Path, target: Path, draw: random.Random) -> None:
    content = source.read_bytes()
    target.write_bytes(content[: round(len(content) * draw.uniform(0.02, 0.99))])


def flip_bits(source: Path, target: Path, draw: random.Random) -> None:
    content = bytearray(source.read_bytes())
    for _ in range(draw.choice([1, 3, 10, 100, 1000])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    target.write_bytes(content)


def swap_segments(source: Path, target: Path, draw: random.Random) -> None:
    content = source.read_bytes()
    a, b, c, d = sorted(draw.randrange(len(content)) for _ in range(4))
    target.write_bytes(content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:])


def drop_packets(source: Path, target: Path, draw: random.Random) -> None:
    """Leave out a run of packets, or single ones here and there, and mux the rest again."""
    run = draw.random() < 0.5
    first, length = draw.randrange(N), draw.randrange(1, N // 2)
    share = draw.uniform(0.005, 0.3)
    with av.open(str(source)) as given, av.open(str(target), "w") as kept:
        stream = given.streams.video[0]
        out = kept.add_stream_from_template(stream)
        for index, packet in enumerate(given.demux(stream)):
            lost = first <= index < first + length if run else draw.random() < share
            if packet.dts is None or (lost and index):
                continue
            packet.stream = out
            kept.mux(packet)


_MUTATIONS: list[Mutate] = [truncate, flip_bits, swap_segments, drop_packets]


def mutations(count: int, make_clip: MakeClip, folder: Path) -> Iterator[tuple[str, Path]]:
    for number in range(count):
        draw = random.Random(number)
        mutate = _MUTATIONS[number % len(_MUTATIONS)]
        name, how = _BASES[number // len(_MUTATIONS) % len(_BASES)]
        source = make_clip(name, n=N, **how)
        target = folder / f"{number:03d}-{mutate.__name__}-{name}"
        mutate(source, target, draw)
        yield f"{number} {mutate.__name__} {name}", target


def plainly_decoded(path: Path, read_number: ReadNumber) -> tuple[list[float], set[int]]:
    """Decode with nothing but PyAV: presentation times in order, and the numbers seen."""
    times: list[float] = []
    numbers: set[int] = set()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                    frames = packet.decode()
                except (StopIteration, av.error.EOFError):
                    break
                except av.FFmpegError:
                    continue
                for frame in frames:
                    if frame.pts is not None:
                        times.append(float(frame.pts * stream.time_base))
                    if frame.width >= 96:
                        numbers.add(read_number(frame.to_ndarray(format="rgb24")))
    except (av.FFmpegError, IndexError, ValueError, AttributeError):
        pass
    return times, numbers & set(range(N))


def exposure_of(times: list[float]) -> float:
    """What a sorted list of times covers, worked out apart from ``pipeline.exposure``."""
    steps = [b - a for a, b in pairwise(sorted(set(times)))]
    return sum(step if step <= 0.5 else 1 / FPS for step in steps) + (1 / FPS if times else 0)


def faults(path: Path, read_number: ReadNumber) -> list[str]:
    """Verify a mutated clip and say what is wrong with the verdict."""
    found = verify.verify(path, silent_s=20)
    times, numbers = plainly_decoded(path, read_number)
    wrong: list[str] = []
    if not found.reason and found.status != "ok":
        wrong.append("no reason")
    if "crashed" in found.reason or "hung" in found.reason or "failed" in found.reason:
        wrong.append(found.reason)
    if found.status == "quarantined":
        return wrong
    seen = len(times) / FPS if found.timebase == "index" else exposure_of(times)
    if abs(seconds(found.covered) - seen) > TOLERANCE_S:
        wrong.append(f"exposure {seconds(found.covered):.2f}, full decoding {seen:.2f}")
    if found.status == "ok" and found.duration_s > len(numbers) / FPS + TOLERANCE_S:
        wrong.append(f"ok over {found.duration_s:.2f} s, but {len(numbers)} pictures are left")
    return [f"{fault} ({found.status}: {found.reason})" for fault in wrong]


def _check(count: int, make_clip: MakeClip, folder: Path, read_number: ReadNumber) -> None:
    fooled = [
        f"{name}: {fault}"
        for name, path in mutations(count, make_clip, folder)
        for fault in faults(path, read_number)
    ]
    assert not fooled, "\n".join(fooled)


def test_twenty_damaged_clips(make_clip: MakeClip, tmp_path: Path, read_number: ReadNumber) -> None:
    _check(20, make_clip, tmp_path, read_number)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_hundred_damaged_clips(
    make_clip: MakeClip, tmp_path: Path, read_number: ReadNumber
) -> None:
    _check(300, make_clip, tmp_path, read_number)
