"""Votes from a file, checked to the last line before any of them counts.

Our own CSV, or what other people's tools write: see ``formats``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labeling import campaign as campaigns
from labeling import formats
from labeling.campaign import Added
from pipeline import sheets
from pipeline.domain import LABELS
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace, is_text

REQUIRED = ("frame_id", "worker", "label")
READERS = {
    "ground-truth": formats.read_ground_truth,
    "crowd": formats.read_crowd_results,
    "coco": formats.read_coco,
}


def import_annotations(
    ws: Workspace, campaign: str, file: Path, adjudicated: bool = False, form: str = "csv"
) -> Added:
    """Take votes from a file; the same file again adds nothing.

    Args:
        ws: the workspace.
        campaign: its name.
        file: as CSV: ``frame_id,worker,label`` and optionally ``annotated_at`` (ISO 8601 with
            offset) and ``seconds_spent``.
        adjudicated: they are experts' votes, which settle.
        form: ``csv``, or one of :data:`READERS`.

    Raises:
        InputError: a missing file or column, an unknown frame or label, a bad instant or number, or
            two different votes of one worker on a frame; it names the value and the line, and
            nothing is written.
    """
    frames = campaigns.read_frames(ws, campaign)
    path, known = Path(file), set(frames["frame_id"])
    if form == "csv":
        rows = _read_csv(path, known)
    else:
        # A name that several frames share tells nothing.
        own = frames.drop_duplicates("path", keep=False)
        pictures = {Path(p).name: str(f) for p, f in zip(own["path"], own["frame_id"], strict=True)}
        rows = _read_other(path, form, known, pictures)
    into = campaigns.add_adjudications if adjudicated else campaigns.add_annotations
    return into(ws, campaign, rows)


def _read_other(
    path: Path, form: str, known: set[str], pictures: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Read a file of another form: votes on frames we know, one per worker and frame."""
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}.", "Give one that another tool wrote.")
    try:
        rows = READERS[form](path.read_text(encoding="utf-8-sig"), pictures)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file ({error}).") from None
    for row in rows:
        if row["frame_id"] not in known:
            frame = row["frame_id"]
            raise InputError(f"{path}: unknown frame {frame!r}.", "Use ids from frames.parquet.")
    return _one_vote_each((row, str(path)) for row in rows)


def _read_csv(path: Path, known: set[str]) -> list[dict[str, Any]]:
    lines = sheets.read_rows(path, REQUIRED, ("annotated_at", "seconds_spent"))
    return _one_vote_each((_checked(raw, where, known), where) for raw, where in lines)


def _one_vote_each(rows: Iterable[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """Keep the first of equal votes; refuse two different ones of a worker on a frame."""
    seen: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
    for row, where in rows:
        key = row["frame_id"], row["worker"]
        if not is_text(key[1]):
            raise InputError(f"{where}: worker {key[1]!r} holds control characters.", "Mend it.")
        held, before = seen.setdefault(key, (row, where))
        if held["label"] != row["label"]:
            raise InputError(
                f"{where}: worker {key[1]!r} already voted on frame {key[0]!r} ({before}), "
                "differently.",
                "Keep one of the two.",
            )
    return [row for row, _ in seen.values()]


def _checked(raw: Mapping[str, str], where: str, known: set[str]) -> dict[str, Any]:
    frame, worker, label = (raw[c] for c in REQUIRED)
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
        "annotated_at": formats.instant(raw["annotated_at"], where),
        "seconds_spent": formats.seconds(raw["seconds_spent"], where, "seconds_spent"),
        "source": "import",
    }
