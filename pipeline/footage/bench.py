"""What decoding costs: CPU seconds of our way and of three others, on the same clip.

Each way runs in a child of its own, one after the other and again, so that a busy machine disturbs
all alike; the least of the rounds counts. What a program takes to start (Python its imports,
FFmpeg ``ffmpeg -version``) is left out, since a day of footage pays it once.

``ours``         decode what the wanted pictures depend on, convert those to RGB
``full_decode``  decode every picture, convert the wanted ones to RGB
``ffmpeg``       ``ffmpeg -i FILE -vf fps=HZ -pix_fmt rgb24 -f rawvideo``: exact, decodes everything
``opencv_read``  OpenCV's ``read()`` until the end, as most programs do
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline import sampling
from pipeline.errors import FootageError

ROUNDS = 3
_HOME = str(Path(__file__).resolve().parents[2])


def bench_decode(path: Path, hz: float = 1.0, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure the four ways on one clip, sampled at ``hz``.

    Returns:
        ``ours_cpu_s``, ``full_decode_cpu_s``, ``ffmpeg_cpu_s`` (None where no ``ffmpeg`` program
        is found), ``opencv_read_cpu_s``; ``identical``: whether our pictures are, byte for byte
        and time for time, those of full decoding; and ``duration_s``, ``pictures``, ``hz``.

    Raises:
        FootageError: the clip cannot be decoded.
    """
    from pipeline.footage.verify import verify

    found = verify(path)
    if found.status == "quarantined":
        raise FootageError(f"{path} cannot be measured: {found.reason}.", "Choose another clip.")
    costs: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in ("ours", "full_decode", "opencv_read"):
            costs.setdefault(name, []).append(float(_child(name, path, hz)))
        costs.setdefault("ffmpeg", []).extend(_ffmpeg(path, hz))
    digests = {name: _child(f"digest_{name}", path, hz) for name in ("ours", "full_decode")}
    least = {f"{name}_cpu_s": min(spent, default=None) for name, spent in costs.items()}
    return {
        **{name: None if cost is None else round(cost, 4) for name, cost in least.items()},
        "identical": digests["ours"] == digests["full_decode"],
        "pictures": int(digests["ours"].split()[0]),
        "duration_s": found.duration_s,
        "hz": hz,
    }


def as_text(figures: dict[str, Any]) -> str:
    """Word the figures of :func:`bench_decode` for a person."""
    ours, lines = figures["ours_cpu_s"], []
    for name in ("ours", "full_decode", "opencv_read", "ffmpeg"):
        cost = figures[f"{name}_cpu_s"]
        if cost is None:
            lines.append(f"{name:12} not found")
            continue
        speed = figures["duration_s"] / max(cost, 1e-9)
        ratio = cost / max(ours, 1e-9)
        lines.append(f"{name:12} {cost:8.3f} CPU s {speed:8.1f} x real time {ratio:6.2f} x ours")
    same = "identical to" if figures["identical"] else "NOT those of"
    lines.append(f"{figures['pictures']} pictures at {figures['hz']:g} Hz, {same} full decoding")
    return "\n".join(lines)


def _child(way: str, path: Path, hz: float) -> str:
    """Run one way in a child and return what it printed."""
    paths = [_HOME, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.footage.bench", way, str(path), repr(hz)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        text=True,
    )
    return done.stdout.strip()


def _ffmpeg(path: Path, hz: float) -> list[float]:
    program = shutil.which("ffmpeg")
    if program is None:
        return []
    quiet = [program, "-v", "error", "-nostdin", "-protocol_whitelist", "file"]
    out = ["-an", "-vf", f"fps={hz!r}", "-pix_fmt", "rgb24", "-f", "rawvideo", "-y", os.devnull]
    started = _spent([program, "-version"])
    return [_spent([*quiet, "-i", f"file:{path}", *out]) - started]


def _spent(command: Sequence[str]) -> float:
    """Return a program's user and system CPU seconds."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise FootageError(f"{Path(command[0]).name} failed with code {child.returncode}.")
    return usage.ru_utime + usage.ru_stime


def _read_at(path: Path, hz: float, everything: bool) -> Callable[[], str]:
    from pipeline.footage import containers, video

    duration_s = containers.probe(path).duration_s or 86_400.0
    offsets = sampling.uniform(duration_s, hz)

    def work() -> str:
        digest, count = hashlib.blake2b(), 0
        clock = containers.timing(path)
        for tick, picture in video.pictures(path, clock, offsets, everything):
            rgb = video.to_rgb(picture)
            count += 1
            if digesting:
                digest.update(repr((tick, rgb.shape)).encode() + rgb.tobytes())
        return f"{count} {digest.hexdigest()}"

    digesting = sys.argv[1].startswith("digest_")
    return work


def _opencv_read(path: Path) -> Callable[[], str]:
    import cv2

    cv2.setNumThreads(1)

    def work() -> str:
        capture, count = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), 0
        while capture.read()[0]:
            count += 1
        return str(count)

    return work


def _main(way: str, path: Path, hz: float) -> str:
    if way == "opencv_read":
        work = _opencv_read(path)
    else:
        work = _read_at(path, hz, everything=way.endswith("full_decode"))
    started = time.process_time()
    result = work()
    return result if way.startswith("digest_") else repr(time.process_time() - started)


if __name__ == "__main__":
    sys.stdout.write(_main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])) + "\n")
