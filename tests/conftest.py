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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that two workers end together."""
    first = ("test_demo", "test_readme", "test_real_clips", "test_server", "test_studio")
    items.sort(key=lambda item: not item.path.stem.startswith(first))


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
