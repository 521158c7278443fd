"""From many people's votes to one label per frame, and what that says about the people.

Input is the ``annotations`` table as a DataFrame (``frame_id, worker, label``, one row per pair).
"Can't tell" is an honest abstention: it is evidence for neither class, it lowers agreement, and a
frame about which half or more of the votes can't tell stays unresolved (``label`` null), as does a
tie. Every method works on rows put into one canonical order first, so shuffling the input changes
nothing, to the last bit. What experts settled stands, whatever the crowd says; it and the votes on
gold tasks teach Dawid and Skene's method how good each worker is, so that those of a poor or
spamming one weigh little even where they are many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from labeling.fits import FITS, Lessons, lessons_of, nothing
from pipeline.domain import LABELS
from pipeline.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

METHODS: Final = tuple(FITS)

TIE: Final = 0.05
"""A posterior this close to one half is a tie: the frame stays unresolved."""


@dataclass(frozen=True)
class Aggregation:
    """What :func:`aggregate` made of a campaign's votes.

    ``labels``: columns of ``schemas.LABELS``, a row per frame, sorted by frame_id.
    ``workers``: a row per worker, sorted by name, votes on gold tasks included: ``worker,
    n_annotations, cant_tell_share, skill, sensitivity, specificity, says_truck`` (the last four
    null where nothing tells them).
    ``confusion``: a row per worker × truth with the expected number of votes ``truck, no_truck,
    cant_tell``, gold tasks included. ``gold``: the votes on gold tasks, columns of
    ``schemas.GOLD``. ``alpha``: Krippendorff's alpha, NaN where no frame has two votes.
    """

    labels: pd.DataFrame
    workers: pd.DataFrame
    confusion: pd.DataFrame
    gold: pd.DataFrame
    alpha: float
    method: str
    label_set_id: str


def aggregate(
    annotations: pd.DataFrame,
    method: str = "dawid_skene",
    known: Mapping[str, bool | None] | None = None,
    gold: pd.DataFrame | None = None,
) -> Aggregation:
    """Turn votes into labels.

    Args:
        annotations: ``frame_id, worker, label``; other columns are ignored.
        method: one of :data:`METHODS`.
        known: frames that experts settled (a truck? None: not even they can tell).
        gold: votes on gold tasks, columns of ``schemas.GOLD``; they tell about workers
            (``dawid_skene`` uses it), and label nothing.

    Raises:
        InputError: no votes, an unknown method or label, or two votes of one worker on a frame.
    """
    import pandas as pd

    votes, settled = _canonical(annotations, method), dict(known or {})
    decided = votes[votes["label"] != "cant_tell"]
    on_gold = _gold_votes(gold)
    lessons = lessons_of(decided, settled, on_gold)
    p_truck = FITS[method](decided, lessons) if len(decided) else nothing()
    labels = _labels(votes, p_truck, method, settled)
    everything = pd.concat([votes, lessons.votes], ignore_index=True)
    known_p = labels.set_index("frame_id")["p_truck"].dropna()
    confusion = _confusion(everything, known_p, lessons)
    return Aggregation(
        labels=labels,
        workers=_workers(everything, confusion),
        confusion=confusion,
        gold=on_gold,
        alpha=krippendorff_alpha(decided),
        method=method,
        label_set_id=label_set_id(labels),
    )


def label_set_id(labels: pd.DataFrame) -> str:
    """Return 12 hex digits that name this set of labels: a hash of (frame_id, label), in order."""
    rows = labels.sort_values("frame_id")
    known = rows["label"].notna()
    text = "\n".join(
        f"{frame}\t{label if told else ''}"
        for frame, label, told in zip(rows["frame_id"], rows["label"], known, strict=True)
    )
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def krippendorff_alpha(annotations: pd.DataFrame) -> float:
    """Return Krippendorff's alpha for nominal votes: 1 perfect, 0 as by chance, NaN undefined.

    With o_ck the pairs of votes (c, k) within a frame, each frame's weighted 1/(m_u − 1), n_c their
    row sums and n their total: α = 1 − (n − 1) Σ_{c≠k} o_ck ÷ Σ_{c≠k} n_c n_k. Frames with a single
    vote hold no pair. (Krippendorff, *Computing Krippendorff's Alpha-Reliability*, 2011, part C.)
    """
    import pandas as pd

    counts = pd.crosstab(annotations["frame_id"], annotations["label"]).to_numpy(float)
    if not counts.size:
        return float("nan")
    counts = counts[counts.sum(axis=1) >= 2]
    pairs = counts.sum(axis=1, keepdims=True) - 1.0
    totals = counts.sum(axis=0)
    n = totals.sum()
    by_chance = n * n - (totals**2).sum()
    if by_chance <= 0:
        return float("nan")
    disagreeing = n - (counts * (counts - 1.0) / pairs).sum()
    return float(1.0 - (n - 1.0) * disagreeing / by_chance)


def _gold_votes(gold: pd.DataFrame | None) -> pd.DataFrame:
    import pandas as pd

    columns = ["task_id", "worker", "label", "truck"]
    if gold is None:
        return pd.DataFrame([], columns=columns)
    return gold.sort_values(["task_id", "worker"], kind="stable", ignore_index=True)


def _canonical(annotations: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the three columns in one order, whatever the order given."""
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}.", f"Use one of {', '.join(METHODS)}.")
    if annotations.empty:
        raise InputError("there are no annotations to aggregate.", "Import or pull some first.")
    votes = annotations[["frame_id", "worker", "label"]].astype(str)
    unknown = sorted(set(votes["label"]) - set(LABELS))
    if unknown:
        raise InputError(f"unknown label {unknown[0]!r}.", f"Use one of {', '.join(LABELS)}.")
    votes = votes.sort_values(["frame_id", "worker"], kind="stable", ignore_index=True)
    twice = votes[votes.duplicated(["frame_id", "worker"])]
    if len(twice):
        frame, worker = twice.iloc[0][["frame_id", "worker"]]
        raise InputError(f"worker {worker!r} voted twice on frame {frame!r}.", "Keep one vote.")
    return votes


