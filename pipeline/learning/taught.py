"""Which pictures a model has learned from: a digest of each, in ``taught.npy`` beside its weights.

A sampled frame is known by its id, which says camera, zone, clip and instant; a loose picture by
its pixels at the network's size, whatever its file is called.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.learning.dataset import Labelled
from pipeline.store import Workspace, write_bytes

TAUGHT = "taught.npy"


def note(
    ws: Workspace,
    model_id: str,
    labelled: Labelled,
    but_not: NDArray[np.int64],
    before: NDArray[np.uint64],
) -> None:
    """Write down what taught a model: all of ``labelled`` but these rows, and :func:`earlier`."""
    known = np.delete(_known_as(labelled), but_not)
    out = io.BytesIO()
    np.save(out, np.union1d(known, before), allow_pickle=False)
    write_bytes(ws.model(model_id) / TAUGHT, out.getvalue())


def earlier(ws: Workspace, card: Mapping[str, Any]) -> NDArray[np.uint64]:
    """Return what taught the model of ``card``, that another goes on from; nothing if unknown.

    Raises:
        ModelError: its note is damaged.
    """
    known = _noted(ws, card["model_id"]) if "model_id" in card else None
    return np.zeros(0, dtype=np.uint64) if known is None else known


def among(
    ws: Workspace, card: Mapping[str, Any], labelled: Labelled, campaigns: Sequence[str] = ()
) -> NDArray[np.bool_]:
    """Return which of these pictures, of ``campaigns`` if they are frames, taught a model: bool[n].

    Models of before November 2026 noted none: there it is all of them where the label set or a
    campaign is the same, else none is known to have.

    Raises:
        ModelError: the note is damaged.
    """
    known = _noted(ws, card["model_id"])
    if known is None:
        same = labelled.label_set_id == card.get("label_set_id")
        same = same or not set(campaigns).isdisjoint(card.get("campaigns", {}))
        return np.full(len(labelled), same)
    return np.isin(_known_as(labelled), known)


def _noted(ws: Workspace, model_id: str) -> NDArray[np.uint64] | None:
    path = ws.model(model_id) / TAUGHT
    if not path.is_file():
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.uint64)
    except (OSError, ValueError, EOFError) as error:
        said = str(error).splitlines()[0]
        raise ModelError(f"{path} cannot be read ({said}).", "Restore or remove it.") from None


def _known_as(labelled: Labelled) -> NDArray[np.uint64]:
    """Return a digest of each picture."""
    loose = np.isnan(labelled.captured_s)
    said = (
        np.ascontiguousarray(pixels).tobytes() if own else name.encode()
        for pixels, own, name in zip(labelled.pixels, loose, labelled.names, strict=True)
    )
    hashes = [hashlib.blake2b(one, digest_size=8).digest() for one in said]
    return np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.uint64)
