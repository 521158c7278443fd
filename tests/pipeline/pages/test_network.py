"""A network's page, from an untaught network and made-up pictures: every section, in one file."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import InputError, NotFoundError
from pipeline.learning import checkpoints, dataset, engines
from pipeline.learning.models import NetSpec, build
from pipeline.pages import network
from pipeline.pages.gathered import explain_model
from pipeline.store import Workspace

pytest.importorskip("captum", reason="explaining needs Captum: pip install -e '.[explain]'")

SIDE = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A workspace with an untaught model, and forty labelled pictures beside it."""
    ws, folder = Workspace(tmp_path_factory.mktemp("ws")), tmp_path_factory.mktemp("pictures")
    torch.manual_seed(0)
    spec = NetSpec(3, SIDE, SIDE)
    net = build("residual", spec)
    estimate = {"value": 0.9, "lo": 0.8, "hi": 0.95}
    figures = dict.fromkeys(("accuracy", "sensitivity", "specificity", "auc", "brier"), estimate)
    confusion = {"tp": 1, "fn": 1, "fp": 1, "tn": 1}
    card = {
        "model_id": "m",
        "arch": "residual",
        "kind": "thumbnail",
        "spec": checkpoints.spec_json(spec),
        "input": {"channels": 3, "height": SIDE, "width": SIDE, "holds": "RGB crop"},
        "label_set_id": "l",
        "labels": {"n": 40, "truck": 20},
        "split": {"train": 32, "validation": 4, "test": 4},
        "parameters": sum(p.numel() for p in net.parameters()),
        "threshold": 0.5,
        "temperature": 1.0,
        "prior": {"shown": 0.5, "natural": 0.5, "bias": 0.0},
        "metrics": {**figures, "confusion": confusion, "ece": 0.01, "n": 4, "threshold": 0.5},
        "held_out_from": "validation and test",
        "reliability": [],
        "options": {},
        "engine": "torch",
        "versions": {"torch": "2"},
        "curve": {
            "final": [
                {"loss": 0.7, "accuracy": 0.5, "rate": 0.1, "validation_loss": 0.7},
                {"loss": 0.2, "accuracy": 0.9, "rate": 0.0, "validation_loss": 0.9},
            ]
        },
    }
    checkpoints.save_model(ws, "m", net, card)
    rng, lines = np.random.default_rng(0), ["file,label"]
    for i in range(40):
        name = f"<{i}>.png"  # a name that must not become markup
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)).save(folder / name)
        lines.append(f"{name},{'truck' if i % 2 else 'no_truck'}")
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return ws, folder


def test_the_page_holds_every_section_and_asks_nothing_of_a_network(world):
    ws, folder = world
    path, figures = explain_model(ws, "m", images=folder, labels=folder / "labels.csv")
    html = path.read_text(encoding="utf-8")

    assert path == ws.reports / "models" / "m.html"
    for heading in (
        "Where it looks",
        "Most confident errors",
        "Where it does worst",
        "How it learned",
        "First-layer kernels",
        "Maps, layer by layer",
    ):
        assert f"<h2>{heading}" in html
    shown = [html.count(f'alt="{name} of ') for name in ("Grad-CAM", "HiResCAM", "Occlusion")]
    # Two errors and two of each kind judged rightly; an untaught network may know one kind only.
    assert shown in ([4] * 3, [6] * 3)
    assert re.findall(r'(?:src|href)="(?!data:|#)', html) == []
    assert "<0>" not in html
    assert figures["pictures"] == 40
    assert 0 < figures["wrong"] < 40
    assert (
        path.read_bytes()
        == explain_model(ws, "m", images=folder, labels=folder / "labels.csv")[0].read_bytes()
    )


def test_one_frame_is_explained_without_labels(world):
    ws, folder = world
    path, figures = explain_model(ws, "m", frame=str(folder / "<3>.png"))
    html = path.read_text(encoding="utf-8")

    assert html.count('alt="Grad-CAM of ') == 1
    assert "Most confident errors" not in html
    assert "pictures" not in figures


def test_an_oblong_picture_is_fed_whole_between_bars_as_it_was_taught(world, tmp_path, monkeypatch):
    ws, _ = world
    Image.new("RGB", (48, 24), (255, 255, 255)).save(tmp_path / "oblong.png")
    fed, ordinary = [], engines.torch_engine

    def listened(net):
        return lambda pixels: (fed.append(pixels), ordinary(net)(pixels))[1]

    monkeypatch.setattr(engines, "torch_engine", listened)
    explain_model(ws, "m", frame=str(tmp_path / "oblong.png"))

    # 48 by 24 in 24 by 24 is 24 by 12: six black rows above it and six below.
    (pixels,) = fed
    assert pixels.shape == (1, 3, 24, 24)
    rows = pixels[0].min(axis=(0, 2)).tolist(), pixels[0].max(axis=(0, 2)).tolist()
    assert rows == ([0] * 6 + [255] * 12 + [0] * 6,) * 2


def test_what_cannot_be_explained_is_named(world):
    ws, _ = world
    with pytest.raises(InputError, match="no labelled pictures here"):
        explain_model(ws, "m")
    with pytest.raises(NotFoundError, match="no such frame or picture: 'f9'"):
        explain_model(ws, "m", frame="f9")


def test_heat_is_drawn_where_it_is():
    rgb = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[2, 5] = 3.0
    shown = network.over(rgb, heat)

    changed = np.argwhere((shown != 100).any(axis=2))
    assert changed.tolist() == [[2, 5]]
    assert shown[2, 5, 0] > shown[2, 5, 2]  # warm


def test_pictures_that_taught_the_network_are_said_to_have(world):
    ws, folder = world
    labels = folder / "labels.csv"
    known = dataset.from_files(folder, labels, (SIDE, SIDE)).label_set_id
    card = checkpoints.load_card(ws, "m")
    net, _ = checkpoints.load_model(ws, "m")
    checkpoints.save_model(ws, "taught", net, card | {"model_id": "taught", "label_set_id": known})
    said = "40 of which taught it"

    for model_id, expected in (("m", False), ("taught", True)):
        path, _ = explain_model(ws, model_id, images=folder, labels=labels)
        assert (said in path.read_text(encoding="utf-8")) == expected
