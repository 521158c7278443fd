"""``python -m flows._lean …``: a ``prefect`` command that lives for months without growing.

What Prefect's worker and server free lies between what they keep, so the C library can't give it
back by itself, and their memory grows by a megabyte a day. A thread asks for it now and then.
"""

from __future__ import annotations

import ctypes
import threading
import time

EVERY_S = 60.0


def keep_lean(every_s: float = EVERY_S) -> bool:
    """Give free memory back to the kernel from now on; return whether it can be (glibc)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False

    def run() -> None:
        while True:
            time.sleep(every_s)
            trim(0)

    threading.Thread(target=run, name="keep lean", daemon=True).start()
    return True


if __name__ == "__main__":
    keep_lean()
    from prefect.cli import app

    app()
