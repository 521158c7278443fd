"""Votes from a file, checked to the last line before any of them counts.

Our own CSV, or what other people's tools write: see ``formats``.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labeling import campaign as campaigns
from labeling import formats
from labeling.campaign import Added
from pipeline.domain import LABELS
from pipeline.errors import InputError
from pipeline.store import Workspace

REQUIRED = ("frame_id", "worker", "label")
READERS = {
    "ground-truth": formats.read_ground_truth,
    "crowd": formats.read_crowd_results,
    "coco": formats.read_coco,
}
FORMS = ("csv", *READERS)


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
        form: ``csv``, or another of :data:`FORMS`.

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
        raise InputError(f"no such file: {path}.", "Give one that another tool wrote.")
    held: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        for row in READERS[form](path.read_text(encoding="utf-8-sig"), pictures):
            if row["frame_id"] not in known:
                raise InputError(
                    f"unknown frame {row['frame_id']!r}.", "Use ids from frames.parquet."
                )
            before = held.setdefault((row["frame_id"], row["worker"]), row)
            if before["label"] != row["label"]:
                raise InputError(
                    f"worker {row['worker']!r} voted twice on frame {row['frame_id']!r}, "
                    "differently.",
                    "Keep one of the two.",
                )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file ({error}).") from None
    return list(held.values())


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
