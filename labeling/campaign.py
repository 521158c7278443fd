"""A campaign's tables: ``annotations`` (what each worker said) and ``labels`` (what it means).

Votes come from a file, from Label Studio, or from a simulated crowd; all go through
:func:`add_annotations`, which keeps one vote per worker and frame. Experts' votes and votes on gold
tasks lie in tables of their own. Beside ``labels.parquet`` lies ``quality.json``: method,
``label_set_id``, agreement, workers and flags.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling import adjudication, gold
from labeling.aggregate import METHODS, Aggregation
from labeling.aggregate import aggregate as aggregate_votes
from pipeline import store
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

HELD_OUT = "held-out"
"""Campaigns whose name begins so judge models, unless others are named; they never teach."""


@dataclass(frozen=True)
class Added:
    """What became of the votes handed over."""

    added: int
    changed: int
    unchanged: int


def read_frames(ws: Workspace, campaign: str) -> pd.DataFrame:
    """Return the campaign's ``frames`` table.

    Raises:
        NotFoundError: there is no such campaign.
    """
    from pipeline import schemas

    path = ws.campaign_frames(campaign) / "frames.parquet"
    if not path.is_file():
        raise NotFoundError(
            f"no such campaign: {campaign!r}.", "Start it with: truck-counter sample."
        )
    return _pandas(store.read_table(path, schemas.FRAMES))


def read_annotations(ws: Workspace, campaign: str) -> pd.DataFrame:
    """Return the campaign's ``annotations`` table, without rows where nobody has voted yet."""
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "annotations.parquet"
    if not path.is_file():
        return _pandas(store.table_of([], schemas.ANNOTATIONS))
    return _pandas(store.read_table(path, schemas.ANNOTATIONS))


def read_labels(ws: Workspace, campaign: str) -> pd.DataFrame:
    """Return the campaign's ``labels`` table, without rows where nothing was aggregated yet."""
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "labels.parquet"
    if not path.is_file():
        return _pandas(store.table_of([], schemas.LABELS))
    return _pandas(store.read_table(path, schemas.LABELS))


def add_annotations(ws: Workspace, campaign: str, rows: list[dict[str, Any]]) -> Added:
    """Put votes into the table; a worker's later vote on the same frame replaces the earlier.

    Args:
        ws: the workspace.
        campaign: its name.
        rows: columns of ``schemas.ANNOTATIONS``; frames and labels already checked.
    """
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "annotations.parquet"
    return merged(path, rows, schemas.ANNOTATIONS, ("frame_id", "worker"))


def add_adjudications(ws: Workspace, campaign: str, rows: list[dict[str, Any]]) -> Added:
    """Put experts' votes into their table, likewise."""
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "adjudications.parquet"
    return merged(path, rows, schemas.ANNOTATIONS, ("frame_id", "worker"))


def merged(
    path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema, key: tuple[str, str]
) -> Added:
    """Put rows into the table at ``path``, one per key, the later ``annotated_at`` winning."""
    with store.alone(path.with_name(f".{path.stem}.lock")):  # a pull while a file is taken
        return _merged(path, rows, schema, key)


def _merged(
    path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema, key: tuple[str, str]
) -> Added:
    held: dict[tuple[str, str], dict[str, Any]] = {}
    if path.is_file():
        for row in store.read_table(path, schema).to_pylist():
            held[row[key[0]], row[key[1]]] = row
    added = changed = 0
    for row in rows:
        name = row[key[0]], row[key[1]]
        before = held.get(name)
        if before is None:
            added += 1
        elif _same(row, before) or _older(row, before):
            continue
        else:
            changed += 1
        held[name] = row
    if added or changed:
        ordered = [held[name] for name in sorted(held)]
        store.write_table(path, store.table_of(ordered, schema), schema)
    return Added(added, changed, len(rows) - added - changed)


