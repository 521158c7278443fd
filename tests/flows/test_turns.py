"""Prefect's server on SQLite refuses nobody for a lock, and opens few files."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

# Twelve at once read, and then write, as the server's requests do; within each transaction another
# session looks, and meanwhile four statements write without one. Then twelve look at once.
BUSY = """
import asyncio, os, sys
from flows import _turns
if sys.argv[2] == "in turn":
    _turns.take_turns()
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
    async def write(n):
        await asyncio.sleep(0.12 * n)
        async with engine.connect() as connection:
            await connection.execute(text("insert into asked values (-1)"))
    async def look():
        async with engine.connect() as connection:
            await connection.execute(text("select count(*) from asked"))
            await asyncio.sleep(0.2)
    await asyncio.gather(*(ask(n) for n in range(12)), *(write(n) for n in range(4)))
    await asyncio.gather(*(look() for _ in range(12)))
    async with engine.connect() as connection:
        counted = text("select count(*) from asked where n >= 0")
        kept = (await connection.execute(counted)).scalar_one()
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
    assert opened <= 5, "twelve looked at once"
    assert time.monotonic() - started < 25, "nobody waits for himself, which takes half a minute"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_that_is_still_needed(tmp_path: Path) -> None:
    """By itself Prefect refuses some, and files stay open: once it does not, _turns can go."""
    kept, refused, opened = asked(tmp_path / "many.db", "as Prefect does")
    assert refused > 0
    assert kept == 12 - refused
    assert opened > 5, "five connections are kept, and the files of those that were closed"
