"""A model on disk: weights, exported graph, ``card.json`` and ``card.md``; and a run half done.

Nothing is ever unpickled: weights are safetensors, all else is JSON. A model is loaded by
rebuilding its architecture from the card and filling in the weights by name and shape.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from pipeline import digests
from pipeline.errors import ModelError, NotFoundError
from pipeline.learning.cards import ANEW
from pipeline.learning.cards import CARD as CARD
from pipeline.learning.cards import ONNX as ONNX
from pipeline.learning.cards import ONNX_INT8 as ONNX_INT8
from pipeline.learning.cards import WEIGHTS as WEIGHTS
from pipeline.learning.cards import load_card as load_card
from pipeline.learning.models import NetSpec, TruckNet, build
from pipeline.store import Workspace, read_object, write_bytes, write_json

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
SCENE = "scene-"
"""How the names of weights from rendered roads begin; a digest of all that made them follows."""


def save_model(ws: Workspace, model_id: str, net: TruckNet, card: dict[str, Any]) -> None:
    """Write weights, the exported graph and last the card: a folder with a card is whole."""
    folder = ws.model(model_id)
    net = net.cpu().eval()
    save_weights(ws, model_id, net)
    write_bytes(folder / ONNX, to_onnx(net, card["input"]))
    write_json(folder / CARD, card)


def save_weights(ws: Workspace, model_id: str, net: TruckNet) -> None:
    """Write weights alone, for other networks to start from."""
    state = {k: v.cpu().contiguous() for k, v in net.state_dict().items()}
    write_bytes(ws.model(model_id) / WEIGHTS, save(state))


def set_current(ws: Workspace, model_id: str) -> None:
    """Make ``model_id`` the model in use; nothing is written where it already is."""
    path = ws.current_model
    if not path.is_file() or path.read_text(encoding="utf-8").strip() != model_id:
        write_bytes(path, f"{model_id}\n".encode())


def current_model(ws: Workspace) -> str:
    """Return the id of the model in use.

    Raises:
        NotFoundError: no model has been trained.
    """
    try:
        return ws.current_model.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise NotFoundError(
            f"no model in {ws.root}.", "Train one: truck-counter train --campaign C."
        ) from None


def load_model(ws: Workspace, model_id: str) -> tuple[TruckNet, dict[str, Any]]:
    """Rebuild a network with its weights, ready to score; also return its card.

    Raises:
        NotFoundError: no such model.
        ModelError: weights are damaged or of another architecture.
    """
    card = load_card(ws, model_id)
    net = empty_net(card)
    path = ws.model(model_id) / WEIGHTS
    try:
        net.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise ModelError(f"{path} does not fit its card ({said}).", ANEW) from None
    return net.eval(), card


def start_from(ws: Workspace, net: TruckNet, weights: str) -> None:
    """Fill ``net`` from an earlier model of ours, by its id or the path of its safetensors file.

    What does not fit in name and shape (another head, other channels) keeps its fresh values.

    Raises:
        NotFoundError: neither a model of that id nor such a file.
        ModelError: the file is no safetensors, or less than half of the network's weights fit.
    """
    path = _weights_at(ws, weights)
    try:
        known = load(path.read_bytes())
    except OSError:
        raise _no_weights(weights) from None
    except (SafetensorError, ValueError):
        raise ModelError(f"{path} is not a safetensors file.") from None
    own = net.state_dict()
    fitting = {k: v for k, v in known.items() if k in own and own[k].shape == v.shape}
    share = sum(own[k].numel() for k in fitting) / sum(v.numel() for v in own.values())
    if share < 0.5:
        raise ModelError(
            f"{share:.0%} of the network's weights are found in {path}.",
            "Choose the same --arch, --size and --widen.",
        )
    net.load_state_dict({**own, **fitting})


def content_of(ws: Workspace, weights: str | None) -> str | None:
    """Return the digest of the file that ``weights`` (as in :func:`start_from`) name.

    None for a fresh start, and for weights that go by their name: published ones, and those of
    rendered roads, which need not be here yet.

    Raises:
        NotFoundError: neither a model of that id nor such a file.
    """
    if weights is None or weights == "none":
        return None
    if weights.startswith(("imagenet", SCENE)) and not weights.endswith(SUFFIX):
        return None
    digest = digests.digest_of(_weights_at(ws, weights))
    if digest is None:
        raise _no_weights(weights)
    return digest


def card_beside(ws: Workspace, weights: str | None) -> dict[str, Any]:
    """Return the card of the model whose ``weights`` (as in :func:`start_from`) are gone on from.

    A copy of a model's file has that model's card. Empty where there is none: imagenet, rendered
    roads, a file from elsewhere.
    """
    if weights is None or weights == "none":
        return {}
    path = _weights_at(ws, weights)
    if (path.parent / CARD).is_file():
        return read_object(path.parent / CARD)
    digest = digests.digest_of(path)
    if digest is None:
        return {}
    same = (m for m in ws.trained() if digest == digests.digest_of(ws.model(m) / WEIGHTS))
    return next((load_card(ws, model_id) for model_id in same), {})


def _weights_at(ws: Workspace, weights: str) -> Path:
    return Path(weights) if weights.endswith(SUFFIX) else ws.model(weights) / WEIGHTS


def _no_weights(weights: str) -> NotFoundError:
    return NotFoundError(
        f"no weights at {weights!r}.",
        "Give none, imagenet, scene, a model id or a .safetensors file.",
    )


def empty_net(card: dict[str, Any]) -> TruckNet:
    """Build the architecture a card names, weights still to come.

    Raises:
        ModelError: the card does not say which network of ours it is.
    """
    try:  # cards of before November 2026 say nothing of odd rows, and of turns whether, not what
        said = {"odd_rows": False, **card["spec"]}
        if said.get("turns") is True:
            said["turns"] = 4
        spec = NetSpec(**said)
    except (KeyError, TypeError):
        what = f"the card of {card['model_id']} has no 'spec' of a network of ours"
        raise ModelError(f"{what} ({card.get('spec')!r}).", ANEW) from None
    net = build(card["arch"], spec)
    net.views = tuple(card.get("views", ()))
    return net


def spec_json(spec: NetSpec) -> dict[str, Any]:
    """Return a spec as JSON for the card."""
    return asdict(spec)


def to_onnx(net: TruckNet, shape: dict[str, Any]) -> bytes:
    """Export to ONNX: input ``pictures`` uint8 ``[n, c, h, w]``, output ``logits`` float32 ``[n]``.

    The tracing exporter is used: it is quick (one second) and its graph runs in every engine.
    """
    example = torch.zeros(2, shape["channels"], shape["height"], shape["width"], dtype=torch.uint8)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (example,),
            out,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["pictures"],
            output_names=["logits"],
            dynamic_axes={"pictures": {0: "n"}, "logits": {0: "n"}},
            opset_version=17,
        )
    return out.getvalue()


def save_progress(path: Path, tensors: dict[str, Tensor], said: dict[str, Any]) -> None:
    """Write a run's state as one file, so that it is whole or absent."""
    flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_bytes(path, save(flat, metadata={"progress": json.dumps(said)}))


def load_progress(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what :func:`save_progress` wrote; None where there is nothing sound to go on from."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["progress"])
            return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError):
        return None
