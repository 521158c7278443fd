"""A model card for people: ``card.md`` says in a page what ``card.json`` says in a thousand lines.

What the model is, what it learned from, how good it was on what it never saw (overall and by slice,
with 95% intervals), how far its probabilities can be trusted, and how to make it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.learning.options import TrainOptions

Card = Mapping[str, Any]


def as_markdown(card: Card) -> str:
    """Word a card."""
    parts = [
        f"# Model {card['model_id']}",
        _what(card),
        "## On pictures it never saw",
        _figures(card),
        "## By slice",
        _slices(card.get("slices", {})),
        "## Can its probabilities be trusted?",
        _calibration(card),
        "## How it was made",
        _made(card),
    ]
    return "\n\n".join(parts) + "\n"


def _what(card: Card) -> str:
    shape, labels, split = card["input"], card["labels"], card["split"]
    parts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in split.items() if n)
    lines = [
        f"- network: {card['arch']}, {card['parameters']:,} parameters",
        f"- input: {shape['width']}×{shape['height']}, {shape['holds']}",
        f"- labels: set {card['label_set_id']}, {labels['n']:,} pictures, "
        f"{labels['truck']:,} trucks",
        f"- split: {parts}",
    ]
    days = card.get("training_days", {})
    lines += [f"- taught by {camera}: {', '.join(of)}" for camera, of in sorted(days.items())]
    return "\n".join(lines)


def _figures(card: Card) -> str:
    found, m = card["metrics"], card["metrics"]["confusion"]
    rows = [
        f"| {name} | {_interval(found[name])} |"
        for name in ("accuracy", "sensitivity", "specificity", "auc", "brier")
    ]
    chosen = ", chosen for counting" if card["kind"] == "footage" else ""
    counts = (
        f"At the threshold of {card['threshold']:g}{chosen}: {m['tp']} trucks seen, "
        f"{m['fn']} missed; {m['tn']} times rightly none, {m['fp']} false alarms. "
        f"Held out: {card['held_out_from']}."
    )
    if card["kind"] == "footage":
        counts += (
            " These are labelled frames; the figures weigh each by the instants of the road that "
            "it stands for."
        )
    return "\n".join(["| figure | value (95% interval) |", "| --- | --- |", *rows, "", counts])


def _slices(slices: Mapping[str, Any]) -> str:
    lines = ["| slice | pictures | accuracy | sensitivity | specificity |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, one in sorted(slices.items()):
        figures = " | ".join(
            _interval(one[key]) for key in ("accuracy", "sensitivity", "specificity")
        )
        lines.append(f"| {name} | {one['n']:,} | {figures} |")
    return "\n".join(lines)


def _calibration(card: Card) -> str:
    prior = card["prior"]
    ece = card["metrics"]["ece"]
    lines = [
        f"Expected calibration error {'unknown' if ece is None else f'{ece:.3f}'}; temperature "
        f"{card['temperature']:.2f}; shown {prior['shown']:.0%} trucks while learning, "
        f"{prior['natural']:.1%} on the road.",
        "",
        *_open_to(card),
        "| it said | it was |",
        "| --- | --- |",
    ]
    lines += [f"| {row['p_truck']:.2f} | {row['trucks']:.2f} |" for row in card["reliability"]]
    return "\n".join(lines)


def _open_to(card: Card) -> list[str]:
    """Word the standard errors of temperature and offset; cards of before do not tell.

    >>> _open_to({"calibration_covariance": [[0.01, 0.0], [0.0, 0.04]]})[0][47:]
    'a temperature 1.11 times as high or low, and log odds that differ by 0.20.'
    """
    if "calibration_covariance" not in card:
        return []
    (t, _), (_, offset) = card["calibration_covariance"]
    return [
        "Other labels of as many frames would have made a temperature "
        f"{math.exp(math.sqrt(t)):.2f} times as high or low, and log odds that differ by "
        f"{math.sqrt(offset):.2f}.",
        "",
    ]


def _made(card: Card) -> str:
    plain = TrainOptions().as_json()
    asked = {k: v for k, v in card["options"].items() if k in plain and v != plain[k]}
    flags = " ".join(_flag(name, value) for name, value in sorted(asked.items()))
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    return f"Scored by {card['engine']}; made with {versions}.\n\n    truck-counter train … {flags}"


def _flag(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def _interval(estimate: Mapping[str, float | None]) -> str:
    """Word an estimate.

    >>> _interval({"value": 0.9411, "lo": 0.912, "hi": 0.961})
    '0.941 (0.912 to 0.961)'
    """
    if estimate["value"] is None:
        return "unknown"
    return f"{estimate['value']:.3f} ({estimate['lo']:.3f} to {estimate['hi']:.3f})"
