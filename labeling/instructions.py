"""What annotators read first: what a truck is, and hard cases from the campaign's own frames.

As soon as there are sure labels the page shows a few: things that were chosen for looking like a
truck and are none (a van, a bus, a pickup on this very road), and trucks that were chosen although
they did not look like one. What the page shows is no gold, since it gives the answer away.
"""

from __future__ import annotations

from typing import Any, Final

from labeling.gold import sure
from labeling.tasks import INSTRUCTIONS, embedded
from pipeline.store import Workspace

SHOWN: Final = 4
"""Pictures of each kind."""

LIKE_A_TRUCK: Final = ("likely", "unsure", "large")
UNLIKE_A_TRUCK: Final = ("unlikely", "unsure", "moving")


def hard_cases(ws: Workspace, campaign: str, avoid: set[str]) -> list[dict[str, Any]]:
    """Return frames to show, with ``label``: no trucks first, those in ``avoid`` left out."""
    from labeling.campaign import read_frames, read_labels

    labels = read_labels(ws, campaign)
    if labels.empty:
        return []
    table = labels.merge(read_frames(ws, campaign), on="frame_id")
    table = table[sure(table) & ~table["frame_id"].isin(avoid)].sort_values("frame_id")
    shown: list[dict[str, Any]] = []
    for label, kinds in (("no_truck", LIKE_A_TRUCK), ("truck", UNLIKE_A_TRUCK)):
        own = table[table["label"] == label]
        # What had to be adjudicated is harder than what everybody saw; then, what looked likeliest.
        rank = own["why_chosen"].map({kind: i for i, kind in enumerate(kinds)})
        own = own.assign(easy=own["method"] != "adjudicated", rank=rank).dropna(subset=["rank"])
        chosen = own.sort_values(["easy", "rank", "frame_id"]).head(SHOWN)
        shown += [{str(k): v for k, v in row.items()} for row in chosen.to_dict("records")]
    return shown


def text(ws: Workspace, campaign: str, cases: list[dict[str, Any]]) -> str:
    """Return the instructions as HTML, pictures inside."""
    parts = [INSTRUCTIONS]
    titles = {"no_truck": "These are <b>no trucks</b>", "truck": "These are <b>trucks</b>"}
    for label, title in titles.items():
        paths = [ws.campaign_frames(campaign) / c["path"] for c in cases if c["label"] == label]
        pictures = "".join(
            f'<img src="{embedded(path.read_bytes())}" width="160"/> '
            for path in paths
            if path.is_file()
        )
        parts += [f"<p>{title}:</p><p>{pictures}</p>"] if pictures else []
    return "\n".join(parts)