def _same(row: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Tell whether a vote is known already; exported and brought back it stays where it was."""
    return all(value == held[name] for name, value in row.items() if name != "source")


def _older(row: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    new, old = row["annotated_at"], held["annotated_at"]
    return new is not None and old is not None and new < old


def add_table(ws: Workspace, campaign: str, votes: pd.DataFrame) -> Added:
    """Put a DataFrame of votes (columns of ``schemas.ANNOTATIONS``) into the table."""
    from pipeline import schemas

    rows = store.fitted(_arrow(votes), schemas.ANNOTATIONS).to_pylist()
    return add_annotations(ws, campaign, rows)


def aggregated(ws: Workspace, campaign: str, method: str | None = None) -> Aggregation:
    """Turn the campaign's votes into labels, without writing them.

    Without ``method``, by the one its labels were last made with. What experts settled keeps their
    answer; it and the votes on gold tasks teach the method how good each worker is. Votes on frames
    that the campaign no longer has (:func:`left_over`) count for nothing.

    Raises:
        NotFoundError: there is no such campaign.
        InputError: nobody has voted, or the method is unknown.
    """
    own = set(read_frames(ws, campaign)["frame_id"])
    votes = read_annotations(ws, campaign)
    votes = votes[votes["frame_id"].isin(own)]
    if votes.empty:
        raise InputError(
            f"campaign {campaign!r} has no annotations.",
            "Bring some with: truck-counter label import, or label pull.",
        )
    known = adjudication.settled(adjudication.read(ws, campaign))
    on_gold = gold.read_votes(ws, campaign, known)
    known = {frame: truck for frame, truck in known.items() if frame in own}
    return aggregate_votes(votes, method or _method(ws, campaign), known, on_gold)


def left_over(ws: Workspace, campaign: str) -> list[str]:
    """Return the frames with votes that are no longer in the campaign's ``frames`` table."""
    voted = {*read_annotations(ws, campaign)["frame_id"]}
    voted |= {*adjudication.read(ws, campaign)["frame_id"]}
    return sorted(voted - {*read_frames(ws, campaign)["frame_id"]})


def _method(ws: Workspace, campaign: str) -> str:
    path = ws.campaign_labels(campaign) / "quality.json"
    return str(store.read_object(path)["method"]) if path.is_file() else METHODS[0]


def aggregate(ws: Workspace, campaign: str, method: str | None = None) -> Aggregation:
    """Turn the campaign's votes into ``labels.parquet`` and ``quality.json``.

    ``method`` as of :func:`aggregated`.

    Raises:
        NotFoundError: there is no such campaign.
        InputError: nobody has voted, or the method is unknown.
    """
    from pipeline import schemas

    result = aggregated(ws, campaign, method)
    folder = ws.campaign_labels(campaign)
    table = store.table_of(records(result.labels), schemas.LABELS)
    if not store.same_rows(folder / "labels.parquet", table, schemas.LABELS):
        store.write_table(folder / "labels.parquet", table, schemas.LABELS)
    store.write_json(folder / "quality.json", summary(result))
    return result


def waiting(ws: Workspace, campaign: str, result: Aggregation | None = None) -> dict[str, str]:
    """Return the frames that wait for an expert: frame_id → why.

    Args:
        ws: the workspace.
        campaign: its name.
        result: of :func:`aggregated`, where it is at hand.
    """
    known = adjudication.settled(adjudication.read(ws, campaign))
    on_gold = gold.read_votes(ws, campaign, known)
    own = set(read_frames(ws, campaign)["frame_id"])
    doubted = [f for source, f in gold.doubted(on_gold) if source == campaign and f in own]
    found = result or aggregated(ws, campaign)
    return adjudication.waiting(found, read_annotations(ws, campaign), known, doubted)


def summary(result: Aggregation) -> dict[str, Any]:
    """Sum up an aggregation for people and for ``--json``; NaN becomes null."""
    from labeling.quality import flags, gold_skill

    counts = result.labels["label"].value_counts()
    return {
        "method": result.method,
        "label_set_id": result.label_set_id,
        "frames": len(result.labels),
        "truck": int(counts.get("truck", 0)),
        "no_truck": int(counts.get("no_truck", 0)),
        "unresolved": int(result.labels["label"].isna().sum()),
        "adjudicated": int((result.labels["method"] == "adjudicated").sum()),
        "annotations": int(result.labels["n_annotations"].sum()),
        "alpha": _plain(result.alpha),
        "workers": records(result.workers),
        "gold": records(gold_skill(result.gold)),
        "flagged": records(flags(result)),
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as JSON can hold them: NaN becomes null, floats six decimals."""
    rows = table.astype(object).to_dict("records")
    return [{str(k): _plain(v) for k, v in row.items()} for row in rows]


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a cell holds
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return round(value, 6) if isinstance(value, float) else value


def _pandas(table: Any) -> pd.DataFrame:  # noqa: ANN401 - pyarrow ships no types
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _arrow(votes: pd.DataFrame) -> Any:  # noqa: ANN401 - pyarrow ships no types
    import pyarrow as pa

    return pa.Table.from_pandas(votes, preserve_index=False)
