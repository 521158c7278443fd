"""The command line as people meet it: help, JSON, and errors of one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import cli

REGISTRY = """
[[camera]]
id = "gate"
site = "dc-1"
timezone = "Europe/Berlin"
source = "footage/gate/*.mp4"
zones = [{ name = "lane", polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]] }]
"""


def run(*arguments: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    if root is not None:
        command += ["--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "cameras.toml").write_text(REGISTRY)
    return tmp_path


def refused(*arguments: str, root: Path) -> str:
    """Run a command that must fail for the person's fault; return its one line."""
    before = tree(root)
    done = run(*arguments, root=root)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert tree(root) == before, "something was left half-written"
    return lines[0]


def test_help_answers_well_under_a_second_and_loads_nothing_heavy() -> None:
    started = time.perf_counter()
    assert run("--help").returncode == 0
    assert time.perf_counter() - started < 1.0
    code = (
        "import sys, flows.cli; heavy = ('torch', 'cv2', 'prefect', 'av', 'pandas');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_json_is_one_object_on_one_line(workspace: Path) -> None:
    done = run("cameras", "check", "--json", root=workspace)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["cameras"] == [{"id": "gate", "site": "dc-1", "zones": ["lane"]}]


@pytest.mark.parametrize("command", ["ingest", "infer", "count"])
def test_unknown_camera(workspace: Path, command: str) -> None:
    line = refused(command, "--camera", "gatte", root=workspace)
    assert "'gatte'" in line
    assert "gate" in line.replace("gatte", "")


def test_zone_outside_the_picture(workspace: Path) -> None:
    (workspace / "cameras.toml").write_text(REGISTRY.replace("[0.9, 0.1]", "[1.9, 0.1]"))
    line = refused("cameras", "check", root=workspace)
    assert "[1.9, 0.1]" in line
    assert "outside 0-1" in line


def test_unknown_time_zone(workspace: Path) -> None:
    (workspace / "cameras.toml").write_text(REGISTRY.replace("Europe/Berlin", "Europe/Berlinn"))
    assert "'Europe/Berlinn'" in refused("ingest", root=workspace)


@pytest.mark.parametrize("command", ["ingest", "count"])
def test_bad_date(workspace: Path, command: str) -> None:
    line = refused(command, "--from", "2026-02-30", root=workspace)
    assert "'2026-02-30'" in line
    assert "YYYY-MM-DD" in line


def test_range_that_ends_before_it_begins(workspace: Path) -> None:
    line = refused("ingest", "--from", "2026-02-03", "--to", "2026-02-01", root=workspace)
    assert "2026-02-03" in line
    assert "2026-02-01" in line


def test_no_registry(tmp_path: Path) -> None:
    assert "cameras.toml" in refused("ingest", root=tmp_path)


def test_missing_label_file(workspace: Path) -> None:
    _campaign(workspace)
    line = refused("label", "import", "c1", str(workspace / "nowhere.csv"), root=workspace)
    assert "nowhere.csv" in line


def test_label_that_is_not_one_of_the_three(workspace: Path) -> None:
    _campaign(workspace)
    votes = workspace / "votes.csv"
    votes.write_text("frame_id,worker,label\nf1,ann,truck\nf1,bob,lorry\n")
    line = refused("label", "import", "c1", str(votes), root=workspace)
    assert "'lorry'" in line
    assert "no_truck" in line


def test_empty_campaign(workspace: Path) -> None:
    _campaign(workspace)
    assert "c1" in refused("label", "aggregate", "c1", root=workspace)
    assert "c1" in refused("train", "--campaign", "c1", root=workspace)
    assert "nosuch" in refused("train", "--campaign", "nosuch", root=workspace)


@pytest.mark.parametrize("command", [("infer", "--model"), ("count", "--model"), ("evaluate",)])
def test_model_that_does_not_exist(workspace: Path, command: tuple[str, ...]) -> None:
    _campaign(workspace)
    extra = (
        ("--campaign", "c1")
        if command[0] == "evaluate"
        else ("--from", "2026-03-01", "--to", "2026-03-01")
    )
    line = refused(*command, "m-none", *extra, root=workspace)
    assert "'m-none'" in line


def test_unknown_command_and_option(workspace: Path) -> None:
    assert "ingst" in refused("ingst", root=workspace)
    assert "--no-such" in refused("ingest", "--no-such", root=workspace)


def test_a_bare_group_prints_its_help_as_help() -> None:
    done = run("bench")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert len(done.stderr.splitlines()) > 5
    assert "error:" not in done.stderr


def test_options_before_a_subcommand_of_models_are_not_swallowed(workspace: Path) -> None:
    done = run("models", "--root", str(workspace), "--json", "show", "lenet5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--root --json would count for nothing here: put it after 'show'." in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mistyped_root_is_not_littered(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    done = run("models", "track", root=root)
    assert (done.returncode, done.stdout) == (0, "there is no model yet: truck-counter train\n")
    assert "'nosuch'" in refused("models", "search", "--campaign", "nosuch", root=root)
    assert "nothing is published" in refused("push", (tmp_path / "to").as_uri(), root=root)
    assert not root.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("counting", "--cells", "²"), "'²'"),
        (("decode", "x.mp4", "--hz", "nan"), "--hz nan"),
        (("end-to-end", "--hz", "inf"), "--hz inf"),
    ],
)
def test_numbers_that_are_none(workspace: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refused("bench", *words, root=workspace)


def test_cells_that_are_done_are_not_simulated_again(tmp_path: Path) -> None:
    command = ("bench", "counting", "--cells", "31", "--days", "2")
    first = run(*command, root=tmp_path)
    (kept,) = (tmp_path / "bench_counting").glob("*-0-2/31.json")
    kept.write_text(kept.read_text().replace('"days": 2', '"days": 77'))
    again = run(*command, "--json", root=tmp_path)
    assert first.returncode == again.returncode == 0
    assert [row["days"] for row in json.loads(again.stdout)["cells"]] == [77]
    other = run(*command, "--seed", "1", "--json", root=tmp_path)
    assert [row["days"] for row in json.loads(other.stdout)["cells"]] == [2]


def test_an_audit_without_windows_draws_nothing_and_says_so(workspace: Path) -> None:
    line = refused("label", "audit", "c1", "--length", "30", "--camera", "gate", root=workspace)
    assert "without --windows" in line
    assert "--length" in line
    assert "--camera" in line


@pytest.mark.parametrize("command", ["infer", "count"])
def test_days_that_nobody_can_have_filmed(workspace: Path, command: str) -> None:
    assert "0001-01-01" in refused(command, "--from", "0001-01-01", root=workspace)
    range_ = ("--from", "9999-12-30", "--to", "9999-12-31")
    assert "9999-12-30 has not begun" in refused(command, *range_, root=workspace)


def _campaign(root: Path) -> None:
    """Write a campaign of one frame that nobody has judged."""
    import datetime as dt

    from pipeline import schemas, store

    row = {
        "frame_id": "f1",
        "camera_id": "gate",
        "zone": "lane",
        "clip_id": "k1",
        "captured_at": dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
        "offset_s": 0.0,
        "path": "f1.jpg",
        "background_path": "f1.bg.jpg",
        "batch": "b",
        "why_chosen": "random",
        "weight": 1.0,
    }
    path = store.Workspace(root).campaign_frames("c1") / "frames.parquet"
    store.write_table(path, store.table_of([row], schemas.FRAMES), schemas.FRAMES)


def test_a_training_is_recorded_where_a_store_is_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from PIL import Image

    rows = ["file,label"]
    for i in range(40):
        Image.new("RGB", (32, 32), (200 * (i % 2), i, 90)).save(workspace / f"{i}.png")
        rows.append(f"{i}.png,{'truck' if i % 2 else 'no_truck'}")
    (workspace / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    labels = ("--images", str(workspace), "--labels", str(workspace / "labels.csv"))
    monkeypatch.setenv("TRUCK_COUNTER_MLFLOW", f"sqlite:///{workspace / 'runs.db'}")
    done = run(
        "train", *labels, "--arch", "lenet5", "--epochs", "1", "--engine", "torch", root=workspace
    )
    assert done.returncode == 0, done.stderr
    model_id = done.stdout.split(":")[0]

    again = run("models", "track", "--json", root=workspace)
    assert json.loads(again.stdout) == {"recorded": [], "models": [model_id]}
    own = run("models", "track", "--uri", f"sqlite:///{workspace / 'b.db'}", root=workspace)
    assert own.stdout.strip() == f"{model_id}: recorded"
    assert "nosuch" in run("models", "track", "nosuch", root=workspace).stderr


def test_a_protocol_that_no_recorder_speaks_is_told_before_it_records(workspace: Path) -> None:
    path = workspace / "cameras.toml"
    address = "ftp://me:hunter2@cam.example/*.mp4"
    path.write_text(re.sub(r'source = "[^"]*"', f'source = "{address}"', REGISTRY))
    said = refused("cameras", "check", root=workspace)
    assert "source: the protocol 'ftp' is refused" in said
    assert "hunter2" not in said


def test_what_the_system_refuses_is_one_line(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere/x.parquet")

    monkeypatch.setattr("pipeline.ingest.ingest", full)
    monkeypatch.setattr(sys, "argv", ["truck-counter", "ingest", "--root", str(workspace)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: /somewhere/x.parquet: No space left on device.\n"
