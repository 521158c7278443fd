"""Decode a clip once, whole, and say what it truly holds.

A header proves nothing: of 300 damaged files most open, promise all their frames, and give fewer.
So every picture is decoded, in a child with a limit on memory and time that can be killed: a crash
or a hang inside FFmpeg becomes a reason in a table instead of the end of an ingest.

How a clip is judged (:func:`judged`):

``ok``
    every picture promised was seen. Being two pictures, or half a second, short of the header's
    count is a remark, not a loss, as long as the times have no hole.
``partial``
    a part is missing or damaged; ``covered`` says exactly which stretches hold pictures. A damaged
    picture that still decodes counts as covered; ``damaged`` lists its stretch up to the next
    keyframe. Stretches without a view (frozen, black, overexposed) are not covered.
``quarantined``
    nothing decodes, or the times of what decodes cannot be trusted.
"""

from __future__ import annotations

import contextlib
import importlib
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.domain import ClipStatus, Span
from pipeline.errors import FootageError
from pipeline.exposure import seconds, stall_limit_s, subtract, union
from pipeline.footage import halfway
from pipeline.footage.continuity import FrameNumbers
from pipeline.footage.halfway import State
from pipeline.footage.nursery import ENDED, Nurseries, Nursery, say, serve
from pipeline.footage.selective import entry_test
from pipeline.footage.view_change import look_of

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from pipeline.footage.containers import Timing
    from pipeline.footage.picture_health import Flag
    from pipeline.footage.view_change import Look

Progress = Callable[[float, float | None], None]
Show = Callable[["Look"], None]

TOLERANCE_S = 0.5
TOLERANCE_FRAMES = 2
LONGEST_CLIP_S = 48 * 3600.0
LOOK_EVERY_S, LOOK_AT_LEAST_EVERY_S, GLANCE_EVERY_S = 1.0, 10.0, 0.5
MEMORY_BYTES = 1 << 30
SILENT_S = 60.0
_GLANCE_S = 0.5
_SLOWEST_BYTES_PER_CPU_S = 20_000
_OUT_OF_MEMORY = ("MemoryError", "Cannot allocate memory", "failed to map segment")
_RESULT, _PROGRESS, _LOOK, _STATE = "result", "progress", "look", "state"


class StoppedError(Exception):
    """Someone wants to stop; nothing is known of the clip."""


@dataclass(frozen=True)
class Verification:
    """What full decoding found. ``covered`` and ``damaged`` are seconds after the first picture.

    ``told_start`` is what the file says of when it was made: no proof, see ``ingest``. ``passing``:
    the reason may lie in this machine and not in the file, so it is worth another try.
    """

    duration_s: float = 0.0
    frames_expected: int | None = None
    frames_read: int = 0
    width_px: int = 0
    height_px: int = 0
    codec: str = ""
    fps: Fraction | None = None
    status: ClipStatus = "quarantined"
    reason: str = ""
    timebase: Literal["container", "index"] = "container"
    covered: tuple[Span, ...] = ()
    damaged: tuple[Span, ...] = ()
    lead_s: float = 0.0
    told_start: str = ""
    passing: bool = False


@dataclass
class Seen:
    """What one pass over a clip counted; see :func:`judged`."""

    timebase: Literal["container", "index"]
    interval_s: float
    expected: int | None = None
    declared_s: float | None = None
    lead_s: float = 0.0
    start_s: float = 0.0
    packets: int = 0
    cut_away: int = 0  # pictures that an edit list hides: not meant to be shown
    frames: int = 0
    backwards: int = 0
    resized: int = 0
    end_s: float = 0.0
    broken_off: str = ""
    covered: list[Span] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    damaged: list[Span] = field(default_factory=list)


