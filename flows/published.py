"""Commands about what is published: its history, its origin, features, a copy elsewhere.

``flows.cli`` takes them over with ``cli.commands.update(published.commands.commands)``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.commandline import Context, Day, Result, check_days, command, over_days
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.mirror import Chosen

Command = Callable[..., Any]

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


def _of_kinds(*kinds: str, default: str | None = None) -> Callable[[Command], Command]:
    """Add URL, ``--what`` of these kinds, and the camera-days of scores."""

    def add(function: Command) -> Command:
        what = click.option(
            "--what",
            "kinds",
            type=click.Choice(kinds),
            multiple=True,
            required=default is None,
            default=[default] if default else None,
            show_default=default is not None,
            help="What to copy; repeatable. Scores bring the clips tables they were made from.",
        )
        return click.argument("url")(what(over_days(function)))

    return add


@command(commands, "push")
@_of_kinds("published", "models", "scores", default="published")
def push(
    context: Context,
    url: str,
    kinds: tuple[str, ...],
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Copy what is published (or models, or scores) to an object store; once is enough."""
    from pipeline import mirror

    chosen = _chosen(kinds, cameras, first, last)
    result: Result = {"url": url}
    if "published" in kinds:
        result["new"] = mirror.push(context.ws, url)
    if "models" in kinds:
        result["models"] = mirror.push_models(context.ws, url)
    if "scores" in kinds:
        result["scores"] = mirror.push_scores(context.ws, url, chosen)
    return result, f"{_copied(result)} copied to {url}"


@command(commands, "pull")
@_of_kinds("models", "scores")
def pull(
    context: Context,
    url: str,
    kinds: tuple[str, ...],
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Copy models or scores that `push` brought to an object store into this workspace."""
    from pipeline import mirror

    chosen = _chosen(kinds, cameras, first, last)
    result: Result = {"url": url}
    if "models" in kinds:
        result["models"] = mirror.pull_models(context.ws, url)
    if "scores" in kinds:
        result["scores"] = mirror.pull_scores(context.ws, url, chosen)
    return result, f"{_copied(result)} copied from {url}"


def _chosen(
    kinds: tuple[str, ...], cameras: tuple[str, ...], first: dt.date | None, last: dt.date | None
) -> Chosen:
    from pipeline.mirror import Chosen

    check_days(first, last)
    if "scores" not in kinds and (cameras or first or last):
        raise InputError("--camera, --from and --to choose scores.", "Add --what scores.")
    return Chosen(frozenset(cameras), first, last)


def _copied(result: Result) -> str:
    """Word what was copied.

    >>> _copied({"url": "s3://b", "new": 2, "models": ["a"], "scores": 6})
    '2 publication(s), 1 model(s), 6 table(s)'
    """
    said = []
    if "new" in result:
        said.append(f"{result['new']} publication(s)")
    if "models" in result:
        said.append(f"{len(result['models'])} model(s)")
    if "scores" in result:
        said.append(f"{result['scores']} table(s)")
    return ", ".join(said)
