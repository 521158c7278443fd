"""Searching for training options: Optuna proposes, a training answers, all of it can be resumed.

Every finished trial is kept in ``models/searches/<id>/trials.json``. A proposal depends on the seed
and on the trials before it alone (each trial has a sampler of its own), so a search taken up after
a kill goes on as if never killed, and asking again for as many trials trains nothing. Trials train
in a workspace of their own beside that file: the model in use stays the one in use.

What is minimised is the validation loss; where a recipe cross-fits, which has no validation part,
the Brier score of its held-out answers. The winner's own figures are flattered by having been
chosen: judge it on labels that the search never saw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline import progress, store
from pipeline.errors import InputError
from pipeline.learning.options import TrainOptions
from pipeline.store import Workspace

Row = dict[str, Any]

SPACE: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (3e-4, 2e-2, True),
    "weight_decay": (1e-4, 1e-1, True),
    "dropout": (0.0, 0.4, False),
    "label_smoothing": (0.0, 0.15, False),
    "augment": (0.0, 1.5, False),
}
"""Per option: lowest, highest, and whether it is drawn on a logarithmic scale."""


def search(
    ws: Workspace,
    what: str,
    train: Callable[[Workspace, TrainOptions], str],
    options: TrainOptions,
    trials: int,
) -> Row:
    """Run a search up to ``trials`` trainings; return its ``best`` and all ``trials``.

    Args:
        ws: the workspace; results lie in its ``models/searches``.
        what: names pictures and labels, for the search's id.
        train: trains in a workspace with options and returns the model's id.
        options: what is not searched for; its seed is the search's.
        trials: trainings in all, those of earlier calls included.

    Raises:
        InputError: Optuna is missing.
    """
    said = json.dumps([what, options.as_json(), SPACE], sort_keys=True)
    folder = (
        ws.root / "models" / "searches" / hashlib.blake2b(said.encode(), digest_size=5).hexdigest()
    )
    path = folder / "trials.json"
    rows: list[Row] = store.read_json(path) if path.is_file() else []
    scratch = ws.borrowed(folder / "workspace", "footage", "clips", "frames", "labels")
    while len(rows) < trials:
        settings: dict[str, Any] = proposed(rows, options.seed)
        model_id = train(scratch, replace(options, **settings))
        card = store.read_json(scratch.model(model_id) / "card.json")
        rows.append({"settings": settings, "loss": loss_of(card), "model_id": model_id})
        store.write_json(path, rows)
        progress.note(f"search: trial {len(rows)} of {trials}, loss {rows[-1]['loss']:.4f}")
    return {"best": min(rows, key=lambda row: row["loss"]), "trials": rows, "folder": str(folder)}


def proposed(rows: list[Row], seed: int) -> dict[str, Any]:
    """Return the options to try after the trials in ``rows``.

    Raises:
        InputError: Optuna is missing.
    """
    try:
        import optuna
    except ImportError:
        raise InputError(
            "searching for options needs Optuna, which is not installed.",
            "Install it: pip install 'truck-counter[search]'.",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, Any] = {
        name: optuna.distributions.FloatDistribution(low, high, log=log)
        for name, (low, high, log) in SPACE.items()
    }
    own = (seed * 10_007 + len(rows)) % 2**32
    sampler = optuna.samplers.TPESampler(seed=own, n_startup_trials=8)
    study = optuna.create_study(sampler=sampler)
    for row in rows:
        study.add_trial(
            optuna.trial.create_trial(
                params=row["settings"], distributions=space, value=row["loss"]
            )
        )
    found = study.ask(space).params
    return {name: float(f"{found[name]:.4g}") for name in SPACE}


def loss_of(card: Row) -> float:
    """Return what a trial's model is judged by: validation loss, or Brier score of held-out rows.

    >>> loss_of({"curve": {"final": [{"validation_loss": 0.5}, {"validation_loss": 0.4}]}})
    0.4
    """
    for course in card["curve"].values():
        losses = [row["validation_loss"] for row in course if "validation_loss" in row]
        if losses:
            return float(losses[-1])
    return float(card["metrics"]["brier"]["value"])
