"""A model against labels it may never have seen: the figures of the ``evaluate`` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.errors import InputError, ModelError
from pipeline.learning import checkpoints, dataset, taught
from pipeline.learning.dataset import Labelled
from pipeline.learning.infer import Scorer
from pipeline.learning.models import NetSpec
from pipeline.progress import note
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
    return _judged(ws, model_id, _labelled(ws, campaigns, scorer), scorer, campaigns)


def brier_scores(
    ws: Workspace, model_ids: Sequence[str], campaigns: Sequence[str]
) -> dict[str, float]:
    """Judge models by the same labels of campaigns: those from which none of them has learned.

    Two campaigns of the same days share frames, so a campaign that taught nobody is not enough.

    Raises:
        InputError: each label has taught one of the models.
    """
    said: dict[str, NDArray[np.float64]] = {}
    seen: list[NDArray[np.bool_]] = []
    for model_id in dict.fromkeys(model_ids):
        scorer = Scorer.open(ws, model_id)
        labelled = _labelled(ws, campaigns, scorer)
        said[model_id] = _p_truck(labelled, scorer)
        card = checkpoints.load_card(ws, model_id)
        seen.append(taught.among(ws, card, labelled, campaigns))
    fresh = ~np.any(seen, axis=0)
    if not fresh.any():
        raise InputError(
            f"each label of {', '.join(campaigns)} has taught {' or '.join(said)}.",
            "Hold another campaign out: frames of other days, never trained on.",
        )
    if left := int((~fresh).sum()):
        note(f"{left} of {len(fresh)} held-out label(s) left out: they taught {' or '.join(said)}")
    truth, weight = labelled.truth[fresh], labelled.weight[fresh]
    return {name: float(metrics.brier(truth, p[fresh], weight).value) for name, p in said.items()}


def _labelled(ws: Workspace, campaigns: Sequence[str], scorer: Scorer) -> Labelled:
    size = max(scorer.height, scorer.width)
    return dataset.from_campaigns(ws, campaigns, size, background=scorer.needs_background)


def _p_truck(labelled: Labelled, scorer: Scorer) -> NDArray[np.float64]:
    spec = NetSpec(channels=scorer.channels, height=scorer.height, width=scorer.width)
    return scorer.calibration.p_truck(scorer.engine(dataset.fit_spec(labelled.pixels, spec)))


def _judged(
    ws: Workspace,
    model_id: str,
    labelled: Labelled,
    scorer: Scorer,
    campaigns: Sequence[str] = (),
) -> dict[str, Any]:
    p = _p_truck(labelled, scorer)
    card = checkpoints.load_card(ws, model_id)
    figures = metrics.evaluation(labelled.truth, p, float(card["threshold"]), labelled.weight)
    known = taught.among(ws, card, labelled, campaigns)
    return {"model_id": model_id, "taught": int(known.sum()), **figures}
