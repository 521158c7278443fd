"""Footage, scores, models and published tables by URL, on a server that speaks S3."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from pipeline import cameras, objects
from pipeline.publish import read_daily_counts
from pipeline.store import Workspace


def by_url(root: Path, s3: Callable[[str], str]) -> None:
    """Move all footage into a store; nothing of it is left here."""
    ws = Workspace(root)
    with objects.reached(s3("footage")) as (remote, base):
        for path in (root / "footage").rglob("*.mp4"):
            objects.put(remote, path, f"{base}/{path.relative_to(root / 'footage').as_posix()}")
    shutil.rmtree(root / "footage")
    text = ws.cameras_toml.read_text()
    for camera in cameras.load(ws.cameras_toml).ids:
        text = text.replace(f"footage/{camera}/*.mp4", s3(f"footage/{camera}/*.mp4"))
    ws.cameras_toml.write_text(text)


def counts(tools: ModuleType, root: Path) -> dict[str, pd.DataFrame]:
    return {name: t for name, t in tools.tables(root).items() if name.startswith("counts")}


@pytest.mark.timeout(600)
def test_two_workspaces_that_share_nothing_but_a_store(
    world: Path, tools: ModuleType, s3: Callable[[str], str], tmp_path: Path
) -> None:
    """One scores what lies in the store, the other counts from its scores, by its model."""
    beside = Path(shutil.copytree(world, tmp_path / "beside", copy_function=shutil.copy2))
    by_url(world, s3)
    for root in (beside, world):
        done = tools.truck_counter(root, "backfill", "--to", "2026-03-04")
        assert (done["state"], done["due"]) == ("Completed", 6)
    tools.assert_same(counts(tools, world), counts(tools, beside))  # as from a disk
    assert tools.truck_counter(world, "backfill", "--to", "2026-03-04")["due"] == 0

    what = [word for kind in ("published", "models", "scores") for word in ("--what", kind)]
    sent = tools.truck_counter(world, "push", s3("ws"), *what)
    assert (sent["new"], sent["models"], sent["scores"]) == (1, ["bright"], 18)
    pd.testing.assert_frame_equal(read_daily_counts(s3("ws")), read_daily_counts(world))

    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(world / "cameras.toml", other)
    taken = tools.truck_counter(other, "pull", s3("ws"), *what[2:])
    assert (taken["models"], taken["scores"]) == (["bright"], 18)
    assert tools.truck_counter(other, "models", "use", "bright") == {"model": "bright"}
    tools.truck_counter(other, "count")
    assert not (other / "fetched").exists()
    tools.assert_same(tools.tables(other), tools.tables(world))
    again = tools.truck_counter(other, "pull", s3("ws"), *what[2:])
    assert (again["models"], again["scores"]) == ([], 0)


def test_a_camera_whose_store_is_away_fails_alone_and_is_tried_again(
    world: Path, s3: Callable[[str], str]
) -> None:
    text = (world / "cameras.toml").read_text()
    nowhere = s3("*.mp4").replace("s3://", "s3://not-")
    (world / "cameras.toml").write_text(text.replace("footage/east/*.mp4", nowhere))
    command = [sys.executable, "-m", "flows.cli", "run", "daily", "--day", "2026-03-02", "--json"]
    done = subprocess.run(
        [*command, "--root", str(world)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, done.stderr
    ended = json.loads(done.stdout)
    assert [(m["camera"], m["what"]) for m in ended["missing"]] == [("east", "ingest failed")]
    assert "s3://not-bucket" in ended["missing"][0]["why"]
    assert [(c["camera_id"], c["passages_seen"]) for c in ended["counts"]] == [("west", 3)]
    assert done.stderr.count("Retry 1/3 will start") == 1