def _labels(
    votes: pd.DataFrame,
    p_truck: pd.Series,
    method: str,
    settled: Mapping[str, bool | None],
) -> pd.DataFrame:
    """Decide each frame and lay out ``schemas.LABELS``."""
    import pandas as pd

    counts = pd.crosstab(votes["frame_id"], votes["label"]).reindex(columns=LABELS, fill_value=0)
    counts = counts.reindex(sorted({*counts.index, *settled}), fill_value=0)
    n = counts.sum(axis=1)
    p = p_truck.reindex(counts.index)
    unsure = p.isna() | ((p - 0.5).abs() <= TIE) | (2 * counts["cant_tell"] >= n)
    expert = counts.index.isin(list(settled))
    said = pd.Series(settled, dtype=object).reindex(counts.index[expert])
    p[expert] = said.map({True: 1.0, False: 0.0}).to_numpy(float)
    unsure[expert] = p[expert].isna()
    label = pd.Series(np.where(p > 0.5, "truck", "no_truck"), index=p.index, dtype=object)
    saying = np.where(p > 0.5, counts["truck"], counts["no_truck"])
    silent = unsure | (n == 0)
    return pd.DataFrame(
        {
            "frame_id": counts.index.astype(str),
            "label": label.mask(unsure, None).to_numpy(object),
            "p_truck": p.to_numpy(float),
            "n_annotations": n.to_numpy("int32"),
            "agreement": np.where(silent, np.nan, saying / np.maximum(n, 1)),
            "method": np.where(expert, "adjudicated", method),
        }
    )


def _confusion(everything: pd.DataFrame, p_truck: pd.Series, lessons: Lessons) -> pd.DataFrame:
    """Count each worker's votes against the posterior: rows worker × truth, columns the votes."""
    import pandas as pd

    known = pd.Series({f: float(t) for f, t in lessons.truth.items()}, dtype=float)
    truth = pd.concat([p_truck, known[~known.index.isin(p_truck.index)]])
    told = everything[everything["frame_id"].isin(truth.index)]
    p = truth.reindex(told["frame_id"]).to_numpy(float)
    parts = []
    for name, weight in (("truck", p), ("no_truck", 1.0 - p)):
        table = (
            pd.Series(weight, index=told.index)
            .groupby([told["worker"], told["label"]])
            .sum()
            .unstack(fill_value=0)
            .reindex(columns=list(LABELS), fill_value=0)
        )
        parts.append(table.assign(truth=name).reset_index())
    columns = ["worker", "truth", *LABELS]
    return pd.concat(parts)[columns].sort_values(["worker", "truth"], ignore_index=True)


def _workers(votes: pd.DataFrame, confusion: pd.DataFrame) -> pd.DataFrame:
    """Sum up each worker. ``skill`` is the mean of sensitivity and specificity, 0.5 a coin's."""
    import pandas as pd

    names = pd.Index(sorted(votes["worker"].unique()), name="worker")
    right: dict[str, NDArray[np.float64]] = {}
    for truth in ("truck", "no_truck"):
        rows = confusion[confusion["truth"] == truth].set_index("worker").reindex(names)
        right[truth] = _share(rows, truth)
    said = votes["label"].groupby(votes["worker"])
    decided = votes[votes["label"] != "cant_tell"]
    truck = decided["label"].eq("truck").groupby(decided["worker"]).mean()
    return pd.DataFrame(
        {
            "worker": names,
            "n_annotations": said.size().reindex(names).to_numpy(int),
            "cant_tell_share": said.agg(lambda s: s.eq("cant_tell").mean()).reindex(names),
            "skill": (right["truck"] + right["no_truck"]) / 2.0,
            "sensitivity": right["truck"],
            "specificity": right["no_truck"],
            "says_truck": truck.reindex(names),
        }
    ).reset_index(drop=True)


def _share(rows: pd.DataFrame, truth: str) -> NDArray[np.float64]:
    """Share of decided votes that say ``truth``; null below half an expected vote."""
    decided = (rows["truck"] + rows["no_truck"]).to_numpy(float)
    said = rows[truth].to_numpy(float)
    enough = np.nan_to_num(decided) >= 0.5
    return np.where(enough, said / np.where(enough, decided, 1.0), np.nan)
