"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself; and what they drop in circles (each run's connections, with all their buffers) waits
long for Python's last collection, for which a quarter more must be alive. So their memory grows by
a megabyte a day. A thread asks for both now and then.

Prefect's server opens up to fifteen connections to SQLite. One that has read and would now write,
while another has written in between, is refused at once ("database is locked"), and whoever asked
tries again two seconds later: every other decoding slot was had only so. Nor can SQLite close the
file of one connection while another holds a lock, so each busier moment than any before leaves
more files open. One connection is never in its own way (README, Decisions).
"""

from __future__ import annotations

import functools
import gc
import threading
import time
from typing import Any

from pipeline import cores

EVERY_S = 60.0
ONE_CONNECTION: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 60.0}
"""As Prefect itself has for SQLite in memory; a request waits for it as long as for a lock."""


def keep_lean(every_s: float = EVERY_S) -> None:
    """Collect garbage and give free memory back to the kernel from now on (where glibc can)."""

    def run() -> None:
        while True:
            gc.collect()
            cores.give_memory_back()
            time.sleep(every_s)

    threading.Thread(target=run, name="keep lean", daemon=True).start()


def keep_one_connection() -> None:
    """Have Prefect's server ask SQLite through one connection.

    Prefect's settings for its connections reach PostgreSQL only (3.8), and hold there as ever.
    """
    from prefect.server.database import configurations
    from sqlalchemy.ext.asyncio import create_async_engine

    one = functools.partial(create_async_engine, **ONE_CONNECTION)
    configurations.create_async_engine = one  # type: ignore[attr-defined]


def create_app() -> Any:  # noqa: ANN401 - Prefect's class
    """Return Prefect's server, for uvicorn, as ``python -m flows._lean server`` runs it."""
    keep_one_connection()
    from prefect.server.api.server import create_app

    return create_app()


if __name__ == "__main__":
    import sys

    keep_lean()
    if sys.argv[1:2] == ["server"]:
        keep_one_connection()
    from prefect.cli import app

    app()
