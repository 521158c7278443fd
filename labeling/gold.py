"""Gold tasks: frames whose label is sure, put before people again, unmarked, to see how they judge.

A push mixes them in as a share of the tasks it newly sends. They are drawn from resolved labels
(adjudicated, or unanimous after three votes or more), half of them trucks as far as there are
enough, none twice in a campaign. Votes on them go to a table of their own,
``labels/<campaign>/gold.parquet``: they measure and teach, they never change the frame's label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from labeling.ledger import Ledger
from pipeline import store
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

if TYPE_CHECKING:
    import pandas as pd

SHARE: Final = 0.1
LEAST_VOTES: Final = 3


@dataclass(frozen=True)
class GoldShare:
    """How much gold to mix in, and whence.

    ``share`` of all tasks (None: as at the last push, a tenth at first), from the labels of
    ``campaign`` (empty: the campaign's own); another ``seed``, other frames.
    """

    share: float | None = None
    campaign: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            InputError: it is none, or so large that gold would outnumber the rest.
        """
        if self.share is not None and not 0.0 <= self.share <= 0.5:
            raise InputError(f"bad share of gold {self.share}.", "Give 0 to 0.5, e.g. 0.1.")


def mix_in(
    ws: Workspace,
    campaign: str,
    ledger: Ledger,
    new: int,
    wanted: GoldShare,
    given_away: Collection[str] = (),
) -> int:
    """Add gold tasks to a ledger for ``new`` ordinary tasks; return how many.

    Nothing is written. Frames ``given_away`` in the instructions are left out. Fewer
    come where fewer labels are sure, none before there are any.
    """
    held = SHARE if ledger.gold_share is None else ledger.gold_share
    ledger.gold_share = held if wanted.share is None else wanted.share
    source = wanted.campaign or campaign
    labels = _labels(ws, source)
    used = ledger.gold_frames(source) | set(given_away)
    n = tasks_wanted(new, ledger.gold_share)
    chosen = draw(labels, n, used, wanted.seed) if labels is not None else {}
    for frame, truck in chosen.items():
        answer = {"campaign": source, "frame_id": frame, "truck": truck}
        ledger.gold[task_name(ledger.key, source, frame)] = answer
    ledger.add(ledger.gold)
    return len(chosen)


def tasks_wanted(new: int, share: float) -> int:
    """Return how many gold tasks make up ``share`` of all, beside ``new`` ordinary ones.

    >>> tasks_wanted(90, 0.1), tasks_wanted(0, 0.1)
    (10, 0)
    """
    return round(new * share / (1.0 - share))


def task_name(key: str, campaign: str, frame_id: str) -> str:
    """Name a gold task: 16 hex digits like a frame's, which tell nothing without the ledger."""
    text = "\0".join(["gold", key, campaign, frame_id])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def draw(labels: pd.DataFrame, n: int, used: set[str], seed: int = 0) -> dict[str, bool]:
    """Draw gold from resolved labels: frame_id → truck?

    Args:
        labels: columns of ``schemas.LABELS``.
        n: how many, half of them trucks as far as both are there.
        used: frames that are gold already.
        seed: another seed, other frames.
    """
    free = labels[sure(labels) & ~labels["frame_id"].isin(used)]
    rng = np.random.default_rng(seed)
    pools = {
        truck: rng.permutation(sorted(free.loc[free["label"] == label, "frame_id"]))
        for label, truck in (("truck", True), ("no_truck", False))
    }
    trucks = min(len(pools[True]), max(n // 2, n - len(pools[False])))
    none = min(len(pools[False]), n - trucks)
    chosen = {str(f): True for f in pools[True][:trucks]}
    chosen |= {str(f): False for f in pools[False][:none]}
    return dict(sorted(chosen.items()))


def sure(labels: pd.DataFrame) -> pd.Series:
    """Tell which labels are beyond doubt: adjudicated, or unanimous after three votes or more."""
    unanimous = (labels["n_annotations"] >= LEAST_VOTES) & (labels["agreement"] == 1.0)
    return labels["label"].notna() & (unanimous | (labels["method"] == "adjudicated"))


def add_votes(
    ws: Workspace, campaign: str, ledger: Ledger, rows: list[dict[str, Any]]
) -> tuple[int, int]:
    """Put votes on gold tasks (their ``frame_id`` being the task) into the table.

    Returns:
        How many were added, and how many changed.
    """
    from labeling.campaign import merged
    from pipeline import schemas

    told = [
        {k: v for k, v in row.items() if k != "source"}
        | {"task_id": row["frame_id"]}
        | ledger.gold[row["frame_id"]]
        for row in rows
    ]
    path = ws.campaign_labels(campaign) / "gold.parquet"
    done = merged(path, told, schemas.GOLD, ("task_id", "worker"))
    return done.added, done.changed


def read_votes(ws: Workspace, campaign: str, settled: Mapping[str, bool | None]) -> pd.DataFrame:
    """Return the campaign's ``gold`` table; what was adjudicated since overrules its answers."""
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "gold.parquet"
    rows = store.read_table(path, schemas.GOLD).to_pylist() if path.is_file() else []
    kept = []
    for row in rows:
        own = row["campaign"] == campaign and row["frame_id"] in settled
        truck = settled[row["frame_id"]] if own else row["truck"]
        if truck is not None:
            kept.append(row | {"truck": truck})
    found: pd.DataFrame = store.table_of(kept, schemas.GOLD).to_pandas()
    return found


def doubted(votes: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the ``(campaign, frame_id)`` of gold that most of three people or more contradict."""
    decided = votes[votes["label"] != "cant_tell"]
    wrong = decided["label"].eq("truck") != decided["truck"]
    by = wrong.groupby([decided["campaign"], decided["frame_id"]]).agg(["size", "mean"])
    bad = by[(by["size"] >= LEAST_VOTES) & (by["mean"] > 0.5)]
    return [(str(campaign), str(frame)) for campaign, frame in bad.index]


def _labels(ws: Workspace, campaign: str) -> pd.DataFrame | None:
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "labels.parquet"
    if path.is_file():
        found: pd.DataFrame = store.read_table(path, schemas.LABELS).to_pandas()
        return found
    if not (ws.campaign_frames(campaign) / "frames.parquet").is_file():
        raise NotFoundError(f"no such campaign: {campaign!r}.", "Name one that has labels.")
    return None
