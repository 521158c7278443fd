"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself; and what they drop in circles (each run's connections, with all their buffers) waits
long for Python's last collection, for which a quarter more must be alive. So their memory grows by
a megabyte a day. A thread asks for both now and then.

A transaction of Prefect's server that has read and would now write, while another has written in
between, is refused by SQLite at once ("database is locked"), and whoever asked tries again two
seconds later: every other decoding slot was had only so. Here each waits for its turn before it
reads. Nor can SQLite close the file of one connection while another holds a lock, so each busier
moment than any before leaves more files open: hence five connections that stay, and none beside
(README, Decisions).
"""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from pipeline import cores

EVERY_S = 60.0
PATIENCE_S = 30.0
CONNECTIONS: dict[str, Any] = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 60.0}
"""``pool_timeout`` is as long as Prefect has SQLite wait for a lock."""


def keep_lean(every_s: float = EVERY_S) -> None:
    """Collect garbage and give free memory back to the kernel from now on (where glibc can)."""

    def run() -> None:
        while True:
            gc.collect()
            cores.give_memory_back()
            time.sleep(every_s)

    threading.Thread(target=run, name="keep lean", daemon=True).start()


def take_turns() -> None:
    """Have Prefect's server wait for SQLite's lock as a transaction begins, on few connections.

    Prefect's settings for connections reach PostgreSQL only (3.8), and hold there as ever.
    """
    from prefect.server.database import configurations as database
    from sqlalchemy.ext.asyncio import create_async_engine

    turns: MutableMapping[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    @asynccontextmanager
    async def begin_transaction(
        _: Any,  # noqa: ANN401 - the configuration
        session: Any,  # noqa: ANN401
        with_for_update: bool = False,
    ) -> AsyncIterator[Any]:
        # Who waits holds no connection yet: whoever's turn it is may need a second one.
        turn = turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with _held(turn), session.begin() as transaction:
            token = database.SQLITE_BEGIN_MODE.set("IMMEDIATE")
            try:
                await session.connection()  # begins
            finally:  # another session within this one only reads, and must not wait for it
                database.SQLITE_BEGIN_MODE.reset(token)
            yield transaction

    few = functools.partial(create_async_engine, **CONNECTIONS)
    database.create_async_engine = few  # type: ignore[attr-defined]
    database.AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[assignment,method-assign]


@asynccontextmanager
async def _held(turn: asyncio.Lock) -> AsyncIterator[None]:
    """Hold ``turn`` inside the block; after ``PATIENCE_S`` without it let SQLite decide."""
    try:
        await asyncio.wait_for(turn.acquire(), PATIENCE_S)
    except TimeoutError:  # a transaction within another, say: it waits for itself
        yield
        return
    try:
        yield
    finally:
        turn.release()


def create_app() -> Any:  # noqa: ANN401 - Prefect's class
    """Return Prefect's server, for uvicorn, as ``python -m flows._lean server`` runs it."""
    take_turns()
    from prefect.server.api.server import create_app

    return create_app()


if __name__ == "__main__":
    import sys

    keep_lean()
    if sys.argv[1:2] == ["server"]:
        take_turns()
    from prefect.cli import app

    app()
