"""The registry: ``cameras.toml`` read, checked and turned into :class:`~pipeline.domain.Camera`.

One ``[[camera]]`` entry is a camera as it was aimed from ``valid_from`` on. Re-aiming adds an entry
with the same ``id`` and a later ``valid_from``; nothing is edited, so old counts keep their zones.
Unknown keys are refused: a typing slip must not become a default.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import objects
from pipeline.domain import Camera, Zone
from pipeline.errors import ConfigError, InputError, NotFoundError
from pipeline.localtime import zone_info
from pipeline.store import checked_name, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
_REQUIRED = ("id", "site", "timezone", "source", "zones")
_OPTIONAL = (
    "clip_start",
    "valid_from",
    "sample_hz",
    "schedule",
    "exchange",
    "allow_private_addresses",
)


@dataclass(frozen=True)
class Registry:
    """Every entry of one ``cameras.toml``, in the file's order."""

    entries: tuple[Camera, ...]

    @property
    def ids(self) -> list[str]:
        """Camera ids in order of first appearance."""
        return list(dict.fromkeys(c.id for c in self.entries))

    def camera(self, camera_id: str, on: dt.date | None = None) -> Camera:
        """Return the entry of ``camera_id`` in force on the local day ``on`` (None: the newest).

        A day before the first entry gets the first one.

        Raises:
            NotFoundError: no such camera.
        """
        known = sorted(self.entries_of(camera_id), key=lambda c: c.valid_from)
        if not known:
            raise NotFoundError(
                f"unknown camera {camera_id!r}.",
                f"cameras.toml has: {', '.join(self.ids) or 'none'}.",
            )
        in_force = [c for c in known if on is None or c.valid_from <= on]
        return in_force[-1] if in_force else known[0]

    def entries_of(self, camera_id: str) -> list[Camera]:
        """Return a camera's entries, in the file's order."""
        return [camera for camera in self.entries if camera.id == camera_id]

    def chosen(self, camera_ids: Iterable[str]) -> list[str]:
        """Return the ids asked for (all of them where none is), each checked."""
        return [self.camera(c).id for c in camera_ids] or self.ids


