"""``auto``: which network, how long and how, for the pictures at hand. Figures behind: README.

Three kinds: ``thumbnail`` (both sides up to 64 pixels), ``photograph`` (larger loose pictures) and
``footage`` (crops of fixed zones with their background).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pipeline.learning.augment import Augment
from pipeline.learning.options import TrainOptions

Kind = Literal["thumbnail", "photograph", "footage"]

_POOLED = ("reference", "lenet5", "cifar")
TAKEN_BY: dict[str, tuple[str, ...]] = {
    "widen": ("whitened",),
    "turns": ("whitened",),
    "activation": ("mlp", *_POOLED, "residual"),
    "pooling": _POOLED,
    "batch_norm": _POOLED,
    "padding": ("reference",),
    "init": ("mlp", *_POOLED, "residual", "whitened"),
}
"""Networks that take an option; all take those that are not here."""

_COMMON: dict[str, Any] = {
    "optimiser": "adamw",
    "schedule": "cosine",
    "warm_up": 0.1,
    "weight_decay": 0.02,
    "label_smoothing": 0.05,
    "cutmix": 0.0,
    "turns": 0.0,
    "balance": "none",
    "augment": 1.0,
    "ema": 0.1,
    "dropout": 0.1,
    "widen": 1.0,
    "learning_rate": 2e-3,
    "batch_size": 64,
    "background": False,
    "rounds": 0,
    "self_training": 0,
    "refit": 0.0,
    "finish": 1.0,
    "minutes": None,
}

_WHITENED: dict[str, Any] = {
    "arch": "whitened",
    "optimiser": "sgd",
    "schedule": "one_cycle",
    "warm_up": 0.2,
    "weight_decay": 1e-3,
    "label_smoothing": 0.1,
    "cutmix": 0.5,
    "ema": 0.05,
    "dropout": 0.0,
    "minutes": 45.0,
}

_RECIPES: dict[Kind, dict[str, Any]] = {
    "thumbnail": {
        **_WHITENED,
        "optimiser": "muon",
        "learning_rate": 0.01,
        "weight_decay": 0.05,
        "batch_size": 250,
        "turns": 0.3,
        "widen": 1.5,
        "refit": 0.7,
        "minutes": 55.0,
    },
    "photograph": {
        **_WHITENED,
        "learning_rate": 0.04,
        "batch_size": 32,
        "epochs": 100,
        "refit": 0.4,
    },
    "footage": {
        "arch": "residual",
        "optimiser": "muon",
        "learning_rate": 3e-3,
        "background": True,
        "balance": "size",
        "augment": 0.4,
        "rounds": 2,
        "self_training": 600,
        "finish": 4.0,
        "batch_size": 32,
    },
}


# Labels were chosen by size already, and few pictures want much augmentation, and no optimiser
# that knows them by heart sooner: on trucks of the real clips it had not seen AUC 0.70 for 0.91.
_LABELS_ALONE: dict[str, Any] = {
    "balance": "half",
    "augment": 0.7,
    "optimiser": _COMMON["optimiser"],
    "learning_rate": _COMMON["learning_rate"],
}


# Ordinary steps, not tuned here, for an optimiser named in place of the recipe's: rates and decays
# do not carry over.
_STEPS: dict[str, dict[str, Any]] = {
    "sgd": {"learning_rate": 0.05, "weight_decay": 1e-3},
    "adam": {"learning_rate": 2e-3, "weight_decay": 1e-4},
    "adamw": {"learning_rate": 2e-3, "weight_decay": 0.02},
    "rmsprop": {"learning_rate": 1e-3, "weight_decay": 1e-4},
    "muon": {"learning_rate": 3e-3, "weight_decay": 0.02},
}


def resolve(options: TrainOptions, kind: Kind, n: int) -> TrainOptions:
    """Fill every ``None`` of ``options`` for ``n`` labelled pictures of a kind.

    All but ``weights``: what there is to go on from, :mod:`train` knows.
    """
    recipe = {**_COMMON, **_RECIPES[kind]}
    if kind == "footage" and 0 in (options.self_training, options.rounds):
        recipe |= _LABELS_ALONE
    if options.arch not in ("auto", recipe["arch"]):
        recipe |= _other_network(kind)
    if options.optimiser not in (None, recipe["optimiser"]):
        recipe |= _STEPS[str(options.optimiser)]
    recipe.setdefault("epochs", _epochs(kind, n))
    filled = {k: v for k, v in recipe.items() if getattr(options, k) is None}
    if options.arch == "auto":
        filled["arch"] = recipe["arch"]
    if options.arch == "reference":
        filled |= {"background": options.background or False, "learning_rate": 1e-3}
        filled["dropout"] = options.dropout or 0.0
        if options.learning_rate is not None:
            del filled["learning_rate"]
    return replace(options, **filled)


def side(kind: Kind, arch: str) -> int | None:
    """Return the side of the network's input in pixels; None: as the pictures are.

    48 is what the recipe's network learns photographs at (README, Decisions).
    """
    if kind != "photograph":
        return None
    return 48 if arch in ("auto", _RECIPES[kind]["arch"]) else 128


def augmentation(kind: Kind, strength: float) -> Augment:
    """Return what may be done to pictures of a kind; 0 is nothing, 1 the recipe."""
    if not strength:
        return Augment()
    s = strength
    if kind == "thumbnail":
        return Augment(
            flip=True,
            shift_px=min(round(4 * s), 4),
            turn_deg=6.0 * s,
            zoom=0.1 * s,
            light=0.4 * s,
            erase=0.8 * s,
            trivial=min(0.5 * s, 1.0),
        )
    if kind == "photograph":
        return Augment(
            flip=True,
            turn_deg=6 * s,
            zoom=0.25 * s,
            slide=0.08 * s,
            light=0.8 * s,
            blur=0.3 * s,
            noise=0.5 * s,
            erase=0.5 * s,
        )
    return Augment(
        flip=True,
        paint=min(0.7 * s, 1.0),
        turn_deg=2.0 * s,
        zoom=0.1 * s,
        slide=0.04 * s,
        light=1.0 * s,
        dusk=0.5 * s,
        shadow=1.0 * s,
        rain=0.5 * s,
        glare=0.5 * s,
        blur=0.5 * s,
        noise=1.0 * s,
        erase=0.15 * s,
        between=1.0 * s,
    )


def views(kind: Kind) -> tuple[str, ...]:
    """Return the further looks averaged when scoring."""
    return {"thumbnail": ("flip", "shift"), "photograph": ("flip",), "footage": ()}[kind]


def _epochs(kind: Kind, n: int) -> int:
    """Return epochs so that small sets get enough steps and large ones end in time."""
    if kind == "thumbnail":
        return max(8, min(200, 1_500_000 // max(n, 1)))
    return max(6, min(60, 24_000 // max(n, 1)))


def _other_network(kind: Kind) -> dict[str, Any]:
    """Return steadier settings for a network the recipe was not tuned on."""
    plain = {"optimiser": "adamw", "schedule": "cosine", "learning_rate": 1e-3, "warm_up": 0.1}
    return {
        **plain,
        "cutmix": 0.0,
        "turns": 0.0,
        "widen": 1.0,
        "weight_decay": 0.02,
        "batch_size": 128 if kind == "thumbnail" else 64,
    }
