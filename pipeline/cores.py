"""How many processor cores are ours, and work shared out over them.

A container often shows every core of its host and grants two: threads for the others only wait.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from pipeline.progress import track

Job = TypeVar("Job")
Found = TypeVar("Found")

_GROUPS = Path("/sys/fs/cgroup")


def usable(groups: Path = _GROUPS) -> int:
    """Return how many cores this process may keep busy, at least 1.

    The smaller of the cores it may run on and its control group's quota (Linux; ``cpu.max`` holds
    quota and period in microseconds, version 1 has a file for each; ``max`` and -1 are no quota):
    ``150000 100000`` is one and a half cores, so 2.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):  # no such control groups, or no quota
            granted, period = map(int, " ".join((groups / f).read_text() for f in files).split())
            if granted > 0:
                return max(1, min(cores, math.ceil(granted / period)))
    return cores


def keep_memory(most: int = 2**30) -> bool:
    """Let this process keep what it frees for what it needs next; return whether it can (glibc).

    By default the C library hands large blocks back to the kernel, which then has to clear their
    pages for the next step: of a network on large pictures, more than half of a training's time.
    Blocks of more than ``most`` bytes still go back; older libraries know 32 MiB at most.
    """
    tune, threshold, trim = _glibc("mallopt"), -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    if tune is None:
        return False
    return bool((tune(threshold, most) or tune(threshold, 2**25)) and tune(trim, 2**31 - 1))


def give_memory_back() -> bool:
    """Hand to the kernel what lies free between what is kept; return whether it can be (glibc)."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)
    return trim is not None


def _glibc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None where that is another one."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found


def pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes: a fork of a process with threads may never come back.

    They end with the process that called, also where that one is killed and can't tell them.
    """
    return ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_end_with,
        initargs=(os.getpid(),),
    )


def _end_with(parent: int, every_s: float = 1.0) -> None:
    """End this process once ``parent`` is no longer its parent: orphans would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_s)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def each(
    work: Callable[[Job], Found], jobs: Sequence[Job], what: str, most: int | None = None
) -> Iterator[tuple[int, Found]]:
    """Yield ``(number, result)`` of each job as it is done, on as many processes as help.

    Args:
        work: A function of a module, called once per job.
        jobs: What to call it with; sent to other processes, so small.
        what: A few words for the line that shows progress.
        most: At most this many processes; as many as there are cores without it.
    """
    workers = min(usable(), most or len(jobs), len(jobs) // 2)
    if workers < 2:
        yield from ((i, work(job)) for i, job in enumerate(track(jobs, what)))
        return
    with pool(workers) as processes:
        numbers = {processes.submit(work, job): i for i, job in enumerate(jobs)}
        for done in track(as_completed(numbers), what, total=len(jobs)):
            yield numbers[done], done.result()
