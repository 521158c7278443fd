"""Whether to train a challenger, what it may learn from, and where the splice is measured.

The champion is the model in use. A challenger is worth training once there are enough new labels,
or as soon as there is any while the champion's published days drift. Both are judged by the same
held-out labels, from which neither may have learned.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows import _watch, due
from labeling.campaign import HELD_OUT
from pipeline import daily, schemas, store
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.store import Workspace

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What speaks for a challenger: its teachers, its judges, new labels, days that drift."""

    campaigns: list[str]
    held_out: list[str]
    new_labels: int
    drift: dict[str, list[dt.date]]

    def why_not(self, enough: int) -> str:
        """Say why no challenger is trained; empty where one should be.

        >>> Case(["a"], ["held-out"], 12, {}).why_not(enough=200)
        '12 new label(s), fewer than 200, and no drift'
        """
        if not self.campaigns or not self.held_out:
            lacking = "labels to learn from" if self.held_out else "held-out campaign to judge by"
            return f"there is no {lacking}"
        if self.new_labels >= enough or (self.drift and self.new_labels > 0):
            return ""
        drifts = f"drift of {', '.join(self.drift)}" if self.drift else "no drift"
        return f"{self.new_labels} new label(s), fewer than {enough}, and {drifts}"


def case(
    ws: Workspace,
    champion: str,
    campaigns: Sequence[str],
    held_out: Sequence[str],
    days_back: int,
) -> Case:
    """Gather what speaks for a challenger to ``champion``; see ``flows.train.retrain``.

    Raises:
        InputError: a campaign is to teach and to judge, or the champion learned from a judge.
    """
    labelled = labelled_campaigns(ws)
    judges = list(held_out) or [c for c in labelled if c.startswith(HELD_OUT)]
    teachers = list(campaigns) or [
        c for c in labelled if c not in judges and not c.startswith(HELD_OUT)
    ]
    card = store.read_object(ws.model(champion) / "card.json")
    before = set(card.get("campaigns") or ())
    for taught, by in ((set(teachers), "the challenger"), (before, champion)):
        if both := sorted(taught & set(judges)):
            raise InputError(
                f"campaign {both[0]!r} is to judge, and teaches {by}.",
                "Hold another campaign out: frames of other days, never trained on.",
            )
    # A champion of loose pictures has seen none of them; a campaign that teaches no more is known.
    known = int(card.get("labels", {}).get("n", 0)) if before else 0
    new = resolved_labels(ws, sorted({*teachers, *(before & set(labelled))})) - known
    return Case(teachers, judges, new, _watch.drifting(_recent(ws, champion, days_back)))


def labelled_campaigns(ws: Workspace) -> list[str]:
    """Return the campaigns that have labels, by name."""
    return sorted(path.parent.name for path in (ws.root / "labels").glob("*/labels.parquet"))


def resolved_labels(ws: Workspace, campaigns: Sequence[str]) -> int:
    """Count the frames of campaigns that people said to be truck or no truck."""
    frames: set[str] = set()
    for name in campaigns:
        table = store.read_table(ws.campaign_labels(name) / "labels.parquet", schemas.LABELS)
        said = zip(table["frame_id"].to_pylist(), table["label"].to_pylist(), strict=True)
        frames |= {frame for frame, label in said if label is not None}
    return len(frames)


def splice_days(
    ws: Workspace, registry: Registry, champion: str, challenger: str, days_back: int
) -> dict[str, list[str]]:
    """Return the days, as text per camera, on which both models' counts are to be compared.

    They are the newest ``days_back`` days that the champion has published, without those that
    taught the challenger: on them it would look better than it is.
    """
    taught = due.taught_days(ws, registry, challenger)
    found: dict[str, set[str]] = {}
    for row in _recent(ws, champion, days_back):
        camera, day = row["camera_id"], _watch.day_of(row)
        if camera in registry.ids and day not in taught.get(camera, ()):
            found.setdefault(camera, set()).add(str(day))
    return {camera: sorted(days) for camera, days in sorted(found.items())}


def lost_days(
    ws: Workspace, registry: Registry, champion: str, days: Mapping[str, Sequence[str]]
) -> set[tuple[str, str]]:
    """Return which of these days the champion has counted of footage that is gone and forgotten.

    Nobody can count them again: a null would take the place of a count that stands.
    """
    counted = {
        (row["camera_id"], str(_watch.day_of(row)))
        for row in _published(ws, champion)
        if row["truck_count"] is not None
    }
    found: set[tuple[str, str]] = set()
    for camera, dates in days.items():
        there = due.footage(ws, registry, camera)
        for text in dates:
            day = dt.date.fromisoformat(text)
            gone = day not in there and not daily.clip_rows(ws, camera, day)
            if gone and (camera, text) in counted:
                found.add((camera, text))
    return found


def _recent(ws: Workspace, champion: str, days_back: int) -> list[Row]:
    """Return the champion's published rows of the newest ``days_back`` published days."""
    rows = _published(ws, champion)
    newest = max((_watch.day_of(row) for row in rows), default=dt.date.min)
    return [r for r in rows if (newest - _watch.day_of(r)).days < days_back]


def _published(ws: Workspace, champion: str) -> list[Row]:
    if not ws.daily_counts.is_file():
        return []
    return [r for r in store.read_table(ws.daily_counts).to_pylist() if r["model_id"] == champion]
