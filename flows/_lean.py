"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

As a server it also shows the workspace's reports.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself; and what they drop in circles (each run's connections, with all their buffers) waits
long for Python's last collection, for which a quarter more must be alive. A thread asks for both
now and then (README, Decisions).
"""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import _turns
from pipeline import cores

if TYPE_CHECKING:
    from fastapi import FastAPI

EVERY_S = 60.0
REPORTS = "truck-counter"
"""Where the server of a workspace shows its ``reports``: pages may not link to files."""


def keep_lean(every_s: float = EVERY_S) -> None:
    """Collect garbage and give free memory back to the kernel from now on (where glibc can)."""

    def run() -> None:
        while True:
            gc.collect()
            cores.give_memory_back()
            time.sleep(every_s)

    threading.Thread(target=run, name="keep lean", daemon=True).start()


def show_reports(folder: Path) -> None:
    """Have Prefect's server in this process show what lies in ``folder``, beside its own pages."""
    from prefect.server.api import server
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    make = server.create_app

    def create_app(*args: Any, **knobs: Any) -> FastAPI:  # noqa: ANN401 - Prefect's
        app = make(*args, **knobs)
        folder.mkdir(parents=True, exist_ok=True)  # a folder that is not there is an error, no 404
        files = StaticFiles(directory=folder)
        app.router.routes.insert(0, Mount(f"/{REPORTS}", files))  # its pages take every path
        return app

    server.create_app = create_app


if __name__ == "__main__":
    import os
    import sys

    keep_lean()
    if sys.argv[1:2] == ["server"]:
        _turns.take_turns()
        if root := os.environ.get("TRUCK_COUNTER_ROOT"):
            show_reports(Path(root) / "reports")
    from prefect.cli import app

    app()
