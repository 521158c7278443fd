"""The flow ``label``: campaigns do not stop each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import _steps, label
from pipeline.errors import TruckCounterError


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three open campaigns; the first one's project was deleted on the server."""
    done: list[str] = []

    def pull(root: str, campaign: str) -> dict[str, int]:
        if campaign == "a":
            raise TruckCounterError("project 1 is not there (HTTP 404).", "Push again.")
        done.append(campaign)
        return {"annotations": 1, "gold": 1}

    monkeypatch.setattr(_steps, "world", lambda root: (_Workspace(tmp_path), None))
    monkeypatch.setattr(label, "open_campaigns", lambda ws: ["a", "b", "c"])
    monkeypatch.setattr(_steps, "pull_votes", pull)
    return done


class _Workspace:
    def __init__(self, root: Path) -> None:
        self.root = root

    def campaign_labels(self, campaign: str) -> Path:
        return self.root / campaign


def test_a_campaign_that_fails_stops_no_other(pulled: list[str], tmp_path: Path) -> None:
    state: Any = label.label.fn(str(tmp_path))

    assert pulled == ["b", "c"]
    assert (state.name, state.is_failed()) == ("Incomplete", True)
    assert "a : no labels: project 1 is not there (HTTP 404)." in state.message


def test_votes_on_gold_alone_are_no_labels_yet(pulled: list[str], tmp_path: Path) -> None:
    state: Any = label.label.fn(str(tmp_path), campaign="b")

    assert state.is_completed()
    assert state.result()["labels"] == {"b": {"frames": 0}}
