"""Commands that set a camera up: its entry in cameras.toml, its reference picture, its zones.

``flows.cli`` takes them into the group ``cameras``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from flows.commandline import Context, Day, Result, command
from pipeline.errors import InputError, TruckCounterError

if TYPE_CHECKING:
    from pipeline.domain import Camera

commands = click.Group()


@command(commands, "add")
@click.argument("camera")
@click.option("--source", help="Files (glob), rtsp://…, https://….m3u8 or https://….jpg.")
@click.option("--timezone", help="IANA name such as Europe/Berlin.")
@click.option("--site", help="What the camera watches; the camera's id by default.")
@click.option("--clip-start", help="strptime pattern by which a file name tells its start.")
@click.option("--valid-from", type=Day(), help="First local day; for a camera aimed anew.")
@click.option("--sample-hz", type=float, help="Pictures looked at per second.")
@click.option("--exchange", help="MIC code of the exchange whose sessions count.")
def add(
    context: Context,
    camera: str,
    **told: Any,  # noqa: ANN401 - the keys of an entry
) -> tuple[Result, str]:
    """Write a camera's entry (or, with --valid-from, its new view) and take a reference picture."""
    from pipeline import cameras, entries, reference

    path = context.ws.cameras_toml
    given = {key: value for key, value in told.items() if value is not None}
    known = cameras.load(path).entries if path.is_file() else ()
    same = sorted((c for c in known if c.id == camera), key=lambda c: c.valid_from)
    entry = _anew(same[-1], given) if same else _asked(camera, given)
    made = entries.add(path, _in_order(entry)).camera(camera)
    result: Result = {"camera": camera, "valid_from": str(made.valid_from), "registry": str(path)}
    lines = [f"{camera}: an entry from {made.valid_from} on, in {path}"]
    try:
        result["reference"] = str(reference.kept(context.ws, made))
        lines.append(f"reference picture: {result['reference']}")
    except TruckCounterError as error:
        result["reference"] = None
        lines.append(f"no reference picture yet: {error}")
    lines.append(f"next: truck-counter cameras draw {camera}")
    return result, "\n".join(lines)


@command(commands, "draw")
@click.argument("camera")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Any free one by default.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
def draw(context: Context, camera: str, port: int, opens: bool) -> tuple[Result, str]:
    """Serve a page on this machine to click a camera's zones on its picture, until saved."""
    from flows.drawing import Drawing
    from pipeline.progress import note

    entry = context.registry.camera(camera)
    with Drawing(context.ws, entry, port) as page:
        note(f"draw the zones of {camera} at {page.address} (Ctrl-C leaves them as they are)")
        if opens:
            click.launch(page.address)
        zones = page.until_saved()
    names = [zone.name for zone in zones]
    result = {"camera": camera, "zones": names, "registry": str(context.ws.cameras_toml)}
    return result, f"{camera}: {len(names)} zone(s) saved: {', '.join(names)}"


def _asked(camera: str, given: Result) -> Result:
    """Complete a new camera's entry, asking where someone is there to answer."""
    from pipeline import entries

    asked = {key: _ask(key, given, said) for key, said in _QUESTIONS.items()}
    return {"id": camera, "site": camera, "zones": [entries.PLACEHOLDER], **given, **asked}


_QUESTIONS = {
    "source": "where its footage comes from (files as a glob, rtsp://…, https://….m3u8 or .jpg)",
    "timezone": "time zone it stands in, such as Europe/Berlin",
}


def _ask(key: str, given: Result, said: str) -> str:
    if key in given:
        return str(given[key])
    if not sys.stdin.isatty():
        raise InputError(f"no --{key} is given: {said}.", f"Give --{key}.")
    return str(click.prompt(said, err=True))


def _anew(before: Camera, given: Result) -> Result:
    """Return the entry of a camera aimed anew: as before, but for what is given."""
    from pipeline import entries

    entry: Result = {
        "id": before.id,
        "site": before.site,
        "timezone": before.timezone,
        "source": before.source,
        "clip_start": before.clip_start,
        "sample_hz": before.sample_hz,
        "schedule": [[_clock(a), _clock(b)] for a, b in before.schedule],
        "zones": [entries.as_toml(zone) for zone in before.zones],
    }
    if before.exchange:
        entry["exchange"] = before.exchange
    if before.allow_private_addresses:
        entry["allow_private_addresses"] = True
    return {**entry, **given}


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


_ORDER = ("id", "site", "timezone", "source", "clip_start", "valid_from", "sample_hz", "schedule")


def _in_order(entry: Result) -> Result:
    """Order keys as the README does, zones last."""
    first = {key: entry[key] for key in _ORDER if key in entry}
    rest = {key: value for key, value in entry.items() if key not in first and key != "zones"}
    return {**first, **rest, "zones": entry["zones"]}
