"""What a long-lived process frees goes back to the kernel, garbage in circles included."""

import subprocess
import sys

import pytest

# 3,000 blocks of 64 KB, of which every 50th stays: the holes are no use to anyone else.
GAPS = """
import time
from pathlib import Path
from flows._lean import keep_lean
from pipeline import cores

def held_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6

before = held_mb()
blocks = [bytearray(64_000) for _ in range(3000)]
kept = blocks[::50]
del blocks
full = held_mb()
keep_lean(0.05)
time.sleep(0.5)
print(full - before, held_mb() - before, cores.give_memory_back())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_gaps_in_the_heap_are_given_back() -> None:
    told = subprocess.check_output([sys.executable, "-c", GAPS], text=True).split()
    if told[2] != "True":
        pytest.skip("another C library than glibc")
    full, lean = float(told[0]), float(told[1])
    assert full > 100
    assert lean < 20


# Garbage that only a collection finds, and none comes by itself for so little of it.
CIRCLE = """
import time, weakref
from flows._lean import keep_lean

class Circle:
    pass

circle = Circle()
circle.itself = circle
gone = []
weakref.finalize(circle, gone.append, True)
del circle
time.sleep(0.5)
print(bool(gone))
keep_lean(0.05)
time.sleep(0.5)
print(bool(gone))
"""


def test_garbage_in_circles_is_collected() -> None:
    told = subprocess.check_output([sys.executable, "-c", CIRCLE], text=True).split()
    assert told == ["False", "True"]
