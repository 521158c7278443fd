"""The README tells the truth: its commands run, its tables are those of the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import click

from flows.cli import cli
from flows.commandline import command_table
from pipeline import cameras, schemas

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.DOTALL)
    assert found is not None, name
    return found[1].strip()


def test_data_dictionary_is_the_schemas() -> None:
    assert between("dictionary") == schemas.dictionary().strip()


def test_every_command_is_documented() -> None:
    assert between("commands").splitlines()[2:] == command_table(cli)


def test_the_picture_and_the_make_targets_exist() -> None:
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        content = (ROOT / picture).read_bytes()
        if picture.endswith(".svg"):
            assert ElementTree.fromstring(content).findall(".//{*}polyline")
        else:
            assert len(content) > 10_000
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)) - {"nothing"}:
        assert f"\n{target}:" in makefile, target


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, language
    return found


def test_links_within_the_page_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.M)
    places = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
    links = re.findall(r"\]\(#([^)]+)\)", README)
    assert len(links) > 10
    assert set(links) <= places


def test_the_camera_it_shows_is_one() -> None:
    (entry,) = blocks("toml")
    (camera,) = cameras.parse(tomllib.loads(entry)).entries
    assert (camera.id, camera.sample_hz, len(camera.zones)) == ("north-gate", 5.0, 1)


def test_every_command_line_it_shows_is_understood() -> None:
    lines = [
        part.strip()
        for block in blocks("sh")
        for line in block.splitlines()
        for part in line.partition(" #")[0].split("&&")
        if part.strip().startswith("truck-counter ")
    ]
    assert len(lines) > 20
    for line in lines:
        command: click.Command = cli
        words = shlex.split(line)[1:]
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command.params or not words, line
        command.make_context(line, words)
