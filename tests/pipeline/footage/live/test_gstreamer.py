"""An RTSP server that others wrote (GStreamer's), with a digest login, killed and started again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.ingest import ingest
from pipeline.store import Workspace

PYTHON = "/usr/bin/python3"  # GStreamer's bindings are Debian's
SERVER = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
for element in ("qtdemux", "h264parse", "rtph264pay"):
    assert Gst.ElementFactory.find(element), element
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[2])
auth = GstRtspServer.RTSPAuth()
auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth.add_digest("me", "hunter2", token)
server.set_auth(auth)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( filesrc location={sys.argv[1]} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 )"
)
factory.add_role_from_structure(
    Gst.Structure.from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    )[0]
)
server.get_mount_points().add_factory("/live", factory)
assert server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""

Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(film: Any) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def one(port: str = "0", clip: Path = film.path) -> tuple[subprocess.Popen[str], str]:
        command = [PYTHON, "-c", SERVER, str(clip), port]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        bound = process.stdout.readline().strip()
        if not bound:
            assert process.stderr is not None
            last = process.stderr.read().strip().splitlines()[-1:]
            pytest.skip(f"no GStreamer RTSP server to test with: {last}")
        return process, bound

    yield one
    for process in running:
        process.kill()
        process.communicate()


def test_a_server_with_a_login_that_is_killed(ws: Workspace, start: Start, servers: Any) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("no system Python for GStreamer's bindings")
    first, port = start()
    registry = servers.registry(f"rtsp://me:hunter2@127.0.0.1:{port}/live")
    recording = servers.record(ws, registry)
    recording.until(lambda: recording.tally.connections == 1)
    time.sleep(5)
    first.kill()
    first.wait()
    recording.until(lambda: recording.tally.failures >= 1)
    start(port)
    recording.until(lambda: recording.tally.connections == 2)
    time.sleep(4)
    tally = recording.stop()
    assert tally.clips == 2
    assert "hunter2" not in tally.last_failure
    numbers = [number for _, number in servers.numbers(ws)]
    again = numbers.index(0, 1)  # the second server plays the film from its beginning
    assert numbers[:again] == list(range(again))
    assert numbers[again:] == list(range(len(numbers) - again))
    assert again > 75
    assert len(numbers) - again > 50
    assert {clip.status for clip in ingest(ws, registry).clips} == {"ok"}


def test_pictures_that_are_reordered(
    ws: Workspace, start: Start, servers: Any, make_clip: Any
) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("no system Python for GStreamer's bindings")
    _, port = start(clip=make_clip("b.mp4", n=300, gop=25, b_frames=2))
    registry = servers.registry(f"rtsp://me:hunter2@127.0.0.1:{port}/live")
    recording = servers.record(ws, registry, clip_s=2.0)
    recording.until(lambda: recording.tally.clips >= 2)
    recording.stop()
    numbers = [number for _, number in servers.numbers(ws)]
    assert len(numbers) > 60
    missing = set(range(max(numbers) + 1)) - set(numbers)
    assert missing <= {max(numbers) - 1, max(numbers) - 2}  # not sent before the end
    assert {clip.status for clip in ingest(ws, registry).clips} == {"ok"}


def test_a_wrong_password_is_told_without_it(ws: Workspace, start: Start, servers: Any) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("no system Python for GStreamer's bindings")
    _, port = start()
    recording = servers.record(ws, servers.registry(f"rtsp://me:wr0ng@127.0.0.1:{port}/live"))
    recording.until(lambda: recording.tally.failures >= 1)
    tally = recording.stop()
    assert tally.clips == 0
    assert "wr0ng" not in tally.last_failure
    assert "401" in tally.last_failure or "nauthor" in tally.last_failure
