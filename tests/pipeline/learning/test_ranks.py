"""Several processes teach one network, started by torchrun as people start it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from pipeline.learning import ranks


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows = ["file,label,group"]
    for i in range(90):
        picture = rng.integers(40, 90, (32, 32, 3)).astype(np.uint8)
        if i % 2:
            picture[8:20, 8:20] = 200
        Image.fromarray(picture).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{'truck' if i % 2 else 'no_truck'},g{i // 2}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def train(pictures: Path, root: Path, processes: int, *knobs: str) -> subprocess.CompletedProcess:
    """Run ``train`` in one process, or in several by torchrun."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = ["-m", "flows.cli", "train", "--images", str(pictures), "--json", "--engine", "torch"]
    words += ["--labels", str(pictures / "labels.csv"), "--root", str(root), "--device", "cpu"]
    return subprocess.run(
        [*start, *words, *knobs], capture_output=True, text=True, timeout=900, check=False
    )


def weights(done: subprocess.CompletedProcess) -> dict[str, np.ndarray]:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # the leader's alone
    return load_file(Path(json.loads(line)["model"]) / "model.safetensors")


def test_two_processes_go_the_way_of_one(pictures: Path, tmp_path: Path) -> None:
    # Nothing drawn at random and no batch norm: half a batch each is the same batch. 71 pictures
    # teach, so that the last batch has 7, 4 for one process and 3 for the other.
    knobs = ["--arch", "lenet5", "--epochs", "4", "--batch-size", "16", "--augment", "0"]
    knobs += ["--dropout", "0", "--balance", "weights", "--learning-rate", "0.01"]
    one = weights(train(pictures, tmp_path / "one", 1, *knobs))
    two = weights(train(pictures, tmp_path / "two", 2, *knobs))
    assert one.keys() == two.keys()
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, atol=2e-4, err_msg=name)


def test_several_courses_with_batch_norm_leave_one_sound_model(
    pictures: Path, tmp_path: Path
) -> None:
    knobs = ["--arch", "whitened", "--epochs", "6", "--refit", "0.5", "--batch-size", "16"]
    done = train(pictures, tmp_path, 2, *knobs)
    found = weights(done)
    assert all(np.isfinite(values).all() for values in found.values())
    card = json.loads(done.stdout)["card"]
    assert {name: len(rows) for name, rows in card["curve"].items()} == {"measured": 3, "final": 3}
    assert card["processes"] == 2
    assert not list(tmp_path.rglob("final.safetensors"))
    again = train(pictures, tmp_path, 1, *knobs)  # the same model, so there is nothing to do
    assert json.loads(again.stdout)["model_id"] == card["model_id"]
    assert "train whitened" not in again.stderr


def test_what_is_wrong_with_labels_is_said_once_and_ends_all(
    pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nnowhere.png,truck\n", encoding="utf-8")
    done = train(pictures, tmp_path, 2, "--labels", str(tmp_path / "labels.csv"))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "holds 'truck' only" in said[0]


def test_alone_a_process_leads_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # of another launcher: not for us
    with ranks.led():
        assert (ranks.count(), ranks.number()) == (1, 0)
        assert ranks.as_led(3, 0.5) == (3, 0.5)
