"""What a report may say about a model and its labels: read from the card and the campaigns' files.

Both are written by others and grow, so this reads what is there and says nothing where it is not:
any ``{"value", "lo", "hi"}`` in a card is a figure with its interval, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import metrics, schemas, store

if TYPE_CHECKING:
    from pipeline.store import Workspace

Row = dict[str, Any]

_FACTS = (
    ("arch", "Network"),
    ("parameters", "Parameters"),
    ("input", "Input"),
    ("label_set_id", "Label set"),
    ("threshold", "Threshold"),
    ("temperature", "Temperature (calibration)"),
    ("prevalence", "Trucks’ share of instants"),
    ("labels", "Labelled frames"),
    ("split", "Pictures by part"),
    ("held_out_from", "Held-out figures from"),
    ("engine", "Inference engine"),
)
_SLICED = ("accuracy", "sensitivity", "specificity")
_NAMES = {"auc": "AUC", "brier": "Brier score"}
MOST_FIGURES = 24


@dataclass(frozen=True)
class Figure:
    """A figure with its 95% interval, under the words that lead to it in the card."""

    name: str
    value: float
    lo: float | None
    hi: float | None


@dataclass(frozen=True)
class Model:
    """What a model card tells a reader."""

    model_id: str
    facts: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...]
    held_out: Row | None
    ece: float | None
    slices: tuple[Row, ...]
    """``name``, ``n`` and the figures (or None) of each part of the held-out frames."""
    reliability: tuple[tuple[float, float, float], ...]
    """Weight, mean predicted probability and share of trucks, per bin."""
    training_days: tuple[tuple[str, int, str, str], ...]
    """Camera, number of days, first and last day it learned from."""


@dataclass(frozen=True)
class Campaign:
    """What a labelling campaign's folder tells a reader."""

    name: str
    label_set_id: str
    method: str
    frames: int
    truck: int
    no_truck: int
    unresolved: int
    annotations: int
    agreement: float | None
    alpha: float | None
    sources: tuple[str, ...]
    workers: tuple[Row, ...]


def model(ws: Workspace, model_id: str) -> Model | None:
    """Read a model's card; None where it is not in the workspace (any more)."""
    path = ws.model(model_id) / "card.json"
    if not path.is_file():
        return None
    card = store.read_object(path)
    facts = [(name, _fact(key, card[key])) for key, name in _FACTS if _told(card.get(key))]
    held_out = card.get("held_out")
    held_out = held_out if isinstance(held_out, dict) and "tp" in held_out else None
    plain = {key: value for key, value in card.items() if key != "slices"}
    figures = list(_figures(plain)) or list(_from_counts(held_out))
    days = card.get("training_days") or {}
    return Model(
        model_id=model_id,
        facts=tuple(facts),
        figures=tuple(figures[:MOST_FIGURES]),
        held_out=held_out,
        ece=(card.get("metrics") or {}).get("ece"),
        slices=tuple(_slice(k, v) for k, v in sorted((card.get("slices") or {}).items())),
        reliability=tuple(
            (float(b["weight"]), float(b["p_truck"]), float(b["trucks"]))
            for b in card.get("reliability") or []
        ),
        training_days=tuple((c, len(d), min(d), max(d)) for c, d in sorted(days.items()) if d),
    )


def _slice(name: str, told: Row) -> Row:
    shares = {key: (told.get(key) or {}).get("value") for key in _SLICED}
    return {"name": name, "n": told.get("n"), **shares}


def _told(value: object) -> bool:
    return value is not None and value not in ("", [], {})


