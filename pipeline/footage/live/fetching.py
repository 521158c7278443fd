"""One small thing fetched over HTTP: a playlist, a piece of a stream, a still.

Every connection, also after a redirect, goes through a :class:`~.addresses.Door`. What comes is
whole or an error: an answer cut off on the way, one that is too large, and one that drips in for
ever are errors. Environment proxies are not used: what is checked is what is connected to.
"""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import FootageError

if TYPE_CHECKING:
    import socket

    from pipeline.footage.live.addresses import Address, Door

MAX_BYTES = 64 << 20
MAX_REDIRECTS = 5
WHOLE_S = 60.0
_CHUNK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Reply:
    """A complete answer; ``address`` is where it came from after redirects."""

    address: Address
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Line(http.client.HTTPConnection):
    """HTTP over a connection that is already there."""

    def __init__(self, address: Address, line: socket.socket) -> None:
        super().__init__(address.host, address.port)
        self.sock = line


def fetch(
    door: Door,
    address: Address,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
    whole_s: float = WHOLE_S,
) -> Reply:
    """Get what lies at an address, following redirects.

    Raises:
        RefusedError: the address, or one it redirects to, may not be connected to.
        FootageError: an answer that is no use, in one line without credentials.
        OSError: the network failed.
    """
    for _ in range(MAX_REDIRECTS + 1):
        if address.scheme == "rtsp":
            raise FootageError(f"{address.shown} is not an http address.")
        reply = _once(door, address, headers or {}, max_bytes, whole_s)
        if reply.status not in _REDIRECTS:
            break
        address = address.leads_to(reply.headers.get("location", ""))
    else:
        raise FootageError(f"{address.shown} redirects more than {MAX_REDIRECTS} times.")
    if reply.status not in (200, 206, 304):
        raise FootageError(f"{address.shown} answers {reply.status}.")
    return reply


def _once(
    door: Door, address: Address, headers: Mapping[str, str], max_bytes: int, whole_s: float
) -> Reply:
    sent = {"Host": address.authority, "User-Agent": "truck-counter", "Accept-Encoding": "identity"}
    if address.user is not None:
        secret = f"{address.user}:{address.password or ''}".encode()
        sent["Authorization"] = f"Basic {base64.b64encode(secret).decode()}"
    with door.connected(address) as line:
        asking = _Line(address, line)
        try:
            asking.request("GET", address.target, headers={**sent, **headers})
            with asking.getresponse() as answer:
                found = {name.lower(): value for name, value in answer.getheaders()}
                body = _body(answer, address, max_bytes, time.monotonic() + whole_s)
        except (http.client.HTTPException, ValueError) as error:
            told = type(error).__name__
            raise FootageError(f"{address.shown} broke off its answer ({told}).") from None
        return Reply(address, answer.status, found, body)


def _body(
    answer: http.client.HTTPResponse, address: Address, max_bytes: int, until: float
) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := answer.read1(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise FootageError(f"{address.shown} sends more than {max_bytes} bytes.")
        if time.monotonic() > until:
            raise FootageError(f"{address.shown} takes too long to send {size} bytes.")
    if answer.length:  # read1 takes an early end for the end
        raise FootageError(f"{address.shown} broke off its answer, {answer.length} bytes short.")
    return b"".join(parts)
