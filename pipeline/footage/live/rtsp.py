"""RTSP: FFmpeg speaks it, but through a relay on loopback that holds the only line outside.

Left alone, FFmpeg looks the host up by itself and follows redirects wherever they lead. So it is
given the relay's address. The relay connects through the :class:`~.addresses.Door`, ends the
connection at a redirect (for the recorder to check and follow), and writes every answer anew, so
that FFmpeg and the relay cannot understand one differently.

Only RTP over the RTSP connection is used. A picture's RTP packets are passed on together once the
last is here: a line that is cut in the middle of a picture leaves none that is broken.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

import av
from av.container import InputContainer

from pipeline.errors import FootageError
from pipeline.footage.live.addresses import RefusedError

if TYPE_CHECKING:
    from pipeline.footage.live.addresses import Address, Door

MAX_REDIRECTS = 5
OPTIONS = {
    "protocol_whitelist": "tcp,rtp",
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",  # sound is nobody's business here
    "fpsprobesize": "0",
    "analyzeduration": "5000000",
}
_LONGEST_LINE, _MOST_LINES = 8192, 200
_LARGEST_BODY = 1 << 20
_LARGEST_PICTURE = 16 << 20
_STATUS = re.compile(rb"RTSP/1\.[01] +([1-5]\d\d)(?: +([ -~]*))?")
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*[ \t]*:[ \t]*[\t -\xff]*")


class _RedirectedError(Exception):
    """The server points elsewhere."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


@dataclass
class Relay:
    """Carries bytes between FFmpeg and one line that is open already; see the module."""

    upstream: socket.socket
    open_s: float
    failure: Exception | None = None
    _listener: socket.socket = field(init=False)
    _near: socket.socket | None = None

    def __post_init__(self) -> None:
        """Listen on loopback for the one connection that FFmpeg will make."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(self.open_s)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def url(self, address: Address) -> str:
        """The address for FFmpeg: the same, at the relay."""
        port = self._listener.getsockname()[1]
        login = ""
        if address.user is not None:
            login = f"{quote(address.user, safe='')}:{quote(address.password or '', safe='')}@"
        return f"rtsp://{login}127.0.0.1:{port}{address.target}"

    def close(self) -> None:
        """End both sides and wait for the threads."""
        for line in (self.upstream, self._near):
            if line is not None:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(self.open_s)

    def _carry(self) -> None:
        try:
            self._near, _ = self._listener.accept()
        except OSError:
            return
        asking = threading.Thread(target=self._ask, args=(self._near,), daemon=True)
        asking.start()
        try:
            with self.upstream.makefile("rb") as source:
                for message in answers(source):
                    self._near.sendall(message)
        except (_RedirectedError, FootageError, OSError) as error:
            self.failure = error
        finally:
            with contextlib.suppress(OSError):
                self._near.shutdown(socket.SHUT_RDWR)
            asking.join(self.open_s)
            self._near.close()

    def _ask(self, near: socket.socket) -> None:
        """Pass FFmpeg's requests on."""
        with contextlib.suppress(OSError):
            while chunk := near.recv(1 << 16):
                self.upstream.sendall(chunk)


def answers(source: BinaryIO) -> Iterator[bytes]:
    """Yield what a server sends: answers written anew, and pictures whole.

    Raises:
        _RedirectedError: an answer points elsewhere.
        FootageError: it does not speak RTSP properly.
    """
    pictures: dict[int, _Picture] = {}
    while first := source.read(1):
        if first != b"$":
            yield _answer(first, source)
            continue
        head = source.read(3)
        size = int.from_bytes(head[1:])
        packet = source.read(size)
        if len(head) < 3 or len(packet) < size:
            return
        framed = first + head + packet
        if head[0] % 2 or size < 12:  # RTCP, or nothing that has a marker
            yield framed
        else:
            yield from pictures.setdefault(head[0], _Picture()).take(framed)


class _Picture:
    """Collects the RTP packets of one picture (RFC 3550: they share a time, the last is marked)."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._time = b""

    def take(self, framed: bytes) -> Iterator[bytes]:
        """Take a packet with its four bytes of framing; yield a picture that it completes."""
        marked, time = framed[5] & 0x80, framed[8:12]
        if self._held and time != self._time:  # a sender that sets no marks
            yield self._given()
        self._time = time
        self._held += framed
        if marked or len(self._held) > _LARGEST_PICTURE:
            yield self._given()

    def _given(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def _answer(first: bytes, source: BinaryIO) -> bytes:
    """Read an answer and write it anew, without a way to elsewhere.

    Raises:
        _RedirectedError: it points elsewhere.
        FootageError: it is no RTSP answer. A server's own requests are none either.
    """
    lines = list(_lines(first, source))
    status = _STATUS.fullmatch(lines[0]) if lines else None
    if status is None or not all(_HEADER.fullmatch(line) for line in lines[1:]):
        raise FootageError("the server does not answer in RTSP.")
    headers = [(n.strip(), v.strip()) for n, _, v in (line.partition(b":") for line in lines[1:])]
    named = {name.lower(): value for name, value in headers}
    if status[1].startswith(b"3"):
        raise _RedirectedError(named.get(b"location", b"").decode("latin-1"))
    length = named.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > _LARGEST_BODY:
        raise FootageError("the server's RTSP answer is too large.")
    body = source.read(int(length))
    left_out = (b"location", b"content-length")
    kept = [name + b": " + value for name, value in headers if name.lower() not in left_out]
    kept += [b"Content-Length: %d" % len(body)] if body else []
    head = [b"RTSP/1.0 " + status[1] + b" " + (status[2] or b"")]
    return b"\r\n".join([*head, *kept, b"", body])


def _lines(first: bytes, source: BinaryIO) -> Iterator[bytes]:
    """Yield an answer's lines up to the empty one."""
    for _ in range(_MOST_LINES):
        line = first + source.readline(_LONGEST_LINE)
        first = b""
        if not line.endswith(b"\n"):
            raise FootageError("the server's RTSP answer breaks off.")
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if not line:
            return
        yield line
    raise FootageError("the server's RTSP answer has no end.")


@contextlib.contextmanager
def opened(door: Door, address: Address) -> Iterator[InputContainer]:
    """Open an RTSP source for reading packets; redirects are checked, then followed.

    Raises:
        RefusedError: it, or where it redirects, may not be connected to.
        FootageError: the server cannot be understood, or says no.
        OSError: the network failed.
    """
    for _ in range(MAX_REDIRECTS + 1):
        with door.connected(address) as line:
            relay = Relay(line, door.open_s)
            try:
                with _demuxer(relay, address, door) as container:
                    yield container
                if isinstance(relay.failure, OSError | FootageError):
                    raise relay.failure
                return
            except _RedirectedError as error:
                address = address.leads_to(error.location)
                if address.scheme != "rtsp":
                    raise RefusedError(
                        f"a redirect from rtsp to {address.scheme} is refused."
                    ) from None
            finally:
                relay.close()
    raise FootageError(f"{address.shown} redirects more than {MAX_REDIRECTS} times.")


def _demuxer(relay: Relay, address: Address, door: Door) -> InputContainer:
    limits = (door.open_s * 2, door.read_s)
    try:
        container: InputContainer = av.open(
            relay.url(address), format="rtsp", options=OPTIONS, timeout=limits
        )
        return container
    except av.FFmpegError as error:
        if relay.failure is not None:
            raise relay.failure from None
        told = error.strerror or type(error).__name__
        raise FootageError(f"{address.shown} does not open: {told}.") from None
