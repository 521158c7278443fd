"""One thing over HTTP: whole or an error, never redirected for ever, never a password told."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import FootageError
from pipeline.footage.live.addresses import Door, read
from pipeline.footage.live.fetching import MAX_REDIRECTS, fetch


def test_a_redirect_is_followed_without_the_password(servers: Any) -> None:
    other = servers.http(lambda path: (200, {}, path.encode()))
    first = servers.http(lambda path: (302, {"Location": other.url("there?x=1")}, b""))
    address = read(first.url("here").replace("//", "//me:hunter2@"))
    assert fetch(Door(True), address).body == b"/there?x=1"
    login = base64.b64encode(b"me:hunter2").decode()
    assert first.headers[0]["authorization"] == f"Basic {login}"
    assert "authorization" not in other.headers[0]
    first.close()
    other.close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (200, {"Content-Length": "100"}, b"short", "broke off"),
        (200, {"Content-Length": "many"}, b"x" * 2000, "more than 1000 bytes"),
        (200, {"Transfer-Encoding": "chunked"}, b"5\r\nhe", "broke off"),
        (200, {}, b"x" * 2000, "more than 1000 bytes"),
        (302, {"Location": "again"}, b"", "redirects more than"),
        (404, {}, b"", "answers 404"),
        (401, {}, b"", "answers 401"),
        (500, {}, b"", "answers 500"),
    ],
)
def test_an_answer_that_is_no_use(
    status: int, headers: dict[str, str], body: bytes, told: str, servers: Any
) -> None:
    server = servers.http(lambda path: (status, headers, body))
    address = read(server.url("a.jpg?key=hunter2").replace("//", "//me:hunter2@"))
    with pytest.raises((FootageError, OSError), match=told) as failed:
        fetch(Door(True, read_s=2.0), address, max_bytes=1000)
    assert "hunter2" not in str(failed.value)
    assert len(server.asked) == (MAX_REDIRECTS + 1 if status == 302 else 1)
    server.close()


def certified(folder: Path, host: str) -> tuple[Path, Path]:
    """A key and a certificate for ``host``, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    wanted = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-days", "2"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", *made, *wanted]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@pytest.mark.parametrize("name", ["camera.example", "other.example"])
def test_a_certificate_is_the_names_whatever_the_number(
    name: str, servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = certified(tmp_path, "camera.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = servers.http(lambda path: (200, {}, b"still"), context)
    door = Door(True, resolve=lambda host, port: ["127.0.0.1"])
    address = read(f"https://{name}:{server.port}/a.jpg")
    if name == "camera.example":
        assert fetch(door, address).body == b"still"
        assert server.headers[0]["host"] == f"camera.example:{server.port}"
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            fetch(door, address)
        assert server.asked == []
    server.close()


def test_one_that_drips_is_given_up(servers: Any) -> None:
    server = servers.http(lambda path: (200, {}, b"x" * 900))
    with pytest.raises(FootageError, match="too long"):
        fetch(Door(True), read(server.url("a.jpg")), whole_s=-1.0)
    server.close()
