"""The one door through which a recorder reaches the network.

A source comes from ``cameras.toml``, but where it leads is up to strangers: a name can resolve to
the machine's own services, a server can redirect there, a playlist can list them. So an address is
read (:func:`read`: only http, https and rtsp), resolved once, checked number by number
(:func:`why_refused`), and the connection goes to the number that was checked: no second look-up can
answer otherwise. Redirects and playlist entries come through the same :class:`Door`.

Loopback, private, link-local and reserved numbers are refused unless the camera's entry says
``allow_private_addresses = true``. What people see of an address (:attr:`Address.shown`) has
neither credentials nor query.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from pipeline.errors import FootageError

PORTS = {"http": 80, "https": 443, "rtsp": 554}
OPEN_S, READ_S = 10.0, 10.0

_NOT_PLAIN = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_EMBEDDED_V4 = (  # IPv6 networks whose addresses lead to an IPv4 one, and its place in bits
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
    (ipaddress.IPv6Network("::/96"), 0),
)

Number = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class RefusedError(FootageError):
    """An address that may not be connected to; no connection was made."""


@dataclass(frozen=True)
class Address:
    """An address taken apart: ``target`` is path and query as the server gets them."""

    scheme: str
    host: str
    port: int
    target: str
    user: str | None = None
    password: str | None = None

    @property
    def shown(self) -> str:
        """What people and logs may see: credentials often travel in the query, so it is cut."""
        path, query, _ = self.target.partition("?")
        return f"{self.scheme}://{self.authority}{path}{query and '?…'}"

    @property
    def authority(self) -> str:
        """Host, and port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address to resolve relative ones against; without credentials."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def leads_to(self, location: str) -> Address:
        """Read where this address's server points, relative or not.

        Credentials go along only to the same host and port.

        Raises:
            RefusedError: the place is not one a recorder may open.
        """
        there = read(urljoin(self.url, location.strip()))
        same = (there.scheme, there.host, there.port) == (self.scheme, self.host, self.port)
        if not same or there.user is not None:
            return there
        return Address(there.scheme, there.host, there.port, there.target, self.user, self.password)


def read(url: str) -> Address:
    """Take an address apart.

    >>> read("rtsp://me:secret@camera.example/live?token=1").shown
    'rtsp://camera.example/live?…'

    Raises:
        RefusedError: another protocol, no host, or something that is not an address at all.
    """
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,15}(?=:)", url)
    if scheme is None or scheme[0].lower() not in PORTS:
        told = f"the protocol {scheme[0]!r}" if scheme else "an address without a protocol"
        raise RefusedError(f"{told} is refused.", "Only http, https and rtsp are let in.")
    if _NOT_PLAIN.search(url) or not url.isascii():
        raise RefusedError(f"a malformed {scheme[0]} address is refused.", "Percent-encode it.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise RefusedError(f"a malformed {scheme[0]} address is refused.", "Mend it.") from None
    if not _HOST.fullmatch(host) or port == 0:
        raise RefusedError(f"a {parts.scheme} address without a proper host is refused.")
    query = f"?{parts.query}" if parts.query else ""
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    target = f"{parts.path or '/'}{query}"
    return Address(parts.scheme, host, port or PORTS[parts.scheme], target, user, password)


def why_refused(number: str, allow_private: bool = False) -> str:
    """Say why a numeric address may not be connected to; nothing where it may.

    >>> why_refused("169.254.169.254"), why_refused("93.184.215.14")
    ('link-local', '')
    """
    ip = ipaddress.ip_address(number.partition("%")[0])
    inner = _embedded(ip)
    if inner is not None:
        return why_refused(str(inner), allow_private)
    if ip.is_unspecified or ip.is_multicast or str(ip) == "255.255.255.255":
        return "not a single machine's"
    if allow_private:
        return ""
    kinds = {
        "loopback": ip.is_loopback,
        "link-local": ip.is_link_local,
        "private": ip.is_private or not ip.is_global,
        "reserved": ip.is_reserved or getattr(ip, "is_site_local", False),
    }
    return next((kind for kind, holds in kinds.items() if holds), "")


def _embedded(ip: Number) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside an IPv6 one that is a way of writing or reaching it."""
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    for network, place in _EMBEDDED_V4:
        if ip in network and int(ip) > 1:
            return ipaddress.IPv4Address(int(ip) >> place & 0xFFFFFFFF)
    return None


def looked_up(host: str, port: int) -> list[str]:
    """Ask the system's resolver for a host's numbers, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _secured(line: socket.socket, host: str) -> socket.socket:
    """Shake hands over TLS; the certificate must be the host's, whatever number it has."""
    try:
        return ssl.create_default_context().wrap_socket(line, server_hostname=host)
    except OSError:
        line.close()
        raise


class Door:
    """Opens checked connections, and can shut them all from another thread.

    A blocked read cannot see that a person wants to stop: :meth:`shut` ends it.
    """

    def __init__(
        self,
        allow_private: bool = False,
        open_s: float = OPEN_S,
        read_s: float = READ_S,
        resolve: Resolve = looked_up,
    ) -> None:
        """Note what is allowed; nothing is opened yet."""
        self.allow_private = allow_private
        self.open_s, self.read_s = open_s, read_s
        self._resolve = resolve
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._shut = threading.Event()

    def is_shut(self) -> bool:
        """Whether no more connections are wanted."""
        return self._shut.is_set()

    def numbers(self, address: Address) -> list[str]:
        """Resolve an address and check every number that it has.

        Raises:
            RefusedError: one of them is not let in: a name that leads inside even now and then is
                not trusted at all.
            OSError: it does not resolve.
        """
        try:
            numbers = self._resolve(address.host, address.port)
        except (UnicodeError, ValueError):
            raise RefusedError(f"{address.shown} is refused: no proper host.") from None
        except OSError as error:
            raise OSError(f"{address.host} is not found ({error.strerror or error})") from None
        for number in numbers:
            why = why_refused(number, self.allow_private)
            if why:
                raise RefusedError(
                    f"{address.shown} is refused: {number} is {why}.",
                    "A camera inside your own network needs allow_private_addresses = true.",
                )
        return numbers

    @contextlib.contextmanager
    def connected(self, address: Address) -> Iterator[socket.socket]:
        """Connect to the first of an address's checked numbers that answers.

        Raises:
            RefusedError: the address may not be connected to.
            OSError: none of its numbers answers in time.
        """
        line = self._connect(address)
        if address.scheme == "https":
            line = _secured(line, address.host)
        with self._lock:
            self._open.add(line)
        try:
            if self.is_shut():
                raise OSError("stopped")
            line.settimeout(self.read_s)
            yield line
        finally:
            with self._lock:
                self._open.discard(line)
            line.close()

    def _connect(self, address: Address) -> socket.socket:
        failure: OSError = OSError(f"{address.host} has no address")
        for number in self.numbers(address):
            try:
                return socket.create_connection((number, address.port), self.open_s)
            except OSError as error:
                failure = error
        raise failure

    def pause(self, seconds: float) -> bool:
        """Wait; tell whether to go on, that is whether nobody shut the door meanwhile."""
        return not self._shut.wait(seconds)

    def shut(self) -> None:
        """Open nothing more, and end what is being read."""
        self._shut.set()
        with self._lock:
            for line in self._open:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
