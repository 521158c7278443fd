"""Prefect's server on SQLite: transactions that wait their turn, and few connections.

A transaction that has read and would now write, while another has written in between, is refused by
SQLite at once ("database is locked"), and whoever asked tries again two seconds later. Here each
waits for its turn before it reads. Nor can SQLite close the file of one connection while another
holds a lock, so each busier moment than any before leaves more files open: hence five connections
that stay, and none beside (README, Decisions).

The lasting server (:mod:`flows._lean`) and the temporary one (:mod:`flows._temporary`) have both.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prefect.server.database.configurations import AioSqliteConfiguration
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

PATIENCE_S = 30.0
CONNECTIONS: dict[str, Any] = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 60.0}
"""``pool_timeout`` is as long as Prefect has SQLite wait for a lock."""


def take_turns() -> None:
    """Have Prefect's server in this process do so, in place of what Prefect 3.8 does.

    Its settings for connections reach PostgreSQL only, and hold there as ever.
    """
    from prefect.server.database import configurations
    from sqlalchemy.ext.asyncio import create_async_engine

    few = functools.partial(create_async_engine, **CONNECTIONS)
    configurations.create_async_engine = few  # type: ignore[attr-defined]  # imported there
    turns: MutableMapping[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    @asynccontextmanager
    async def begin_transaction(
        _: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncIterator[AsyncSessionTransaction]:
        # Who waits holds no connection yet: whoever's turn it is may need a second one.
        turn = turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with _held(turn), session.begin() as transaction:
            # Some statements write without a transaction, and other processes may.
            token = configurations.SQLITE_BEGIN_MODE.set("IMMEDIATE")
            try:
                await session.connection()  # begins
            finally:  # another session within this one only reads, and must not wait for it
                configurations.SQLITE_BEGIN_MODE.reset(token)
            yield transaction

    sqlite = configurations.AioSqliteConfiguration
    sqlite.begin_transaction = begin_transaction  # type: ignore[method-assign,assignment]


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


def create_app() -> FastAPI:
    """Return Prefect's server in turns, for uvicorn."""
    take_turns()
    from prefect.server.api.server import create_app

    return create_app()
