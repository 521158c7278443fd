"""Votes → labels, every few minutes while a campaign is open.

Pulling twice adds nothing: a vote is known by its worker and frame. The key of Label Studio comes
from the environment of whoever runs this, never from a parameter.
"""

from __future__ import annotations

from typing import Any

from flows import _metrics, _steps
from flows._prefect import artifacts, flow
from pipeline.store import Workspace


@flow(name="label", flow_run_name="label {campaign}")
def label(
    root: str, campaign: str = "", method: str = "dawid_skene", pull: bool = True
) -> dict[str, Any]:
    """Pull a campaign's votes (none named: of all that are open) and aggregate them.

    Returns the summary of each campaign's labels by its name.
    """
    ws, _ = _steps.world(root)
    names = [campaign] if campaign else open_campaigns(ws)
    return {name: _labelled(ws, root, name, method, pull=pull) for name in names}


def _labelled(
    ws: Workspace, root: str, campaign: str, method: str, *, pull: bool
) -> dict[str, Any]:
    pulled = _steps.pull_votes(root, campaign) if pull else {}
    if pull and not pulled["annotations"]:
        return {"frames": 0}  # nobody has voted yet
    summary = _steps.aggregate_labels(root, campaign, method)
    told = {k: v for k, v in summary.items() if isinstance(v, int | float | str)}
    artifacts.create_table_artifact(
        key="label", table=[told | pulled], description=f"Labels of {campaign}"
    )
    _metrics.write_labels(ws, campaign, told | pulled)
    return summary


def open_campaigns(ws: Workspace) -> list[str]:
    """Return the campaigns that lie on a Label Studio and are not closed, by name."""
    from labeling.studio import Ledger

    names = sorted(p.parent.name for p in (ws.root / "labels").glob("*/label_studio.json"))
    ledgers = {name: Ledger.read(ws, name) for name in names}
    return [n for n, found in ledgers.items() if found is not None and not found.closed]
