"""What a camera-day costs end to end: CPU seconds of decoding, cropping, scoring and writing.

The real :func:`pipeline.learning.infer.infer_day` runs in a child on a single core, with a clock
around each stage; full decoding of the same clip follows in the same child. Rounds repeat both,
and each stage's least counts, as in :mod:`pipeline.footage.bench`. Starting (imports, loading the
network, its first call) is left out: a day pays it once.

The network is the reference, untrained: what it says means nothing, what it costs is the same.

``decode``    feed packets, decode what the sampled instants depend on
``crop``      to RGB, cut the zone out, scale it, and the background's median
``classify``  the network and its calibration
``write``     Parquet and the note beside it
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import schemas, store
from pipeline.domain import Camera, Clip, Zone
from pipeline.errors import FootageError
from pipeline.store import Workspace

ROUNDS = 3
STAGES = ("decode", "crop", "classify", "write")
MODEL_ID = "reference-untrained"
SIDE_PX = 335
FILMED_S, TIMES = 20, 6
_STARTED_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_ZONE = Zone("lane", ((0.35, 0.45), (0.65, 0.45), (0.65, 0.75), (0.35, 0.75)))
_HOME = str(Path(__file__).resolve().parents[2])


def bench_end_to_end(
    path: Path | None = None, hz: float = 1.0, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Measure footage → scores on one clip (a rendered 720p street where none is given).

    Returns:
        ``camera_hours_per_core_hour``; ``share`` of each of ``STAGES``; ``cpu_s`` likewise, in CPU
        seconds; ``full_decode_cpu_s``; ``rest_per_full_decode``: everything but decoding ÷ full
        decoding; ``with_ingest``: camera-hours per core-hour when the one full decode of ingest
        counts too; and ``duration_s``, ``hz``, ``size``, ``scores``, ``network``.

    Raises:
        FootageError: the clip cannot be decoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = (path or film_street(Path(folder) / "street.mp4")).absolute()
        row = _prepare(Workspace(Path(folder)), clip)
        measured = [_child(Path(folder), hz) for _ in range(rounds)]
    cpu_s = {stage: min(one[stage] for one in measured) for stage in STAGES}
    full_s = min(one["full_decode"] for one in measured)
    whole = sum(cpu_s.values())
    return {
        "camera_hours_per_core_hour": round(row.duration_s / whole, 1),
        "with_ingest": round(row.duration_s / (whole + full_s), 1),
        "share": {stage: round(spent / whole, 4) for stage, spent in cpu_s.items()},
        "rest_per_full_decode": round((whole - cpu_s["decode"]) / full_s, 4),
        "cpu_s": {stage: round(spent, 4) for stage, spent in cpu_s.items()},
        "full_decode_cpu_s": round(full_s, 4),
        "duration_s": row.duration_s,
        "hz": hz,
        "size": [row.width_px, row.height_px],
        "scores": measured[0]["scores"],
        "network": f"reference, {SIDE_PX} px, untrained: for timing only",
    }


def as_text(figures: dict[str, Any]) -> str:
    """Word the figures of :func:`bench_end_to_end` for a person."""
    lines = [
        f"{stage:12} {figures['cpu_s'][stage]:8.3f} CPU s  {figures['share'][stage]:6.1%}"
        for stage in STAGES
    ]
    width, height = figures["size"]
    return "\n".join(
        [
            *lines,
            f"full decode  {figures['full_decode_cpu_s']:8.3f} CPU s; everything but decoding "
            f"costs {figures['rest_per_full_decode']:.1%} of it",
            f"{figures['camera_hours_per_core_hour']:.1f} camera-hours per core-hour "
            f"({figures['with_ingest']:.1f} with the one full decode of ingest): {width}x{height} "
            f"at {figures['hz']:g} Hz, {figures['scores']} scores",
            f"network: {figures['network']}",
        ]
    )


def film_street(
    path: Path, size: tuple[int, int] = (1280, 720), seconds: int = FILMED_S, times: int = TIMES
) -> Path:
    """Film a street with sensor noise and a vehicle, at 25 fps, shown ``times`` over.

    The sides of ``size`` are multiples of 16.
    """
    import av
    import numpy as np

    width, height = size
    draw = np.random.default_rng(5)
    blocks = draw.integers(60, 160, (height // 8, width // 8), np.uint8).repeat(8, 0).repeat(8, 1)
    noise = [draw.normal(0, 2, blocks.shape) for _ in range(7)]
    looks = [np.clip(blocks + one, 0, 255).astype(np.uint8) for one in noise]
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    options = {"preset": "veryfast", "crf": "26", "sc_threshold": "0", "flags": "+cgop"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 50, 2
        packets = []
        for number in range(seconds * 25):
            planes[:height] = looks[number * 3 % len(looks)]
            left = number * 6 % width
            planes[height // 2 : height // 2 + height // 6, left : left + width // 5] = 200
            packets += stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p"))
        packets += stream.encode(None)
        base = packets[0].time_base  # muxing turns times into the container's units
        told = [(packet.pts, packet.dts, packet.duration) for packet in packets]
        for again in range(times):
            later = again * round(seconds / base)
            for packet, (pts, dts, duration) in zip(packets, told, strict=True):
                packet.time_base, packet.duration = base, duration
                packet.pts, packet.dts = pts + later, dts + later
                container.mux(packet)
    return path


def _prepare(ws: Workspace, clip: Path) -> Clip:
    """Write what a scored day needs: the clip's row, and an untrained reference network."""
    import torch

    from pipeline.clip_days import as_row
    from pipeline.learning import checkpoints
    from pipeline.learning.models import NetSpec, build

    row = _row(clip)
    table = store.table_of([as_row(row)], schemas.CLIPS)
    store.write_table(ws.clips("bench", _STARTED_AT.date()), table, schemas.CLIPS)
    torch.manual_seed(0)
    spec = NetSpec(channels=3, height=SIDE_PX, width=SIDE_PX)
    card = {
        "model_id": MODEL_ID,
        "arch": "reference",
        "spec": checkpoints.spec_json(spec),
        "input": {"channels": 3, "height": SIDE_PX, "width": SIDE_PX},
        "threshold": 0.5,
        "temperature": 1.0,
        "prior": {"shown": 0.5, "natural": 0.5},
        "engine": "openvino",
    }
    checkpoints.save_model(ws, MODEL_ID, build("reference", spec), card)
    return row


