"""What a long-lived process has freed between what it keeps goes back to the kernel."""

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
can = cores._glibc('malloc_trim') is not None
keep_lean(0.05)
time.sleep(0.5)
print(can, full - before, held_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_gaps_in_the_heap_are_given_back() -> None:
    told = subprocess.check_output([sys.executable, "-c", GAPS], text=True).split()
    if told[0] != "True":
        pytest.skip("another C library than glibc")
    full, lean = float(told[1]), float(told[2])
    assert full > 100
    assert lean < 20