def verify(
    path: Path,
    memory_bytes: int = MEMORY_BYTES,
    silent_s: float = SILENT_S,
    on_progress: Progress | None = None,
    on_look: Show | None = None,
    on_state: Callable[[State | None], None] | None = None,
    state: State | None = None,
    stop: threading.Event | None = None,
    warm: Nurseries | None = None,
) -> Verification:
    """Decode the whole clip in a child process and judge it. Bad footage is a result, no error.

    Args:
        path: the clip; it is only read.
        memory_bytes: address space that the child may take.
        silent_s: kill the child when it has not reported progress for so long.
        on_progress: called about once a second with the seconds of footage decoded so far, and
            those that the header promises, if it does.
        on_look: called with what the camera saw, minute by minute, vehicles left out.
        on_state: called now and then with where a later call may go on, after the looks up to it;
            with None where it has to start over.
        state: what ``on_state`` got last, of the same clip.
        stop: once it is set, the child is killed.
        warm: where children come from (:func:`nurseries`); saves starting one for this clip alone.

    Raises:
        StoppedError: ``stop`` was set first.
    """
    order = {"path": str(path.absolute()), "memory_bytes": memory_bytes, "state": state}
    hears = _hears(on_progress, on_look, on_state)
    with contextlib.ExitStack() as own:
        lent = warm or own.enter_context(nurseries())
        try:
            with lent.one() as nursery:
                nursery.order(order)
                return _followed(nursery, silent_s, hears, stop or threading.Event())
        except _HungError:
            reason = f"decoding hung: no progress for {silent_s:g} s, stopped"
            return Verification(reason=reason, passing=True)


def nurseries() -> Nurseries:
    """Return nurseries whose children verify clips; see :func:`verify`."""
    return Nurseries("pipeline.footage.verify")


class _HungError(Exception):
    """The child has been silent for too long."""


def _hears(
    on_progress: Progress | None,
    on_look: Show | None,
    on_state: Callable[[State | None], None] | None,
) -> dict[str, Callable[[Any], None]]:
    """Return who listens to which of the child's messages."""
    hears: dict[str, Callable[[Any], None]] = {}
    if on_progress is not None:
        hears[_PROGRESS] = lambda at: on_progress(*at)
    if on_look is not None:
        hears[_LOOK] = lambda told: on_look(look_of(told))
    if on_state is not None:
        hears[_STATE] = on_state
    return hears


def _followed(
    nursery: Nursery,
    silent_s: float,
    hears: dict[str, Callable[[Any], None]],
    stop: threading.Event,
) -> Verification:
    """Listen until the child's end and return its result, or why there is none."""
    heard, found = time.monotonic(), None
    while True:
        if stop.is_set():
            raise StoppedError
        messages = nursery.heard(min(_GLANCE_S, silent_s))
        if messages is None:
            if time.monotonic() - heard >= silent_s:
                raise _HungError
            continue
        heard = time.monotonic()
        for kind, told in (item for message in messages for item in message.items()):
            if kind == _RESULT:
                found = verification(told)
            elif kind == ENDED:
                return found or _ended(*told)
            elif hear := hears.get(kind):
                hear(told)


def _ended(code: int, said: str) -> Verification:
    """Return what is known of a clip whose decoder ended, with that code, before its result."""
    passing = code in (-signal.SIGKILL, -signal.SIGTERM)  # as by a host that runs out of memory
    return Verification(reason=_why_it_died(code, said), passing=passing)


def _why_it_died(code: int, said: str) -> str:
    if any(sign in said for sign in _OUT_OF_MEMORY):
        return "decoding needs more memory than is allowed"
    if code == -signal.SIGXCPU:
        return "decoding took more CPU time than a file of this size may"
    if code < 0:
        return f"the decoder crashed ({signal.Signals(-code).name})"
    last = said.strip().splitlines()[-1:] or ["no message"]
    return f"verification failed: {last[0]}"


def verification(found: dict[str, Any]) -> Verification:
    """Read back what :func:`to_json` gave."""
    spans = {n: tuple((start, end) for start, end in found[n]) for n in ("covered", "damaged")}
    fps = Fraction(found["fps"]) if found["fps"] else None
    return Verification(**{**found, **spans, "fps": fps})


