"""Publish what differs from the latest vintage; nothing is written when nothing does."""

from __future__ import annotations

from typing import Any

from flows import _steps
from flows._prefect import flow


@flow(name="publish")
def publish(root: str) -> dict[str, Any]:
    """Append a vintage; return ``{"rows", "as_of", "vintage"}``."""
    return _steps.publish_counts(root)
