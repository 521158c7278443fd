"""Labels → a model: ``train`` makes one and puts it in use, ``retrain`` keeps only a better one.

A challenger stays out of use until it has judged the same held-out labels better than the champion
(a lower Brier score) and has counted the champion's last days too. Its counts of those days and the
factor between the two (``schemas.MODEL_CHANGES``) are then published together.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows import _champion, _days, _steps, due
from flows._prefect import Completed, State, artifacts, emit_event, flow
from flows._runners import task_runner
from pipeline import daily
from pipeline.learning import checkpoints

if TYPE_CHECKING:
    from pipeline.store import Workspace

Row = dict[str, Any]


@flow(name="train")
def train(
    root: str, campaigns: list[str], arch: str = "auto", epochs: int | None = None, seed: int = 0
) -> Row:
    """Train on campaigns' labels; return ``{"model_id"}``. Same labels and options, same model."""
    made = _steps.train_campaigns(root, campaigns, arch, epochs, seed, set_current=True)
    return {"model_id": made}


@flow(name="retrain", task_runner=task_runner())
def retrain(
    root: str,
    campaigns: list[str] | None = None,
    held_out: list[str] | None = None,
    enough: int = 200,
    days_back: int = 28,
    arch: str = "auto",
    epochs: int | None = None,
) -> State[Row]:
    """Train a challenger when labels or drift say so; put it in use only if it is better.

    Args:
        root: the workspace.
        campaigns: what to learn from; none named: all that have labels and do not judge.
        held_out: what both models are judged by; none named: those called ``held-out…``.
        enough: new resolved labels from which on it is worth trying; with drift, one is.
        days_back: published days in which drift is looked for, and over which the splice goes.
        arch: network, as of ``truck-counter train``.
        epochs: passes over the pictures.
    """
    ws, _ = _steps.world(root)
    if not ws.current_model.is_file():
        return Completed(message="there is no model yet: truck-counter train", data={})
    champion = daily.model_in_use(ws)
    found = _champion.case(ws, champion, campaigns or (), held_out or (), days_back)
    result: Row = {
        "champion": champion,
        "challenger": None,
        "model_id": champion,
        "new_labels": found.new_labels,
        "drift": {c: [str(day) for day in days] for c, days in found.drift.items()},
        "missing": [],
    }
    if why := found.why_not(enough):
        return Completed(message=why, data=result | {"why": why})
    challenger = _steps.train_campaigns(root, found.campaigns, arch, epochs, 0, set_current=False)
    scores = _steps.brier(root, [champion, challenger], found.held_out)
    why = ", ".join(f"{m} Brier {score:.4f}" for m, score in scores.items())
    result |= {"challenger": challenger, "scores": scores, "why": why}
    if challenger == champion or scores[challenger] >= scores[champion]:
        _show(result)
        return Completed(message=f"{champion} stays: {why}", data=result)
    return _replaced(root, result, days_back)


def _replaced(root: str, result: Row, days_back: int) -> State[Row]:
    """Count the splice's days by the challenger, put it in use, publish both at once.

    Whatever is cut short is taken up again: the model in use changes only after the counting, and
    the next publication of any flow publishes what this one did not. A day that cannot be counted
    again, such as one whose footage is gone, is told of; a camera without any keeps the champion.
    """
    ws, registry = _steps.world(root)
    champion, challenger = result["champion"], result["challenger"]
    days = _champion.splice_days(ws, registry, champion, challenger, days_back)
    lost = _champion.lost_days(ws, registry, champion, days)
    days = {c: [day for day in days[c] if (c, day) not in lost] for c in days}
    left = {c: dates for c, dates in days.items() if dates}
    why = f"its footage is gone: the count by {champion} stands"
    missing = [_days.missing_row(c, day, "not counted again", why) for c, day in sorted(lost)]
    missing += _days.gathered("retrain", _days.submitted(root, left, challenger))
    result["missing"] = missing
    if mute := sorted(c for c in days if not _counts_any(ws, c, days[c], challenger)):
        result["why"] += f"; but it has counted no day of {', '.join(mute)}"
        _show(result)
        return _days.ending(result, failed=True)
    if (now := daily.model_in_use(ws)) not in (champion, challenger):  # somebody's choice stands
        result |= {"model_id": now, "why": f"{result['why']}; but {now} was put in use meanwhile"}
        _show(result)
        return Completed(message=f"{now} stays: {result['why']}", data=result)
    checkpoints.set_current(ws, challenger)
    published = _steps.publish_counts(root) if days else {"rows": 0, "as_of": None}
    result |= {"model_id": challenger, "published": published["rows"]}
    result["splice"] = _splice(ws.root, champion, challenger)
    _show(result)
    emit_event(
        event="truck-counter.model.replaced",
        resource={"prefect.resource.id": f"truck-counter.model.{challenger}"},
        payload={"champion": champion, "why": result["why"]},
    )
    return _days.ending(result, failed=bool(missing))


def _counts_any(ws: Workspace, camera: str, days: Sequence[str], model_id: str) -> bool:
    """Tell whether one of a camera's local days has a count by this model."""
    return any(due.is_counted(ws, camera, dt.date.fromisoformat(d), model_id) for d in days)


def _splice(root: Any, champion: str, challenger: str) -> list[Row]:  # noqa: ANN401 - a path
    """Return the published factors from one model to the other, JSON-able."""
    from pipeline.publish import read_model_changes

    table = read_model_changes(root)
    rows = table[(table["old_model_id"] == champion) & (table["new_model_id"] == challenger)]
    keys = ["camera_id", "movement", "days", "factor", "factor_lo", "factor_hi"]
    return [{str(k): _plain(v) for k, v in row.items()} for row in rows[keys].to_dict("records")]


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell
    return None if value != value else value  # NaN is no JSON


def _show(result: Row) -> None:
    lines = [f"# in use: {result['model_id']}", "", result["why"], ""]
    lines += [
        f"* {s['camera_id']} {s['movement']}: new ÷ old = {s['factor']} over {s['days']} day(s)"
        for s in result.get("splice", ())
    ]
    artifacts.create_markdown_artifact(key="retrain", markdown="\n".join(lines))
