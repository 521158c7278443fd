"""The flow ``label``: campaigns do not stop each other."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows import _steps, label
from flows.cli import cli
from labeling import campaign
from labeling.ledger import Ledger
from pipeline import schemas, store
from pipeline.errors import StoreError, TruckCounterError
from pipeline.store import Workspace


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


def test_a_damaged_ledger_hides_no_other_campaign(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    for name, content in (("a", b"{}"), ("b", b"[]"), ("c", b'{"url"'), ("d", None)):
        path = ws.campaign_labels(name) / "label_studio.json"
        Ledger(path, "http://127.0.0.1:1", "k").write()
        if content is not None:
            path.write_bytes(content)
            with pytest.raises(StoreError, match=str(path)):
                Ledger.read(ws, name)
    Ledger(ws.campaign_labels("e") / "label_studio.json", "", "k", closed=True).write()
    assert label.open_campaigns(ws) == ["a", "b", "c", "d"]


def test_labels_are_made_by_the_method_that_somebody_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every quarter of an hour, and at the end; at first by the usual one."""
    ws = Workspace(tmp_path)
    start = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    text = dict.fromkeys(schemas.FRAMES.names, "") | {"frame_id": "f"}
    frame = text | {"captured_at": start, "offset_s": 0.0, "weight": 1.0}
    path = ws.campaign_frames("spring") / "frames.parquet"
    store.write_table(path, store.table_of([frame], schemas.FRAMES), schemas.FRAMES)
    vote = {"frame_id": "f", "worker": "ann", "label": "truck", "source": "import"}
    campaign.add_annotations(ws, "spring", [vote | {"annotated_at": None, "seconds_spent": None}])
    monkeypatch.setattr(_steps, "world", lambda root: (ws, None))
    monkeypatch.setattr(_steps, "aggregate_labels", _steps.aggregate_labels.fn)
    monkeypatch.setattr(_steps, "close_campaign", lambda *_: {})
    monkeypatch.setattr(label, "_table", lambda *_: None)

    assert label.label.fn(str(tmp_path), "spring", pull=False).is_completed()
    quality = ws.campaign_labels("spring") / "quality.json"
    assert store.read_json(quality)["method"] == "dawid_skene"
    campaign.aggregate(ws, "spring", "majority")
    label.label.fn(str(tmp_path), "spring", pull=False)
    assert store.read_json(quality)["method"] == "majority"
    assert label.label_close.fn(str(tmp_path), "spring")["method"] == "majority"
    by_hand = ["label", "aggregate", "spring", "--root", str(tmp_path)]
    assert CliRunner().invoke(cli, by_hand).exit_code == 0
    assert store.read_json(quality)["method"] == "majority"
    assert CliRunner().invoke(cli, [*by_hand, "--method", "glad"]).exit_code == 0
    assert store.read_json(quality)["method"] == "glad"


def test_votes_on_gold_alone_are_no_labels_yet(pulled: list[str], tmp_path: Path) -> None:
    state: Any = label.label.fn(str(tmp_path), campaign="b")

    assert state.is_completed()
    assert state.result()["labels"] == {"b": {"frames": 0}}
