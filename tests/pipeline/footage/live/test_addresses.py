"""Where a recorder may connect to: forty ways inside, and not one connection made."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.footage.live import addresses, hls, rtsp
from pipeline.footage.live.addresses import Door, RefusedError, read, why_refused
from pipeline.footage.live.fetching import fetch
from pipeline.footage.live.recorder import Recorder
from pipeline.store import Workspace


class Trap:
    """A listener that must never be connected to."""

    def __init__(self, number: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in number else socket.AF_INET
        self._listener = socket.create_server((number, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self.sprung = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._listener.accept()[0].close()
            except OSError:
                return
            self.sprung += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """A trap inside; 127.0.0.1 stands for the world outside, where the test's servers are."""
    real = why_refused

    def but_one(number: str, allow_private: bool = False) -> str:
        return "" if number == "127.0.0.1" else real(number, allow_private)

    monkeypatch.setattr(addresses, "why_refused", but_one)
    trap = Trap("127.0.0.2")
    yield trap
    trap.close()


LOOPBACK = [
    "http://127.0.0.1:{port}/a.jpg",
    "http://127.0.0.1.:{port}/a.jpg",
    "http://localhost:{port}/a.jpg",
    "http://LOCALHOST.:{port}/a.m3u8",
    "http://2130706433:{port}/a.jpg",
    "http://0x7f000001:{port}/a.jpg",
    "http://0177.0.0.1:{port}/a.jpg",
    "http://127.1:{port}/a.jpg",
    "http://0.0.0.0:{port}/a.jpg",
    "http://[::1]:{port}/a.jpg",
    "http://[::ffff:127.0.0.1]:{port}/a.jpg",
    "http://[::]:{port}/a.jpg",
    "https://127.0.0.1:{port}/a.m3u8",
    "rtsp://127.0.0.1:{port}/live",
    "rtsp://[::ffff:7f00:1]:{port}/live",
    "http://camera.example@127.0.0.1:{port}/a.jpg",
    "http://camera.example%40127.0.0.1:{port}/a.jpg",
    "http://camera.example\\@127.0.0.1:{port}/a.jpg",
    "http://127.0.0.1:{port}/a.jpg\r\nHost: x",
    "http://127。0。0。1:{port}/a.jpg",
    "rtmp://127.0.0.1:{port}/live",
    "rtsps://127.0.0.1:{port}/live",
    "ftp://127.0.0.1:{port}/a.jpg",
    "gopher://127.0.0.1:{port}/_x",
    "tcp://127.0.0.1:{port}",
    "udp://127.0.0.1:{port}",
    "srt://127.0.0.1:{port}",
    "concat:http://127.0.0.1:{port}/a.ts",
    "crypto+http://127.0.0.1:{port}/a.ts",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "data:image/jpeg;base64,/9j/",
    "http:///a.jpg",
    "http://:{port}/a.jpg",
    "http://127.0.0.1:0/a.jpg",
    "http://127.0.0.1:99999/a.jpg",
    "http://0:{port}/a.jpg",
    "http://0x7f.0.0.1:{port}/a.m3u8",
    "http://[64:ff9b::7f00:1]:{port}/a.jpg",
    "http://[2002:7f00:1::]:{port}/a.jpg",
    "rtsp://camera:secret@127.0.0.1:{port}/live",
    "http://169.254.169.254:{port}/latest/meta-data/a.jpg",
]


@pytest.mark.parametrize("url", LOOPBACK)
def test_an_address_inside_is_refused_without_a_connection(
    url: str, trap: Trap, ws: Workspace, servers: Any
) -> None:
    source = url.format(port=trap.port)
    camera = servers.registry(source).camera("gate")
    with pytest.raises(RefusedError) as refused:
        Recorder(ws, camera, Door(False, open_s=2.0)).run()
    assert "\n" not in str(refused.value)
    assert "refused" in str(refused.value)
    assert trap.sprung == 0


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("10.0.0.8", "private"),
        ("172.16.3.4", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "private"),
        ("fec0::1", "reserved"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2002:c0a8:101::1", "private"),
        ("::ffff:10.0.0.8", "private"),
        ("240.0.0.1", "private"),
        ("224.0.0.1", "not a single machine's"),
        ("93.184.215.14", ""),
        ("2001:4860:4860::8888", ""),
    ],
)
def test_why_refused(number: str, why: str) -> None:
    assert why_refused(number) == why
    if why not in ("", "not a single machine's"):
        assert why_refused(number, allow_private=True) == ""


def test_a_camera_that_is_allowed_inside_is_connected_to(servers: Any) -> None:
    server = servers.http(lambda path: (200, {}, b"still"))
    assert fetch(Door(True), read(server.url("a.jpg"))).body == b"still"
    server.close()


def test_a_name_is_looked_up_once_and_its_number_connected_to(servers: Any) -> None:
    server = servers.http(lambda path: (200, {}, b"still"))
    answers = iter([["127.0.0.1"], ["10.0.0.8"]])
    door = Door(True, resolve=lambda host, port: next(answers))
    address = read(f"http://camera.example:{server.port}/a.jpg")
    assert fetch(door, address).body == b"still"
    assert server.headers[0]["host"] == f"camera.example:{server.port}"
    assert next(answers) == ["10.0.0.8"]  # nobody asked again
    server.close()


