"""Progress of long jobs on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def track(
    items: Iterable[T], description: str, total: int | None = None, every_s: float = 5.0
) -> Iterator[T]:
    """Yield ``items`` while showing how many are done, the rate and the time left.

    Args:
        items: what to go through.
        description: a few words shown before the figures.
        total: number of items where ``len(items)`` does not tell.
        every_s: seconds between two lines where stderr is not a terminal.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, description, total=total, console=Console(stderr=True))
        return
    started = shown = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        if time.monotonic() - shown >= every_s:
            shown = time.monotonic()
            print(_line(description, done, total, shown - started), file=sys.stderr, flush=True)
    if done:
        elapsed = time.monotonic() - started
        print(_line(description, done, done, elapsed), file=sys.stderr, flush=True)


def _line(description: str, done: int, total: int | None, elapsed_s: float) -> str:
    """Word one line.

    >>> _line("ingest", 30, 120, 10.0)
    'ingest: 30 of 120, 3.0/s, 30 s left'
    """
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    if total is None:
        return f"{description}: {done}, {rate:.1f}/s"
    if done >= total:
        return f"{description}: {done} of {total} done in {elapsed_s:.1f} s"
    left = (total - done) / rate if rate else float("inf")
    return f"{description}: {done} of {total}, {rate:.1f}/s, {left:.0f} s left"


def note(text: str) -> None:
    """Print one line to stderr."""
    print(text, file=sys.stderr, flush=True)


def spoken(
    name: str,
    every_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
    from_s: float = 0.0,
) -> Callable[[float, float | None], None]:
    """Return a listener that tells how far a long clip is: the rate and the time left.

    It is called with the seconds of footage done and those in all. What was done before now, up to
    ``from_s``, does not count for the rate.
    """
    started = shown = clock()

    def hear(at_s: float, whole_s: float | None) -> None:
        nonlocal shown
        now = clock()
        if now - shown < every_s or at_s <= from_s:
            return
        shown, rate = now, (at_s - from_s) / (now - started)
        left = f", {max(whole_s - at_s, 0.0) / rate:.0f} s left" if whole_s else ""
        note(f"{name}: {at_s / 60:.1f} min decoded, {rate:.0f} x real time{left}")

    return hear
