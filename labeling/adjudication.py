"""What the crowd cannot settle, and the experts who do.

A frame waits for an expert where votes are tied, where half or more of them can't tell, where more
votes left it unresolved, or where most people contradict it as a gold task. Experts' votes lie in
``labels/<campaign>/adjudications.parquet``, apart from the crowd's. Their majority settles the
label (method ``adjudicated``); a tie of experts leaves it open; can't tell by all of them is the
last word too: the frame stays without a label and waits no longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline import store
from pipeline.store import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from labeling.aggregate import Aggregation

Settled = dict[str, bool | None]
"""frame_id → a truck? None: not even an expert can tell."""


def read(ws: Workspace, campaign: str) -> pd.DataFrame:
    """Return the experts' votes, columns of ``schemas.ANNOTATIONS``."""
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "adjudications.parquet"
    empty = store.table_of([], schemas.ANNOTATIONS)
    table = store.read_table(path, schemas.ANNOTATIONS) if path.is_file() else empty
    found: pd.DataFrame = table.to_pandas()
    return found


def settled(votes: pd.DataFrame) -> Settled:
    """Return what experts' votes settle.

    >>> import pandas as pd
    >>> said = [("a", "truck"), ("a", "cant_tell"), ("b", "cant_tell"), ("c", "truck"),
    ...         ("c", "no_truck")]
    >>> settled(pd.DataFrame(said, columns=["frame_id", "label"]))
    {'a': True, 'b': None}
    """
    found: Settled = {}
    for frame, said in votes.groupby("frame_id", sort=True)["label"]:
        trucks, none = int((said == "truck").sum()), int((said == "no_truck").sum())
        if trucks != none:
            found[str(frame)] = trucks > none
        elif trucks == 0:
            found[str(frame)] = None
    return found


def waiting(
    result: Aggregation, votes: pd.DataFrame, known: Mapping[str, bool | None], doubted: list[str]
) -> dict[str, str]:
    """Return the frames that wait for an expert: frame_id → why, sorted.

    Args:
        result: of aggregating ``votes``.
        votes: ``frame_id, worker, label``.
        known: what is settled.
        doubted: gold frames of this campaign that most people contradict.
    """
    table = result.labels
    unresolved = set(table.loc[table["label"].isna(), "frame_id"]) - set(known)
    cant = votes["label"].eq("cant_tell").groupby(votes["frame_id"]).mean()
    why = {f: "can't tell" if cant.get(f, 0.0) >= 0.5 else "tie" for f in unresolved}
    why |= {f: "doubted gold" for f in doubted if f not in known}
    return dict(sorted(why.items()))


def summary(why: Mapping[str, str], known: Mapping[str, bool | None]) -> dict[str, Any]:
    """Sum up for ``status``: how many wait, why, which; and how many are settled."""
    reasons = {r: sum(v == r for v in why.values()) for r in sorted(set(why.values()))}
    return {"waiting": len(why), "reasons": reasons, "frames": list(why), "settled": len(known)}
