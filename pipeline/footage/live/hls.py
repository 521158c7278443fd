"""HLS: a playlist looked at again and again, its pieces joined to one stream of bytes.

The demuxer is never given an address: it reads bytes (:class:`Feed`), and each piece is fetched
through the :class:`~.addresses.Door`, so a playlist cannot lead anywhere that was not checked. A
piece is passed on whole or not at all; what fails is asked for again while the playlist lists it.

A playlist proves nothing by being there: one left behind by a camera that went dark would be
recorded as today's traffic. So a feed begins only when the playlist moves on while we look. That
moment also tells when the pictures were taken: the newest piece ended just then. Where the playlist
itself says when (``EXT-X-PROGRAM-DATE-TIME``), and the two can both be true, it is believed: it
knows what encoding and the way here took.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import FootageError
from pipeline.footage.live.addresses import RefusedError
from pipeline.footage.live.fetching import fetch

if TYPE_CHECKING:
    from pipeline.footage.live.addresses import Address, Door
    from pipeline.footage.live.fetching import Reply

MARK = b"#EXTM3U"
MAX_PLAYLIST_BYTES = 1 << 20
GIVE_UP_S = 30.0
_MOST_PIECES = 10_000
_LONGEST_PIECE_S = 600.0
_TOLD_EARLIER_S, _TOLD_LATER_S = 60.0, 2.0  # than it seems: delay on the way; clocks that differ
_TS_SYNC = 0x47
_NOT_READABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError)


@dataclass(frozen=True)
class Piece:
    """One entry of a playlist; ``first_byte`` and ``n_bytes`` where it is a part of a file."""

    number: int
    uri: str
    duration_s: float
    header_uri: str = ""
    new_stream: bool = False
    missing: bool = False
    n_bytes: int | None = None
    first_byte: int = 0
    told_at: float | None = None  # POSIX seconds


@dataclass(frozen=True)
class Listing:
    """A media playlist as it was at one look."""

    address: Address
    looked_at: float
    pieces: tuple[Piece, ...]
    ended: bool = False

    @property
    def newest(self) -> int:
        """Number of the last piece listed."""
        return self.pieces[-1].number if self.pieces else -1

    def since(self, number: int) -> list[Piece]:
        """The pieces from ``number`` on."""
        return [piece for piece in self.pieces if piece.number >= number]

    @property
    def patience_s(self) -> float:
        """Seconds to wait before looking again."""
        return min(max((self.pieces[-1].duration_s if self.pieces else 1.0) / 4, 0.25), 2.0)


class Feed:
    """A live playlist as a file object: ``read`` waits for more, and gives nothing at the end.

    It ends where the stream changes (a discontinuity, lost pieces): whoever reads on from
    :attr:`next_number` with a new feed begins a new clip. ``started_at`` is the POSIX time of the
    first picture, as well as the playlist tells.
    """

    def __init__(
        self,
        door: Door,
        address: Address,
        next_number: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Join the playlist; see :class:`Feed`.

        Raises:
            RefusedError: it, or what it lists, may not be connected to.
            FootageError: it does not move on, or cannot be used.
            OSError: the network failed.
        """
        self._door, self._clock = door, clock
        self.listing, begin = self._joined(address, next_number)
        first, *_ = self.listing.since(begin)
        left_s = sum(piece.duration_s for piece in self.listing.since(begin))
        self.started_at = believed_start(self.listing.looked_at - left_s, first.told_at)
        self.next_number = first.number
        self._header_uri = first.header_uri
        self._pieces = self._bodies(first)
        self._rest = memoryview(next(self._pieces, b""))

    @property
    def container(self) -> str:
        """The format that the demuxer is held to.

        Raises:
            FootageError: it is none that can be recorded.
        """
        if self._header_uri:
            return "mp4"
        if self._rest[:1] == bytes([_TS_SYNC]):
            return "mpegts"
        raise FootageError("the playlist's pieces are neither MPEG-TS nor fragmented MP4.")

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes, at least one until the feed ends."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        given, self._rest = self._rest[:size], self._rest[size:]
        return bytes(given)

    def _joined(self, address: Address, next_number: int | None) -> tuple[Listing, int]:
        """Look until the playlist moves on; return it and the piece to begin with."""
        first = listing = look(self._door, address, self._clock)
        until = first.looked_at + GIVE_UP_S + first.patience_s * 8
        while listing.newest <= first.newest:
            if listing.ended:
                raise FootageError(f"{first.address.shown} has ended: nothing live.")
            if listing.newest < first.newest:  # it was made anew
                first, next_number = listing, None
            if self._clock() > until or not self._door.pause(listing.patience_s):
                raise FootageError(f"{first.address.shown} does not move on.")
            listing = look(self._door, first.address, self._clock)
        known = next_number is not None and next_number <= listing.newest
        begin = next_number if known and next_number is not None else max(first.newest, 0)
        return listing, max(begin, listing.pieces[0].number)

    def _bodies(self, piece: Piece) -> Iterator[bytes]:
        """Yield the bytes of piece after piece, the header in front."""
        if self._header_uri:
            yield self._fetched(piece.header_uri).body
        while True:
            body = self._insisted(piece)
            self.next_number = piece.number + 1
            if body is None:
                return
            yield body
            following = self._following()
            if following is None:
                return
            piece = following

    def _insisted(self, piece: Piece) -> bytes | None:
        """Fetch a piece, again where that fails; None once the playlist has dropped it."""
        until, wait_s = self._clock() + GIVE_UP_S, 0.25
        while not piece.missing:
            try:
                return self._fetched(piece.uri, piece).body
            except RefusedError:
                raise
            except (OSError, FootageError):
                if self._clock() > until or not self._door.pause(wait_s):
                    raise
                wait_s = min(wait_s * 2, 4.0)
                if piece.number not in [p.number for p in self._looked().pieces]:
                    return None
        return None

    def _following(self) -> Piece | None:
        """Wait for the next piece of the same stream; None where there is none to come."""
        until = self._clock() + GIVE_UP_S + self.listing.patience_s * 4
        while True:
            later = self.listing.since(self.next_number)
            if later:
                follows = later[0].number == self.next_number and not later[0].new_stream
                return later[0] if follows and later[0].header_uri == self._header_uri else None
            if self.listing.ended or self.listing.newest < self.next_number - 1:
                return None
            if self._clock() > until or not self._door.pause(self.listing.patience_s):
                return None
            self._looked()

    def _looked(self) -> Listing:
        """Look again; what was seen before stands where that fails."""
        try:
            self.listing = look(self._door, self.listing.address, self._clock)
        except RefusedError:
            raise
        except (OSError, FootageError):
            pass
        return self.listing

    def _fetched(self, uri: str, piece: Piece | None = None) -> Reply:
        asked = {}
        if piece is not None and piece.n_bytes is not None:
            last = piece.first_byte + piece.n_bytes - 1
            asked["Range"] = f"bytes={piece.first_byte}-{last}"
        reply = fetch(self._door, self.listing.address.leads_to(uri), asked)
        if asked and reply.status != 206:
            raise FootageError(f"{reply.address.shown} does not give parts of files.")
        return reply


