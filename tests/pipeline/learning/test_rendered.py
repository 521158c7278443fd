"""Weights from rendered roads: what is drawn, and that training starts from it once it is there."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from pipeline import digests, metrics, scene
from pipeline.learning import checkpoints, fitting, recipes, rendered, train
from pipeline.learning.models import NetSpec, build
from pipeline.learning.options import TrainOptions
from pipeline.store import Workspace

SPEC = NetSpec(channels=6, height=48, width=40)


def test_a_road_is_a_function_of_its_numbers_and_sees_its_zones():
    roads = [scene.road(5, number) for number in range(40)]
    assert roads[7] == scene.road(5, 7) != scene.road(6, 7)
    assert {len(plan.sites[0].lanes) for plan in roads} == {1, 2, 3}
    assert {plan.sites[0].direction for plan in roads} == {-1, 1}
    assert len({plan.weather for plan in roads}) == 5
    for plan in roads:  # a zone outside of the picture would be refused
        (camera_id,) = rendered.registry_of(plan).ids
        assert camera_id == plan.sites[0].id


def test_what_is_said_of_a_crop_is_what_it_shows():
    agree = []
    for number in range(6):
        plan = scene.road(5, number)
        registry, site = rendered.registry_of(plan), plan.sites[0]
        drawn = scene.instants(plan, 16, 1)
        assert drawn == scene.instants(plan, 16, 1)
        assert [one.at for one in drawn] == sorted(one.at for one in drawn)
        seen = scene.studies(plan, site.id, [one.at for one in drawn])
        for one, shown in zip(drawn, seen, strict=True):
            pixels, mask = rendered.cropped(shown, registry, site.id, one.zone, SPEC)
            assert pixels.shape == (6, 48, 40)
            assert mask.shape == (48, 40)
            # A truck stands for at least a twentieth of the crop of a zone its footprint is on;
            # one on the next lane may lean into it.
            agree.append((mask.mean() > 0.05, one.truck))
    shown, said = np.array(agree).T
    assert 0.3 < said.mean() < 0.6
    assert shown[said].mean() > 0.9
    assert shown[~said].mean() < 0.4


def test_a_picture_and_the_empty_road_have_noise_of_their_own():
    for number in range(4):
        plan = replace(scene.road(5, number), noise=1.5)
        at = [one.at for one in scene.instants(plan, 3, 1)]
        assert at[2] - at[0] < dt.timedelta(minutes=3)
        camera_id = plan.sites[0].id
        first, _, last = scene.studies(plan, camera_id, at)
        assert last.empty is first.empty
        other = scene.study(plan, camera_id, at[0] + dt.timedelta(seconds=0.1)).empty
        still = np.abs(first.picture.astype(int) - first.empty) < 12  # most of it is empty road
        assert still.mean() > 0.4
        noise = (first.picture.astype(int) - first.empty)[still]
        assert (noise == 0).mean() < 0.25
        # A median of nine has a third of one picture's noise, two of them 0.47 times it.
        assert np.std((other.astype(int) - first.empty)[still]) < 0.7 * np.std(noise)


@pytest.fixture
def few(monkeypatch):
    for name, value in (("ROADS", 3), ("PER_ROAD", 12), ("PASSES", 1)):
        monkeypatch.setattr(rendered, name, value)


def test_training_starts_from_rendered_roads_made_once(few, blocks, tmp_path, monkeypatch):
    ws = Workspace(tmp_path)
    options = TrainOptions(arch="lenet5", size=32, epochs=1, weights="scene", freeze=True)
    model_id = train.train_images(ws, blocks, blocks / "labels.csv", options)
    card = checkpoints.load_card(ws, model_id)
    name = card["options"]["weights"]
    assert name.startswith("scene-")
    assert ws.trained() == [model_id]
    # Frozen: all but the head is what the roads taught.
    net, _ = checkpoints.load_model(ws, model_id)
    taught = checkpoints.empty_net(card)
    checkpoints.start_from(ws, taught, name)
    same = [torch.equal(a, b) for a, b in zip(net.parameters(), taught.parameters(), strict=True)]
    assert not same[-2]
    assert all(same[:-2])
    # The other seed finds the weights where they are.
    monkeypatch.setattr(rendered, "lesson", None)
    again = TrainOptions(arch="lenet5", size=32, epochs=1, weights="scene", freeze=True, seed=1)
    other = train.train_images(ws, blocks, blocks / "labels.csv", again)
    assert checkpoints.load_card(ws, other)["options"]["weights"] == name


def schooling(height, width):
    options = recipes.resolve(TrainOptions(), "footage", 600)
    return rendered.Schooling.of(options, NetSpec(6, height, width))


def test_footages_own_network_is_shipped(tmp_path, monkeypatch):
    """Another recipe or other bytes have another name: how they are made stands in the README."""
    path = schooling(96, 64).shipped
    assert path.is_file()
    assert path.name == "scene-4ea479ee13.safetensors"
    assert digests.digest_of(path) == "0992dc6e34a784e8bffd2352f79388ab"
    assert list(path.parent.glob("*.safetensors")) == [path]
    assert schooling(70, 96).shipped == path
    assert not schooling(64, 48).shipped.is_file()  # a network with more channels
    assert not schooling(192, 64).shipped.is_file()  # larger than what was measured

    monkeypatch.setattr(rendered, "lesson", None)
    ws = Workspace(tmp_path)
    schooling(70, 96).hold(ws)
    assert (ws.model(path.stem) / checkpoints.WEIGHTS).read_bytes() == path.read_bytes()
    net = build("residual", NetSpec(6, 70, 96))
    checkpoints.start_from(ws, net, path.stem)
    known = safetensors.torch.load(path.read_bytes())
    assert set(known) == set(net.state_dict())
    assert all(torch.equal(known[name], held) for name, held in net.state_dict().items())


def test_shipped_weights_know_trucks_on_roads_they_never_saw(tmp_path):
    spec = schooling(96, 64).spec
    unseen = rendered.lesson(spec, 12, 16, rendered.SEED + 1)
    net = build("residual", spec).eval()
    checkpoints.start_from(Workspace(tmp_path), net, str(schooling(96, 64).shipped))
    truth, logits = unseen.target.numpy(), fitting.logits_of(net, unseen.pixels).numpy()
    assert 40 < truth.sum() < 120
    assert metrics.auc(truth, metrics.sigmoid(logits)).value > 0.98


def test_large_crops_come_from_fewer_roads():
    assert schooling(96, 64).roads == rendered.ROADS
    # 2 GiB of 224 · 224 · 6 bytes are 222 times 32 crops.
    assert schooling(224, 224).roads == 222


def test_a_lesson_is_a_function_of_its_numbers():
    spec = NetSpec(6, 32, 32)
    lesson = rendered.lesson(spec, 4, 8, 1)  # on two cores by two processes
    assert lesson.pixels.shape == (32, 6, 32, 32)
    assert set(lesson.target.tolist()) == {0.0, 1.0}
    for number in range(4):
        crops, truck = rendered._of_road(spec, 8, 1, number)
        rows = slice(8 * number, 8 * number + 8)
        np.testing.assert_array_equal(lesson.pixels[rows].numpy(), crops)
        assert lesson.target[rows].tolist() == truck.tolist()
