"""Whether a server on this machine answers, asked of a real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline import loopback


class Answer(BaseHTTPRequestHandler):
    """Says what the path asks for: a status, or nothing that is HTTP."""

    def do_GET(self) -> None:
        if self.path == "/noise":
            self.wfile.write(b"noise\r\n")
            return
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", loopback.free_port()), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "healthy"), [("200", True), ("503", False), ("404", False), ("noise", False)]
)
def test_only_a_good_answer_counts(address: str, path: str, healthy: bool) -> None:
    assert loopback.is_healthy(f"{address}/{path}") is healthy


def test_no_proxy_is_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{loopback.free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert loopback.is_healthy(f"{address}/200")


def test_nobody_there_is_not_healthy() -> None:
    assert not loopback.is_healthy(f"http://127.0.0.1:{loopback.free_port()}/200")
