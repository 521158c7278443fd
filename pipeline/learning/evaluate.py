"""A model against labels it may never have seen: the figures of the ``evaluate`` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import metrics
from pipeline.errors import ModelError
from pipeline.learning import checkpoints, dataset, engines
from pipeline.learning.calibration import Calibration
from pipeline.learning.dataset import Labelled
from pipeline.learning.models import NetSpec
from pipeline.store import Workspace


def evaluate_images(
    ws: Workspace, model_id: str, images_dir: Path, labels_csv: Path, engine: str = "auto"
) -> dict[str, Any]:
    """Judge a model on loose pictures; see :func:`pipeline.metrics.evaluation` for the figures."""
    spec = _input_of(checkpoints.load_card(ws, model_id))
    if spec.channels != 3:
        raise ModelError(
            f"model {model_id} needs each crop's background.", "Evaluate it on a campaign."
        )
    shape = (spec.height, spec.width)
    return _judged(ws, model_id, dataset.from_files(images_dir, labels_csv, shape), engine)


def evaluate_campaigns(
    ws: Workspace, model_id: str, campaigns: Sequence[str], engine: str = "auto"
) -> dict[str, Any]:
    """Judge a model on campaigns' resolved labels, weighted to the road's own mix of instants."""
    spec = _input_of(checkpoints.load_card(ws, model_id))
    size = max(spec.height, spec.width)
    labelled = dataset.from_campaigns(ws, campaigns, size, background=spec.channels == 6)
    return _judged(ws, model_id, labelled, engine)


def _judged(ws: Workspace, model_id: str, labelled: Labelled, engine: str) -> dict[str, Any]:
    card = checkpoints.load_card(ws, model_id)
    run = engines.open_engine(ws, model_id, engine)
    pixels = dataset.fit_spec(labelled.pixels, _input_of(card))
    p = Calibration.of_card(card).p_truck(run(pixels))
    figures = metrics.evaluation(labelled.truth, p, float(card["threshold"]), labelled.weight)
    return {"model_id": model_id, **figures}


def _input_of(card: dict[str, Any]) -> NetSpec:
    """Return the shape a model takes, be it an ONNX graph and no network of ours."""
    shape = card["input"]
    return NetSpec(channels=shape["channels"], height=shape["height"], width=shape["width"])
