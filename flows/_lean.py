"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself, and their memory grows by a megabyte a day. A thread asks for it now and then.

The server opens up to ten connections to SQLite beside five that it keeps. SQLite cannot close the
file of one while another holds a lock, so each busier moment than any before leaves it more open
files. Five must do here: SQLite has one writer at a time anyway.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from pipeline import cores

EVERY_S = 60.0
CONNECTIONS: dict[str, Any] = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 60.0}
"""``pool_timeout`` is as long as Prefect has SQLite wait for a lock, then comes an error (503)."""


def keep_lean(every_s: float = EVERY_S) -> None:
    """Give free memory back to the kernel from now on, where the C library can (glibc)."""

    def run() -> None:
        while cores.give_memory_back():
            time.sleep(every_s)

    threading.Thread(target=run, name="keep lean", daemon=True).start()


def keep_few_connections() -> None:
    """Have Prefect's server keep ``CONNECTIONS`` to its database and open none beside them.

    Prefect's settings for it reach PostgreSQL only (3.8), where what they say stands here, too.
    """
    from prefect.server.database import configurations
    from sqlalchemy.ext.asyncio import create_async_engine

    few = functools.partial(create_async_engine, **CONNECTIONS)
    configurations.create_async_engine = few  # type: ignore[attr-defined]


if __name__ == "__main__":
    import sys

    keep_lean()
    if sys.argv[1:2] == ["server"]:
        keep_few_connections()
    from prefect.cli import app

    app()
