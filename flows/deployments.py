"""Every deployment in one place: what runs when, for which time zones. No Prefect here.

``prefect.yaml`` at the top of the repository is :func:`prefect_yaml` of ``data/cameras.toml`` (a
test says so); ``truck-counter up`` writes the same for the time zones of its own registry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
POOL = "truck-counter"

HEADER = """\
# What runs when. Made by flows/deployments.py from the time zones of data/cameras.toml; make it anew with
#   python -c "from flows import deployments as d; print(d.prefect_yaml(['America/Chicago']), end='')" > prefect.yaml
# Then: prefect work-pool create --type process truck-counter; prefect deploy --all
# An empty root is the worker's TRUCK_COUNTER_ROOT. Secrets are the worker's environment, never parameters.
"""  # noqa: E501


def deployments(timezones: Sequence[str], root: str = "") -> list[Row]:
    """Return the deployments as entries of ``prefect.yaml``.

    Args:
        timezones: IANA names; each gets a morning of its own, after its local day has closed and
            the last clip had time to arrive.
        root: workspace; empty is the worker's ``TRUCK_COUNTER_ROOT``.
    """
    hourly = _entry(
        "hourly",
        "flows/ingest.py:ingest",
        "Footage that has arrived → clips tables.",
        {"root": root},
        "7 * * * *",
    )
    mornings = [
        _entry(
            slug(zone),
            "flows/count.py:morning",
            f"Counts and publishes every closed day that is due in {zone}.",
            {"root": root, "timezone": zone},
            "10 4 * * *",
            zone,
        )
        for zone in timezones
    ]
    weekly = _entry(
        "weekly",
        "flows/backfill.py:reconcile",
        "Counts what came late or went missing in the last 90 days.",
        {"root": root, "days_back": 90},
        "40 5 * * 0",
    )
    label = _entry(
        "label",
        "flows/label.py:label",
        "Votes → labels, of every campaign that is open on Label Studio.",
        {"root": root, "campaign": ""},
        "*/15 * * * *",
    )
    retrain = _entry(
        "retrain",
        "flows/train.py:retrain",
        "A challenger when drift or new labels say so; campaigns called held-out… judge.",
        {"root": root, "campaigns": [], "held_out": []},
        "20 6 * * *",
    )
    asked = [
        _entry("daily", "flows/daily.py:daily", "One closed day, by hand.", {"root": root}),
        _entry(
            "backfill",
            "flows/backfill.py:backfill",
            "What truck-counter backfill --schedule hands over.",
            {"root": root},
            at_once=None,
        ),
        _entry("train", "flows/train.py:train", "A model, by hand.", {"root": root}),
        _entry("publish", "flows/publish.py:publish", "A vintage, by hand.", {"root": root}),
    ]
    return [hourly, *mornings, weekly, label, retrain, *asked]


def slug(timezone: str) -> str:
    """Return a time zone as a name of small letters, digits and dashes, all that Prefect takes.

    >>> slug("America/Port_of_Spain"), slug("Etc/GMT+6"), slug("Etc/GMT-6")
    ('america-port-of-spain', 'etc-gmt-plus-6', 'etc-gmt-6')
    """
    return re.sub(r"[^a-z0-9]+", "-", timezone.lower().replace("+", "-plus-"))


def _entry(
    name: str,
    entrypoint: str,
    description: str,
    parameters: Row,
    cron: str | None = None,
    timezone: str = "UTC",
    *,
    active: bool = True,
    at_once: int | None = 1,
) -> Row:
    """Return one entry; a second run of it at a time is cancelled (:func:`_prefect.newest_due`)."""
    entry: Row = {
        "name": name,
        "entrypoint": entrypoint,
        "description": description,
        "parameters": parameters,
        "work_pool": {"name": POOL},
    }
    if at_once is not None:
        entry["concurrency_limit"] = {"limit": at_once, "collision_strategy": "CANCEL_NEW"}
    if cron is not None:
        entry["schedules"] = [{"cron": cron, "timezone": timezone, "active": active}]
    return entry


def prefect_yaml(timezones: Sequence[str], root: str = "") -> str:
    """Return the whole of ``prefect.yaml``."""
    import yaml  # type: ignore[import-untyped]

    content = {"name": "truck-counter", "deployments": deployments(timezones, root)}
    text: str = yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)
    return HEADER + text
