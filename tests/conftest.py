"""What all tests share: the optional folder of real footage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips and photographs with truth; not part of the project."""
    folder = Path(os.environ.get("TRUCK_COUNTER_SHARED_DATA", _BESIDE))
    if not (folder / "clips").is_dir():
        pytest.skip(f"no real footage at {folder}: set TRUCK_COUNTER_SHARED_DATA to test with it")
    return folder


LONGEST = ("test_demo", "test_readme", "test_server", "test_real_clips", "test_studio")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests on one worker, so that what they share is made once; longest first."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))
    items.sort(key=lambda item: not item.path.stem.startswith(LONGEST))


DEMO_DAYS = 5
Demo = tuple[Path, dict[str, Any], float, Callable[[], tuple[dict[str, Any], float]]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A shorter demonstration, run as a user runs it: root, result, seconds, and a way to rerun."""
    root = tmp_path_factory.mktemp("demo")

    def run() -> tuple[dict[str, Any], float]:
        started = time.perf_counter()
        command = ["demo", "--days", str(DEMO_DAYS), "--root", str(root), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert len(done.stdout.splitlines()) == 1
        return json.loads(done.stdout), time.perf_counter() - started

    return (root, *run(), run)