def to_json(found: Verification) -> dict[str, Any]:
    """Return a verification as JSON can hold it."""
    return {**asdict(found), "fps": str(found.fps) if found.fps else None}


def examined(
    path: Path,
    report: Progress = lambda at, whole: None,
    show: Show = lambda look: None,
    keep: Callable[[State], None] = lambda state: None,
    state: State | None = None,
) -> Verification:
    """Do the work of :func:`verify` in this process, without its protection."""
    from pipeline.footage import containers, picture_health

    try:
        clock = containers.timing(path)
        with containers.opened(path) as (container, stream):
            seen = Seen(
                timebase=clock.timebase,
                interval_s=clock.interval_s,
                expected=stream.frames or None,
                declared_s=containers.declared_s(container, stream),
                lead_s=clock.lead_s,
                start_s=float(clock.first * clock.tick_s),
            )
            if state is not None:
                seen = Seen(**halfway.take_up(state))
            _watch(container, stream, clock, seen, report, show, keep, state)
            seen.flags = picture_health.bridged(seen.flags)
            status, reason = judged(seen)
            return Verification(
                duration_s=seen.end_s,
                frames_expected=seen.expected,
                frames_read=seen.frames,
                width_px=clock.width_px,
                height_px=clock.height_px,
                codec=stream.codec_context.codec.name,
                fps=containers.frame_rate(stream),
                status=status,
                reason=reason,
                timebase=clock.timebase,
                covered=subtract(seen.covered, [flag.span for flag in seen.flags]),
                damaged=union(seen.damaged),
                lead_s=seen.lead_s,
                told_start=container.metadata.get("creation_time", "")[:40],
            )
    except FootageError as error:
        return Verification(reason=str(error))


def _watch(
    container: InputContainer,
    stream: VideoStream,
    clock: Timing,
    seen: Seen,
    report: Progress,
    show: Show,
    keep: Callable[[State], None],
    state: State | None,
) -> None:
    """Decode everything once and fill ``seen``."""
    index, last, start = -1, clock.first - 1, 0.0
    hurt: float | None = None
    limit_s, reported = stall_limit_s(clock.interval_s), time.monotonic()
    view = _View(show)
    suits = clock.timebase == "container" and halfway.suits(container, stream)
    stops, is_entry = halfway.Stops(), entry_test(stream)
    if state is not None:
        last, start = state["last"], state["start"]
        stops.due_s = clock.offset_s(state["tick"]) + halfway.EVERY_S
        view.restore(state["view"])
    for packet, frames, complaint in _decoding(container, stream, seen, state):
        if suits and packet.size and is_entry(packet):
            stops.entry(packet.pts)
        seen.packets += bool(packet.size)
        seen.cut_away += bool(packet.size and packet.is_discard)
        for frame in frames:
            index += 1
            tick = index if clock.timebase == "index" else frame.pts
            if tick is None or tick <= last:
                seen.backwards += 1
                continue
            if (frame.width, frame.height) != (clock.width_px, clock.height_px):
                seen.resized += 1
                continue
            at = clock.offset_s(tick)
            if stops.is_here(tick, at, seen, hurt is not None or complaint):
                keep(halfway.put_down(seen, tick, last, start, view.put_down(at)))
            if seen.frames and at - clock.offset_s(last) > limit_s:
                seen.covered.append((start, seen.end_s))
                start = at
            last, seen.frames, seen.end_s = tick, seen.frames + 1, at + clock.interval_s
            if hurt is not None and frame.key_frame and at > hurt:
                seen.damaged.append((hurt, at))
                hurt = None
            complaint |= frame.is_corrupt
            seen.flags.extend(view.see(at, frame))
        if complaint and seen.frames and hurt is None:
            hurt = max(seen.end_s - clock.interval_s, 0.0)
        if time.monotonic() - reported > 1.0:
            report(seen.end_s, seen.declared_s)
            reported = time.monotonic()
    if seen.frames:
        seen.covered.append((start, seen.end_s))
    if hurt is not None:
        seen.damaged.append((hurt, seen.end_s))
    seen.flags.extend(view.end(seen.end_s))


