"""One entry of cameras.toml changes; every other byte stays."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from pipeline import cameras, entries
from pipeline.domain import Zone
from pipeline.errors import ConfigError, InputError, NotFoundError

TOML = """# ours
[[camera]]
id = "gate"      # the old one
site   =  "dc"
timezone = "Europe/Berlin"
source = 'footage/gate/*.mp4'
zones = [ {name="lane",polygon=[[0,0],[1,0],[1,1]]} ]  # as measured
sample_hz = 2.0

# the far one
[[camera]]
timezone = "UTC"
id = "far"
site = "dc"
source = "rtsp://192.0.2.1/live"
valid_from = 2026-02-03
zones = [
  { name = "out", movement = "out", polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]] },  # hand-made
]
"""
SQUARE = ((0.25, 0.5), (0.75, 0.5), (0.75, 1.0), (0.25, 1.0))
DRAWN = [Zone("left", SQUARE, "out"), Zone("right", SQUARE, 'in "quotes"')]
NEW = {"id": "new", "site": "s", "timezone": "UTC", "source": "x", "zones": [entries.PLACEHOLDER]}
EPOCH = dt.date(1970, 1, 1)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.toml"
    path.write_bytes(TOML.encode())
    return path


def test_zones_are_replaced_and_nothing_else(registry: Path) -> None:
    found = entries.redraw(registry, "gate", EPOCH, DRAWN)
    text = registry.read_text()
    before, after = TOML.split(' {name="lane",polygon=[[0,0],[1,0],[1,1]]} ')
    assert text.startswith(before)
    assert text.endswith(after)
    assert text[len(before) : -len(after)].count("\n") == 3
    assert found.camera("gate").zones == tuple(DRAWN)
    assert cameras.load(registry) == found
    assert found.camera("far").zones[0].name == "out"


def test_the_second_entry_can_be_drawn_too(registry: Path) -> None:
    entries.redraw(registry, "far", dt.date(2026, 2, 3), DRAWN)
    head = TOML[: TOML.index("zones = [\n")]
    assert registry.read_text().startswith(head)
    assert cameras.load(registry).camera("far").zones == tuple(DRAWN)


def test_drawing_the_same_again_writes_nothing(registry: Path) -> None:
    entries.redraw(registry, "gate", EPOCH, DRAWN)
    before = registry.stat().st_mtime_ns
    entries.redraw(registry, "gate", EPOCH, DRAWN)
    assert registry.stat().st_mtime_ns == before


def test_a_new_entry_goes_to_the_end(registry: Path) -> None:
    found = entries.add(registry, NEW)
    assert registry.read_text().startswith(TOML + "\n[[camera]]\n")
    assert found.ids == ["gate", "far", "new"]


@pytest.mark.parametrize("text", [TOML.rstrip("\n"), TOML.replace("\n", "\r\n")])
def test_line_ends_stay_as_they_are(registry: Path, text: str) -> None:
    registry.write_bytes(text.encode())
    entries.add(registry, NEW)
    added = registry.read_bytes().decode()
    assert added.startswith(text)
    assert ("\r\n" in text) == ("\r\n" in added[len(text) :])
    entries.redraw(registry, "new", EPOCH, DRAWN)
    drawn = registry.read_bytes().decode()
    assert drawn.startswith(text)
    assert drawn.replace("\r\n", "").count("\n") == (0 if "\r\n" in text else drawn.count("\n"))


def test_the_first_entry_makes_the_file(tmp_path: Path) -> None:
    entries.add(tmp_path / "ws" / "cameras.toml", NEW)
    assert cameras.load(tmp_path / "ws" / "cameras.toml").ids == ["new"]


def test_a_known_camera_needs_a_later_view(registry: Path) -> None:
    again = {**NEW, "id": "far"}
    for change in ({}, {"valid_from": dt.date(2026, 2, 3)}, {"valid_from": dt.date(2026, 1, 1)}):
        with pytest.raises(InputError, match="'far' is there already, from 2026-02-03"):
            entries.add(registry, {**again, **change})
    assert registry.read_text() == TOML
    found = entries.add(registry, {**again, "valid_from": dt.date(2026, 3, 1)})
    assert found.camera("far", dt.date(2026, 2, 28)).zones[0].name == "out"
    assert found.camera("far", dt.date(2026, 3, 1)).zones[0].name == "lane"


def test_what_is_not_sound_is_not_written(registry: Path) -> None:
    crossing = Zone("lane", ((0, 0), (1, 1), (1, 0), (0, 1)))
    with pytest.raises(ConfigError, match="crosses itself"):
        entries.redraw(registry, "gate", EPOCH, [crossing])
    with pytest.raises(ConfigError, match="'Mars'"):
        entries.add(registry, {**NEW, "timezone": "Mars"})
    with pytest.raises(NotFoundError, match="2026-01-01"):
        entries.redraw(registry, "gate", dt.date(2026, 1, 1), DRAWN)
    assert registry.read_text() == TOML
