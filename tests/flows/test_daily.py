"""The daily flow and the backfill with no server configured, as people run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def run(root: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    command = [sys.executable, "-m", "flows.cli", *arguments, "--root", str(root)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=env
    )
    assert done.returncode == code, done.stderr
    return done


def tables(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.parquet")}


@pytest.mark.timeout(1200)
def test_a_day_is_counted_a_failed_camera_fails_alone_and_twice_changes_nothing(
    world: Path,
) -> None:
    (world / "clips").mkdir()
    (world / "clips" / "east").write_text("in the way")
    done = run(world, "run", "daily", "--day", "2026-03-02", "--json", code=1)
    assert done.stdout.count("\n") == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("incomplete: ")]
    assert len(told) == 1
    assert told[0].startswith("incomplete: east 2026-03-02: ingest failed: ")
    first = json.loads(done.stdout)
    assert first["state"] == "Incomplete"
    assert [(m["camera"], m["what"]) for m in first["missing"]] == [("east", "ingest failed")]
    assert [(c["camera_id"], c["passages_seen"]) for c in first["counts"]] == [("west", 3)]
    assert first["published"] == 1

    (world / "clips" / "east").unlink()
    second = json.loads(run(world, "backfill", "--to", "2026-03-02", "--json").stdout)
    assert (second["state"], second["due"], second["there"]) == ("Completed", 1, 1)
    assert second["published"] == 1

    before = tables(world)
    started = time.perf_counter()
    third = run(world, "backfill", "--to", "2026-03-02")
    assert time.perf_counter() - started < 10
    assert third.stdout.startswith("nothing to do: 2 camera-day(s) are counted")
    assert tables(world) == before


def test_a_publication_that_fails_is_told_of_like_all_else_that_is_missing(world: Path) -> None:
    (world / "features").write_text("in the way")
    done = run(world, "run", "daily", "--day", "2026-03-02", "--json", code=1)
    found = json.loads(done.stdout)
    assert (found["state"], found["published"]) == ("Incomplete", 0)
    assert [(m["camera"], m["what"]) for m in found["missing"]] == [("all", "publish failed")]
    assert len(found["counts"]) == 2
    figures = (world / "reports" / "metrics" / "truck_counter_daily.prom").read_text()
    assert 'truck_counter_failures{run="daily"} 1' in figures

    (world / "features").unlink()
    again = json.loads(run(world, "run", "daily", "--day", "2026-03-02", "--json").stdout)
    assert (again["state"], again["published"]) == ("Completed", 2)


def test_a_day_that_is_not_over_is_refused_before_anything_starts(world: Path) -> None:
    started = time.perf_counter()
    done = run(world, "run", "daily", "--day", "2999-01-01", code=2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "2999-01-01 is not over yet" in done.stderr
    assert done.stdout == ""
    assert time.perf_counter() - started < 15
    assert not (world / "clips").exists()


def test_a_day_whose_footage_is_gone_is_named_and_the_others_are_counted(world: Path) -> None:
    from pipeline import cameras, daily
    from pipeline.errors import FootageError
    from pipeline.ingest import ingest
    from pipeline.store import Workspace

    ws = Workspace(world)
    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry)
    (lost,) = (world / "footage" / "west").glob("2026-03-03*")
    lost.unlink()
    days = daily.camera_days(ws, registry)
    with pytest.raises(FootageError, match=r"1 of 6 .* as west 2026-03-03: .* is not a file"):
        daily.count_days(ws, registry, days, "bright")
    counted = [d for d in days if ws.counts(d.camera.id, d.day, "bright").is_file()]
    assert [(d.camera.id, str(d.day)) for d in days if d not in counted] == [("west", "2026-03-03")]
