"""Live cameras on loopback: real servers for RTSP, HLS and stills, which cut the line on purpose.

Each films the same numbered pictures, one every 1/25 s since it was switched on, whoever looks.
What a connection was given in full is written down, to hold the recording against.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import random
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from pipeline import cameras
from pipeline.cameras import Registry
from pipeline.footage.live.addresses import Door
from pipeline.footage.live.recorder import Recorder, Tally
from pipeline.footage.video import to_rgb
from pipeline.store import Workspace

FPS, GOP = 25, 25
MakeClip = Callable[..., Path]


@dataclass
class Film:
    """Encoded pictures, of which number n is shown n/25 s after ``since``."""

    path: Path
    nals: list[list[bytes]]
    parameter_sets: list[bytes]
    since: float = field(default_factory=time.time)

    @classmethod
    def of(cls, path: Path) -> Film:
        """Take a clip apart into the NAL units of its pictures."""
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            extradata = bytes(stream.codec_context.extradata or b"")
            pictures = [bytes(packet) for packet in container.demux(stream) if packet.size]
        size = int.from_bytes(extradata[6:8])
        sps, rest = extradata[8 : 8 + size], extradata[8 + size :]
        pps = rest[3 : 3 + int.from_bytes(rest[1:3])]
        return cls(path, [list(_units(picture)) for picture in pictures], [sps, pps])

    @property
    def now(self) -> int:
        """Number of the picture that is being taken."""
        return int((time.time() - self.since) * FPS)

    def at(self, number: int) -> float:
        """POSIX time of a picture."""
        return self.since + number / FPS


def _units(picture: bytes) -> Iterator[bytes]:
    while picture:
        size = int.from_bytes(picture[:4])
        yield picture[4 : 4 + size]
        picture = picture[4 + size :]


class RtspServer:
    """RTP over RTSP (RFC 2326, 6184). ``lives_s`` tells how long each connection lasts."""

    def __init__(self, film: Film, lives_s: Callable[[], float] = lambda: 1e9) -> None:
        self.film, self.lives_s = film, lives_s
        self.given: list[list[int]] = []  # per connection, the pictures sent whole
        self.requests: list[bytes] = []
        self.redirect: str | None = None
        self.from_keyframe = False  # many cameras send a burst of what was, from a keyframe on
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._talk(self.request)

        self._server = _Threads(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _talk(self, line: socket.socket) -> None:
        with line.makefile("rb") as source:
            while request := source.readline():
                number, header = b"", b"x"
                while header := source.readline().strip():
                    if header.lower().startswith(b"cseq:"):
                        number = header.partition(b":")[2].strip()
                verb = request.split()[0]
                self.requests.append(request)
                if self.redirect is not None and verb == b"DESCRIBE":
                    line.sendall(_reply(number, "302 Moved", [f"Location: {self.redirect}"]))
                    continue
                line.sendall(_reply(number, "200 OK", *self._answer(verb)))
                if verb == b"PLAY":
                    self._play(line)
                    return

    def _answer(self, verb: bytes) -> tuple[list[str], str]:
        if verb == b"DESCRIBE":
            sets = ",".join(base64.b64encode(unit).decode() for unit in self.film.parameter_sets)
            sdp = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; "
                f"sprop-parameter-sets={sets}\r\na=control:track0\r\n"
            )
            return ["Content-Type: application/sdp"], sdp
        return {
            b"OPTIONS": (["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"], ""),
            b"SETUP": (["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"], ""),
        }.get(verb, (["Session: 1"], ""))

    def _play(self, line: socket.socket) -> None:
        until = time.time() + self.lives_s()
        whole: list[int] = []
        self.given.append(whole)
        now = self.film.now
        sequence, number = 0, now - now % GOP if self.from_keyframe else now
        while number < len(self.film.nals):
            time.sleep(max(self.film.at(number) - time.time(), 0))
            frames = _framed(self.film.nals[number], number * 90_000 // FPS, sequence)
            sequence += len(frames)
            sent = b"".join(frames)
            if time.time() >= until:  # the line is cut in the middle of this picture
                line.sendall(sent[: random.Random(number).randrange(len(sent))])
                break
            line.sendall(sent)
            whole.append(number)
            number += 1
        line.shutdown(socket.SHUT_WR)
        line.settimeout(2.0)
        while line.recv(4096):
            pass


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _reply(number: bytes, status: str, headers: list[str], body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {number.decode()}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode()


def _framed(nals: list[bytes], at: int, sequence: int) -> list[bytes]:
    """RTP packets of a picture: a NAL unit each, large ones in fragments (FU-A)."""
    payloads: list[bytes] = []
    for nal in nals:
        if len(nal) <= 1400:
            payloads.append(nal)
            continue
        pieces = [nal[i : i + 1400] for i in range(1, len(nal), 1400)]
        for n, piece in enumerate(pieces):
            ends = (n == 0) << 7 | (n == len(pieces) - 1) << 6
            payloads.append(bytes([nal[0] & 0xE0 | 28, ends | nal[0] & 31]) + piece)
    packets = []
    for n, payload in enumerate(payloads):
        marked = (n == len(payloads) - 1) << 7
        head = bytes([0x80, marked | 96]) + (sequence + n & 0xFFFF).to_bytes(2)
        packet = head + (at & 0xFFFFFFFF).to_bytes(4) + b"\0\0\0\7" + payload
        packets.append(b"$\0" + len(packet).to_bytes(2) + packet)
    return packets


class HttpServer:
    """``GET`` answered by a function of the path; ``cut`` tells which answers break off."""

    def __init__(
        self,
        answer: Callable[[str], tuple[int, dict[str, str], bytes]],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.cut: Callable[[str], bool] = lambda path: False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                status, headers, body = answer(self.path)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2] if outer.cut(self.path) else body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class HlsCamera:
    """The pieces of a film, each listed once its time has come; five at a time."""

    def __init__(self, film: Film, folder: Path, kind: str = "mpegts") -> None:
        self.film = film
        folder.mkdir()
        options = {"hls_time": "1", "hls_list_size": "0", "hls_segment_type": kind}
        with (
            av.open(str(film.path)) as source,
            av.open(str(folder / "all.m3u8"), "w", format="hls", options=options) as out,
        ):
            stream = source.streams.video[0]
            copy = out.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        listed = (folder / "all.m3u8").read_text().splitlines()
        self.names = [line for line in listed if not line.startswith("#")]
        self.head = [line for line in listed if line.startswith("#EXT-X-MAP")]
        self.given: list[int] = []
        self.server = HttpServer(self._answer)

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        name = path.strip("/")
        if name == "live.m3u8":
            newest = min(self.film.now // FPS, len(self.names))
            first = max(newest - 5, 0)
            lines = [
                "#EXTM3U",
                "#EXT-X-VERSION:7",
                "#EXT-X-TARGETDURATION:1",
                f"#EXT-X-MEDIA-SEQUENCE:{first}",
                *self.head,
            ]
            for entry in self.names[first:newest]:
                lines += ["#EXTINF:1.0,", entry]
            return 200, {}, "\n".join([*lines, ""]).encode()
        if name in self.files:
            return 200, {}, self.files[name]
        return 404, {}, b""


@pytest.fixture
def film(make_clip: MakeClip) -> Film:
    """Forty seconds of numbered pictures, with a keyframe every second."""
    return film_of(make_clip, 40)


def film_of(make_clip: MakeClip, seconds: int) -> Film:
    options = {"preset": "ultrafast", "tune": "zerolatency", "qp": "30", "slices": "2"}
    clip = make_clip("film.mp4", n=seconds * FPS, fps=Fraction(FPS), gop=GOP, options=options)
    return Film.of(clip)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


@pytest.fixture
def servers() -> Any:
    """The servers' classes; importing this file from the tests would make them twice."""
    return SimpleNamespace(
        rtsp=RtspServer,
        http=HttpServer,
        hls=HlsCamera,
        record=Recording,
        registry=registry_of,
        film=film_of,
        numbers=numbers_in,
    )


