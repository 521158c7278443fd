"""Prefect's temporary server: whether one is wanted, and what is said where it does not come up."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from flows import _temporary
from pipeline.errors import ConfigError, TruckCounterError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a home in which nothing names a server, for a process without Prefect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    asked = types.SimpleNamespace(server=lambda: "http://there/api")
    monkeypatch.setitem(sys.modules, "flows._prefect", asked)  # type: ignore[arg-type]
    monkeypatch.setattr("flows._prefect", asked, raising=False)
    return tmp_path


def test_prefect_is_asked_only_where_a_file_may_name_a_server(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _temporary.named()
    (nowhere / "pyproject.toml").write_text('[project]\nname = "else"\n')
    assert not _temporary.named()
    for name, text in {
        "pyproject.toml": '[tool.prefect.api]\nurl = "http://there/api"\n',
        "prefect.toml": "",
        ".env": "",
        "home/profiles.toml": "",
    }.items():
        path = nowhere / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert _temporary.named(), name
        path.unlink()
    assert not _temporary.named()
    monkeypatch.setenv("PREFECT_API_URL", "http://there/api")
    assert _temporary.named()


def test_a_server_that_is_forbidden_or_fails_is_one_line(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_temporary, "_APP", "no.such:app")
    monkeypatch.setattr(_temporary._processes, "leave_nothing_behind", lambda: None)
    _temporary._started.cache_clear()
    failed = r"ended with 1 while it started.*truck-counter up"
    with pytest.raises(TruckCounterError, match=failed), _temporary.server():
        pass
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
    with pytest.raises(ConfigError, match=r"forbids one.*PREFECT_API_URL"), _temporary.server():
        pass