def _row(path: Path) -> Clip:
    """Return the clip as its header describes it: decoding it first would cost as much again."""
    from pipeline.footage import containers

    found, clock = containers.probe(path), containers.timing(path)
    if not found.duration_s:
        raise FootageError(f"{path} does not say how long it is.", "Take another clip.")
    duration_s = found.duration_s
    return Clip(
        camera_id="bench",
        clip_id="bench",
        uri=str(path),
        started_at=_STARTED_AT,
        duration_s=duration_s,
        frames_expected=found.frames_expected,
        frames_read=round(duration_s / clock.interval_s),
        width_px=clock.width_px,
        height_px=clock.height_px,
        codec=found.codec,
        status="ok",
        reason="",
        timebase=clock.timebase,
        covered=((0.0, duration_s),),
    )


def _child(root: Path, hz: float) -> dict[str, Any]:
    """Measure one round in a child of its own; return CPU seconds by stage."""
    paths = [_HOME, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.learning.endtoend", str(root), repr(hz)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        text=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


class _Clocks:
    """CPU seconds by stage: time inside a stage that another one calls is the inner one's."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._now, self._since = "crop", time.process_time()

    def switch(self, stage: str) -> str:
        """Let ``stage`` be what is paid for from now on; return what was."""
        now = time.process_time()
        self.spent[self._now] = self.spent.get(self._now, 0.0) + now - self._since
        before, self._now, self._since = self._now, stage, now
        return before

    def around(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``work``, clocked."""

        def clocked(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever work takes
            before = self.switch(stage)
            try:
                return work(*given, **named)
            finally:
                self.switch(before)

        return clocked

    def around_each(self, stage: str, work: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        """Return the generator ``work``, each of whose steps is clocked."""

        def clocked(*given: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401
            steps = work(*given, **named)
            following = self.around(stage, lambda: next(steps, None))
            while (step := following()) is not None:
                yield step

        return clocked


def _main(root: Path, hz: float) -> dict[str, Any]:
    import cv2

    from pipeline.footage import containers, video
    from pipeline.learning import infer
    from pipeline.learning.infer import Scorer

    if hasattr(os, "sched_setaffinity"):  # one core: no library may start threads on others
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    ws, day = Workspace(root), _STARTED_AT.date()
    camera = Camera("bench", "bench", "UTC", "bench", (_ZONE,), sample_hz=hz)
    uri = store.read_table(ws.clips("bench", day), schemas.CLIPS)["uri"][0].as_py()
    scorer = Scorer.open(ws, MODEL_ID)
    Scorer.open = classmethod(lambda *_: scorer)  # type: ignore[assignment,method-assign]
    infer.infer_day(ws, camera, day, MODEL_ID)  # a day pays once for what comes first
    ws.scores("bench", day, MODEL_ID).unlink()
    clocks = _Clocks()
    clocked = (
        (Scorer, "p_truck", clocks.around("classify", Scorer.p_truck)),
        (video, "pictures", clocks.around_each("decode", video.pictures)),
        (containers, "timing", clocks.around("decode", containers.timing)),
        (store, "write_table", clocks.around("write", store.write_table)),
        (store, "write_json", clocks.around("write", store.write_json)),
    )
    for place, name, with_clock in clocked:  # in a process of its own: nothing is put back
        setattr(place, name, with_clock)
    clocks.switch("crop")
    path = infer.infer_day(ws, camera, day, MODEL_ID)
    clocks.switch("full_decode")
    clock = containers.timing(Path(uri))
    for _ in video.every_picture(Path(uri), clock, video.Choice(clock, [1e9])):
        pass
    clocks.switch("done")
    return {**clocks.spent, "scores": store.read_table(path).num_rows}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(Path(sys.argv[1]), float(sys.argv[2]))) + "\n")
