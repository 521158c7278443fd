"""How far a campaign is, what it cost, who is good, and whether to go on.

Money is votes × a price; it is split by worker, by batch and by camera. What another hundred labels
would buy is told in the unit that matters, the width of the count: the part of a count's 95%
interval that comes from not knowing the classifier's sensitivity and specificity exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from labeling import adjudication, gold
from labeling import campaign as campaigns
from labeling.aggregate import Aggregation
from labeling.ledger import EXPERTS, Ledger
from labeling.quality import Z95
from pipeline import store
from pipeline.errors import InputError
from pipeline.store import Workspace

if TYPE_CHECKING:
    import pandas as pd

SHOWN: Final = 20
"""Frames listed on a terminal."""

WORTH_IT: Final = 0.05
"""Stop where a hundred labels would narrow the interval by less than this share."""


@dataclass(frozen=True)
class HeldOut:
    """A classifier's answers on held-out labels of the random share, as in a model's card."""

    tp: float
    fn: float
    fp: float
    tn: float


def half_width(found: HeldOut, prevalence: float, more: float = 0.0) -> float:
    """Return the relative 95% half-width of a count that classifier error leaves.

    Rogan and Gladen 1978: p = (q + sp − 1) ÷ (se + sp − 1); with the share q of positives known,
    var p ≈ (p² · se(1 − se)/n₊ + (1 − p)² · sp(1 − sp)/n₋) ÷ (se + sp − 1)². One success and one
    failure are added per class (a classifier without an error yet is not perfect).

    Args:
        found: held-out answers.
        prevalence: share of instants with a truck.
        more: further held-out labels, falling as the present ones do.

    Returns:
        Half-width ÷ prevalence; infinite where the classifier tells nothing.

    >>> round(half_width(HeldOut(48, 2, 1, 99), 0.05), 3)
    0.558
    """
    have = found.tp + found.fn + found.fp + found.tn
    grown = (have + more) / have if have else 1.0
    positives, negatives = found.tp + found.fn + 2.0, found.fp + found.tn + 2.0
    se, sp = (found.tp + 1.0) / positives, (found.tn + 1.0) / negatives
    told = se + sp - 1.0
    if told <= 0 or prevalence <= 0:
        return math.inf
    variance = prevalence**2 * se * (1 - se) / (positives * grown)
    variance += (1 - prevalence) ** 2 * sp * (1 - sp) / (negatives * grown)
    return Z95 * math.sqrt(variance) / told / prevalence


def costs(votes: pd.DataFrame, frames: pd.DataFrame, price: float) -> dict[str, dict[str, Any]]:
    """Return ``{"worker" | "batch" | "camera": {name: {"labels", "cost"}}}``."""
    # Gold from another campaign is of no batch or camera of this one.
    joined = votes.merge(frames[["frame_id", "batch", "camera_id"]], on="frame_id", how="left")
    joined = joined.fillna({"batch": "gold", "camera_id": "gold"})
    table: dict[str, dict[str, Any]] = {}
    for name, column in (("worker", "worker"), ("batch", "batch"), ("camera", "camera_id")):
        counts = joined.groupby(column).size().sort_index()
        table[name] = {
            str(k): {"labels": int(n), "cost": round(int(n) * price, 2)} for k, n in counts.items()
        }
    return table


def unsure(result: Aggregation, low: float = 0.1, high: float = 0.9) -> list[str]:
    """Return the frames not sure yet: unresolved, or with a posterior in between."""
    table = result.labels[result.labels["method"] != "adjudicated"]
    wanted = table["label"].isna() | table["p_truck"].between(low, high, inclusive="neither")
    return [str(frame) for frame in table.loc[wanted, "frame_id"]]


def status(
    ws: Workspace, campaign: str, price: float = 0.0, budget: float | None = None
) -> dict[str, Any]:
    """Sum a campaign up.

    Args:
        ws: the workspace.
        campaign: its name.
        price: of one label, in whatever money; 0 is not known, and no money is worded.
        budget: for the whole campaign, in the same money.

    Raises:
        NotFoundError: there is no such campaign.
        InputError: a price or budget that is negative or no number.
    """
    for name, money in (("price", price), ("budget", budget)):
        if money is not None and not 0.0 <= money < math.inf:
            raise InputError(f"bad {name} {money}.", "Give 0 or more.")
    frames, votes = campaigns.read_frames(ws, campaign), campaigns.read_annotations(ws, campaign)
    paid = _paid(ws, campaign, votes)
    votes = votes[votes["frame_id"].isin(frames["frame_id"])]
    found: dict[str, Any] = {
        "campaign": campaign,
        "frames": len(frames),
        "frames_judged": int(votes["frame_id"].nunique()),
        "frames_left_over": len(campaigns.left_over(ws, campaign)),
        "annotations": len(votes),
        "pushed": _pushed(ws, campaign),
        "price": price,
        "costs": costs(paid, frames, price),
        "spent": round(len(paid) * price, 2),
        "budget_left": None if budget is None else round(budget - len(paid) * price, 2),
    }
    if len(votes):
        found |= _judged(ws, campaign, frames, votes, price)
    found["advice"] = _advice(found)
    return found


def _paid(ws: Workspace, campaign: str, votes: pd.DataFrame) -> pd.DataFrame:
    """Return every vote that costs money: the crowd's, those on gold tasks, the experts'."""
    import pandas as pd

    experts, on_gold = adjudication.read(ws, campaign), gold.read_votes(ws, campaign, {})
    columns = ["frame_id", "worker"]
    return pd.concat([votes[columns], on_gold[columns], experts[columns]], ignore_index=True)


def _pushed(ws: Workspace, campaign: str) -> dict[str, int] | None:
    ledger, experts = Ledger.read(ws, campaign), Ledger.read(ws, campaign, EXPERTS)
    if ledger is None:
        return None
    states = ("pending", "sent", "confirmed")
    return {s: len(ledger.of_state(s)) for s in states} | {
        "votes_wanted": ledger.votes,
        "gold": len(ledger.gold),
        "extra": len(ledger.extra),
        "to_experts": len(experts.state) if experts else 0,
    }


def _judged(
    ws: Workspace, campaign: str, frames: pd.DataFrame, votes: pd.DataFrame, price: float
) -> dict[str, Any]:
    result = campaigns.aggregated(ws, campaign)
    random = frames.loc[frames["why_chosen"] == "random", "frame_id"]
    labels = result.labels[result.labels["frame_id"].isin(random)]["label"].dropna()
    prevalence = float((labels == "truck").mean()) if len(labels) else None
    per_frame = len(votes) / max(1, votes["frame_id"].nunique())
    known = adjudication.settled(adjudication.read(ws, campaign))
    return {
        "quality": campaigns.summary(result),
        "adjudication": adjudication.summary(campaigns.waiting(ws, campaign, result), known),
        "unsure": unsure(result),
        "random_labels": len(labels),
        "prevalence": prevalence,
        "next_100": _next_hundred(ws, prevalence, per_frame, price),
    }


def _next_hundred(
    ws: Workspace, prevalence: float | None, votes_per_frame: float, price: float
) -> dict[str, float] | None:
    """Return the interval's half-width now and after 100 more labels, None without a model."""
    found = _held_out(ws)
    if found is None or not prevalence:
        return None
    now = half_width(found, prevalence)
    then = half_width(found, prevalence, 100.0 / votes_per_frame)
    if not math.isfinite(now):
        return None
    return {"half_width": round(now, 4), "then": round(then, 4), "cost": round(100.0 * price, 2)}


