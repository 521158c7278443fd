"""A page about a campaign that a manager can send on: one HTML file, pictures inside, no scripts.

Progress and advice, agreement, each worker's skill and flags, what it cost, what waits for an
expert, the hardest frames, and labels that a model finds hard to believe.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from labeling import campaign as campaigns
from labeling.aggregate import Aggregation
from labeling.quality import suspected
from labeling.status import status
from pipeline import store
from pipeline.store import Workspace

SHOWN: Final = 24
"""At most this many pictures in each gallery."""


def write_page(
    ws: Workspace,
    campaign: str,
    price: float = 0.0,
    budget: float | None = None,
    p_model: Mapping[str, float] | None = None,
    out: Path | None = None,
) -> Path:
    """Write the page and return where it is (by default ``reports/campaign-<name>.html``).

    Args:
        ws: the workspace.
        campaign: its name.
        price: of one label.
        budget: for the whole campaign.
        p_model: frame_id → p_truck by a model that did not learn from these labels; with it,
            suspected wrong labels are listed.
        out: another place for the page.

    Raises:
        NotFoundError: there is no such campaign.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labeling"), autoescape=True, undefined=StrictUndefined
    )
    found, result = status(ws, campaign, price, budget), _result(ws, campaign)
    text = environment.get_template("campaign.html.j2").render(
        found=found,
        flags={f["worker"]: f["flag"] for f in found.get("quality", {}).get("flagged", [])},
        waiting=waiting_frames(ws, campaign, result=result),
        hard=hard_frames(ws, campaign, result=result),
        doubtful=doubtful_frames(ws, campaign, p_model or {}, result=result),
    )
    path = out or ws.reports / f"campaign-{store.checked_name(campaign, 'campaign')}.html"
    store.write_bytes(path, text.encode())
    return path


def waiting_frames(
    ws: Workspace, campaign: str, most: int = SHOWN, result: Aggregation | None = None
) -> list[dict[str, Any]]:
    """Return the frames that wait for an expert, with their pictures.

    Here as in the other galleries, ``result`` is of :func:`labeling.campaign.aggregated` where it
    is at hand: the votes held now count, as in the figures above them.
    """
    result = result or _result(ws, campaign)
    rows = {row["frame_id"]: row for row in _labels(result)}
    why = campaigns.waiting(ws, campaign, result) if rows else {}
    chosen = [rows[frame] | {"why": reason} for frame, reason in why.items() if frame in rows]
    return _with_pictures(ws, campaign, chosen[:most])


def hard_frames(
    ws: Workspace, campaign: str, most: int = SHOWN, result: Aggregation | None = None
) -> list[dict[str, Any]]:
    """Return the frames people agreed on least, hardest first, with their pictures."""
    rows = _labels(result or _result(ws, campaign))
    doubts = [r for r in rows if r["label"] is None or (r["agreement"] or 0.0) < 1.0]
    doubts.sort(key=lambda r: (r["label"] is not None, r["agreement"] or 0.0, r["frame_id"]))
    return _with_pictures(ws, campaign, doubts[:most])


def doubtful_frames(
    ws: Workspace,
    campaign: str,
    p_model: Mapping[str, float],
    most: int = SHOWN,
    result: Aggregation | None = None,
) -> list[dict[str, Any]]:
    """Return the labels that are probably wrong, worst first, with their pictures."""
    labels = _labels(result or _result(ws, campaign))
    rows = [r for r in labels if r["label"] and r["frame_id"] in p_model]
    if not rows:
        return []
    p = [p_model[row["frame_id"]] for row in rows]
    found = suspected([row["label"] == "truck" for row in rows], p)[:most]
    return _with_pictures(ws, campaign, [rows[i] | {"p_model": p[i]} for i in found])


def _result(ws: Workspace, campaign: str) -> Aggregation | None:
    """Aggregate the votes held now; None where nobody has voted on the campaign's frames."""
    frames, votes = campaigns.read_frames(ws, campaign), campaigns.read_annotations(ws, campaign)
    voted = bool(votes["frame_id"].isin(frames["frame_id"]).any())
    return campaigns.aggregated(ws, campaign) if voted else None


def _labels(result: Aggregation | None) -> list[dict[str, Any]]:
    return campaigns.records(result.labels) if result else []


def _with_pictures(
    ws: Workspace, campaign: str, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    frames = campaigns.read_frames(ws, campaign).set_index("frame_id")
    votes = campaigns.read_annotations(ws, campaign)
    shown = []
    for row in rows:
        frame = frames.loc[row["frame_id"]]
        picture = ws.campaign_frames(campaign) / str(frame["path"])
        counts = votes.loc[votes["frame_id"] == row["frame_id"], "label"].value_counts()
        about = {
            "camera": str(frame["camera_id"]),
            "zone": str(frame["zone"]),
            "captured_at": f"{frame['captured_at']:%Y-%m-%d %H:%M:%S} UTC",
            "votes": {str(k): int(n) for k, n in counts.sort_index().items()},
            "picture": _embedded(picture) if picture.is_file() else "",
        }
        shown.append({"p_model": None, "why": "", **row, **about})
    return shown


def _embedded(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
