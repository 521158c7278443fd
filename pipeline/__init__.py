"""Truck counter: everything that is true without a scheduler or a web service.

>>> from pipeline import read_daily_counts
>>> read_daily_counts("data/demo")   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.vintages import read_daily_counts

__all__ = ["read_daily_counts"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import on first use, so that ``import pipeline`` stays light."""
    if name == "read_daily_counts":
        from pipeline.vintages import read_daily_counts

        return read_daily_counts
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