def test_a_name_of_which_one_number_is_inside_is_refused() -> None:
    door = Door(resolve=lambda host, port: ["93.184.215.14", "192.168.0.7"])
    with pytest.raises(RefusedError, match=r"192\.168\.0\.7 is private"):
        door.numbers(read("http://camera.example/a.jpg"))


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2:{port}/a.jpg", "//127.0.0.2:{port}/a", "file:///etc/passwd", "rtmp://x/y"],
)
def test_a_redirect_inside_is_refused(target: str, inside: Trap, servers: Any) -> None:
    location = target.format(port=inside.port)
    server = servers.http(lambda path: (302, {"Location": location}, b""))
    with pytest.raises(RefusedError):
        fetch(Door(), read(server.url("a.jpg")))
    assert (len(server.asked), inside.sprung) == (1, 0)
    server.close()


def all_of(joined: Callable[[], hls.Feed]) -> None:
    feed = joined()
    while feed.read(188):
        pass


LISTS: dict[str, Callable[[int], str]] = {
    "piece": lambda n: "#EXTINF:1,\na.ts\n" * n + "#EXTINF:1,\n{inside}\n",
    "file": lambda n: "#EXTINF:1,\na.ts\n" * n + "#EXTINF:1,\nfile:///etc/passwd\n",
    "header": lambda n: '#EXT-X-MAP:URI="{inside}"\n' + "#EXTINF:1,\na.ts\n" * (n + 1),
    "variant": lambda n: "#EXT-X-STREAM-INF:BANDWIDTH=9\n{inside}\n",
    "redirect": lambda n: "#EXTINF:1,\nmoved\n" * (n + 1),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_playlist_that_leads_inside_is_refused(kind: str, inside: Trap, servers: Any) -> None:
    target = f"http://127.0.0.2:{inside.port}/x"
    looks = iter(range(99))

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/moved":
            return 302, {"Location": target}, b""
        if path == "/a.ts":
            return 200, {}, b"G" * 188
        text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + LISTS[kind](next(looks))
        return 200, {}, text.replace("{inside}", target).encode()

    server = servers.http(answer)
    with pytest.raises(RefusedError):  # at once, or when the piece's turn comes
        all_of(lambda: hls.Feed(Door(read_s=2.0), read(server.url("live.m3u8"))))
    assert inside.sprung == 0
    server.close()


@pytest.mark.parametrize("target", ["rtsp://127.0.0.2:{port}/live", "http://127.0.0.2:{port}/x"])
def test_an_rtsp_redirect_inside_is_refused(
    target: str, inside: Trap, film: Any, servers: Any
) -> None:
    server = servers.rtsp(film)
    server.redirect = target.format(port=inside.port)
    with pytest.raises(RefusedError), rtsp.opened(Door(open_s=2.0), read(server.url)):
        pass
    assert inside.sprung == 0
    server.close()


def test_an_rtsp_redirect_outside_is_followed(film: Any, servers: Any) -> None:
    old, new = servers.rtsp(film), servers.rtsp(film)
    old.redirect = new.url
    with rtsp.opened(Door(True), read(old.url)) as container:
        assert container.streams.video[0].codec_context.width == 192
    old.close()
    new.close()


@pytest.mark.parametrize(
    "said",
    [
        b"RTSP/1.0 200 OK\nCSeq: 1\n\nRTSP/1.0 302 Moved\nLocation: rtsp://{inside}/x\n\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\r\n\r\nRTSP/1.0 301 Moved\r\nLocation: rtsp://{inside}/\r\n\r\n",
        b" RTSP/1.0 302 Moved\r\nLocation: rtsp://{inside}/x\r\n\r\n",
        b"REDIRECT rtsp://{inside}/x RTSP/1.0\r\nLocation: rtsp://{inside}/x\r\n\r\n",
        b"HTTP/1.0 302 Moved\r\nLocation: rtsp://{inside}/x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"\xff" * 100_000,
        b"A: b\r\n" * 10_000,
        b"$\x00\x00\x04abcd" * 10,
        b"",
    ],
)
def test_rtsp_that_is_not_rtsp_leads_nowhere(said: bytes, inside: Trap) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        line = listener.accept()[0]
        line.recv(4096)
        line.sendall(said.replace(b"{inside}", f"127.0.0.2:{inside.port}".encode()))
        line.close()

    threading.Thread(target=talk, daemon=True).start()
    url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"
    door = Door(open_s=2.0, read_s=2.0)
    with (
        pytest.raises((addresses.FootageError, OSError)) as failed,
        rtsp.opened(door, read(url)),
    ):
        pass
    assert "\n" not in str(failed.value)
    assert inside.sprung == 0
    listener.close()


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://me:hunter2@camera.example:8554/live?token=hunter2",
        "http://me:hunter2@camera.example/a.jpg?pwd=hunter2",
    ],
)
def test_what_is_shown_holds_no_secret(url: str) -> None:
    address = read(url)
    assert "hunter2" not in address.shown
    assert (address.user, address.password) == ("me", "hunter2")
    other = address.leads_to("http://elsewhere.example/b.jpg")
    assert other.user is None
    assert address.leads_to("b").password == "hunter2"


def test_shutting_the_door_ends_a_read(servers: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    door = Door(True, read_s=60.0)
    threading.Timer(0.3, door.shut).start()
    with pytest.raises((OSError, addresses.FootageError)):
        fetch(door, read(f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg"))
    listener.close()