class _View:
    """Looks now and then, at keyframes where there are some, whether anything is to be seen."""

    def __init__(self, show: Show) -> None:
        from pipeline.footage import picture_health, view_change

        self._minutes, self._show = view_change.Minutes(), show
        self._fineness = view_change.fineness
        self._thumbnail_of = picture_health.thumbnail_of
        self._watch = picture_health.Watch()
        self._last = self._glanced = -LOOK_AT_LEAST_EVERY_S

    def put_down(self, at_s: float) -> State:
        """Let the minute end here, and return what is remembered beyond it."""
        for look in self._minutes.end(at_s):
            self._show(look)
        return {"last": self._last, "glanced": self._glanced, "watch": self._watch.state()}

    def restore(self, state: State) -> None:
        """Remember what was put down."""
        self._last, self._glanced = state["last"], state["glanced"]
        self._watch.restore(state["watch"])

    def end(self, end_s: float) -> Iterator[Flag]:
        for look in self._minutes.end(end_s):
            self._show(look)
        yield from self._watch.end(end_s)

    def see(self, at: float, frame: av.VideoFrame) -> Iterator[Flag]:
        import numpy as np

        since = at - self._last
        looks = since >= (LOOK_EVERY_S if frame.key_frame else LOOK_AT_LEAST_EVERY_S)
        if not looks and at - self._glanced < GLANCE_EVERY_S:
            return
        self._glanced = at
        plain = frame.format.name.startswith(("yuv", "gray", "nv"))
        if not plain or frame.format.components[0].bits != 8:
            frame = frame.reformat(format="gray")  # so that its first plane is brightness in bytes
        plane = frame.planes[0]
        grey = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        shown = grey[:, : plane.width]
        thumbnail = self._thumbnail_of(shown)
        yield from self._watch.see(at, thumbnail, key=looks)
        if not looks:
            return
        self._last = at
        for look in self._minutes.see(at, thumbnail, self._fineness(shown)):
            self._show(look)


def _decoding(
    container: InputContainer, stream: VideoStream, seen: Seen, state: State | None = None
) -> Iterator[tuple[av.Packet, list[av.VideoFrame], bool]]:
    """Yield each packet with its pictures and whether the decoder complained about it.

    FFmpeg conceals damage and goes on; its log at error level is where it says so.
    """
    import av
    import av.logging

    demuxing = container.demux(stream)
    if state is not None:
        demuxing = halfway.packets_from(container, stream, state["tick"])
    context = stream.codec_context
    h264 = context.codec.name == "h264"
    numbers = FrameNumbers(context.extradata or b"") if h264 else None
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture() as complaints:
        while True:
            complaints.clear()
            try:
                packet = next(demuxing, None)
            except (av.FFmpegError, IndexError) as error:  # IndexError: a stream out of nowhere
                seen.broken_off = str(getattr(error, "strerror", "") or "it lists another stream")
                packet = None
            packet = packet if packet is not None and packet.size else av.Packet()
            frames: list[av.VideoFrame] = []
            failed = numbers is not None and bool(packet.size) and numbers.lost(packet)
            try:
                frames = context.decode(packet if packet.size else None)
            except av.FFmpegError:
                failed = True
            yield packet, frames, failed or bool(complaints)
            if not packet.size:
                return


def judged(seen: Seen) -> tuple[ClipStatus, str]:
    """Turn what was counted into a status and a one-line reason.

    >>> judged(Seen("index", 0.04, expected=750, packets=750, frames=748, end_s=29.92))
    ('ok', 'times are index ÷ fps; header promises 750 frames, 748 decode')
    """
    bad = _untrustworthy(seen)
    if bad:
        return "quarantined", bad
    losses = list(_losses(seen))
    remarks = list(_remarks(seen))
    return ("partial" if losses else "ok"), "; ".join(losses + remarks)


