"""What a model says of a campaign's frames, by their stored crops and backgrounds.

Shown to annotators only when asked for, since it biases them; and, by a model that has not learned
from the campaign, what labels are held against to find those that are probably wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labeling.judging import CURRENT, model_named
from pipeline.errors import InputError
from pipeline.store import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def guesses(ws: Workspace, campaign: str, model_id: str) -> dict[str, float]:
    """Return frame_id → p_truck for every frame of a campaign.

    Raises:
        NotFoundError: there is no such campaign or model.
    """
    from labeling.campaign import read_frames
    from pipeline.learning.infer import Scorer
    from pipeline.learning.pictures import read_picture

    folder, frames = ws.campaign_frames(campaign), read_frames(ws, campaign)
    scorer = Scorer.open(ws, model_id)
    found: dict[str, float] = {}
    for background, of_block in frames.groupby("background_path", sort=True):
        crops: list[NDArray[np.uint8]] = [
            scorer.fitted(read_picture(folder / str(path))) for path in of_block["path"]
        ]
        p = scorer.p_truck(crops, read_picture(folder / str(background)))
        found |= dict(zip(of_block["frame_id"].astype(str), p.tolist(), strict=True))
    return found


def shown_guesses(ws: Workspace, campaign: str) -> dict[str, float]:
    """Return the guesses of the model in use, to be shown.

    Raises:
        InputError: no model is in use.
    """
    model_id = model_named(ws)
    if not model_id:
        raise InputError("no model is in use, so there is no guess to show.", "Train one first.")
    return guesses(ws, campaign, model_id)


def outside_opinion(ws: Workspace, campaign: str, model: str = CURRENT) -> dict[str, float]:
    """Return the guesses of a model that has not learned from the campaign; none by one that has.

    Raises:
        InputError: ``model`` is named, and has learned from the campaign.
        NotFoundError: there is no such model.
    """
    model_id = model_named(ws, model)
    if not model_id:
        return {}
    from pipeline.learning.checkpoints import load_card

    if campaign not in (load_card(ws, model_id).get("campaigns") or {}):
        return guesses(ws, campaign, model_id)
    if model == CURRENT:
        return {}
    raise InputError(
        f"model {model_id!r} has learned from {campaign!r}: it cannot tell that its labels are "
        "wrong.",
        "Name one that has not.",
    )
