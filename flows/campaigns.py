"""Commands about campaigns on Label Studio: its server, and tasks there and back.

``flows.cli`` takes them into the group ``label``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import click

from flows.commandline import Context, Result, command

commands = click.Group()


@command(commands, "serve")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--database", "database_url", help="PostgreSQL by URL; SQLite by default.")
def serve(context: Context, port: int, database_url: str | None) -> tuple[Result, str]:
    """Install Label Studio (once) and run it on loopback until stopped with Ctrl-C."""
    from labeling.server import serve
    from pipeline.progress import note

    folder = context.ws.root / "services" / "label-studio"
    with serve(folder, port, database_url=database_url) as credentials:
        note(f"Label Studio at {credentials.url}; credentials in {folder / 'credentials.json'}")
        try:
            while True:
                time.sleep(1.0)
        except KeyboardInterrupt:
            note("stopping")
    return {"url": credentials.url, "stopped": True}, "stopped"


@command(commands, "push")
@click.argument("campaign")
@click.option("--votes", type=click.IntRange(1, 20), default=3, show_default=True)
def push(context: Context, campaign: str, votes: int) -> tuple[Result, str]:
    """Send a campaign's frames to Label Studio; what is there already is not sent again."""
    from flows._steps import label_studio
    from labeling.studio import push

    with label_studio(context.ws) as server:
        done = push(context.ws, campaign, server, votes=votes)
    text = f"{campaign}: {done.sent} task(s) sent, {done.confirmed} there"
    return {"campaign": campaign, **dataclasses.asdict(done)}, text


@command(commands, "pull")
@click.argument("campaign")
def pull(context: Context, campaign: str) -> tuple[Result, str]:
    """Bring every vote from Label Studio into the annotations table."""
    from flows._steps import label_studio
    from labeling.studio import pull

    with label_studio(context.ws) as server:
        done = pull(context.ws, campaign, server)
    text = f"{campaign}: {done.annotations} annotation(s) there, {done.added} added"
    return {"campaign": campaign, **dataclasses.asdict(done)}, text


@command(commands, "close")
@click.argument("campaign")
def close(context: Context, campaign: str) -> tuple[Result, str]:
    """Pull the last votes and end the campaign; nothing is deleted."""
    from flows._steps import label_studio
    from labeling.studio import close

    with label_studio(context.ws) as server:
        done = close(context.ws, campaign, server)
    return {"campaign": campaign, **dataclasses.asdict(done)}, f"{campaign}: closed"


def _money(function: Callable[..., Any]) -> Callable[..., Any]:
    budget = click.option("--budget", type=float, help="For the whole campaign.")
    return click.option("--price", type=float, default=0.0, help="Of one label.")(budget(function))


@command(commands, "status")
@click.argument("campaign")
@_money
def status(
    context: Context, campaign: str, price: float, budget: float | None
) -> tuple[Result, str]:
    """Show progress, cost, agreement, and what another 100 labels would be expected to buy."""
    from labeling.status import status

    found = status(context.ws, campaign, price, budget)
    text = (
        f"{campaign}: {found['frames_judged']} of {found['frames']} frame(s) judged, "
        f"{found['annotations']} annotation(s), {found['spent']} spent; {found['advice']}"
    )
    return found, text


@command(commands, "report")
@click.argument("campaign")
@_money
def report(
    context: Context, campaign: str, price: float, budget: float | None
) -> tuple[Result, str]:
    """Write a page about the campaign that a manager can send on."""
    from labeling.page import write_page

    path = write_page(context.ws, campaign, price, budget)
    return {"page": str(path)}, str(path)
