"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself, and their memory grows by a megabyte a day. A thread asks for it now and then.
"""

from __future__ import annotations

import threading
import time

from pipeline import cores

EVERY_S = 60.0


def keep_lean(every_s: float = EVERY_S) -> None:
    """Give free memory back to the kernel from now on, where the C library can (glibc)."""

    def run() -> None:
        while cores.give_memory_back():
            time.sleep(every_s)

    threading.Thread(target=run, name="keep lean", daemon=True).start()


if __name__ == "__main__":
    keep_lean()
    from prefect.cli import app

    app()