def _untrustworthy(seen: Seen) -> str:
    per_frame = seen.interval_s
    if not seen.frames:
        return "no picture decodes"
    if seen.end_s > LONGEST_CLIP_S:
        return f"times span {seen.end_s / 3600:.0f} h, more than a clip can"
    if seen.backwards > TOLERANCE_FRAMES and seen.backwards * per_frame > TOLERANCE_S:
        pictures = seen.frames + seen.backwards
        return f"times run backwards: {seen.backwards} of {pictures} pictures have no place"
    if seen.resized * per_frame > TOLERANCE_S:
        return f"the picture's size changes for {seen.resized} pictures"
    lost = seen.packets - seen.frames
    if seen.timebase == "index" and lost > 5 and lost * per_frame > TOLERANCE_S:
        return f"{lost} of {seen.packets} pictures do not decode and no times place the others"
    return ""


def _losses(seen: Seen) -> Iterator[str]:
    covered = union(seen.covered)
    found = False
    if seen.lead_s > TOLERANCE_S:
        found = True
        yield f"the first {seen.lead_s:.2f} s, before the first keyframe, do not decode"
    if len(covered) > 1:
        found = True
        missing, first = seen.end_s - seconds(covered), covered[0][1]
        yield f"{len(covered) - 1} gap(s), {missing:.2f} s in all, the first at {first:.2f} s"
    tail = _missing_tail_s(seen)
    if tail > TOLERANCE_S:
        found = True
        yield f"the last {tail:.2f} s that the header promises are missing"
    short = (seen.expected or 0) - seen.cut_away - seen.frames
    if not found and short > TOLERANCE_FRAMES and short * seen.interval_s > TOLERANCE_S:
        yield f"{short} pictures that the header promises do not decode"
    for fault in sorted({flag.fault for flag in seen.flags}):
        spans = union(flag.span for flag in seen.flags if flag.fault == fault)
        yield f"{fault} picture for {seconds(spans):.1f} s, from {spans[0][0]:.1f} s on"
    if seen.damaged:
        at = seen.damaged[0][0]
        yield f"{seconds(seen.damaged):.2f} s of pictures are damaged, from {at:.2f} s on"
    if seen.broken_off:
        yield f"the container is damaged ({seen.broken_off})"


def _missing_tail_s(seen: Seen) -> float:
    """Return how much sooner the pictures end than the header says.

    Some containers count a duration from 0, others from the first picture: the kinder holds.
    """
    if seen.declared_s is None:
        return 0.0
    return seen.declared_s - max(seen.lead_s, seen.start_s, 0.0) - seen.end_s


def _remarks(seen: Seen) -> Iterator[str]:
    if seen.timebase == "index":
        yield "times are index ÷ fps"
    if seen.expected is not None and seen.expected != seen.frames:
        hidden = f", {seen.cut_away} are cut away" if seen.cut_away else ""
        yield f"header promises {seen.expected} frames, {seen.frames} decode{hidden}"


def _limit(path: Path, memory_bytes: int) -> None:
    """Bound this process's memory and CPU time, and leave no core file."""
    cpu_s = 120 + path.stat().st_size // _SLOWEST_BYTES_PER_CPU_S
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _obey(order: dict[str, Any]) -> None:
    """Do what :func:`verify` ordered, in a child with limits."""
    from pipeline.footage import view_change

    path = Path(order["path"])
    _limit(path, order["memory_bytes"])

    def work(state: State | None) -> Verification:
        return examined(
            path,
            lambda *at: say(_PROGRESS, at),
            lambda look: say(_LOOK, view_change.to_json(look)),
            lambda place: say(_STATE, place),
            state,
        )

    try:
        found = work(order["state"])
    except halfway.LostWayError:
        say(_STATE, None)
        found = work(None)
    say(_RESULT, to_json(found))


if __name__ == "__main__":
    importlib.import_module("pipeline.footage.containers")  # once, for every child
    serve(_obey)
