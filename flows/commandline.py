"""What every command shares: workspace, ``--root``, ``--json``, dates, and errors as one line.

Exit codes: 0 done; 1 done in part, the state is ``Incomplete`` and stderr says what is missing; 2
wrong input; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import cores
from pipeline.errors import InputError, TruckCounterError

if TYPE_CHECKING:
    from pipeline.cameras import Registry

Result = dict[str, Any]

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


class Context:
    """What every command needs: the workspace, and the registry where one is asked for."""

    def __init__(self, root: Path) -> None:
        from pipeline.store import Workspace

        self.ws = Workspace(root)

    @functools.cached_property
    def registry(self) -> Registry:
        """The camera registry of the workspace."""
        from pipeline import cameras

        return cameras.load(self.ws.cameras_toml)


def command(group: click.Group, name: str, **settings: Any) -> Callable[[Callable[..., Any]], Any]:  # noqa: ANN401
    """Register a command that returns ``(result, text)`` and takes ``--root`` and ``--json``."""

    def register(function: Callable[..., tuple[Result, str]]) -> click.Command:
        @group.command(name, **settings)
        @click.option("--root", type=click.Path(path_type=Path), help="Workspace folder.")
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")
        @functools.wraps(function)
        def run(root: Path | None, as_json: bool, **arguments: Any) -> None:  # noqa: ANN401
            result, text = function(Context(_root(root, name)), **arguments)
            click.echo(json.dumps(result, default=str) if as_json else text)
            if result.get("state") == "Incomplete":
                click.echo(f"incomplete: {_lacking(result['missing'])}", err=True)
                raise click.exceptions.Exit(1)

        return run

    return register


def _lacking(missing: Sequence[Result]) -> str:
    """Word what a run is missing on one line.

    >>> _lacking([{"camera": "gate", "day": "2026-03-02", "what": "infer failed", "why": "gone"}])
    'gate 2026-03-02: infer failed: gone'
    """
    told = [f"{m['camera']} {m['day']}: {m['what']}: {m['why']}" for m in missing[:3]]
    more = [f"and {len(missing) - 3} more"] if len(missing) > 3 else []
    return " ".join("; ".join([*told, *more]).split())


def _root(root: Path | None, name: str) -> Path:
    default = "data/demo" if name in ("demo", "labels") else "data"
    chosen = root or Path(os.environ.get("TRUCK_COUNTER_ROOT") or default)
    if str(chosen).split("/")[0].endswith(":"):  # s3://bucket, of which a path makes s3:/bucket
        raise InputError(
            f"--root {chosen} is an address, not a folder.",
            "Work in a folder and `truck-counter push` to the address.",
        )
    if chosen.exists() and not chosen.is_dir():
        raise InputError(f"--root {chosen} is not a folder.", "Name a folder.")
    return chosen


class Day(click.ParamType[dt.date]):
    """A calendar day written YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.date:  # noqa: ANN401 - click's types
        """Read the text; see :func:`pipeline.localtime.parse_day`."""
        from pipeline.localtime import parse_day

        return value if isinstance(value, dt.date) else parse_day(value)


class Instant(click.ParamType[dt.datetime]):
    """An instant written as ISO 8601 with its offset."""

    name = "instant"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.datetime:  # noqa: ANN401
        """Read the text; see :func:`pipeline.localtime.parse_instant`."""
        from pipeline.localtime import parse_instant

        return value if isinstance(value, dt.datetime) else parse_instant(value)


class Duration(click.ParamType[float]):
    """A stretch of time such as ``90s``, ``10m`` or ``1h30m``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:  # noqa: ANN401
        """Read the text."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(value.strip().lower())
        seconds = (
            sum(
                float(number) * scale
                for number, scale in zip(match.groups("0"), (86400, 3600, 60, 1), strict=True)
            )
            if match
            else 0.0
        )
        if seconds <= 0:
            raise InputError(f"{value!r} is not a stretch of time.", "Write 90s, 10m or 1h30m.")
        return seconds


def over_days(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--camera`` (repeatable), ``--from`` and ``--to``."""
    for option in (
        click.option("--to", "last", type=Day(), help="Last local day."),
        click.option("--from", "first", type=Day(), help="First local day."),
        click.option("--camera", "cameras", multiple=True, help="Only this camera; repeatable."),
    ):
        function = option(function)
    return function


def check_days(first: dt.date | None, last: dt.date | None) -> None:
    """Refuse a range that ends before it begins."""
    if first and last and last < first:
        raise InputError(f"--from {first} is after --to {last}.", "Swap them.")


def run(cli: click.Group) -> None:
    """Run the command line; errors meant for people become one line and exit code 2."""
    # Waiting threads sleep: on a machine that does other things too, spinning ones cost more.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OMP_NUM_THREADS", str(cores.usable()))
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)  # all of the help: a bare group asks for it
        sys.exit(2)
    except click.UsageError as error:
        _fail(error.format_message(), error.ctx)
    except click.ClickException as error:
        _fail(error.format_message(), None)
    except TruckCounterError as error:
        _fail(str(error), None)
    except OSError as error:  # of the workspace: a folder that may not be entered, a full disk
        _fail(f"{error.filename or 'the system says'}: {error.strerror or error}.", None)
    except (KeyboardInterrupt, click.Abort):
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, context: click.Context | None) -> None:
    hint = f" See: {context.command_path} --help" if context is not None else ""
    print(f"error: {' '.join(message.split())}{hint}", file=sys.stderr)
    sys.exit(2)


def command_table(group: click.Group, prefix: str = "") -> list[str]:
    """Return a Markdown row per command of ``group``, for the README (a test compares)."""
    rows: list[str] = []
    for name, one in sorted(group.commands.items()):
        if isinstance(one, click.Group):
            rows += command_table(one, f"{prefix}{name} ")
            continue
        call = click.Context(one)
        words = [p.make_metavar(call) for p in one.params if isinstance(p, click.Argument)]
        rows.append(f"| `{' '.join([prefix + name, *words])}` | {one.help} |")
    return rows
