"""Options that were given and could do nothing: no wish is passed over in silence.

They are refused, but for those that only the network does not take, which are told of: networks are
compared with one set of options. What a recipe fills in is nobody's wish. A value equal to it, or
one that is off (0, no), passes: so does the command line that a model's card shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import InputError
from pipeline.learning import recipes
from pipeline.learning.models import ARCHES
from pipeline.learning.options import TrainOptions
from pipeline.learning.recipes import Kind
from pipeline.progress import note


@dataclass(frozen=True)
class _Rule:
    """In which trainings some options do nothing, why, and the way out."""

    names: tuple[str, ...]
    holds: Callable[[TrainOptions, Kind], bool]
    why: str
    instead: str


_RULES = (
    _Rule(
        ("background", "rounds", "self_training", "finish", "trust"),
        lambda _, kind: kind != "footage",
        "loose pictures have no background, time blocks or footage",
        "teach a --campaign",
    ),
    _Rule(
        (
            "batch_size",
            "learning_rate",
            "optimiser",
            "schedule",
            "warm_up",
            "momentum",
            "weight_decay",
            "l1",
            "loss",
            "label_smoothing",
            "mixup",
            "cutmix",
            "turns",
            "augment",
            "ema",
            "early_stopping",
            "dropout",
            "minutes",
            "finish",
        ),
        lambda options, _: options.freeze,
        "freeze fits the head in one go, on plain pictures",
        "give --thaw in place of --freeze",
    ),
    _Rule(
        ("minutes", "early_stopping", "refit"),
        lambda options, _: bool(options.rounds),
        "cross-fitted networks are taught every epoch, on all labels but their fold's",
        "give --rounds 0",
    ),
    _Rule(
        ("self_training", "finish", "trust"),
        lambda options, _: not options.rounds,
        "without rounds there are no teachers",
        "give --rounds 2 or more",
    ),
    _Rule(
        ("finish",),
        lambda options, _: not options.self_training,
        "there are no unlabelled instants to learn from",
        "ingest footage of the labelled days, without --self-training 0",
    ),
    _Rule(
        ("momentum",),
        lambda options, _: options.optimiser not in ("sgd", "rmsprop"),
        "the optimiser has a momentum of its own",
        "choose --optimiser sgd or rmsprop",
    ),
    _Rule(
        ("balance",),
        lambda options, kind: options.balance == "size" and not options.background,
        "without a background nobody knows how much of a picture is vehicle",
        "choose another",
    ),
)


def refuse(options: TrainOptions, kind: Kind) -> None:
    """Refuse what ``options``, not yet resolved, ask of a training that will not heed it.

    What the network alone does not take is told of on stderr.

    Raises:
        InputError: naming the first such option, its value and the remedy.
    """
    resolved = recipes.resolve(options, kind, 1)
    arch = resolved.arch
    for rule in _RULES:
        for name in rule.names:
            if rule.holds(resolved, kind) and _asked(options, name, kind):
                _fail(options, name, rule)
    for name, takers in recipes.TAKEN_BY.items():
        if arch in ARCHES and arch not in takers and _asked(options, name, kind):
            value = getattr(options, name)
            note(
                f"{name} is {value!r}, but arch {arch} does not take it (only {', '.join(takers)})"
            )


def _asked(options: TrainOptions, name: str, kind: Kind) -> bool:
    """Tell whether an option asks for more than would be taken without it."""
    value = getattr(options, name)
    plain = replace(options, **{name: getattr(TrainOptions(), name)})
    return bool(value) and value != getattr(recipes.resolve(plain, kind, 1), name)


def _fail(options: TrainOptions, name: str, rule: _Rule) -> None:
    value, flag = getattr(options, name), name.replace("_", "-")
    raise InputError(
        f"{name} is {value!r}, but {rule.why}.", f"Leave out --{flag}, or {rule.instead}."
    )
