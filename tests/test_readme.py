"""The README tells the truth: its commands run, its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from flows.cli import cli
from flows.commandline import command_table
from pipeline import schemas

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
