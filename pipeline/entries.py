"""Changing ``cameras.toml`` the way a careful person would: one entry, the rest byte for byte.

A new entry is added at the end; a drawn zone replaces the value of one ``zones`` key and nothing
else, comments and spacing included. What comes out is checked by :mod:`pipeline.cameras` before it
is written, so a registry that was sound stays sound.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cameras, store
from pipeline.domain import Zone
from pipeline.errors import ConfigError, InputError, NotFoundError

if TYPE_CHECKING:
    from tomlkit.items import Item

    from pipeline.cameras import Registry

PLACEHOLDER = {
    "name": "lane",
    "movement": "all",
    "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
}
"""The zone of a camera that nobody has drawn one for yet."""

_DIGITS = 4  # of a 0-1 coordinate: a fifth of a pixel at 1080p


def add(path: Path, entry: Mapping[str, Any]) -> Registry:
    """Append an entry to the registry at ``path`` (made where there is none); return the whole.

    An entry for a camera that is there already is the camera aimed anew: its ``valid_from`` must be
    later than every other of that camera.

    Raises:
        InputError: the camera is there, and the entry is not a later one.
        ConfigError: the registry, or the entry, is not sound.
    """
    before = _read(path)
    if before:
        _check_is_new(cameras.load(path), entry)
    import tomlkit

    table = tomlkit.table()
    for key, value in entry.items():
        table[key] = _zones(value) if key == "zones" else value
    document = tomlkit.document()
    document["camera"] = tomlkit.aot()
    document["camera"].append(table)
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    added = gap + tomlkit.dumps(document)
    return _write(path, before + (added.replace("\n", "\r\n") if "\r\n" in before else added))


def redraw(path: Path, camera_id: str, valid_from: dt.date, zones: Sequence[Zone]) -> Registry:
    """Give the entry of ``camera_id`` that holds from ``valid_from`` on these zones.

    Raises:
        NotFoundError: there is no such entry.
        ConfigError: the registry, or a zone, is not sound.
    """
    import tomlkit

    before = _read(path)
    known = cameras.load(path)
    number = next(
        (i for i, c in enumerate(known.entries) if (c.id, c.valid_from) == (camera_id, valid_from)),
        None,
    )
    if number is None:
        raise NotFoundError(f"{path} has no entry {camera_id!r} from {valid_from} on.")
    document = tomlkit.parse(before)
    drawn = _zones([as_toml(zone) for zone in zones])
    document["camera"][number]["zones"] = drawn
    after = tomlkit.dumps(document)
    if "\r\n" in before:  # the lines that were drawn, too
        after = after.replace("\r\n", "\n").replace("\n", "\r\n")
    return _write(path, after)


def as_toml(zone: Zone) -> dict[str, Any]:
    """Return a zone as its entry in the file.

    >>> as_toml(Zone("lane", ((0, 0), (1, 0), (0.123456, 1)), "out"))["polygon"]
    [[0.0, 0.0], [1.0, 0.0], [0.1235, 1.0]]
    """
    points = [[round(float(x), _DIGITS), round(float(y), _DIGITS)] for x, y in zone.polygon]
    return {"name": zone.name, "movement": zone.movement, "polygon": points}


def zones_of(told: object, camera_id: str) -> tuple[Zone, ...]:
    """Check zones as a page sends them (a list of name, movement, polygon), like the file's.

    Raises:
        ConfigError: one is not sound.
    """
    sample = {"id": camera_id, "site": "-", "timezone": "UTC", "source": "-", "zones": told}
    return cameras.parse({"camera": [sample]}).entries[0].zones


def _check_is_new(known: Registry, entry: Mapping[str, Any]) -> None:
    same = [camera for camera in known.entries if camera.id == entry["id"]]
    if not same:
        return
    newest = max(camera.valid_from for camera in same)
    given = entry.get("valid_from")
    if given is None or given <= newest:
        said = f"camera {entry['id']!r} is there already, from {newest} on"
        raise InputError(
            f"{said}; valid_from is {given or 'not given'}.",
            "If it was aimed anew, give --valid-from, the first day of the new view, later than "
            f"{newest}; zones are changed with truck-counter cameras draw.",
        )


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.", "Save it as UTF-8.") from None


def _write(path: Path, text: str) -> Registry:
    """Check what would be written, and write it."""
    try:
        found = cameras.parse(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} cannot take the entry: {error}.", "Write its cameras as [[camera]] entries."
        ) from None
    if text != _read(path):
        store.write_bytes(path, text.encode())
    return found


def _zones(told: Sequence[Mapping[str, Any]]) -> Item:
    """Return zones as an array of one line each, spaced as in the README."""
    import tomlkit

    lines = []
    for zone in told:
        name, movement = (tomlkit.string(zone[key]).as_string() for key in ("name", "movement"))
        polygon = ", ".join(f"[{x}, {y}]" for x, y in zone["polygon"])
        lines.append(f"  {{ name = {name}, movement = {movement}, polygon = [{polygon}] }},\n")
    return tomlkit.value(f"[\n{''.join(lines)}]")
