"""Commands about what is published: its history, its origin, features, a copy elsewhere.

``flows.cli`` takes them over with ``cli.commands.update(published.commands.commands)``.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from flows.commandline import Context, Day, Result, command

commands = click.Group()


@command(commands, "revisions")
@click.argument("camera")
@click.argument("day", type=Day())
def revisions(context: Context, camera: str, day: dt.date) -> tuple[Result, str]:
    """Show every published value of a camera's day, when it was published, and why."""
    from pipeline.vintages import revisions

    rows = revisions(context.ws, camera, day)
    lines = [f"{'as of':<28} {'movement':<10} {'trucks':>8} {'change':>8}  reason (model)"]
    for row in rows:
        lines.append(
            f"{row['as_of']:%Y-%m-%d %H:%M:%S.%f} {row['movement']:<11} "
            f"{_number(row['truck_count']):>8} {_number(row['change'], '+'):>8}  "
            f"{row['revision_reason']} ({row['model_id']})"
        )
    return {"camera": camera, "day": str(day), "revisions": rows}, "\n".join(lines)


def _number(value: float | None, sign: str = "") -> str:
    return "none" if value is None else f"{value:{sign}.1f}"


@command(commands, "lineage")
@click.argument("camera")
@click.argument("day", type=Day())
def lineage(context: Context, camera: str, day: dt.date) -> tuple[Result, str]:
    """Trace a published count back to the votes behind it, with a digest of every file."""
    from pipeline.lineage import lineage

    tree = lineage(context.ws, camera, day)
    return {"camera": camera, "day": str(day), "lineage": tree.as_json()}, tree.as_text()


@command(commands, "features")
@click.option("--movement", help="Which movement to count; out where a site has it.")
@click.option("--tickers", type=click.Path(path_type=Path), help="CSV with site,ticker.")
def features(context: Context, movement: str | None, tickers: Path | None) -> tuple[Result, str]:
    """Write features/features.parquet: a row per site and session, from what was known then."""
    from pipeline.features import write_features

    path, rows = write_features(context.ws, context.registry, movement, tickers)
    result: dict[str, Any] = {"features": str(path), "rows": rows}
    return result, f"{rows} row(s): {path}"


@command(commands, "push")
@click.argument("url")
def push(context: Context, url: str) -> tuple[Result, str]:
    """Copy what is published to an object store (s3://bucket/workspace); once is enough."""
    from pipeline import mirror

    new = mirror.push(context.ws, url)
    return {"url": url, "new": new}, f"{new} publication(s) copied to {url}"
