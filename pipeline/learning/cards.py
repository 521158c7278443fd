"""A model's card, ``card.json``: what it is and how to use it. Needs no torch.

Scoring footage reads the card and runs the exported graph; torch alone would take more memory than
all the rest of it. Weights are :mod:`pipeline.learning.checkpoints`.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import ModelError, NotFoundError
from pipeline.store import Workspace, read_object

WEIGHTS, ONNX, CARD = "model.safetensors", "model.onnx", "card.json"
ONNX_INT8, CARD_PAGE = "model.int8.onnx", "card.md"

ANEW = "Remove the model's folder, then train anew."
"""The remedy where a folder is damaged: training finds a model that has a card, and makes none."""


def load_card(ws: Workspace, model_id: str) -> dict[str, Any]:
    """Read a model's card.

    Raises:
        NotFoundError: no such model.
        StoreError: it is no JSON object.
        ModelError: it is not a card.
    """
    try:
        card = read_object(ws.model(model_id) / CARD)
    except NotFoundError:
        remedy = f"There is: {', '.join(ws.trained()) or 'none'}."
        raise NotFoundError(f"no such model: {model_id!r}.", remedy) from None
    if not _says_enough(card):
        raise ModelError(f"{ws.model(model_id) / CARD} is not a model card.", ANEW)
    return card


def _says_enough(card: dict[str, Any]) -> bool:
    """Tell whether a card holds what scoring reads."""
    if not {"model_id", "arch", "input", "threshold", "temperature", "prior"} <= set(card):
        return False
    prior, temperature = card["prior"], card["temperature"]
    told = isinstance(prior, dict) and {"shown", "natural"} <= set(prior)
    return told and isinstance(temperature, int | float) and temperature > 0
