"""Votes → labels, every few minutes while a campaign is open.

Pulling twice adds nothing: a vote is known by its worker and frame. The key of Label Studio comes
from the environment of whoever runs this, never from a parameter.
"""

from __future__ import annotations

from typing import Any

from flows import _steps
from flows._prefect import artifacts, flow


@flow(name="label", flow_run_name="label {campaign}")
def label(
    root: str, campaign: str, method: str = "dawid_skene", pull: bool = True
) -> dict[str, Any]:
    """Pull a campaign's votes from Label Studio and aggregate them; return the labels' summary."""
    pulled = _steps.pull_votes(root, campaign) if pull else {}
    summary = _steps.aggregate_labels(root, campaign, method)
    told = {k: v for k, v in summary.items() if isinstance(v, int | float | str)}
    artifacts.create_table_artifact(
        key="label", table=[told | pulled], description=f"Labels of {campaign}"
    )
    return summary
