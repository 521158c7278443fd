"""Hostile files: nothing else is read, nothing grows large, each gets a one-line reason."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import cameras, schemas, store
from pipeline.ingest import ingest
from pipeline.store import Workspace

MakeClip = Callable[..., Path]

SECRET = "outside/secret.ts"


def playlists(secret: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """Files that ask FFmpeg to open another file or an address."""
    for target in (str(secret), f"file://{secret}", address, f"concat:{secret}"):
        yield "hls", f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n".encode()
        yield "concat", f"ffconcat version 1.0\nfile '{target}'\n".encode()
        dash = f"<MPD><Period><AdaptationSet><BaseURL>{target}</BaseURL></AdaptationSet></Period>"
        yield "dash", f'<?xml version="1.0"?>{dash}</MPD>'.encode()
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>'
        yield "svg", svg.encode()
        entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{target}">]><x>&e;</x>'
        yield "xml", f'<?xml version="1.0"?>{entity}'.encode()
        yield "sdp", f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu={target}\n".encode()
        yield "asx", f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>'.encode()


def pictures_of_absurd_size() -> Iterator[tuple[str, bytes]]:
    """Headers that claim a picture of gigabytes."""
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    head = struct.pack(">I", len(size)) + b"IHDR" + size
    yield "png", b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", zlib.crc32(b"IHDR" + size))
    yield "bmp", b"BM" + struct.pack("<IHHIIiiHHI", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0)
    yield "avi", avi_of(30_000, 30_000)
    yield "y4m", b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n"


def avi_of(width: int, height: int) -> bytes:
    """A minimal AVI whose raw video claims a size."""
    picture = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    stream = b"vidsDIB " + struct.pack("<IHHIIIIIIII", 0, 0, 0, 0, 1, 25, 0, 9, 0, 0, 0) + bytes(8)
    strl = b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", picture)
    avih = struct.pack("<14I", 40_000, 0, 0, 16, 9, 0, 1, 0, width, height, 0, 0, 0, 0)
    hdrl = b"hdrl" + _chunk(b"avih", avih) + _chunk(b"LIST", strl)
    movi = b"movi" + b"".join(_chunk(b"00db", bytes(64)) for _ in range(9))
    return _chunk(b"RIFF", b"AVI " + _chunk(b"LIST", hdrl) + _chunk(b"LIST", movi))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def forged(clip: bytes) -> Iterator[tuple[str, bytes]]:
    """A real clip with lies in its boxes."""
    yield "huge-count", _with(clip, b"stsz", 12, b"\x7f\xff\xff\xff")
    yield "huge-box", _with(clip, b"moov", -4, b"\x7f\xff\xff\xff")
    yield "huge-size", _with(clip, b"avc1", 28, b"\xff\xff\xff\xff")
    yield "empty", b""
    yield "zeros", bytes(100_000)
    yield "text", b"not footage at all\n" * 50
    yield "only-header", clip[:64]


def _with(clip: bytes, box: bytes, at: int, content: bytes) -> bytes:
    start = clip.index(box) + 4 + at if at >= 0 else clip.index(box) + at
    return clip[:start] + content + clip[start + len(content) :]


def links(folder: Path, outside: Path) -> None:
    """Names in the footage folder that lead elsewhere, or nowhere, or are no files."""
    (folder / "2026-03-29T230000+0000.mp4").symlink_to(outside)
    (folder / "2026-03-29T230100+0000.mp4").symlink_to("/dev/zero")
    (folder / "2026-03-29T230200+0000.mp4").symlink_to(folder / "2026-03-29T230200+0000.mp4")
    os.mkfifo(folder / "2026-03-29T230300+0000.mp4")


@pytest.fixture
def ws(tmp_path: Path, make_clip: MakeClip) -> Workspace:
    """A workspace of hostile files only; the secret they are after lies beside it."""
    root = tmp_path / "root"
    folder = root / "footage" / "gate"
    folder.mkdir(parents=True)
    secret = tmp_path / SECRET
    secret.parent.mkdir()
    secret.write_bytes(make_clip("a.ts").read_bytes())
    files = [
        *playlists(secret, "http://127.0.0.1:9/x.ts"),
        *pictures_of_absurd_size(),
        *forged(make_clip("a.mp4").read_bytes()),
    ]
    for number, (name, content) in enumerate(files):
        (folder / f"2026-03-29T{10 + number // 60}{number % 60:02d}00+0000.mp4").write_bytes(
            content
        )
        assert name
    links(folder, secret)
    return Workspace(root)


def test_forty_hostile_files(ws: Workspace) -> None:
    zone = {"name": "lane", "polygon": [[0, 0], [1, 0], [1, 1]]}
    entry = {"id": "gate", "site": "s", "timezone": "UTC", "source": "footage/gate/*"}
    report = ingest(ws, cameras.parse({"camera": [{**entry, "zones": [zone]}]}))
    assert len(report.clips) >= 40
    (day,) = ws.days("clips", "gate")
    rows = store.read_table(ws.clips("gate", day), schemas.CLIPS).to_pylist()
    assert len(rows) == len(report.clips)
    for row in rows:
        believed = row["status"] != "quarantined"
        # A lie about a count or a size may leave the pictures themselves readable.
        assert not believed or row["frames_read"] <= 50
        assert row["status"] == "ok" or row["reason"]
        assert "\n" not in row["reason"]
        assert "secret" not in row["reason"]
    assert sum(row["status"] == "quarantined" for row in rows) >= len(rows) - 3


def test_memory_stays_under_a_gigabyte(ws: Workspace) -> None:
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from pipeline.footage.verify import verify\n"
        "[verify(Path(name)) for name in sys.argv[1:]]\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"  # KiB on Linux
    )
    files = sorted(str(path) for path in (ws.root / "footage" / "gate").glob("*T1*"))[28:]
    done = subprocess.run(
        [sys.executable, "-c", script, *files], check=True, capture_output=True, text=True
    )
    assert 10_000 < int(done.stdout) < 1_000_000


def test_nothing_but_the_clip_is_opened(ws: Workspace, tmp_path: Path) -> None:
    """Audit every file and socket that Python or FFmpeg opens while verifying, by strace."""
    tracer = "/usr/bin/strace"
    if not Path(tracer).exists():
        pytest.skip("no strace to watch system calls with")
    log = tmp_path / "calls"
    script = (
        "import sys; from pathlib import Path\n"
        "from pipeline.footage.verify import nurseries, verify\n"
        "with nurseries() as warm:\n"
        "    print(len([verify(Path(name), warm=warm) for name in sys.argv[1:]]))"
    )
    # every third: all kinds of playlist, each with another target
    files = sorted(str(path) for path in (ws.root / "footage" / "gate").glob("*T1*"))[::3]
    watch = [tracer, "-f", "-qq", "-e", "trace=openat,open,connect,socket", "-o", str(log)]
    command = [*watch, sys.executable, "-c", script, *files]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(files) > 10
    calls = log.read_text()
    assert all(name in calls for name in files)  # the children are watched, too
    assert "secret" not in calls
    assert "connect(" not in calls