def _fact(key: str, value: Any) -> str:  # noqa: ANN401 - whatever the card holds
    """Word a fact of the card.

    >>> _fact("input", {"channels": 6, "height": 96, "width": 128, "holds": ["rgb", "background"]})
    '128 × 96 px, 6 channels (rgb, background)'
    >>> _fact("labels", {"n": 600, "truck": 180}), _fact("split", {"test": 60, "train": 480})
    ('600, 180 of them trucks', 'train 480, test 60')
    """
    if key == "input" and isinstance(value, dict) and {"height", "width", "channels"} <= set(value):
        holds = f" ({_words(value['holds'])})" if value.get("holds") else ""
        return f"{value['width']} × {value['height']} px, {value['channels']} channels{holds}"
    if key == "labels" and isinstance(value, dict) and {"n", "truck"} <= set(value):
        return f"{value['n']:,}, {value['truck']:,} of them trucks"
    if key == "split" and isinstance(value, dict):
        order = ("train", "validation", "cross_fitted", "test")
        known = [k for k in order if k in value] + [k for k in sorted(value) if k not in order]
        return _words({k: value[k] for k in known})
    return _words(value)


def _words(value: object) -> str:
    """Word a card's value on one line.

    >>> _words({"train": 480, "test": 60}), _words(["a", "b"]), _words(0.123456)
    ('train 480, test 60', 'a, b', '0.1235')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{str(k).replace('_', ' ')} {_words(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_words(v) for v in value)
    return str(value)


def _figures(value: object, at: tuple[str, ...] = ()) -> Iterator[Figure]:
    if not isinstance(value, dict):
        return
    if {"value", "lo", "hi"} <= value.keys():
        if isinstance(value["value"], int | float):
            yield Figure(_named(at), float(value["value"]), value["lo"], value["hi"])
        return
    for key, inner in value.items():
        yield from _figures(inner, (*at, str(key)))


def _named(at: tuple[str, ...]) -> str:
    """Word a path in the card.

    >>> _named(("metrics", "sensitivity")), _named(("metrics", "test", "auc"))
    ('Sensitivity', 'Test: AUC')
    """
    dropped = {"metrics", "held_out", "estimates"}
    words = [p.replace("_", " ") for p in at if p not in dropped] or ["figure"]
    words[-1] = _NAMES.get(words[-1], words[-1])
    text = ": ".join(words)
    return text[0].upper() + text[1:]


def _from_counts(held_out: Row | None) -> Iterator[Figure]:
    """Work out the plain figures from the held-out counts (Wilson's interval)."""
    if held_out is None:
        return
    tp, fn, fp, tn = (float(held_out[k]) for k in ("tp", "fn", "fp", "tn"))
    shares = (
        ("Accuracy", tp + tn, tp + fn + fp + tn),
        ("Sensitivity", tp, tp + fn),
        ("Specificity", tn, tn + fp),
    )
    for name, right, n in shares:
        if n > 0:
            e = metrics.wilson(right, n)
            yield Figure(name, e.value, e.lo, e.hi)


def campaigns(ws: Workspace) -> list[Campaign]:
    """Read every campaign that has labels, by name."""
    folders = sorted((ws.root / "labels").glob("*/labels.parquet"))
    return [_campaign(path.parent) for path in folders]


def _campaign(folder: Path) -> Campaign:
    labels = store.read_table(folder / "labels.parquet", schemas.LABELS).to_pylist()
    given = [row["label"] for row in labels]
    agreement = [row["agreement"] for row in labels if row["agreement"] is not None]
    path = folder / "quality.json"
    told: Row = store.read_object(path) if path.is_file() else {}
    flags = {str(f.get("worker")): str(f.get("flag", "")) for f in told.get("flagged", [])}
    workers = [{**w, "flag": flags.get(str(w["worker"]), "")} for w in told.get("workers", [])]
    return Campaign(
        name=folder.name,
        label_set_id=str(told.get("label_set_id", "")),
        method=", ".join(sorted({str(row["method"]) for row in labels})),
        frames=len(labels),
        truck=given.count("truck"),
        no_truck=given.count("no_truck"),
        unresolved=given.count(None),
        annotations=sum(row["n_annotations"] for row in labels),
        agreement=sum(agreement) / len(agreement) if agreement else None,
        alpha=told.get("alpha"),
        sources=_sources(folder / "annotations.parquet"),
        workers=tuple(sorted(workers, key=lambda w: str(w["worker"]))),
    )


def _sources(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    return tuple(sorted(set(store.read_table(path, schemas.ANNOTATIONS)["source"].to_pylist())))
