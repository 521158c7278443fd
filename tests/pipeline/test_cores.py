"""Cores that are ours, and work shared out over them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cores


@pytest.mark.parametrize(
    ("text", "most"),
    [("150000 100000", 2), ("100000 100000", 1), ("5000 100000", 1), ("max 100000", 10**6)],
)
def test_a_quota_limits_the_cores(tmp_path: Path, text: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores.usable(tmp_path) == min(most, len(os.sched_getaffinity(0)))


FAULTS = """
import resource, sys
import numpy as np
from pipeline import cores

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [np.ones(20_000_000, dtype=np.uint8) for _ in range(6)]
        del blocks  # 120 MB at the top of the heap, which by default go back to the kernel
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, can = faults(), cores.keep_memory()
faults()
print(can, before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_kept_memory_is_not_cleared_anew() -> None:
    told = subprocess.check_output([sys.executable, "-c", FAULTS], text=True)
    can, before, after = told.split()

    if can != "True":
        pytest.skip("another C library than glibc")
    assert int(after) < int(before) / 10


def test_another_c_library_keeps_to_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores.ctypes, "CDLL", lambda _: object())
    assert not cores.keep_memory()


@pytest.mark.parametrize(("quota", "most"), [("100000", 1), ("-1", 10**6)])
def test_a_quota_of_the_first_version_too(tmp_path: Path, quota: str, most: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.usable(tmp_path) == min(most, len(os.sched_getaffinity(0)))


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cores.usable(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_every_job_is_done_once_whatever_the_number() -> None:
    for n in (0, 1, 5):
        jobs = list(range(n))
        assert dict(cores.each(abs, [-j for j in jobs], "jobs")) == {j: j for j in jobs}


_CALLER = """
import os, time
from pipeline import cores
if __name__ == "__main__":
    with cores.pool(2) as processes:
        print(processes.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_workers_end_with_a_caller_that_is_killed(
    tmp_path: Path, runs: Callable[[int], bool]
) -> None:
    script = tmp_path / "caller.py"
    script.write_text(_CALLER, encoding="utf-8")
    caller = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    worker = int(caller.stdout.readline())
    os.kill(worker, 0)  # alive
    caller.kill()
    caller.wait()
    caller.stdout.close()  # which the worker holds too: waiting for its end would wait for it
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and runs(worker):
        time.sleep(0.2)
    assert not runs(worker)
