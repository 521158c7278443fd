"""What can be told of candidates before a person sees them: is it a truck, and what is it like.

With a model: its probability of a truck, and its penultimate features as the space in which
pictures lie. Without one: no probability, and small grey thumbnails. Either space is reduced to its
main axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from labeling.looking import Seen
from pipeline.store import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES: Final = 8
THUMBNAIL_PX: Final = (16, 12)
NO_MODEL: Final = "none"
CURRENT: Final = "current"


@dataclass(frozen=True)
class Judged:
    """``p_truck`` float[n], None without a model; ``place`` float[n, d ≤ 8] in embedding space."""

    p_truck: NDArray[np.float64] | None
    place: NDArray[np.float64]


Judge = Callable[[Mapping[int, Seen], str, Sequence[tuple[int, float]]], Judged]
"""What was seen, a zone, and candidates by block and offset → what is told of each."""


def judge_of(ws: Workspace, model: str = CURRENT) -> Judge:
    """Return what judges candidates.

    Args:
        ws: the workspace.
        model: a model's id; ``current``: the one in use, where there is one; ``none``.

    Raises:
        NotFoundError: there is no such model.
    """
    name = model_named(ws, model)
    return by_model(ws, name) if name else by_thumbnail


def model_named(ws: Workspace, model: str = CURRENT) -> str:
    """Return a model's id; ``current`` is the one in use. Empty for ``none``, or where none is."""
    if model != CURRENT:
        return "" if model == NO_MODEL else model
    held = ws.current_model
    return held.read_text(encoding="utf-8").strip() if held.is_file() else ""


def by_thumbnail(
    seen: Mapping[int, Seen], zone: str, wanted: Sequence[tuple[int, float]]
) -> Judged:
    """Place candidates by what they look like from afar."""
    looks = [_thumbnail(_picture(seen[i].pictures[zone][offset])) for i, offset in wanted]
    return Judged(None, main_axes(np.array(looks)))


def _thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, THUMBNAIL_PX, interpolation=cv2.INTER_AREA), float).ravel()


def by_model(ws: Workspace, model_id: str) -> Judge:
    """Return what scores candidates with a model and places them by its features.

    A model that came as a graph alone, without weights, shows no features: thumbnails do.
    """
    from pipeline.learning.cards import WEIGHTS
    from pipeline.learning.checkpoints import load_model
    from pipeline.learning.embedding import features_of
    from pipeline.learning.infer import Scorer

    scorer = Scorer.open(ws, model_id)
    whole = (ws.model(model_id) / WEIGHTS).is_file()
    net = load_model(ws, model_id)[0] if whole else None

    def judge(seen: Mapping[int, Seen], zone: str, wanted: Sequence[tuple[int, float]]) -> Judged:
        p_truck = np.zeros(len(wanted))
        features: dict[int, NDArray[np.floating]] = {}
        of_block = np.array([number for number, _ in wanted], np.intp)
        for number in np.unique(of_block).tolist():
            own = np.flatnonzero(of_block == number)
            shown = seen[number].pictures[zone]
            crops = [scorer.fitted(_picture(shown[wanted[i][1]])) for i in own]
            empty = _picture(seen[number].backgrounds[zone])
            p_truck[own] = scorer.p_truck(crops, empty)
            if net is None:
                found = np.array([_thumbnail(crop) for crop in crops])
            else:
                found = features_of(net, scorer.pixels(crops, empty))
            features |= dict(zip(own.tolist(), found, strict=True))
        return Judged(p_truck, main_axes(np.array([features[i] for i in range(len(wanted))])))

    return judge


def main_axes(points: NDArray[np.floating], axes: int = AXES) -> NDArray[np.float64]:
    """Return points ``[n, d]`` on their principal components, the widest first."""
    centred = np.asarray(points, float) - np.mean(points, axis=0)
    _, _, directions = np.linalg.svd(centred.T @ centred, hermitian=True)
    return np.asarray(centred @ directions[:axes].T, float)


def _picture(jpeg: bytes) -> NDArray[np.uint8]:
    import simplejpeg

    return np.asarray(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), np.uint8)
