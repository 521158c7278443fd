"""What a long-lived process frees goes back to the kernel, and its open files stay few."""

import subprocess
import sys
import time
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


# Twelve at once read, and then write, as the server's requests do; in between others look.
BUSY = """
import asyncio, os, sys
from flows import _lean
if sys.argv[2] == "in turn":
    _lean.take_turns()
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

async def main():
    database = AioSqliteConfiguration(f"sqlite+aiosqlite:///{sys.argv[1]}")
    engine = await database.engine()
    async with engine.connect() as connection:
        await connection.execute(text("create table asked (n integer)"))
    refused = []
    async def ask(n):
        async with await database.session(engine) as session:
            try:
                async with database.begin_transaction(session):
                    await session.execute(text("select count(*) from asked"))
                    async with await database.session(engine) as other:
                        await other.execute(text("select count(*) from asked"))
                    await asyncio.sleep(0.05)
                    await session.execute(text(f"insert into asked values ({n})"))
            except OperationalError as error:
                refused.append("locked" in str(error))
    await asyncio.gather(*(ask(n) for n in range(12)))
    async with engine.connect() as connection:
        kept = (await connection.execute(text("select count(*) from asked"))).scalar_one()
    found = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
    opened = [os.readlink(name) for name in found if os.path.exists(name)].count(sys.argv[1])
    print(kept, sum(refused), opened)
    await engine.dispose()

asyncio.run(main())
"""


def asked(path: Path, way: str) -> tuple[int, int, int]:
    """Return rows written, requests refused for a lock, and the database's open files."""
    told = subprocess.check_output([sys.executable, "-c", BUSY, str(path), way], text=True)
    kept, refused, opened = (int(word) for word in told.split())
    return kept, refused, opened


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_whoever_waits_for_a_turn_is_not_refused_and_leaves_no_files(tmp_path: Path) -> None:
    started = time.monotonic()
    kept, refused, opened = asked(tmp_path / "turns.db", "in turn")
    assert (kept, refused) == (12, 0)
    assert opened <= 5
    assert time.monotonic() - started < 25, "nobody waits for himself, which takes half a minute"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_that_is_still_needed(tmp_path: Path) -> None:
    """By itself Prefect refuses some, and files stay open: once it does not, _lean can shrink."""
    kept, refused, opened = asked(tmp_path / "many.db", "as Prefect does")
    assert refused > 0
    assert kept == 12 - refused
    assert opened > 5, "five connections are kept, and the files of those that were closed"
