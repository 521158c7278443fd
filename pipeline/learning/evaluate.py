"""A model against labels it may never have seen: the figures of the ``evaluate`` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import metrics
from pipeline.errors import ModelError
from pipeline.learning import checkpoints, dataset, taught
from pipeline.learning.dataset import Labelled
from pipeline.learning.infer import Scorer
from pipeline.learning.models import NetSpec
from pipeline.store import Workspace


def evaluate_images(
    ws: Workspace, model_id: str, images_dir: Path, labels_csv: Path, engine: str = "auto"
) -> dict[str, Any]:
    """Judge a model on loose pictures; see :func:`pipeline.metrics.evaluation` for the figures."""
    scorer = Scorer.open(ws, model_id, engine)
    if scorer.needs_background:
        raise ModelError(
            f"model {model_id} needs each crop's background.", "Evaluate it on a campaign."
        )
    shape = (scorer.height, scorer.width)
    return _judged(ws, model_id, dataset.from_files(images_dir, labels_csv, shape), scorer)


def evaluate_campaigns(
    ws: Workspace, model_id: str, campaigns: Sequence[str], engine: str = "auto"
) -> dict[str, Any]:
    """Judge a model on campaigns' resolved labels, weighted to the road's own mix of instants.

    ``taught`` tells from how many of them the model has learned: then the figures flatter.
    """
    scorer = Scorer.open(ws, model_id, engine)
    size = max(scorer.height, scorer.width)
    labelled = dataset.from_campaigns(ws, campaigns, size, background=scorer.needs_background)
    return _judged(ws, model_id, labelled, scorer, campaigns)


def _judged(
    ws: Workspace,
    model_id: str,
    labelled: Labelled,
    scorer: Scorer,
    campaigns: Sequence[str] = (),
) -> dict[str, Any]:
    spec = NetSpec(channels=scorer.channels, height=scorer.height, width=scorer.width)
    p = scorer.calibration.p_truck(scorer.engine(dataset.fit_spec(labelled.pixels, spec)))
    card = checkpoints.load_card(ws, model_id)
    figures = metrics.evaluation(labelled.truth, p, float(card["threshold"]), labelled.weight)
    known = taught.among(ws, card, labelled, campaigns)
    return {"model_id": model_id, "taught": int(known.sum()), **figures}
