"""A model's card, ``card.json``: what it is and how to use it. Needs no torch.

Scoring footage reads the card and runs the exported graph; torch alone would take more memory than
all the rest of it. Weights are :mod:`pipeline.learning.checkpoints`.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import ModelError, NotFoundError
from pipeline.store import Workspace, read_json

WEIGHTS, ONNX, CARD = "model.safetensors", "model.onnx", "card.json"
ONNX_INT8, CARD_PAGE = "model.int8.onnx", "card.md"


def load_card(ws: Workspace, model_id: str) -> dict[str, Any]:
    """Read a model's card.

    Raises:
        NotFoundError: no such model.
        ModelError: it is not a card.
    """
    try:
        card = read_json(ws.model(model_id) / CARD)
    except NotFoundError:
        remedy = f"There is: {', '.join(ws.trained()) or 'none'}."
        raise NotFoundError(f"no such model: {model_id!r}.", remedy) from None
    needed = {"model_id", "arch", "input", "threshold", "temperature", "prior"}
    if not isinstance(card, dict) or not needed <= set(card):
        raise ModelError(f"{ws.model(model_id) / CARD} is not a model card.", "Train anew.")
    return card
