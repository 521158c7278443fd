"""What all tests share: the optional folder of real footage, and an S3 server."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch is loaded: workers that each use every core, or spin while they wait, starve one
# another; one thread each is faster.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips and photographs with truth; not part of the project."""
    folder = Path(os.environ.get("TRUCK_COUNTER_SHARED_DATA", _BESIDE))
    if not (folder / "clips").is_dir():
        pytest.skip(f"no real footage at {folder}: set TRUCK_COUNTER_SHARED_DATA to test with it")
    return folder


@pytest.fixture(scope="session")
def runs() -> Callable[[int], bool]:
    """Tell whether a process still does anything; one that nobody has reaped does not."""
    from flows import _processes

    return lambda pid: _processes.is_alive({"pid": pid, "started": _processes._started(pid)})


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A server that speaks S3 (moto's), its host and port."""
    from pipeline import loopback

    if importlib.util.find_spec("moto") is None:
        pytest.skip("no S3 server: pip install -e '.[dev]'")
    port = str(loopback.free_port())
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        given_up = time.monotonic() + 60
        while not loopback.is_healthy(f"http://127.0.0.1:{port}/moto-api/"):
            assert server.poll() is None, "moto's server ended"
            assert time.monotonic() < given_up, "moto's server does not answer"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


_BUCKETS = itertools.count(1)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a bucket of the test's own; return the address of a path in it."""
    from pyarrow import fs

    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{next(_BUCKETS)}"
    server = f"scheme=http&endpoint_override={s3_server}"
    maker, _ = fs.FileSystem.from_uri(f"s3://{bucket}?{server}&allow_bucket_creation=true")
    maker.create_dir(bucket)
    return lambda path: f"s3://{bucket}/{path}?{server}"


LONGEST = ("test_demo", "test_server", "test_studio")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that two workers end together."""
    items.sort(key=lambda item: not item.path.stem.startswith(LONGEST))
