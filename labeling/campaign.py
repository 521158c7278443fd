"""A campaign's two tables: ``annotations`` (what each worker said) and ``labels`` (what it means).

Votes come from a file, from Label Studio, or from a simulated crowd; all go through
:func:`add_annotations`, which keeps one vote per worker and frame. Beside ``labels.parquet`` lies
``quality.json``: method, ``label_set_id``, agreement, workers and flags.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.aggregate import Aggregation
from labeling.aggregate import aggregate as aggregate_votes
from pipeline import store
from pipeline.domain import LABELS
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("frame_id", "worker", "label")


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


def import_annotations(ws: Workspace, campaign: str, csv_path: Path) -> Added:
    """Take votes from a CSV file: ``frame_id,worker,label`` and optionally ``annotated_at`` (ISO
    8601 with offset) and ``seconds_spent``. The same file again adds nothing.

    Raises:
        InputError: a missing file or column, an unknown frame or label, a bad instant or number, or
            two different votes of one worker on a frame; it names the value and the line, and
            nothing is written.
    """  # noqa: D205 - the first sentence needs the columns
    known = set(read_frames(ws, campaign)["frame_id"])
    rows = _read_csv(Path(csv_path), known)
    return add_annotations(ws, campaign, rows)


def add_annotations(ws: Workspace, campaign: str, rows: list[dict[str, Any]]) -> Added:
    """Put votes into the table; a worker's later vote on the same frame replaces the earlier.

    Args:
        ws: the workspace.
        campaign: its name.
        rows: columns of ``schemas.ANNOTATIONS``; frames and labels already checked.
    """
    from pipeline import schemas

    path = ws.campaign_labels(campaign) / "annotations.parquet"
    held: dict[tuple[str, str], dict[str, Any]] = {}
    if path.is_file():
        for row in store.read_table(path, schemas.ANNOTATIONS).to_pylist():
            held[row["frame_id"], row["worker"]] = row
    added = changed = 0
    for row in rows:
        key = row["frame_id"], row["worker"]
        before = held.get(key)
        if before is None:
            added += 1
        elif before == row or _older(row, before):
            continue
        else:
            changed += 1
        held[key] = row
    if added or changed:
        ordered = [held[key] for key in sorted(held)]
        store.write_table(path, store.table_of(ordered, schemas.ANNOTATIONS), schemas.ANNOTATIONS)
    return Added(added, changed, len(rows) - added - changed)


def _older(row: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    new, old = row["annotated_at"], held["annotated_at"]
    return new is not None and old is not None and new < old


def add_table(ws: Workspace, campaign: str, votes: pd.DataFrame) -> Added:
    """Put a DataFrame of votes (columns of ``schemas.ANNOTATIONS``) into the table."""
    from pipeline import schemas

    rows = store.fitted(_arrow(votes), schemas.ANNOTATIONS).to_pylist()
    return add_annotations(ws, campaign, rows)


def aggregate(
    ws: Workspace,
    campaign: str,
    method: str = "dawid_skene",
    gold: Mapping[str, bool] | None = None,
) -> Aggregation:
    """Turn the campaign's votes into ``labels.parquet`` and ``quality.json``.

    Raises:
        NotFoundError: there is no such campaign.
        InputError: nobody has voted, or the method is unknown.
    """
    from pipeline import schemas

    read_frames(ws, campaign)
    votes = read_annotations(ws, campaign)
    if votes.empty:
        raise InputError(
            f"campaign {campaign!r} has no annotations.",
            "Bring some with: truck-counter label import, or label pull.",
        )
    known = read_gold(ws, campaign) if gold is None else dict(gold)
    result = aggregate_votes(votes, method, known)
    folder = ws.campaign_labels(campaign)
    table = store.table_of(records(result.labels), schemas.LABELS)
    if not store.same_rows(folder / "labels.parquet", table, schemas.LABELS):
        store.write_table(folder / "labels.parquet", table, schemas.LABELS)
    store.write_json(folder / "quality.json", summary(result))
    return result


def read_gold(ws: Workspace, campaign: str) -> dict[str, bool]:
    """Return the frames whose truth is known: frame_id → truck?"""
    path = ws.campaign_labels(campaign) / "gold.json"
    return {str(f): bool(t) for f, t in store.read_json(path).items()} if path.is_file() else {}


def set_gold(ws: Workspace, campaign: str, answers: Mapping[str, bool]) -> int:
    """Note the truth of frames (a manager's adjudication, or sure labels); return how many.

    ``aggregate`` keeps to it, and worker skill is measured on it.

    Raises:
        InputError: a frame is unknown.
    """
    known = set(read_frames(ws, campaign)["frame_id"])
    for frame in answers:
        if frame not in known:
            raise InputError(f"unknown frame {frame!r}.", "Use ids from frames.parquet.")
    held = read_gold(ws, campaign) | {f: bool(t) for f, t in answers.items()}
    store.write_json(ws.campaign_labels(campaign) / "gold.json", held)
    return len(held)


def sure_labels(result: Aggregation, share: float = 0.1, seed: int = 0) -> dict[str, bool]:
    """Draw gold from resolved labels: unanimous, three votes or more, half of them trucks.

    Args:
        result: of :func:`aggregate`.
        share: gold ÷ all frames; 5-15% is usual.
        seed: another seed, other frames.
    """
    import numpy as np

    table = result.labels
    sure = table[table["label"].notna() & (table["n_annotations"] >= 3) & (table["agreement"] == 1)]
    rng = np.random.default_rng(seed)
    chosen: dict[str, bool] = {}
    for label in ("truck", "no_truck"):
        frames = sorted(sure.loc[sure["label"] == label, "frame_id"])
        wanted = min(len(frames), round(share * len(table) / 2))
        chosen |= {str(f): label == "truck" for f in rng.choice(frames, wanted, replace=False)}
    return dict(sorted(chosen.items()))


def summary(result: Aggregation) -> dict[str, Any]:
    """Sum up an aggregation for people and for ``--json``; NaN becomes null."""
    from labeling.quality import flags

    counts = result.labels["label"].value_counts()
    return {
        "method": result.method,
        "label_set_id": result.label_set_id,
        "frames": len(result.labels),
        "truck": int(counts.get("truck", 0)),
        "no_truck": int(counts.get("no_truck", 0)),
        "unresolved": int(result.labels["label"].isna().sum()),
        "annotations": int(result.labels["n_annotations"].sum()),
        "alpha": _plain(result.alpha),
        "workers": records(result.workers),
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


def _read_csv(path: Path, known: set[str]) -> list[dict[str, Any]]:
    """Read and check the whole file before anything is written."""
    if not path.is_file():
        raise InputError(f"no such file: {path}.", "Give a CSV with frame_id,worker,label.")
    seen: dict[tuple[str, str], tuple[dict[str, Any], int]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            missing = [c for c in REQUIRED if c not in (reader.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}.", "Its first line must name them."
                )
            for raw in reader:
                row, line = _checked(raw, f"{path}, line {reader.line_num}", known), reader.line_num
                key = row["frame_id"], row["worker"]
                if key in seen and seen[key][0]["label"] != row["label"]:
                    raise InputError(
                        f"{path}, line {line}: worker {key[1]!r} already voted on frame {key[0]!r} "
                        f"in line {seen[key][1]}, differently.",
                        "Keep one of the two.",
                    )
                seen.setdefault(key, (row, line))
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save it as a UTF-8 CSV.") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file ({error}).") from None
    return [row for row, _ in seen.values()]


def _checked(raw: Mapping[str, str | None], where: str, known: set[str]) -> dict[str, Any]:
    frame, worker, label = (str(raw[c] or "").strip() for c in REQUIRED)
    if frame not in known:
        raise InputError(f"{where}: unknown frame {frame!r}.", "Use ids from frames.parquet.")
    if not worker:
        raise InputError(f"{where}: worker is empty.", "Name who judged the frame.")
    if label not in LABELS:
        raise InputError(f"{where}: unknown label {label!r}.", f"Use one of {', '.join(LABELS)}.")
    return {
        "frame_id": frame,
        "worker": worker,
        "label": label,
        "annotated_at": _instant(str(raw.get("annotated_at") or "").strip(), where),
        "seconds_spent": _seconds(str(raw.get("seconds_spent") or "").strip(), where),
        "source": "import",
    }


def _instant(text: str, where: str) -> dt.datetime | None:
    from pipeline.localtime import parse_instant

    if not text:
        return None
    try:
        return parse_instant(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}: bad seconds_spent {text!r}.", "Give seconds, 0 or more.")
    return value
