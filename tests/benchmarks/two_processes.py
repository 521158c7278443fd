"""How much sooner two processes are done than one, on decode-bound camera-days.

    python tests/benchmarks/two_processes.py [cameras] [seconds of 720p footage per camera]

Wall time between the flow's first and last line of log, so the start of Prefect's temporary server
is left out and the start of the processes is not. Needs two cores that nobody else uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from flow_overhead import world

SIZE = (1280, 720)
LINE = re.compile(
    r"^(\d\d:\d\d:\d\d\.\d+) \|.*(Beginning flow run|Finished in state)", re.MULTILINE
)


def street(path: Path, seconds: int, fps: int = 25) -> None:
    """Write a clip that is costly to decode: noise that moves, many B- and P-pictures."""
    noise = np.random.default_rng(7)
    still = noise.integers(0, 255, (SIZE[1] + 64, SIZE[0] + 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=Fraction(fps), options={"preset": "superfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for i in range(seconds * fps):
            x, y = i % 64, (i * 3) % 64
            picture = np.ascontiguousarray(still[y : y + SIZE[1], x : x + SIZE[0]])
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                sink.mux(packet)
        for packet in stream.encode():
            sink.mux(packet)


def time_of_day_s(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)


def flow_s(root: Path, workers: int, home: Path) -> float:
    """Run the day on ``workers`` processes; return the flow's own seconds."""
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {
        "PREFECT_HOME": str(home),
        "TRUCK_COUNTER_TASK_RUNNER": "processes",
        "TRUCK_COUNTER_TASK_WORKERS": str(workers),
    }
    command = ["-m", "flows.cli", "run", "daily", "--day", "2026-03-02", "--root", str(root)]
    done = subprocess.run(
        [sys.executable, *command], env=env, check=True, capture_output=True, text=True
    )
    told = [time_of_day_s(match[1]) for match in LINE.finditer(done.stderr)]
    return (told[-1] - told[0]) % 86400.0  # a night may have passed


def main() -> None:
    """Print both times and their ratio."""
    cameras = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "world"
        world(root, cameras, 12)
        clip = Path(folder) / "street.mp4"
        street(clip, seconds)
        for i, path in enumerate(sorted(root.glob("footage/*/*.mp4"))):
            shutil.copyfile(clip, path)
            with path.open("ab") as sink:  # other bytes, so that each is verified on its own
                sink.write(b"\0\0\0\x0cfree" + i.to_bytes(4, "big"))
        found = {}
        for workers in (1, 2):
            copy = Path(shutil.copytree(root, Path(folder) / f"world{workers}"))
            found[workers] = flow_s(copy, workers, Path(folder) / "home")
            print(f"{workers} process(es): {found[workers]:.1f} s", flush=True)
        print(f"speed-up {found[1] / found[2]:.2f} on {cameras} x {seconds} s of 720p")


if __name__ == "__main__":
    main()