def numbers_in(ws: Workspace) -> list[tuple[float, int]]:
    """POSIX time and number of every picture in the recorded clips, read as any footage is."""
    found: list[tuple[float, int]] = []
    for path in sorted((ws.root / "footage" / "gate").glob("*.mkv")):
        with av.open(str(path)) as container:
            started = dt.datetime.fromisoformat(container.metadata["creation_time"]).timestamp()
            pictures = list(container.decode(video=0))
            first = pictures[0].pts
            for picture in pictures:
                at = started + float((picture.pts - first) * picture.time_base)
                found.append((at, number_of(to_rgb(picture))))
    return found


def number_of(rgb: Any) -> int:
    """Read a picture's number: 12 black or white squares along the top."""
    side = rgb.shape[1] // 12
    middle = rgb[side // 4 : side // 2 + 1, side // 2 :: side].mean(axis=(0, 2))
    return sum(1 << bit for bit in range(12) if middle[bit] > 128)


def registry_of(source: str, **keys: Any) -> Registry:
    """One live camera, called gate."""
    zone = {"name": "lane", "polygon": [[0, 0], [1, 0], [1, 1]]}
    entry = {"id": "gate", "site": "dc-1", "timezone": "Europe/Berlin", "source": source}
    allowed = {"allow_private_addresses": True}
    return cameras.parse({"camera": [{**entry, "zones": [zone], **allowed, **keys}]})


class Recording:
    """A recorder at work in a thread, and its end."""

    def __init__(self, ws: Workspace, registry: Registry, **settings: Any) -> None:
        self.door = Door(True, open_s=3.0, read_s=3.0)
        self._recorder = Recorder(ws, registry.camera("gate"), self.door, **settings)
        self.tally: Tally = self._recorder.tally
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._recorder.run()
        except BaseException as error:
            self.error = error

    def stop(self) -> Tally:
        self.door.shut()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.tally

    def until(self, happened: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait for something to happen."""
        until = time.monotonic() + within_s
        while not happened():
            assert self.error is None, self.error
            assert time.monotonic() < until, f"it did not happen: {self.tally}"
            time.sleep(0.05)
