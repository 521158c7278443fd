"""Servers on this machine's loopback: a port for one, and whether it answers yet."""

from __future__ import annotations

import socket
import urllib.request
from http import HTTPStatus
from http.client import HTTPException


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(url: str, timeout_s: float = 5.0) -> bool:
    """Tell whether a GET of ``url`` succeeds, asked directly: a proxy has a loopback of its own."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=timeout_s) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, HTTPException):  # no connection, no answer in time, or one that says no
        return False
