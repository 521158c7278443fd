"""Commands about what is published, as people and programs meet them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from flows.published import commands
from pipeline import cameras, schemas, store
from pipeline.errors import InputError, NotFoundError
from pipeline.publish import publish
from pipeline.store import Workspace

REGISTRY = """
[[camera]]
id = "gate"
site = "dc-1"
timezone = "Europe/Berlin"
source = "footage/gate/*.mp4"
exchange = "XETR"
zones = [{ name = "lane", polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]] }]
"""
DAY = dt.date(2026, 3, 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace whose one camera-day was published twice."""
    store.write_bytes(tmp_path / "cameras.toml", REGISTRY.encode())
    ws, registry = Workspace(tmp_path), cameras.load(tmp_path / "cameras.toml")
    store.write_json(ws.model("m1") / "card.json", {"model_id": "m1"})
    store.write_bytes(ws.current_model, b"m1")
    for hour, trucks in ((6, 10.0), (9, 12.0)):
        row = {
            "camera_id": "gate",
            "movement": "all",
            "date": dt.datetime.combine(DAY, dt.time()),
            "site": "dc-1",
            "truck_count": trucks,
            "truck_count_lo": trucks - 1,
            "truck_count_hi": trucks + 1,
            "method": "events",
            "passages_seen": 10,
            "exposure_s": 100.0 * hour,
            "coverage": 0.9,
            "frames_scored": 500,
            "prevalence": 0.1,
            "quality": "ok",
            "model_id": "m1",
            "label_set_id": "l1",
        }
        table = store.table_of([row], schemas.COUNTS)
        store.write_table(ws.counts("gate", DAY, "m1"), table, schemas.COUNTS)
        publish(ws, registry, as_of=dt.datetime(2026, 3, 3, hour, tzinfo=dt.UTC))
    return tmp_path


def call(*arguments: object) -> Result:
    group = click.Group(commands=dict(commands.commands))
    done = CliRunner().invoke(group, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_revisions(root: Path) -> None:
    text = call("revisions", "gate", DAY, "--root", root).stdout
    assert len(text.splitlines()) == 3
    assert "+2.0  more footage (m1)" in text
    told = json.loads(call("revisions", "gate", DAY, "--root", root, "--json").stdout)
    assert [row["truck_count"] for row in told["revisions"]] == [10.0, 12.0]
    assert [row["revision_reason"] for row in told["revisions"]] == ["first", "more footage"]


def test_lineage(root: Path) -> None:
    text = call("lineage", "gate", DAY, "--root", root).stdout
    assert text.startswith("table  features/daily_truck_counts.parquet")
    told = json.loads(call("lineage", "gate", DAY, "--root", root, "--json").stdout)
    assert told["lineage"]["made_from"][0]["kind"] == "vintage"


def test_features(root: Path) -> None:
    told = json.loads(call("features", "--root", root, "--json").stdout)
    assert told["rows"] == 2  # before Xetra opened at 08:00 UTC, and the session after
    levels = store.read_table(Path(told["features"]), schemas.FEATURES)["level"].to_pylist()
    assert levels == [10.0, 12.0]


def test_push(root: Path, tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    assert json.loads(call("push", url, "--root", root, "--json").stdout)["new"] == 2
    assert call("push", url, "--root", root).stdout == f"0 publication(s) copied to {url}\n"


@pytest.mark.parametrize("name", ["revisions", "lineage"])
def test_a_day_that_was_never_published_is_named(root: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="gate on 2026-01-01"):
        call(name, "gate", "2026-01-01", "--root", root)
    with pytest.raises(NotFoundError, match="fence on 2026-03-02"):
        call(name, "fence", DAY, "--root", root)


@pytest.mark.parametrize("name", ["revisions", "lineage"])
def test_a_camera_that_was_taken_out_keeps_its_history(root: Path, name: str) -> None:
    store.write_bytes(root / "cameras.toml", REGISTRY.replace('"gate"', '"other"').encode())
    assert "gate" in call(name, "gate", DAY, "--root", root, "--json").stdout


def test_an_address_is_no_workspace(root: Path) -> None:
    with pytest.raises(InputError, match=r"s3:/bucket/ws is an address.*push"):
        call("revisions", "gate", DAY, "--root", "s3://bucket/ws")


def test_what_chooses_scores_is_refused_without_them(root: Path) -> None:
    for words in (["push", "s3://b", "--camera", "gate"], ["pull", "s3://b", "--what", "models"]):
        asked = [*words, "--from", "2026-03-02", "--root", str(root)]
        refused = CliRunner().invoke(commands, asked).exception
        assert isinstance(refused, InputError)
        assert "Add --what scores" in str(refused)
    assert "Missing option '--what'" in CliRunner().invoke(commands, ["pull", "s3://b"]).output
