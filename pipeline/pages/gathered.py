"""What a network's page is made from: labelled pictures, a frame asked for, rendered trucks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cameras, store
from pipeline.errors import InputError, NotFoundError
from pipeline.learning import slices
from pipeline.pages import network
from pipeline.pages.network import Judged, Looked
from pipeline.schemas import FRAMES

if TYPE_CHECKING:
    from pipeline.learning.dataset import Labelled
    from pipeline.learning.models import NetSpec, TruckNet
    from pipeline.store import Workspace

Row = dict[str, Any]
Pixels = NDArray[np.uint8]

RENDERED_SEED = 1009  # traffic that no demonstration teaches with
RENDERED = 36


def explain_model(
    ws: Workspace,
    model_id: str,
    *,
    frame: str | None = None,
    campaigns: Sequence[str] = (),
    images: Path | None = None,
    labels: Path | None = None,
    rendered: bool | None = None,
) -> tuple[Path, Row]:
    """Write a network's page; return its path, and the figures on it.

    Args:
        ws: the workspace.
        model_id: which model.
        frame: a frame's id, or a picture file: explain this one.
        campaigns: whose labels to judge by; those that taught the model where nothing is named.
        images: a folder of pictures to judge by, together with
        labels: their label file.
        rendered: measure attention on rendered trucks; without it, where the workspace's cameras
            are the demonstration's.

    Raises:
        NotFoundError: no such model, campaign, frame or picture.
        InputError: there is nothing to explain, or Captum is missing.
    """
    from pipeline.learning import checkpoints
    from pipeline.learning.models import NetSpec

    net, card = checkpoints.load_model(ws, model_id)
    spec = NetSpec(**card["spec"])
    judged = _judged(ws, card, spec, campaigns, images, labels)
    if frame is not None:
        pixels = _frame(ws, spec, frame)
        looked = Looked(pixels, [frame], _p(net, card, pixels))
    elif judged is not None:
        looked = network.examples(judged)
    else:
        raise InputError(
            f"model {model_id} has no labelled pictures here.",
            "Give --frame F, or --images and --labels.",
        )
    if rendered is None:
        rendered = card.get("kind") == "footage" and _is_rendered(ws)
    attention = _attention(net, spec) if rendered else {}
    path = network.write_network(ws, net, card, looked, judged, attention)
    return path, _figures(model_id, judged, attention)


def _figures(model_id: str, judged: Judged | None, attention: Mapping[str, Row]) -> Row:
    found: Row = {"model_id": model_id, "attention": dict(attention)}
    if judged is not None:
        found |= {
            "pictures": len(judged.p),
            "wrong": int(judged.wrong.sum()),
            "worst_slices": [
                {"slice": s.name, "n": s.n, "wrong": s.wrong, **s.error.as_json()}
                for s in network.worst_slices(judged)
            ],
        }
    return found


def _judged(
    ws: Workspace,
    card: Row,
    spec: NetSpec,
    campaigns: Sequence[str],
    images: Path | None,
    labels: Path | None,
) -> Judged | None:
    from pipeline.learning import checkpoints, dataset, taught

    chosen: list[str] = []
    if images and labels:
        if spec.channels != 3:
            raise InputError(
                f"model {card['model_id']} needs each crop's background.", "Name a --campaign."
            )
        labelled = dataset.from_files(images, labels, (spec.height, spec.width))
    else:
        taught_by = [c for c in card.get("campaigns", {}) if ws.campaign_labels(c).is_dir()]
        chosen = list(campaigns) or taught_by
        if not chosen:
            return None
        longest = max(spec.height, spec.width)
        labelled = dataset.from_campaigns(ws, chosen, longest, background=spec.channels == 6)
    known = int(taught.among(ws, card, labelled, chosen).sum())
    labelled = _with_pixels(labelled, dataset.fit_spec(labelled.pixels, spec))
    net, _ = checkpoints.load_model(ws, card["model_id"])
    return Judged(labelled, _p(net, card, labelled.pixels), known, slices.timezones(ws))


def _with_pixels(labelled: Labelled, pixels: Pixels) -> Labelled:
    from dataclasses import replace

    return replace(labelled, pixels=pixels)


def _p(net: TruckNet, card: Row, pixels: Pixels) -> NDArray[np.float64]:
    from pipeline.learning import engines
    from pipeline.learning.calibration import Calibration

    return Calibration.of_card(card).p_truck(engines.torch_engine(net)(pixels))


def _frame(ws: Workspace, spec: NetSpec, frame: str) -> Pixels:
    """Return one picture ``uint8[1, c, h, w]``: a file's, or a sampled frame's by its id."""
    from pipeline.learning import pictures

    def cropped(path: Path) -> Pixels:
        rgb = pictures.read_picture(path)
        return pictures.scaled(rgb, spec.width, spec.height).transpose(2, 0, 1)

    path = Path(frame)
    if path.is_file():
        if spec.channels != 3:
            raise InputError(
                "this model needs each crop's background.", "Give the id of a sampled frame."
            )
        loose = pictures.fitted(pictures.read_picture(path), spec.width, spec.height)
        return np.ascontiguousarray(loose.transpose(2, 0, 1)[None])
    for table in sorted(ws.root.glob("frames/*/frames.parquet")):
        for row in store.read_table(table, FRAMES).to_pylist():
            if row["frame_id"] == frame:
                shown = [row["path"], row["background_path"]][: spec.channels // 3]
                read = [cropped(table.parent / name) for name in shown]
                return np.ascontiguousarray(np.concatenate(read)[None])
    raise NotFoundError(
        f"no such frame or picture: {frame!r}.", "Take an id from a campaign's frames.parquet."
    )


def _is_rendered(ws: Workspace) -> bool:
    from pipeline.scene.sites import default_sites

    return ws.cameras_toml.is_file() and set(cameras.load(ws.cameras_toml).ids) <= {
        site.id for site in default_sites()
    }


def _attention(net: TruckNet, spec: NetSpec) -> dict[str, Row]:
    from pipeline import scene
    from pipeline.learning import attention, explain

    plan = scene.plan(seed=RENDERED_SEED, days=2, training_days=0)
    rendered = attention.render(plan, spec, RENDERED)
    kinds = {"Grad-CAM": explain.grad_cam, "HiResCAM": explain.hires_cam}
    return {name: attention.attention(net, rendered, heat) for name, heat in kinds.items()}
