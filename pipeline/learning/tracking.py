"""Training runs in MLflow (extra ``mlflow``), told from model cards: each once, however often told.

A card holds all of a run (options, labels, curves, held-out figures), so that models trained before
MLflow was there, or while its server was away, are recorded afterwards just the same.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.learning import checkpoints
from pipeline.learning.cards import CARD_PAGE
from pipeline.settings import read_settings
from pipeline.store import Workspace

EXPERIMENT = "truck-counter"
MODEL_TAG = "truck_counter.model_id"
AT_ONCE = 500  # figures in one request; the server's limit is 1,000


def record_if_asked(ws: Workspace, model_id: str) -> None:
    """Record a model where ``TRUCK_COUNTER_MLFLOW`` names a store.

    Raises:
        ConfigError: as :func:`record`; the model itself is safe.
    """
    if read_settings().mlflow:
        record(ws, [model_id])


def record(ws: Workspace, model_ids: Iterable[str], uri: str | None = None) -> dict[str, bool]:
    """Record models that are not recorded yet; return for each whether it is new there.

    ``uri`` is a tracking store as MLflow names them (``sqlite:///…``, ``http://…``); by default
    what ``TRUCK_COUNTER_MLFLOW`` says, or else ``mlflow.db`` in the workspace. A run is called
    after its model, begins and ends when that was trained, and holds its options, its figures
    (curves by epoch), and both cards.

    Raises:
        ConfigError: MLflow is not installed, or its store cannot be used.
        ModelError: a model's card cannot be read.
    """
    cards = {model_id: checkpoints.load_card(ws, model_id) for model_id in model_ids}
    uri = uri or read_settings().mlflow or f"sqlite:///{(ws.root / 'mlflow.db').resolve()}"
    mlflow = _mlflow()
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, ws, uri)
        return {m: _recorded(client, experiment, ws.model(m), card) for m, card in cards.items()}
    except (mlflow.exceptions.MlflowException, OSError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"MLflow's store could not be used: {said}",
            "Mend what TRUCK_COUNTER_MLFLOW or --uri names, then: truck-counter models track.",
        ) from None


def _mlflow() -> Any:  # noqa: ANN401 - an optional module
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report home
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its 7 take five minutes
    try:
        import mlflow
    except ImportError:
        raise ConfigError(
            "recording runs needs MLflow, which is not installed.",
            "Install it: pip install 'truck-counter[mlflow]'.",
        ) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _experiment(client: Any, ws: Workspace, uri: str) -> str:  # noqa: ANN401
    """Return the experiment's id; of a SQLite store the artifacts lie in the workspace."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    place = (ws.root / "mlflow").resolve().as_uri() if uri.startswith("sqlite:") else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=place))


def _recorded(client: Any, experiment: str, folder: Path, card: dict[str, Any]) -> bool:  # noqa: ANN401
    """Record one model unless a finished run tells of it; what was cut short is told anew."""
    for run in client.search_runs([experiment], f"tags.`{MODEL_TAG}` = '{card['model_id']}'"):
        if run.info.status == "FINISHED":
            return False
        client.delete_run(run.info.run_id)
    ended_ms = int((folder / checkpoints.CARD).stat().st_mtime * 1000)
    began_ms = ended_ms - int(card.get("seconds", 0) * 1000)
    tags = {MODEL_TAG: card["model_id"], "label_set_id": str(card.get("label_set_id"))}
    run = client.create_run(experiment, began_ms, tags, run_name=card["model_id"])
    _log(client, run.info.run_id, card, ended_ms)
    for name in (CARD_PAGE, checkpoints.CARD):
        if (folder / name).is_file():
            client.log_artifact(run.info.run_id, str(folder / name))
    client.set_terminated(run.info.run_id, "FINISHED", ended_ms)
    return True


def _log(client: Any, run_id: str, card: dict[str, Any], at_ms: int) -> None:  # noqa: ANN401
    from mlflow.entities import Metric, Param

    client.log_batch(run_id, params=[Param(k, str(v)) for k, v in params_of(card).items()])
    metrics = [Metric(key, value, at_ms, epoch) for key, value, epoch in figures_of(card)]
    for i in range(0, len(metrics), AT_ONCE):
        client.log_batch(run_id, metrics=metrics[i : i + AT_ONCE])


def params_of(card: dict[str, Any]) -> dict[str, Any]:
    """Return what was set and given: options, sizes, versions."""
    parts = {"split": "split", "labels": "labels", "version": "versions", "input": "input"}
    given = {f"{name}.{k}": v for name, key in parts.items() for k, v in card.get(key, {}).items()}
    rest = {k: card[k] for k in ("kind", "parameters", "processes", "held_out_from") if k in card}
    return {**card.get("options", {}), **given, **rest}


def figures_of(card: dict[str, Any]) -> list[tuple[str, float, int]]:
    """Return what came of it as (name, value, epoch): each network's curve, held-out figures.

    >>> card = {"curve": {"teacher 1 of 2": [{"loss": 0.7}, {"loss": 0.4}]},
    ...         "metrics": {"n": 9, "ece": None, "auc": {"value": 0.9, "lo": 0.8, "hi": 1.0}}}
    >>> for figure in figures_of(card):
    ...     print(*figure)
    teacher 1 of 2/loss 0.7 1
    teacher 1 of 2/loss 0.4 2
    held_out/n 9.0 0
    held_out/auc 0.9 0
    held_out/auc.lo 0.8 0
    held_out/auc.hi 1.0 0
    """
    found = [
        (f"{network}/{key}", value, epoch)
        for network, curve in card.get("curve", {}).items()
        for epoch, row in enumerate(curve, start=1)
        for key, value in row.items()
    ]
    for key, said in card.get("metrics", {}).items():
        parts = said if isinstance(said, dict) else {"value": said}
        for part, value in parts.items():
            found.append((f"held_out/{key}" + ("" if part == "value" else f".{part}"), value, 0))
    return [(name, float(value), epoch) for name, value, epoch in found if value is not None]
