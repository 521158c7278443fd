"""What all tests share: the optional folder of real footage."""

from __future__ import annotations

import os
from collections.abc import Callable
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


LONGEST = ("test_demo", "test_server", "test_studio")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that two workers end together."""
    items.sort(key=lambda item: not item.path.stem.startswith(LONGEST))
