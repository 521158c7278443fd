"""Runs in MLflow, read back through MLflow's own client from a real SQLite store."""

import datetime as dt
import json
import os
import sys
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.learning import tracking
from pipeline.store import Workspace

CARD = {
    "model_id": "lenet5-0123456789",
    "arch": "lenet5",
    "threshold": 0.5,
    "temperature": 1.0,
    "prior": {"shown": 0.5, "natural": 0.5, "bias": 0.0},
    "kind": "thumbnail",
    "label_set_id": "abc",
    "options": {"arch": "lenet5", "epochs": 2, "learning_rate": 0.002, "weights": None},
    "parameters": 61_706,
    "split": {"train": 80, "validation": 10, "test": 10},
    "labels": {"truck": 50, "n": 100},
    "versions": {"torch": "2"},
    "input": {"height": 32},
    "held_out_from": "validation and test",
    "metrics": {"n": 20, "ece": None, "accuracy": {"value": 0.9, "lo": 0.7, "hi": 0.97}},
    "curve": {"measured": [{"loss": 0.7, "rate": 0.1}, {"loss": 0.4, "rate": 0.02}]},
    "seconds": 30.5,
}
ENDED = dt.datetime(2026, 3, 6, 12, tzinfo=dt.UTC).timestamp()


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("TRUCK_COUNTER_MLFLOW", raising=False)
    return Workspace(tmp_path / "world")


def trained(ws: Workspace, **changes: object) -> str:
    """Leave the two cards of a model behind, written at noon of 6 March 2026."""
    card = CARD | changes
    folder = ws.model(str(card["model_id"]))
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "card.md").write_text("# a card", encoding="utf-8")
    os.utime(folder / "card.json", (ENDED, ENDED))
    return str(card["model_id"])


def runs(uri: str) -> list:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("truck-counter")
    return [] if experiment is None else client.search_runs([experiment.experiment_id])


def test_a_run_holds_options_curves_figures_and_both_cards_and_is_told_once(ws: Workspace) -> None:
    mlflow = pytest.importorskip("mlflow")
    model_id = trained(ws)
    assert tracking.record(ws, [model_id]) == {model_id: True}
    assert tracking.record(ws, [model_id]) == {model_id: False}

    uri = f"sqlite:///{ws.root / 'mlflow.db'}"
    (run,) = runs(uri)
    assert (run.info.run_name, run.info.status) == (model_id, "FINISHED")
    assert run.info.end_time - run.info.start_time == 30_500
    assert run.info.end_time == int(ENDED * 1000)
    params = run.data.params
    assert (params["learning_rate"], params["split.test"], params["labels.n"]) == (
        "0.002",
        "10",
        "100",
    )
    figures = run.data.metrics
    assert figures["measured/loss"] == 0.4  # the last
    assert (figures["held_out/accuracy"], figures["held_out/accuracy.lo"]) == (0.9, 0.7)
    assert "held_out/ece" not in figures
    client = mlflow.MlflowClient(tracking_uri=uri)
    curve = client.get_metric_history(run.info.run_id, "measured/loss")
    assert [(m.step, m.value) for m in curve] == [(1, 0.7), (2, 0.4)]
    kept = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert kept == {"card.json", "card.md"}
    assert list((ws.root / "mlflow").rglob("card.md"))


def test_a_curve_longer_than_one_request_arrives_whole(ws: Workspace) -> None:
    mlflow = pytest.importorskip("mlflow")
    rows = [{"loss": 1.0 / epoch, "accuracy": 0.5} for epoch in range(1, 701)]
    tracking.record(ws, [trained(ws, curve={"final": rows})])
    uri = f"sqlite:///{ws.root / 'mlflow.db'}"
    (run,) = runs(uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert len(client.get_metric_history(run.info.run_id, "final/loss")) == 700


def test_what_was_cut_short_is_told_anew(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    model_id = trained(ws)

    def killed(_card: object) -> list:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(tracking, "figures_of", killed)
        with pytest.raises(KeyboardInterrupt):
            tracking.record(ws, [model_id])
    uri = f"sqlite:///{ws.root / 'mlflow.db'}"
    assert [run.info.status for run in runs(uri)] == ["RUNNING"]
    assert tracking.record(ws, [model_id]) == {model_id: True}
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["held_out/n"] == 20


def test_only_who_names_a_store_gets_runs_without_asking(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    model_id = trained(ws)
    tracking.record_if_asked(ws, model_id)
    assert not (ws.root / "mlflow.db").exists()
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("TRUCK_COUNTER_MLFLOW", uri)
    tracking.record_if_asked(ws, model_id)
    assert [run.info.run_name for run in runs(uri)] == [model_id]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "carrier-pigeon://x"])
def test_a_store_that_cannot_be_used_is_one_line(
    ws: Workspace, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match="models track") as error:
        tracking.record(ws, [trained(ws)], uri)
    assert "\n" not in str(error.value)
    assert uri.split("//")[1] in str(error.value)


def test_without_mlflow_the_remedy_is_named(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"truck-counter\[mlflow\]"):
        tracking.record(ws, [trained(ws)])