def load(path: Path) -> Registry:
    """Read and check a registry.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: something in it is wrong; the message names the camera, the key, the value and
            the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before it
    except FileNotFoundError:
        raise NotFoundError(
            f"no camera registry at {path}.",
            "Write one (README, 'Run it for real') or give its folder with --root.",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.", "Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Put it right.") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.", "Mend that line.") from None
    return parse(document)


def parse(document: dict[str, Any]) -> Registry:
    """Check a registry already read from TOML; see :func:`load`."""
    unknown = sorted(set(document) - {"camera"})
    if unknown:
        raise ConfigError(f"cameras.toml: unknown key {unknown[0]!r}.", "Only [[camera]] belongs.")
    entries = document.get("camera", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        # Not shown: an address in it may hold a password.
        raise ConfigError("cameras.toml: camera is no list of tables.", "Write [[camera]] entries.")
    if not entries:
        raise ConfigError("cameras.toml has no [[camera]] entry.", "Add one.")
    cameras = tuple(_camera(entry, number) for number, entry in enumerate(entries, start=1))
    seen: set[tuple[str, dt.date]] = set()
    for camera in cameras:
        if (camera.id, camera.valid_from) in seen:
            raise ConfigError(
                f"camera {camera.id!r}: two entries with valid_from {camera.valid_from}.",
                "Give the re-aimed one a later valid_from.",
            )
        seen.add((camera.id, camera.valid_from))
    zones_of_time: dict[str, str] = {}
    for camera in cameras:
        if (other := zones_of_time.setdefault(camera.id, camera.timezone)) != camera.timezone:
            raise ConfigError(
                f"camera {camera.id!r}: timezone is {other!r} in one entry, {camera.timezone!r} in "
                "another.",
                "One camera has one; give a camera that was taken elsewhere another id.",
            )
    return Registry(cameras)


def _camera(entry: dict[str, Any], number: int) -> Camera:
    name = f"camera {entry.get('id', f'number {number}')!r}"
    for key in entry:
        if key not in _REQUIRED + _OPTIONAL:
            known = ", ".join(_REQUIRED + _OPTIONAL)
            raise ConfigError(f"{name}: unknown key {key!r}.", f"Known keys: {known}.")
    for key in _REQUIRED:
        if key not in entry:
            raise ConfigError(f"{name}: key {key!r} is missing.", "Add it.")
    for key in ("id", "site", "timezone", "source"):
        if not isinstance(entry[key], str) or not entry[key]:
            raise ConfigError(f"{name}: {key} is {entry[key]!r}.", "It must be a non-empty text.")
    _within(f"{name}: timezone", zone_info, entry["timezone"])
    _check_source(entry["source"], f"{name}: source")
    optional: dict[str, Any] = {}
    for key, read in _READERS.items():
        if key in entry:
            optional[key] = read(entry[key], f"{name}: {key}")
    return Camera(
        id=_within(f"{name}: id", checked_name, entry["id"], "camera"),
        site=entry["site"],
        timezone=entry["timezone"],
        source=entry["source"],
        zones=_zones(entry["zones"], name),
        **optional,
    )


def _check_source(source: str, where: str) -> None:
    """Refuse what no glob can match; a live address, which is never shown, its recorder checks."""
    if objects.is_stored(source):
        _within(where, objects.split, source)
    elif "://" not in source and not is_text(source):
        raise ConfigError(f"{where} is {source!r}.", "Write a path or a glob pattern.")


def _zones(value: Any, name: str) -> tuple[Zone, ...]:  # noqa: ANN401 - raw TOML
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{name}: zones is {value!r}.", "Give at least one zone.")
    zones = tuple(_zone(entry, name) for entry in value)
    names = [z.name for z in zones]
    doubled = next((n for n in names if names.count(n) > 1), None)
    if doubled is not None:
        raise ConfigError(f"{name}: two zones are called {doubled!r}.", "Give each its own name.")
    return zones


def _zone(entry: Any, camera: str) -> Zone:  # noqa: ANN401 - raw TOML
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError(f"{camera}: zone {entry!r} has no name.", 'Add name = "…".')
    where = f"{camera}: zone {entry['name']!r}"
    for key in entry:
        if key not in ("name", "movement", "polygon"):
            raise ConfigError(f"{where}: unknown key {key!r}.", "Known: name, movement, polygon.")
    polygon = entry.get("polygon")
    if not isinstance(polygon, list) or len(polygon) < 3:
        raise ConfigError(f"{where}: polygon is {polygon!r}.", "Give three or more [x, y] points.")
    points = tuple(_point(point, where) for point in polygon)
    if _crosses_itself(points):
        raise ConfigError(
            f"{where}: polygon {polygon!r} crosses itself.", "Give its points in order around it."
        )
    if abs(_area(points)) < 1e-5:
        raise ConfigError(f"{where}: polygon encloses nothing.", "Give points around an area.")
    movement = entry.get("movement", "all")
    if not isinstance(movement, str) or not movement:
        raise ConfigError(f"{where}: movement is {movement!r}.", "It must be a text.")
    return Zone(_within(where, checked_name, entry["name"], "zone"), points, movement)


def _within(where: str, check: Callable[..., T], *values: str) -> T:
    """Return ``check(*values)``; what it objects to is told as an error of ``where``."""
    try:
        return check(*values)
    except (ConfigError, InputError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _point(value: Any, where: str) -> tuple[float, float]:  # noqa: ANN401 - raw TOML
    if not (isinstance(value, list) and len(value) == 2 and all(_is_number(v) for v in value)):
        raise ConfigError(f"{where}: polygon point {value!r}.", "Write a point as [x, y].")
    if not all(0.0 <= v <= 1.0 for v in value):
        raise ConfigError(
            f"{where}: polygon point {value!r} lies outside 0-1.",
            "Divide x by the picture's width and y by its height.",
        )
    return float(value[0]), float(value[1])


def _area(points: tuple[tuple[float, float], ...]) -> float:
    """Signed area of a polygon (shoelace formula)."""
    pairs = zip(points, points[1:] + points[:1], strict=True)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs) / 2


def _crosses_itself(points: tuple[tuple[float, float], ...]) -> bool:
    """Tell whether two sides of a polygon cross."""
    sides = list(zip(points, points[1:] + points[:1], strict=True))
    return any(
        _area((a, b, c)) * _area((a, b, d)) < 0 and _area((c, d, a)) * _area((c, d, b)) < 0
        for (a, b), (c, d) in combinations(sides, 2)
    )


def _is_number(value: Any) -> bool:  # noqa: ANN401 - raw TOML
    return isinstance(value, int | float) and not isinstance(value, bool)


def _date(value: Any, where: str) -> dt.date:  # noqa: ANN401 - raw TOML
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    raise ConfigError(f"{where} is {value!r}.", "Write a bare date such as 2026-01-31.")


def _rate(value: Any, where: str) -> float:  # noqa: ANN401 - raw TOML
    if _is_number(value) and 0.0001 <= value <= 60:
        return float(value)
    raise ConfigError(f"{where} is {value!r}.", "Give samples per second, 0.0001 to 60.")


def _schedule(value: Any, where: str) -> tuple[tuple[int, int], ...]:  # noqa: ANN401 - raw TOML
    remedy = (
        'Write windows as [["06:00", "22:00"]], in order, not overlapping; over midnight two: '
        '[["00:00", "06:00"], ["22:00", "24:00"]].'
    )
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where} is {value!r}.", remedy)
    windows: list[tuple[int, int]] = []
    for window in value:
        if not (isinstance(window, list) and len(window) == 2):
            raise ConfigError(f"{where} has the window {window!r}.", remedy)
        first, last = (_minute(clock, where) for clock in window)
        if first >= last or (windows and first < windows[-1][1]):
            raise ConfigError(f"{where} has the window {window!r}.", remedy)
        windows.append((first, last))
    return tuple(windows)


def _minute(clock: Any, where: str) -> int:  # noqa: ANN401 - raw TOML
    match = _CLOCK.fullmatch(clock) if isinstance(clock, str) else None
    minute = int(match[1]) * 60 + int(match[2]) if match else 1441
    if minute > 1440:
        raise ConfigError(f"{where} has the time {clock!r}.", "Write 00:00 to 24:00.")
    return minute


def _clip_start(value: Any, where: str) -> str:  # noqa: ANN401 - raw TOML
    told = dt.datetime(2026, 1, 31, 13, tzinfo=dt.UTC)
    try:
        if isinstance(value, str) and "/" not in value and "%Z" not in value:
            read = dt.datetime.strptime(told.strftime(value), value)  # noqa: DTZ007 - what it tells
            if read.replace(tzinfo=dt.UTC) in (told, told.replace(hour=0)):  # a file a day, too
                return value
    except (ValueError, re.error):
        pass
    raise ConfigError(
        f"{where} is {value!r}.",
        "Give a strptime pattern that tells a file's date and time (of 24 hours): "
        "%Y-%m-%dT%H%M%S%z.",
    )


def _exchange(value: Any, where: str) -> str:  # noqa: ANN401 - raw TOML
    import exchange_calendars

    if isinstance(value, str) and value in exchange_calendars.get_calendar_names():
        return value
    raise ConfigError(f"{where} is {value!r}.", "Give an exchange's MIC code such as XNYS.")


def _flag(value: Any, where: str) -> bool:  # noqa: ANN401 - raw TOML
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{where} is {value!r}.", "Write true or false.")


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "clip_start": _clip_start,
    "valid_from": _date,
    "sample_hz": _rate,
    "schedule": _schedule,
    "exchange": _exchange,
    "allow_private_addresses": _flag,
}
