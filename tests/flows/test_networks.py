"""Commands about networks: what a search prints is a command that a shell can run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli
from pipeline.errors import TruckCounterError
from pipeline.learning import search

FOUND = {
    "best": {"settings": {"learning_rate": 0.0012, "label_smoothing": 0.05}, "loss": 0.25},
    "trials": [{}, {}],
    "folder": "",
}


def _printed(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Return the words that a shell makes of the command which a search prints."""
    monkeypatch.setattr(search, "search", lambda *_: FOUND)
    asked = ["models", "search", *words]
    shown = CliRunner().invoke(cli, asked, standalone_mode=False, catch_exceptions=False).output
    told = CliRunner().invoke(cli, [*asked, "--json"], standalone_mode=False).output
    head, command = shown.splitlines()
    assert head == "best of 2: loss 0.2500"
    assert json.loads(told)["command"] == command
    return shlex.split(command)


def test_the_command_of_a_search_over_pictures_survives_spaces_and_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "it's my $HOME"
    folder.mkdir()
    (folder / "my labels.csv").write_text("file,label\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = ["--root", "my root", "--images", folder.name]
    words += ["--labels", f"{folder.name}/my labels.csv", "--epochs", "3", "--seed", "7"]

    assert _printed(monkeypatch, *words) == [
        *("truck-counter", "train", "--root", str(tmp_path / "my root")),
        *("--images", str(folder), "--labels", str(folder / "my labels.csv")),
        *("--arch", "auto", "--epochs", "3", "--seed", "7"),
        *("--learning-rate", "0.0012", "--label-smoothing", "0.05"),
    ]


def test_the_command_of_a_search_over_campaigns_names_root_and_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.learning.dataset.campaign_rows", lambda *_: [])
    monkeypatch.setenv("TRUCK_COUNTER_ROOT", str(tmp_path / "a root"))
    words = ["--campaign", "first", "--campaign", "second", "--arch", "residual"]

    assert _printed(monkeypatch, *words) == [
        *("truck-counter", "train", "--root", str(tmp_path / "a root")),
        *("--campaign", "first", "--campaign", "second", "--arch", "residual", "--seed", "0"),
        *("--learning-rate", "0.0012", "--label-smoothing", "0.05"),
    ]


def test_a_model_whose_card_is_damaged_is_not_put_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "cut"
    folder.mkdir(parents=True)
    damaged = {"{": "is not JSON", "[]": "holds no JSON object", "{}": "is not a model card"}
    for content, said in damaged.items():
        (folder / "card.json").write_text(content, encoding="utf-8")
        words = ["models", "use", "cut", "--root", str(tmp_path)]
        refused = CliRunner().invoke(cli, words, standalone_mode=False).exception
        assert isinstance(refused, TruckCounterError)
        assert said in str(refused)
    assert not (tmp_path / "models" / "current").exists()


def test_labels_of_two_kinds_are_not_explained_by_one_of_them(tmp_path: Path) -> None:
    words = ["--images", "pictures", "--labels", "l.csv", "--campaign", "first"]
    words += ["--root", str(tmp_path)]
    refused = CliRunner().invoke(cli, ["models", "explain", *words], standalone_mode=False)
    said = (
        "--campaign first beside --images pictures: one of them would go unread. Give one of them."
    )
    assert str(refused.exception) == said
