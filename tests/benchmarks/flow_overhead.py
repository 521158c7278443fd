"""What flows cost beside the plain library calls, in CPU seconds: 24 cameras, one local day.

    python tests/benchmarks/flow_overhead.py [cameras] [seconds of footage per camera]

CPU rather than wall time, so that a busy machine does not matter, of all processes that a run
starts: its temporary server outlives it by a moment, and is waited for here (Linux). The cost of a
flow is per camera-day, not per hour of footage: its share of a real day follows from the CPU that
an hour of footage takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
DIRECT = """
import datetime as dt, sys
from pathlib import Path
from pipeline import cameras, daily
from pipeline.ingest import ingest
from pipeline.pages.report import write_report
from pipeline.publish import publish
from pipeline.store import Workspace
ws = Workspace(Path(sys.argv[1])); registry = cameras.load(ws.cameras_toml)
day = dt.date(2026, 3, 2)
ingest(ws, registry, (), day, day)
days = daily.camera_days(ws, registry, (), day, day)
daily.count_days(ws, registry, days, daily.model_in_use(ws))
publish(ws, registry)
write_report(ws, registry)
"""


def cpu_of(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Run a command; return CPU seconds (with all that it started) and wall seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    with contextlib.suppress(ChildProcessError):
        while True:  # what it left behind counts as soon as it is waited for
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - started


def world(root: Path, cameras: int, seconds: int) -> None:
    """Make a workspace of ``cameras`` with one clip each, and the tests' tiny model."""
    spec = importlib.util.spec_from_file_location("tiny", HERE.parents[1] / "flows/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    zones = {f"camera-{i:02d}": "America/Chicago" for i in range(cameras)}
    tiny.write_cameras(root, zones)
    clip = root / "made" / "clip.mp4"
    tiny.lorry_clip(clip, max(1, seconds // 12), seconds)
    for i, (camera, timezone) in enumerate(zones.items()):
        path = tiny.add_footage(root, clip, camera, timezone, tiny.FIRST)
        with path.open("ab") as sink:  # other bytes, so that each is verified on its own
            sink.write(b"\0\0\0\x0cfree" + i.to_bytes(4, "big"))
    tiny._train(root)


def main() -> None:
    """Print both costs and their difference."""
    if ctypes.CDLL(None).prctl(_SUBREAPER, 1):
        raise SystemExit("the kernel does not give us what a flow leaves behind")
    cameras = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    with tempfile.TemporaryDirectory() as folder:
        env["PREFECT_HOME"] = f"{folder}/prefect"
        found: dict[str, tuple[float, float]] = {}
        for name in ("direct", "flow"):
            root = Path(folder) / name
            world(root, cameras, seconds)
            flow = ["-m", "flows.cli", "run", "daily", "--day", "2026-03-02", "--root", str(root)]
            arguments = ["-c", DIRECT, str(root)] if name == "direct" else flow
            found[name] = cpu_of([sys.executable, *arguments], env)
            print(f"{name}: {found[name][0]:.1f} CPU s, {found[name][1]:.1f} s wall", flush=True)
        over = found["flow"][0] - found["direct"][0]
        print(f"overhead: {over:.1f} CPU s for {cameras} camera-days of {seconds} s of footage")


if __name__ == "__main__":
    main()
