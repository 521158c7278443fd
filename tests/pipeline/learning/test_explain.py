"""Class activation on made-up pictures where the answer's place is known."""

import datetime as dt

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.learning import attention, explain, slices
from pipeline.learning.augment import Augment
from pipeline.learning.dataset import Labelled
from pipeline.learning.fitting import Lesson, fit
from pipeline.learning.models import NetSpec, build
from pipeline.learning.options import TrainOptions
from pipeline.learning.recipes import resolve

pytest.importorskip("captum", reason="explaining needs Captum: pip install -e '.[explain]'")

SIDE = 48


def _blocks(n: int, seed: int):
    """Grey noise; every second picture holds a bright block of 14 pixels, the others none."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(40, 110, (n, 3, SIDE, SIDE)).astype(np.uint8)
    masks = np.zeros((n, SIDE, SIDE), dtype=bool)
    for i in range(1, n, 2):
        y, x = rng.integers(0, SIDE - 14, 2)
        masks[i, y : y + 14, x : x + 14] = True
        pixels[i][:, masks[i]] = 210
    return pixels, masks


@pytest.fixture(scope="module")
def net():
    pixels, masks = _blocks(96, 0)
    torch.manual_seed(0)
    net = build("residual", NetSpec(3, SIDE, SIDE))
    n = len(pixels)
    truth = torch.from_numpy(masks.any(axis=(1, 2))).float()
    options = resolve(TrainOptions(arch="residual", epochs=8, batch_size=32), "photograph", n)
    fit(net, Lesson(torch.from_numpy(pixels), truth, torch.ones(n)), options, Augment(), seed=0)
    return net


@pytest.mark.parametrize("heat_of", [explain.grad_cam, explain.hires_cam, explain.occlusion])
def test_heat_lies_on_what_makes_the_answer(net, heat_of):
    pixels, masks = _blocks(24, 1)
    heat = heat_of(net, pixels[1::2])

    assert heat.shape == (12, SIDE, SIDE)
    assert heat.min() >= 0
    # The block covers 196 of 2,304 pixels: an aimless map would have 8.5% of its mass there.
    assert np.nanmean(explain.share_inside(heat, masks[1::2])) > 3 * 196 / 2304


def test_attention_is_told_of_pictures_called_a_truck(net):
    pixels, masks = _blocks(24, 2)
    found = attention.attention(net, attention.Rendered(pixels, masks))

    assert found["n"] == 24
    assert found["called"] == 12  # those with a block
    assert found["truck_share_of_crop"] == pytest.approx(196 / 2304, abs=1e-4)
    assert found["share_on_truck"] > 3 * found["truck_share_of_crop"]
    assert found["peak_on_truck"] > 0.7


def test_attention_of_a_network_that_sees_no_truck_is_unknown(net):
    pixels, masks = _blocks(4, 3)
    found = attention.attention(net, attention.Rendered(pixels[::2], masks[::2]))

    assert (found["called"], found["share_on_truck"]) == (0, None)


def test_explaining_changes_no_network(net):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.views = ("flip",)
    explain.grad_cam(net, _blocks(2, 4)[0])

    assert net.views == ("flip",)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net.views = ()


def test_kernels_and_maps_have_the_layers_shapes(net):
    pixels, _ = _blocks(2, 5)

    assert explain.first_kernels(net).shape == (32, 3, 3, 3)
    maps = explain.feature_maps(net, pixels)
    assert [m.shape for m in maps.values()] == [
        (32, 48, 48),
        (48, 24, 24),
        (96, 12, 12),
        (160, 6, 6),
    ]


def test_a_network_without_maps_is_refused():
    with pytest.raises(InputError, match="no maps"):
        explain.grad_cam(build("mlp", NetSpec(3, 16, 16)), np.zeros((1, 3, 16, 16), np.uint8))


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "reference"])
def test_well_known_networks_can_be_explained(arch):
    side = 96
    net = build(arch, NetSpec(3, side, side)).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (1, 3, side, side)).astype(np.uint8)

    assert explain.grad_cam(net, pixels).shape == (1, side, side)


def test_without_captum_one_line_says_what_to_do(net, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum", None)
    with pytest.raises(InputError, match=r"pip install 'truck-counter\[explain\]'"):
        explain.grad_cam(net, _blocks(1, 0)[0])


def _labelled(n: int, cameras: list[str], at: list[float], level: np.ndarray) -> Labelled:
    pixels = np.zeros((n, 3, 8, 8), np.uint8)
    pixels[:, :, ::2] = level[:, None, None, None]
    ones = np.ones(n)
    return Labelled(
        pixels,
        ones.astype(np.int8),
        ones.astype(np.float32),
        ones,
        ones.astype(bool),
        tuple(map(str, range(n))),
        tuple(map(str, range(n))),
        tuple(cameras),
        ("out",) * n,
        np.array(at),
    )


def test_slices_by_camera_hour_and_light():
    noon = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC).timestamp()
    labelled = _labelled(6, ["a", "b"] * 3, [noon, noon + 3600] * 3, np.arange(6) * 40)
    zones = {"a": "America/Chicago", "b": "Europe/Berlin"}
    found = {
        name: np.flatnonzero(at).tolist()
        for name, at in slices.named(labelled, np.arange(6), zones).items()
    }

    assert found["camera a"] == [0, 2, 4]
    # 12:00 UTC is 06:00 in Chicago; 13:00 UTC is 14:00 in Berlin.
    assert found["hour 06"] == [0, 2, 4]
    assert found["hour 14"] == [1, 3, 5]
    assert found["brightness dark"] == [0, 1]
    assert found["contrast strong"] == [4, 5]


def test_the_worst_slice_is_found_where_two_meet():
    at = np.arange(400)
    camera, dark = at % 2 == 0, at % 4 < 2
    wrong = camera & dark & (at % 8 == 0)  # half of the meet, nothing else
    wrong |= at == 1
    found = slices.worst({"camera a": camera, "brightness dark": dark}, wrong)

    assert found[0].name == "camera a, brightness dark"
    assert (found[0].n, found[0].wrong) == (100, 50)
    assert {s.name for s in found[1:]} <= {"camera a", "brightness dark"}


def test_a_slice_of_a_few_rows_says_nothing():
    at = np.arange(100)
    assert slices.worst({"camera a": at < 5}, at < 5) == []


def test_rendered_crops_come_with_the_trucks_pixels():
    from pipeline import scene

    plan = scene.plan(seed=5, days=2, training_days=0, truck_share=0.4)
    found = attention.render(plan, NetSpec(6, 48, 32), n=4)

    assert found.pixels.shape == (4, 6, 48, 32)
    shares = found.masks.mean(axis=(1, 2))
    assert attention.SMALLEST_SHARE < shares.min() <= shares.max() < attention.LARGEST_SHARE
    # The crop differs from the empty road where the truck is, and hardly elsewhere.
    crop, empty = found.pixels[:, :3].astype(float), found.pixels[:, 3:].astype(float)
    change = np.abs(crop - empty).mean(axis=1)
    assert change[found.masks].mean() > 2 * change[~found.masks].mean()