def believed_start(seems_at: float, told_at: float | None) -> float:
    """Return when a piece began: as the playlist tells, unless its clock must be wrong.

    >>> believed_start(1000.0, 994.5), believed_start(1000.0, 5000.0), believed_start(1000.0, None)
    (994.5, 1000.0, 1000.0)
    """
    if told_at is None or not -_TOLD_LATER_S <= seems_at - told_at <= _TOLD_EARLIER_S:
        return seems_at
    return told_at


def look(door: Door, address: Address, clock: Callable[[], float] = time.time) -> Listing:
    """Fetch a playlist; of a list of variants, that with the most bits per second.

    Raises:
        RefusedError: it may not be connected to.
        FootageError: it is no playlist, or one that cannot be recorded.
        OSError: the network failed.
    """
    found, address = _parsed(fetch(door, address, max_bytes=MAX_PLAYLIST_BYTES))
    if found.is_variant and found.playlists:
        best = max(found.playlists, key=lambda entry: entry.stream_info.bandwidth or 0)
        reply = fetch(door, address.leads_to(best.uri), max_bytes=MAX_PLAYLIST_BYTES)
        found, address = _parsed(reply)
    try:
        first = int(found.media_sequence or 0)
        entries = [_piece(entry, first + n, address) for n, entry in enumerate(found.segments)]
        return Listing(address, clock(), tuple(entries), bool(found.is_endlist))
    except _NOT_READABLE:
        raise FootageError(f"{address.shown} is a damaged playlist.") from None


def _parsed(reply: Reply) -> tuple[Any, Address]:
    import m3u8

    shown = reply.address.shown
    if not reply.body.lstrip(b"\xef\xbb\xbf").startswith(MARK):
        raise FootageError(f"{shown} is no HLS playlist.")
    try:
        found = m3u8.loads(reply.body.decode("utf-8-sig", errors="replace"))
    except (m3u8.ParseError, *_NOT_READABLE):
        raise FootageError(f"{shown} is a damaged playlist.") from None
    if len(found.segments) > _MOST_PIECES:
        raise FootageError(f"{shown} lists {len(found.segments)} pieces, more than are allowed.")
    if any(key and key.method not in (None, "NONE") for key in found.keys):
        raise FootageError(f"{shown} is encrypted.", "Only open streams are recorded.")
    return found, reply.address


def _piece(entry: Any, number: int, address: Address) -> Piece:  # noqa: ANN401 - an untyped library's
    n_bytes, first_byte = None, 0
    if entry.byterange:
        length, at, offset = str(entry.byterange).partition("@")
        if not at:
            raise FootageError(f"{address.shown} lists parts of files without their place.")
        n_bytes, first_byte = int(length), int(offset)
    header = entry.init_section
    if header is not None and header.byterange:
        raise FootageError(f"{address.shown} lists a header that is a part of a file.")
    duration_s = float(entry.duration)
    if not 0 < duration_s <= _LONGEST_PIECE_S:
        raise ValueError(duration_s)
    return Piece(
        number=number,
        uri=entry.uri,
        duration_s=duration_s,
        header_uri=header.uri if header is not None else "",
        new_stream=bool(entry.discontinuity),
        missing=bool(entry.gap_tag),
        n_bytes=n_bytes,
        first_byte=first_byte,
        told_at=_told_at(entry.current_program_date_time),
    )


def _told_at(told: dt.datetime | None) -> float | None:
    """Return a time that names its zone as POSIX seconds; one that does not tells nothing."""
    return told.timestamp() if told is not None and told.tzinfo is not None else None
