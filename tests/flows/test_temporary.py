"""Prefect's temporary server: whether one is wanted, and what is said where it does not come up.

Each in a process of its own, because what has been imported decides.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import _temporary

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run Python where nothing names a server."""

    def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
        known = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        known |= {"PREFECT_HOME": str(tmp_path / "home"), **env}
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, env=known, capture_output=True, text=True, check=False
        )

    return run


NAMED = "import sys; from flows import _temporary as t; print(t.named(), 'prefect' in sys.modules)"


def test_prefect_is_not_imported_where_nothing_can_name_a_server(python: Python) -> None:
    assert python(NAMED).stdout == "False False\n"
    assert python(NAMED, PREFECT_API_URL="http://there/api").stdout == "True False\n"


def test_a_server_named_in_a_file_is_the_one(python: Python, tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://there/api"\n')
    assert python(NAMED).stdout == "True True\n"
    (tmp_path / "prefect.toml").write_text('[logging]\nlevel = "ERROR"\n')
    assert python(NAMED).stdout == "False True\n"


def test_every_file_of_settings_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert not _temporary._settings_are_there()
    (tmp_path / "home").mkdir()
    for name in ("prefect.toml", ".env", "home/profiles.toml", "pyproject.toml"):
        (tmp_path / name).write_text("[tool.prefect.api]\n")
        assert _temporary._settings_are_there(), name
        (tmp_path / name).unlink()


def test_a_server_that_fails_or_is_forbidden_is_told_of(python: Python) -> None:
    enter = "from flows import _temporary as t; t._APP = 'no.such:app'; t.at_hand().__enter__()"
    failed = python(enter).stderr
    assert "the temporary Prefect server ended while it started." in failed, failed
    forbidden = python(enter, PREFECT_SERVER_EPHEMERAL_ENABLED="off").stderr
    assert "PREFECT_SERVER_EPHEMERAL_ENABLED forbids one" in forbidden, forbidden
