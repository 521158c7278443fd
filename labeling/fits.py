"""The methods that turn votes into P(truck) per frame, through crowd-kit.

Majority; Dawid and Skene 1979 (a confusion matrix per worker); GLAD, Whitehill et al. 2009 (ability
and difficulty); MACE, Hovy et al. 2013 (spamming). Each takes decided votes (``frame_id, worker,
label``) in one canonical order and what is known beforehand, and returns a Series by frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

_CODES: Final = {"no_truck": "0", "truck": "1"}
_PSEUDO_VOTES: Final = ((True, 3), (False, 1))
"""Per worker and class: votes taken as seen beforehand (right?, how many), a weak prior that the
worker is right three times in four, so that two lucky votes do not make an infallible worker."""


@dataclass(frozen=True)
class Lessons:
    """Votes on tasks of known truth: ``votes`` (frame_id, worker, label) on gold, and the
    ``truth`` of gold tasks and of settled frames, "0" or "1".
    """  # noqa: D205 - one sentence

    votes: pd.DataFrame
    truth: dict[str, str]


def lessons_of(
    decided: pd.DataFrame, settled: Mapping[str, bool | None], gold: pd.DataFrame
) -> Lessons:
    """Put what is known together; gold tasks get names that no frame has."""
    import pandas as pd

    seen = set(decided["frame_id"])
    truth = {f: str(int(t)) for f, t in sorted(settled.items()) if t is not None and f in seen}
    tasks = [f"\x7fgold {task}" for task in gold["task_id"]]
    truth |= {t: str(int(truck)) for t, truck in zip(tasks, gold["truck"], strict=True)}
    votes = pd.DataFrame({"frame_id": tasks, "worker": gold["worker"], "label": gold["label"]})
    return Lessons(votes.astype(object), truth)


def nothing() -> pd.Series:
    """Return no frame at all."""
    import pandas as pd

    return pd.Series([], index=pd.Index([], dtype=str), dtype=float)


def majority(decided: pd.DataFrame, lessons: Lessons | None = None) -> pd.Series:
    """Return the share of votes for a truck."""
    truck = decided["label"].eq("truck").astype(float)
    return truck.groupby(decided["frame_id"], sort=True).mean()


def _coded(decided: pd.DataFrame) -> pd.DataFrame:
    """Rename to crowd-kit's columns, in an order in which codes appear ascending.

    crowd-kit 1.4 mixes order of appearance with sorted order in places (MACE's strategy counts);
    rows sorted by worker, the first worker being one who used label "0", make the two the same.
    """
    import pandas as pd

    low = decided.loc[decided["label"] == "no_truck", "worker"].unique()
    key = decided["worker"].where(~decided["worker"].isin(low), " " + decided["worker"])
    codes = sorted(key.unique())
    coded = pd.DataFrame(
        {
            "task": decided["frame_id"].to_numpy(object),
            "worker": key.map({k: f"{i:06d}" for i, k in enumerate(codes)}).to_numpy(object),
            "label": decided["label"].map(_CODES).to_numpy(object),
        }
    )
    return coded.sort_values(["worker", "label", "task"], kind="stable", ignore_index=True)


def _crowdkit(fit: Callable[[], pd.DataFrame], decided: pd.DataFrame) -> pd.Series:
    """Run a crowd-kit fit and return P(truck) by frame. One class alone needs no model."""
    if decided["label"].nunique() < 2:
        return majority(decided)
    with warnings.catch_warnings():
        # It passes arguments that pandas 3 calls deprecated; nothing a user could act on.
        warnings.simplefilter("ignore")
        p_truck = fit()["1"].astype(float)
    frames = sorted(decided["frame_id"].unique())
    return p_truck.reindex(frames).clip(0.0, 1.0)


def dawid_skene(decided: pd.DataFrame, lessons: Lessons) -> pd.Series:
    """Learn each worker's confusion together with the labels, and from what is known."""
    import pandas as pd

    def fit() -> pd.DataFrame:
        from crowdkit.aggregation.classification.dawid_skene import DawidSkene

        on_gold = lessons.votes[lessons.votes["label"] != "cant_tell"]
        coded = _coded(pd.concat([decided, on_gold], ignore_index=True))
        prior, truth = _pseudo_votes(sorted(coded["worker"].unique()))
        seen = set(coded["task"])
        truth |= {f: t for f, t in lessons.truth.items() if f in seen}
        model = DawidSkene(n_iter=100, tol=1e-7)
        everything = pd.concat([coded, prior], ignore_index=True)
        fitted = model.fit_predict_proba(everything, true_labels=pd.Series(truth, dtype=object))
        return pd.DataFrame(fitted)

    return _crowdkit(fit, decided)


def _pseudo_votes(workers: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Make imaginary frames of known truth on which every worker is right three times in four."""
    import pandas as pd

    rows: list[tuple[str, str, str]] = []
    truth: dict[str, str] = {}
    for label in "01":
        for right, times in _PSEUDO_VOTES:
            for i in range(times):
                task = f"\x7f{label}{right:d}{i}"
                truth[task] = label
                said = label if right else str(1 - int(label))
                rows += [(task, worker, said) for worker in workers]
    return pd.DataFrame(rows, columns=["task", "worker", "label"]), truth


def glad(decided: pd.DataFrame, lessons: Lessons) -> pd.Series:
    """Learn each worker's ability and each frame's difficulty."""

    def fit() -> pd.DataFrame:
        import pandas as pd
        from crowdkit.aggregation.classification.glad import GLAD

        return pd.DataFrame(GLAD(n_iter=40).fit_predict_proba(_coded(decided)))

    return _crowdkit(fit, decided)


def mace(decided: pd.DataFrame, lessons: Lessons) -> pd.Series:
    """Learn who spams."""

    def fit() -> pd.DataFrame:
        import pandas as pd
        from crowdkit.aggregation.classification.mace import MACE

        model = MACE(n_restarts=1, random_state=0)
        return pd.DataFrame(model.fit_predict_proba(_coded(decided)))

    return _crowdkit(fit, decided)


FITS: Final[dict[str, Callable[[pd.DataFrame, Lessons], pd.Series]]] = {
    "dawid_skene": dawid_skene,
    "majority": majority,
    "glad": glad,
    "mace": mace,
}
