"""A campaign's steps as flows: push, votes → labels every few minutes, status, close.

Pushing or pulling twice adds nothing: a task and a vote each have a name. The key of Label Studio
comes from the environment of whoever runs this, never from a parameter.
"""

from __future__ import annotations

from typing import Any

from flows import _days, _metrics, _steps
from flows._prefect import State, artifacts, flow
from pipeline.errors import StoreError
from pipeline.store import Workspace


@flow(name="label", flow_run_name="label {campaign}")
def label(
    root: str,
    campaign: str = "",
    method: str | None = None,
    pull: bool = True,
    extra: bool = False,
) -> State[dict[str, Any]]:
    """Pull a campaign's votes (none named: of all that are open) and aggregate them.

    Without ``method`` the labels are made as they were made last.
    ``extra`` asks for more votes where the labels are unsure. The result holds the summary of each
    campaign's ``labels`` by its name, and as ``missing`` the campaigns that failed, and why.
    """
    ws, _ = _steps.world(root)
    names = [campaign] if campaign else open_campaigns(ws)
    found: dict[str, Any] = {}
    missing: list[dict[str, Any]] = []
    for name in names:
        try:
            found[name] = _labelled(ws, root, name, method, pull=pull, extra=extra)
        except Exception as error:  # the next campaign is none the worse for it
            why = str(error) or type(error).__name__
            missing.append(_days.missing_row(name, "", "no labels", why))
    return _days.ending({"labels": found, "missing": missing}, failed=bool(missing))


def _labelled(
    ws: Workspace, root: str, campaign: str, method: str | None, *, pull: bool, extra: bool
) -> dict[str, Any]:
    from labeling.campaign import read_annotations

    pulled = _steps.pull_votes(root, campaign) if pull else {}
    if read_annotations(ws, campaign).empty:
        return {"frames": 0}  # nobody has voted yet, be it that some have on gold
    summary = _steps.aggregate_labels(root, campaign, method)
    asked = _steps.push_tasks(root, campaign, extra=True) if extra else {}
    _table(campaign, summary | pulled | asked)
    told = {k: v for k, v in summary.items() if isinstance(v, int | float | str)}
    _metrics.write_labels(ws, campaign, told | pulled)
    return summary


@flow(name="label-push", flow_run_name="push {campaign}")
def label_push(
    root: str,
    campaign: str,
    votes: int | None = None,
    gold_share: float | None = None,
    extra: bool = False,
    experts: list[str] | None = None,
) -> dict[str, int]:
    """Bring a campaign's frames, or what waits for these experts, to Label Studio."""
    pushed = _steps.push_tasks(root, campaign, votes, gold_share, extra, experts or [])
    _table(campaign, pushed)
    return pushed


@flow(name="label-status", flow_run_name="status {campaign}")
def label_status(root: str, campaign: str, price: float = 0.0) -> dict[str, Any]:
    """Show how far a campaign is, what it cost and what to do next."""
    found = _steps.campaign_status(root, campaign, price)
    _table(campaign, found)
    return found


@flow(name="label-close", flow_run_name="close {campaign}")
def label_close(root: str, campaign: str, method: str | None = None) -> dict[str, Any]:
    """Pull the last votes, end the campaign on the server, and aggregate as :func:`label` does."""
    _steps.close_campaign(root, campaign)
    summary = _steps.aggregate_labels(root, campaign, method)
    _table(campaign, summary)
    return summary


def _table(campaign: str, found: dict[str, Any]) -> None:
    told = {k: v for k, v in found.items() if isinstance(v, int | float | str)}
    artifacts.create_table_artifact(key="label", table=[told], description=f"Labels of {campaign}")


def open_campaigns(ws: Workspace) -> list[str]:
    """Return the campaigns that lie on a Label Studio and are not closed, by name."""
    names = sorted(p.parent.name for p in (ws.root / "labels").glob("*/label_studio.json"))
    return [name for name in names if _is_open(ws, name)]


def _is_open(ws: Workspace, campaign: str) -> bool:
    from labeling.ledger import Ledger

    try:
        found = Ledger.read(ws, campaign)
    except StoreError:  # its pull will say so, and the other campaigns are pulled
        return True
    return found is not None and not found.closed
