"""Several processes teach one network, started by torchrun as people start it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.learning import ranks, train
from pipeline.learning.options import TrainOptions
from pipeline.store import Workspace


def torchrun(
    blocks: Path,
    labels: Path,
    root: Path,
    *knobs: str,
    command: Sequence[str] = ("-m", "flows.cli"),
) -> subprocess.CompletedProcess:
    """Run ``train`` in two processes."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command]
    words += ["train", "--images", str(blocks), "--labels", str(labels), "--root", str(root)]
    words += ["--json", "--device", "cpu", "--engine", "torch", *knobs]
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=900, check=False
    )


def flags(options: TrainOptions) -> list[str]:
    """Return the flags that ask for what differs from the defaults."""
    said = [
        (f"--{knob.name.replace('_', '-')}", getattr(options, knob.name))
        for knob in fields(options)
        if getattr(options, knob.name) != knob.default and knob.name not in ("engine", "device")
    ]
    return [str(word) for pair in said for word in pair]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


# bfloat16 rounds half of a batch otherwise than all of it.
_IN_FULL = """
from pipeline.learning import fitting
fitting.half_precision = lambda device: False
from flows.cli import main
main()
"""


def test_two_processes_go_the_way_of_one(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.learning.fitting.half_precision", lambda device: False)
    in_full = tmp_path / "in_full.py"
    in_full.write_text(_IN_FULL, encoding="utf-8")
    # Nothing drawn at random and no batch norm: 8 and 7 pictures are the same batch as 15. By sgd,
    # because adam's steps do not depend on how large gradients are.
    options = TrainOptions(
        arch="lenet5",
        epochs=4,
        batch_size=15,
        augment=0.0,
        dropout=0.0,
        balance="weights",
        optimiser="sgd",
        learning_rate=0.01,
        engine="torch",
        device="cpu",
    )
    labels = blocks / "labels.csv"
    done = torchrun(blocks, labels, tmp_path / "two", *flags(options), command=[str(in_full)])
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # the leader's alone
    two = json.loads(line)
    ws = Workspace(tmp_path / "one")
    model_id = train.train_images(ws, blocks, labels, options)
    assert two["model_id"] == model_id
    found = weights(Path(two["model"]))
    for name, expected in weights(ws.model(model_id)).items():
        np.testing.assert_allclose(found[name], expected, atol=2e-4, err_msg=name)
    # Each picture was shown to one of the two: else twice as many would be right.
    curve = json.loads((ws.model(model_id) / "card.json").read_text(encoding="utf-8"))["curve"]
    for name, rows in curve.items():
        right = [row["accuracy"] for row in two["card"]["curve"][name]]
        assert right == pytest.approx([row["accuracy"] for row in rows], abs=0.02)


def test_several_courses_with_batch_norm_leave_one_sound_model(
    blocks: Path, tmp_path: Path
) -> None:
    options = TrainOptions(
        arch="whitened", epochs=6, refit=0.5, batch_size=16, engine="torch", device="cpu"
    )
    labels = blocks / "labels.csv"
    done = torchrun(blocks, labels, tmp_path, *flags(options))
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)["card"]
    ws = Workspace(tmp_path)
    found = weights(ws.model(card["model_id"]))
    assert all(np.isfinite(values).all() for values in found.values())
    assert {name: len(rows) for name, rows in card["curve"].items()} == {"measured": 3, "final": 3}
    assert card["processes"] == 2
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["model.safetensors"]
    before = (ws.model(card["model_id"]) / "card.json").stat().st_mtime_ns
    assert train.train_images(ws, blocks, labels, options) == card["model_id"]
    assert (ws.model(card["model_id"]) / "card.json").stat().st_mtime_ns == before


def test_what_is_wrong_with_labels_is_said_once_and_ends_all(blocks: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nnowhere.png,truck\n", encoding="utf-8")
    done = torchrun(blocks, tmp_path / "labels.csv", tmp_path)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "holds 'truck' only" in said[0]


_FAILING = """
from pipeline.errors import StoreError
from pipeline.learning import checkpoints, fitting
fitting.CHECKPOINT_EVERY_S = -1.0
def full(*args):
    raise StoreError("the disk is full.", "Make room.")
checkpoints.save_progress = full
from flows.cli import main
main()
"""


@pytest.mark.timeout(300)
def test_an_error_in_the_middle_of_a_course_ends_all(blocks: Path, tmp_path: Path) -> None:
    failing = tmp_path / "failing.py"
    failing.write_text(_FAILING, encoding="utf-8")
    options = TrainOptions(arch="lenet5", epochs=3, batch_size=16, device="cpu")
    labels = blocks / "labels.csv"
    done = torchrun(blocks, labels, tmp_path, *flags(options), command=[str(failing)])
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said == ["error: the disk is full. Make room."]


def test_alone_a_process_leads_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # of another launcher: not for us
    with ranks.led():
        assert (ranks.count(), ranks.number()) == (1, 0)
        assert ranks.as_led(3, 0.5) == (3, 0.5)
