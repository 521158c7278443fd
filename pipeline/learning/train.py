"""Labels in, a model folder out: ``train_images`` (loose pictures), ``train_campaigns`` (zones).

The id of a model is a digest of its labels, pictures, options and seed: the same call again finds
the folder and trains nothing. Held-out figures come from pictures the network they judge never saw:
a validation and a test part where labels are many (:mod:`pipeline.learning.training`),
cross-fitting where they are few (:mod:`pipeline.learning.crossfit`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import digests
from pipeline.errors import InputError
from pipeline.learning import checkpoints, dataset, engines, idle, recipes, rendered, taught
from pipeline.learning.card_page import as_markdown
from pipeline.learning.cards import CARD_PAGE
from pipeline.learning.crossfit import CrossFitting
from pipeline.learning.dataset import Labelled
from pipeline.learning.models import default_size
from pipeline.learning.options import TrainOptions
from pipeline.learning.recipes import Kind
from pipeline.learning.training import Training, days_of, spec_of
from pipeline.learning.unlabelled import footage_at_hand
from pipeline.progress import note
from pipeline.store import Workspace, write_bytes, write_json

FOOTAGE_RECIPE, LOOSE_RECIPE = 20, 18  # raised when the same options begin to mean another training


def train_images(
    ws: Workspace, images_dir: Path, labels_csv: Path, options: TrainOptions | None = None
) -> str:
    """Train on loose pictures and their label file; return the model's id and make it current.

    Raises:
        InputError: options, pictures or labels are unfit (:func:`dataset.from_files`).
    """
    options = options or TrainOptions()
    large = dataset.are_photographs(images_dir, labels_csv)
    kind: Kind = "photograph" if large else "thumbnail"
    idle.refuse(options, kind)
    options = _as_wide_as_its_start(ws, options)
    size = options.size or default_size(options.arch) or recipes.side(kind, options.arch)
    options = replace(options, size=size)
    labelled = dataset.from_files(images_dir, labels_csv, size)
    return _train(ws, labelled, recipes.resolve(options, kind, len(labelled)), kind)


def train_campaigns(
    ws: Workspace,
    campaigns: Sequence[str],
    options: TrainOptions | None = None,
    *,
    set_current: bool = True,
) -> str:
    """Train on the resolved labels of campaigns; return the model's id and make it current.

    Footage's own network goes on from shipped weights, unless ``options`` name others or ``none``.
    Without ``set_current`` the model in use stays in use: a challenger is judged first.

    Raises:
        NotFoundError: a campaign, its frames or its labels are not there.
        InputError: nothing is resolved, or all labels are alike.
    """
    options = options or TrainOptions()
    idle.refuse(options, "footage")
    options = _as_wide_as_its_start(ws, options)
    size = options.size or default_size(options.arch)
    background = recipes.resolve(options, "footage", 1).background
    labelled = dataset.from_campaigns(ws, campaigns, size, background=bool(background))
    footage = footage_at_hand(ws, days_of(ws, labelled))
    if not footage:  # nor anything unlabelled
        options = _by_labels_alone(options)
    resolved = recipes.resolve(options, "footage", len(labelled))
    return _train(
        ws, labelled, resolved, "footage", campaigns, footage=footage, set_current=set_current
    )


def _by_labels_alone(options: TrainOptions) -> TrainOptions:
    """Do without unlabelled instants, unless they were asked for."""
    for name in ("self_training", "finish"):
        if given := getattr(options, name):
            raise InputError(
                f"{name} is {given}, but no footage of the labelled days is at hand.",
                f"Leave out --{name.replace('_', '-')}, or ingest that footage.",
            )
    return replace(options, self_training=0)


def model_id_of(
    ws: Workspace,
    labelled: Labelled,
    options: TrainOptions,
    kind: Kind,
    footage: Sequence[Any] = (),
) -> str:
    """Return the id that these labels, options and :func:`footage_at_hand` give.

    Weights of a model or from a file enter by their content, wherever they lie.

    Raises:
        NotFoundError: there are no such weights.
    """
    told, content = options.as_json(), checkpoints.content_of(ws, options.weights)
    if content is not None:
        told["weights"] = None
    recipe = FOOTAGE_RECIPE if kind == "footage" else LOOSE_RECIPE
    parts = [recipe, labelled.label_set_id, told, list(footage), content]
    said = json.dumps(parts, sort_keys=True)
    return f"{options.arch}-{hashlib.blake2b(said.encode(), digest_size=5).hexdigest()}"


def _as_wide_as_its_start(ws: Workspace, options: TrainOptions) -> TrainOptions:
    """Take ``widen``, where it is not given, from the model whose weights are gone on from."""
    spec = checkpoints.card_beside(ws, options.weights).get("spec")
    if options.widen is not None or spec is None:
        return options
    return replace(options, widen=float(spec.get("widen", 1.0)))


def _train(
    ws: Workspace,
    labelled: Labelled,
    options: TrainOptions,
    kind: Kind,
    campaigns: Sequence[str] = (),
    *,
    footage: Sequence[Any] = (),
    set_current: bool = True,
) -> str:
    options, schooling = _started(labelled, options, kind)
    read = footage if options.rounds and options.self_training else ()
    model_id = model_id_of(ws, labelled, options, kind, read)
    if not (ws.model(model_id) / checkpoints.CARD).is_file():
        if schooling is not None:
            schooling.hold(ws)
        _teach(ws, labelled, options, kind, model_id, campaigns)
    elif set_current:  # a challenger's engine is left alone: it may be the model in use
        sample = engines.mixed(np.arange(len(labelled)), engines.SAMPLE)
        _run_by(ws, model_id, options.engine, labelled.pixels[sample])
    if set_current:
        checkpoints.set_current(ws, model_id)
    return model_id


def _started(
    labelled: Labelled, options: TrainOptions, kind: Kind
) -> tuple[TrainOptions, rendered.Schooling | None]:
    """Settle what networks go on from, and how those weights are had where roads teach them.

    No word is a fresh start for loose pictures; for footage it is what is shipped, and ``none``
    where nothing fits, so that a card's options make the same model anywhere.
    """
    asked = options.weights
    if kind != "footage" and asked in (None, "none"):
        return replace(options, weights=None), None
    if asked is not None and not asked.startswith("scene"):
        return options, None
    roads = rendered.Schooling.of(options, spec_of(labelled, options))
    if asked is None:
        if not roads.shipped.is_file():
            note(f"train {options.arch}: starts afresh: no weights of such a network are shipped")
            return replace(options, weights="none"), None
        note(f"train {options.arch}: starts from shipped weights (--weights none: afresh)")
    elif asked not in ("scene", roads.name):  # a card shows the name; others are files
        return options, None
    return replace(options, weights=roads.name), roads


def _run_by(ws: Workspace, model_id: str, engine: str, sample: NDArray[np.uint8]) -> None:
    """Have a model that is there already run by an engine, and say so where it was another.

    ``auto`` is the fastest, as measured when the model was made; ``sample`` is for quantising.
    """
    card = checkpoints.load_card(ws, model_id)
    if engine == "auto":
        engine = engines.chosen(card["engines"])
    if engine != card["engine"]:
        graph = (ws.model(model_id) / checkpoints.ONNX).read_bytes()
        engines.save_quantised(ws, model_id, engine, graph, sample)
        note(f"{model_id}: scored by {engine} from now on, before by {card['engine']}")
        card |= {"engine": engine}
        write_bytes(ws.model(model_id) / CARD_PAGE, as_markdown(card).encode())
        write_json(ws.model(model_id) / checkpoints.CARD, card)


def _teach(
    ws: Workspace,
    labelled: Labelled,
    options: TrainOptions,
    kind: Kind,
    model_id: str,
    campaigns: Sequence[str],
) -> None:
    """Train and save what is not there yet."""
    training = Training(ws, labelled, options, kind, model_id)
    before = taught.earlier(ws, checkpoints.card_beside(ws, options.weights))
    started = time.monotonic()
    net, held_out, parts = CrossFitting(training).run() if options.rounds else training.split_once()
    card = training.card(net, held_out, parts)
    labels = {name: ws.campaign_labels(name) / "labels.parquet" for name in campaigns}
    card["campaigns"] = {name: digests.digest_of(path) for name, path in labels.items()}
    card["seconds"] = round(time.monotonic() - started, 1)
    write_bytes(ws.model(model_id) / CARD_PAGE, as_markdown(card).encode())
    taught.note(ws, model_id, labelled, training.never_taught(held_out), before)
    checkpoints.save_model(ws, model_id, net, card)
    training.room.tidy()


__all__ = ["TrainOptions", "model_id_of", "train_campaigns", "train_images"]