def _held_out(ws: Workspace) -> HeldOut | None:
    """Read the current model's held-out counts from its card."""
    if not ws.current_model.is_file():
        return None
    card = ws.model(ws.current_model.read_text().strip()) / "card.json"
    if not card.is_file():
        return None
    counts = store.read_object(card).get("held_out") or {}
    if not all(key in counts for key in ("tp", "fn", "fp", "tn")):
        return None
    return HeldOut(*(float(counts[key]) for key in ("tp", "fn", "fp", "tn")))


def _advice(found: Mapping[str, Any]) -> str:
    """Say in a line what to do next."""
    if not found["annotations"]:
        return "no votes yet: push the campaign, or import a file"
    left = found["budget_left"]
    if left is not None and left <= 0:
        return "the budget is spent"
    if found["frames_judged"] < found["frames"]:
        return f"{found['frames'] - found['frames_judged']} frames wait for their first vote"
    left = found["adjudication"]["waiting"]
    experts = f"; {left} frames wait for an expert (label push --expert)" if left else ""
    gain = found.get("next_100")
    if gain is None:
        return f"train a model to learn what more labels would buy{experts}"
    narrower = 1.0 - gain["then"] / gain["half_width"]
    width = f"±{gain['half_width']:.1%} of the count now, ±{gain['then']:.1%} after 100 more labels"
    return f"{'go on' if narrower >= WORTH_IT else 'stop'}: {width}{experts}"


def as_text(found: Mapping[str, Any]) -> str:
    """Word a status for a terminal: progress, money, people, what waits for an expert, advice."""
    spent = f", {found['spent']} spent" if found["price"] else ""
    lines = [
        f"{found['campaign']}: {found['frames_judged']} of {found['frames']} frame(s) judged, "
        f"{found['annotations']} annotation(s){spent}; {found['advice']}"
    ]
    if found["frames_left_over"]:
        lines.append(f"{found['frames_left_over']} more with votes are not in the campaign now")
    quality = found.get("quality", {})
    lines += [f"flagged {f['worker']}: {f['flag']}" for f in quality.get("flagged", [])]
    lines += [
        f"gold {g['worker']}: {g['n_right']} of {g['n_gold']} right"
        for g in quality.get("gold", [])
    ]
    left = found.get("adjudication", {"waiting": 0})
    if left["waiting"]:
        why = ", ".join(f"{n} {reason}" for reason, n in left["reasons"].items())
        lines.append(f"{left['waiting']} frame(s) wait for an expert ({why}):")
        lines += [f"  {frame}" for frame in left["frames"][:SHOWN]]
        if left["waiting"] > SHOWN:
            lines.append(f"  and {left['waiting'] - SHOWN} more; see --json")
    return "\n".join(lines)
