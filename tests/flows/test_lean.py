"""What a long-lived process frees goes back to the kernel, and its open files stay few."""

import subprocess
import sys
from pathlib import Path

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


# Twenty at once, each holding its connection for a moment, as requests of the server do.
BUSY = """
import asyncio, os, sys
from flows import _lean
if sys.argv[2] == "few":
    _lean.keep_few_connections()
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy import text

async def main():
    engine = await AioSqliteConfiguration(f"sqlite+aiosqlite:///{sys.argv[1]}").engine()
    async def ask():
        async with engine.connect() as connection:
            await connection.execute(text("select count(*) from sqlite_master"))
            await asyncio.sleep(0.2)
    await asyncio.gather(*(ask() for _ in range(20)))
    names = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{n}")]
    print(names.count(sys.argv[1]), engine.pool.checkedin())
    await engine.dispose()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_busy_moment_leaves_no_open_files(tmp_path: Path) -> None:
    """SQLite keeps a closed connection's file open as long as another connection holds a lock."""
    opened = {}
    for name in ("few", "as Prefect does"):
        command = [sys.executable, "-c", BUSY, str(tmp_path / f"{name}.db"), name]
        told = subprocess.check_output(command, text=True).split()
        opened[name] = [int(word) for word in told]
    assert opened["few"] == [5, 5]
    # five that are kept, and the files of ten that are not: were it ever mended, _lean can shrink
    assert opened["as Prefect does"] == [15, 5]
