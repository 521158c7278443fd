"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself; and what they drop in circles (each run's connections, with all their buffers) waits
long for Python's last collection, for which a quarter more must be alive. A thread asks for both
now and then (README, Decisions).
"""

from __future__ import annotations

import gc
import threading
import time

from flows import _turns
from pipeline import cores

EVERY_S = 60.0


def keep_lean(every_s: float = EVERY_S) -> None:
    """Collect garbage and give free memory back to the kernel from now on (where glibc can)."""

    def run() -> None:
        while True:
            gc.collect()
            cores.give_memory_back()
            time.sleep(every_s)

    threading.Thread(target=run, name="keep lean", daemon=True).start()


if __name__ == "__main__":
    import sys

    keep_lean()
    if sys.argv[1:2] == ["server"]:
        _turns.take_turns()
    from prefect.cli import app

    app()
