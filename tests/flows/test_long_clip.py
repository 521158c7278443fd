"""One file that lasts for hours: progress, stopping and going on inside it, and flat memory.

Two hours by default; ``TRUCK_COUNTER_LONG_CLIP_HOURS=24`` makes it a camera-day.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import schemas, store
from pipeline.learning import checkpoints
from pipeline.learning.models import NetSpec, build
from pipeline.store import Workspace

HOURS = float(os.environ.get("TRUCK_COUNTER_LONG_CLIP_HOURS", "2"))
FPS, MINUTE, SIDE = 2, 60, 128
MOST_BYTES = 400 << 20

REGISTRY = """
[[camera]]
id = "gate"
site = "dc-1"
timezone = "UTC"
source = "footage/*.mp4"
sample_hz = 1.0
zones = [{ name = "lane", polygon = [[0.2, 0.4], [0.8, 0.4], [0.8, 0.9], [0.2, 0.9]] }]
"""


def film(path: Path, minutes: int) -> None:
    """Encode one minute and repeat it by stream copy, as hours of footage are joined."""
    draw = np.random.default_rng(3)
    street = draw.integers(60, 160, (9, 16), np.uint8).repeat(8, 0).repeat(8, 1).astype(float)
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 4, 0
        stream.codec_context.time_base = Fraction(1, FPS)
        packets = []
        for number in range(MINUTE * FPS):
            picture = street + draw.normal(0, 3, street.shape)
            picture[40:50, number : number + 12] = 230
            grey = np.clip(picture, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, 2), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        base, told = packets[0].time_base, [(p.pts, p.dts, p.duration) for p in packets]
        for again in range(minutes):
            later = round(again * MINUTE / base)
            for packet, (pts, dts, duration) in zip(packets, told, strict=True):
                packet.time_base, packet.duration = base, duration
                packet.pts, packet.dts = pts + later, dts + later
                container.mux(packet)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("long"))
    made.cameras_toml.write_text(REGISTRY)
    film(made.root / "footage" / "2026-03-02T000000+0000.mp4", round(HOURS * 60))
    spec = NetSpec(channels=3, height=SIDE, width=SIDE)
    card = {
        "model_id": "m",
        "arch": "reference",
        "spec": checkpoints.spec_json(spec),
        "input": {"channels": 3, "height": SIDE, "width": SIDE},
        "threshold": 0.5,
        "temperature": 1.0,
        "prior": {"shown": 0.5, "natural": 0.5},
        "engine": "onnxruntime",
    }
    checkpoints.save_model(made, "m", build("reference", spec), card)
    checkpoints.set_current(made, "m")
    return made


class Run:
    """A command and its children, watched: what it said, and the most memory any of them held."""

    def __init__(self, ws: Workspace, name: str, stop: Callable[[], bool] | None = None) -> None:
        self.peaks: dict[int, int] = {}
        said = ws.root / f"{name}.txt"
        with said.open("w") as sink:
            command = [sys.executable, "-m", "flows.cli", name, "--root", str(ws.root)]
            child = subprocess.Popen(
                command,
                stdout=sink,
                stderr=sink,
                # A shell's background jobs ignore SIGINT, and would hand that down.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        while child.poll() is None:
            for pid in [child.pid, *_children(child.pid)]:
                self.peaks[pid] = max(self.peaks.get(pid, 0), _peak(pid))
            if stop is not None and stop():
                child.send_signal(signal.SIGINT)
                stop = None
            time.sleep(0.2)
        self.code, self.said = child.returncode, said.read_text()


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        found = [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []
    return [*found, *(deeper for child in found for deeper in _children(child))]


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) << 10 for x in lines if x.startswith("VmHWM")), 0)


def half(ws: Workspace) -> list[Path]:
    return list(ws.root.glob("clips/gate/verified/*/*.half.json"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="memory is read from /proc")
def test_ingest_is_stopped_within_a_clip_and_goes_on(ws: Workspace) -> None:
    first = Run(ws, "ingest", stop=lambda: bool(half(ws)))
    assert first.code == 130
    assert "run the same command again to go on" in first.said
    (place,) = half(ws)
    done_s = store.read_json(place)["state"]["seen"]["end_s"]
    assert done_s >= 1800
    second = Run(ws, "ingest")
    assert second.code == 0, second.said
    assert not half(ws)
    (row,) = store.read_table(
        next(ws.root.glob("clips/gate/2026-03-02.parquet")), schemas.CLIPS
    ).to_pylist()
    assert (row["status"], row["frames_read"]) == ("ok", HOURS * 3600 * FPS)
    assert row["covered"] == [{"start_s": 0.0, "end_s": pytest.approx(HOURS * 3600)}]
    print("ingest peaks (MB):", [p >> 20 for run in (first, second) for p in run.peaks.values()])
    print(second.said)
    assert max([*first.peaks.values(), *second.peaks.values()]) < MOST_BYTES


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="memory is read from /proc")
def test_infer_is_stopped_within_a_clip_and_goes_on(ws: Workspace) -> None:
    folder = ws.root / "scores" / "gate" / "2026-03-02"
    first = Run(ws, "infer", stop=lambda: len(list(folder.glob("m.parts/*.parquet"))) > 2)
    assert first.code == 130
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("m.parts/*.parquet")}
    assert len(kept) > 2
    second = Run(ws, "infer")
    assert second.code == 0, second.said
    assert not list(folder.glob("m.parts"))
    scores = store.read_table(folder / "m.parquet", schemas.SCORES)
    assert scores.num_rows == HOURS * 3600
    offsets = scores["offset_s"].to_numpy()
    assert np.array_equal(offsets, np.arange(HOURS * 3600))
    print("infer peaks (MB):", [p >> 20 for run in (first, second) for p in run.peaks.values()])
    print(second.said)
    assert max([*first.peaks.values(), *second.peaks.values()]) < MOST_BYTES
