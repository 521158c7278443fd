"""Commands about campaigns on Label Studio: its server, and tasks there and back.

``flows.cli`` takes them into the group ``label``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from flows.commandline import Context, Result, check_days, command, over_days
from pipeline.errors import InputError

if TYPE_CHECKING:
    from labeling.client import LabelStudio
    from pipeline.store import Workspace

commands = click.Group()


@command(commands, "serve")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--database",
    "database_url",
    envvar="TRUCK_COUNTER_LABEL_STUDIO_DATABASE_URL",
    help="PostgreSQL by URL; SQLite by default. By environment nobody sees its password: "
    "TRUCK_COUNTER_LABEL_STUDIO_DATABASE_URL.",
)
@click.option("--local-files", is_flag=True, help="Let its pages read files of this machine.")
def serve(
    context: Context, port: int, database_url: str | None, local_files: bool
) -> tuple[Result, str]:
    """Install Label Studio (once) and run it on loopback until stopped with Ctrl-C."""
    from flows._processes import leave_nothing_behind
    from labeling.server import serve
    from pipeline.progress import note

    leave_nothing_behind()  # not even where we are killed
    for ending in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal, too, ends it cleanly
        if signal.getsignal(ending) != signal.SIG_IGN:  # unless nohup says that it shall not
            signal.signal(ending, signal.default_int_handler)
    folder = context.ws.root / "services" / "label-studio"
    note("starting Label Studio; the first time it is installed, which takes minutes")
    with serve(
        folder, port, database_url=database_url, serve_local_files=local_files
    ) as credentials:
        note(f"Label Studio at {credentials.url}; credentials in {folder / 'credentials.json'}")
        try:
            while True:
                time.sleep(1.0)
        except KeyboardInterrupt:
            note("stopping")
    return {"url": credentials.url, "stopped": True}, "stopped"


def _there(
    context: Context,
    campaign: str,
    what: Callable[[Workspace, str, LabelStudio], Any],
    text: str,
) -> tuple[Result, str]:
    """Do ``what`` with a campaign on its server; word its outcome by ``text``."""
    from flows._steps import label_studio

    with label_studio(context.ws) as server:
        done = dataclasses.asdict(what(context.ws, campaign, server))
    return {"campaign": campaign, **done}, f"{campaign}: {text.format(**done)}"


SENT = "{sent} task(s) sent, {confirmed} there ({gold} gold), votes asked anew on {asked}"


@command(commands, "push")
@click.argument("campaign")
@click.option(
    "--votes", type=click.IntRange(1, 20), help="Per frame; as at the last push, 3 at first."
)
@click.option(
    "--gold-share",
    type=click.FloatRange(0.0, 0.5),
    help="Gold tasks (sure labels, asked again) among what is new; as before, 0.1 at first.",
)
@click.option("--gold-from", default="", help="Campaign whose labels are gold; its own by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other gold.")
@click.option("--extra", is_flag=True, help="One more vote where the posterior is unsure.")
@click.option("--unsure", type=(float, float), default=(0.1, 0.9), show_default=True)
@click.option("--most-votes", type=click.IntRange(1, 50), default=5, show_default=True)
@click.option("--show-guess", is_flag=True, help="Show the model's guess; it biases people.")
@click.option(
    "--expert",
    "experts",
    multiple=True,
    help="Send only what is unresolved, to this expert; repeatable. Their vote settles.",
)
def push(
    context: Context,
    campaign: str,
    votes: int | None,
    gold_share: float | None,
    gold_from: str,
    seed: int,
    extra: bool,
    unsure: tuple[float, float],
    most_votes: int,
    show_guess: bool,
    experts: tuple[str, ...],
) -> tuple[Result, str]:
    """Send a campaign's frames to Label Studio; what is there already is not sent again."""
    from labeling import studio
    from labeling.extra import ExtraVotes
    from labeling.gold import GoldShare
    from labeling.guesses import shown_guesses

    more = ExtraVotes(*unsure, most_votes) if extra else None
    mixed = GoldShare(gold_share, gold_from, seed)

    def send(ws: Workspace, name: str, server: LabelStudio) -> Any:  # noqa: ANN401 - Pushed
        if experts:
            return studio.push_to_experts(ws, name, server, experts)
        told = shown_guesses(ws, name) if show_guess else None
        return studio.push(ws, name, server, votes, told, gold_share=mixed, extra_votes=more)

    return _there(context, campaign, send, SENT)


@command(commands, "pull")
@click.argument("campaign")
def pull(context: Context, campaign: str) -> tuple[Result, str]:
    """Bring every vote from Label Studio into the annotations table."""
    from labeling.studio import pull

    text = (
        "{annotations} annotation(s) there, {gold} on gold, {adjudicated} by experts; {added} added"
    )
    return _there(context, campaign, pull, text)


@command(commands, "close")
@click.argument("campaign")
def close(context: Context, campaign: str) -> tuple[Result, str]:
    """Pull the last votes and end the campaign; nothing is deleted."""
    from labeling.studio import close

    return _there(context, campaign, close, "closed, {added} added")


@command(commands, "audit")
@click.argument("campaign")
@click.option("--windows", "n", type=click.IntRange(1), help="Draw so many per camera.")
@click.option("--length", "length_s", type=float, default=20.0, show_default=True, help="Seconds.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--counts", type=click.Path(path_type=Path), help="Take window_id,worker,truck_count rows."
)
@over_days
def audit(
    context: Context,
    campaign: str,
    n: int | None,
    length_s: float,
    seed: int,
    counts: Path | None,
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Draw short stretches of footage for people to count trucks in, and take their counts."""
    from labeling import audit

    check_days(first, last)
    if n is None and (idle := _given("length_s", "seed", "cameras", "first", "last")):
        raise InputError(
            f"without --windows nothing is drawn; {' '.join(idle)} would be of no use.",
            "Say how many windows to draw, or leave them out.",
        )
    if n is not None:
        chosen = context.registry.chosen(cameras)
        audit.draw(context.ws, campaign, n, length_s, chosen, first, last, seed)
    if counts is not None:
        audit.import_counts(context.ws, campaign, counts)
    found = audit.status(context.ws, campaign)
    text = "{windows} window(s) in {folder}, {counted} counted by {workers} worker(s)"
    return found, f"{campaign}: {text.format(**found)}"


def _given(*names: str) -> list[str]:
    """Return the options among ``names`` that were typed, as they are typed."""
    context = click.get_current_context()
    typed = {n for n in names if context.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    return [p.opts[0] for p in context.command.params if p.name in typed]


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
    from labeling.status import as_text, status

    found = status(context.ws, campaign, price, budget)
    return found, as_text(found)


@command(commands, "report")
@click.argument("campaign")
@_money
@click.option(
    "--model",
    default="current",
    show_default=True,
    help="Holds labels it has not learned from for wrong: an id, current, or none.",
)
def report(
    context: Context, campaign: str, price: float, budget: float | None, model: str
) -> tuple[Result, str]:
    """Write a page about the campaign that a manager can send on."""
    from labeling.guesses import outside_opinion
    from labeling.page import write_page

    p_model = outside_opinion(context.ws, campaign, model)
    path = write_page(context.ws, campaign, price, budget, p_model)
    return {"page": str(path)}, str(path)
