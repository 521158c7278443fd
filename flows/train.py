"""Labels → a model: ``train`` makes one and puts it in use, ``retrain`` keeps only a better one.

A challenger replaces the champion only where it judges the same held-out labels better (a lower
Brier score); the splice shows in the published rows' ``model_id`` and ``revision_reason``.
"""

from __future__ import annotations

from typing import Any

from flows import _steps
from flows._prefect import artifacts, flow
from pipeline import daily, schemas, store
from pipeline.errors import InputError
from pipeline.learning import checkpoints
from pipeline.store import Workspace

Row = dict[str, Any]


@flow(name="train")
def train(
    root: str, campaigns: list[str], arch: str = "auto", epochs: int | None = None, seed: int = 0
) -> Row:
    """Train on campaigns' labels; return ``{"model_id"}``. Same labels and options, same model."""
    return {"model_id": _steps.train_campaigns(root, campaigns, arch, epochs, seed)}


@flow(name="retrain")
def retrain(
    root: str,
    campaigns: list[str],
    held_out: list[str],
    enough: int = 200,
    arch: str = "auto",
    epochs: int | None = None,
) -> Row:
    """Train a challenger once there are ``enough`` new labels; keep the better of the two.

    Args:
        root: the workspace.
        campaigns: what to learn from.
        held_out: campaigns both are judged by; none may be among ``campaigns``.
        enough: resolved labels beyond those of the champion from which on it is worth trying.
        arch: network, as of ``truck-counter train``.
        epochs: passes over the pictures.
    """
    if both := sorted(set(campaigns) & set(held_out)):
        raise InputError(f"campaign {both[0]!r} is to teach and to judge.", "Name it once.")
    ws, _ = _steps.world(root)
    champion = daily.model_in_use(ws)
    new = resolved_labels(ws, campaigns) - checkpoints.load_card(ws, champion)["labels"]["n"]
    result: Row = {"champion": champion, "new_labels": new, "challenger": None}
    if new < enough:
        return result | {"model_id": champion, "why": f"{new} new label(s), fewer than {enough}"}
    challenger = _steps.train_campaigns(root, campaigns, arch, epochs, 0)
    scores = {m: _steps.brier(root, m, held_out) for m in (champion, challenger)}
    kept = challenger if scores[challenger] < scores[champion] else champion
    checkpoints.set_current(ws, kept)
    why = ", ".join(f"{m} Brier {score:.4f}" for m, score in scores.items())
    artifacts.create_markdown_artifact(key="retrain", markdown=f"# in use: {kept}\n\n{why}")
    return result | {"challenger": challenger, "model_id": kept, "why": why}


def resolved_labels(ws: Workspace, campaigns: list[str]) -> int:
    """Count the labels of campaigns that say truck or no truck."""
    tables = [
        store.read_table(ws.campaign_labels(name) / "labels.parquet", schemas.LABELS)
        for name in campaigns
    ]
    return sum(table.num_rows - table["label"].null_count for table in tables)
