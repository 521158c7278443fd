import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.learning import checkpoints, engines, recipes
from pipeline.learning.augment import Augment
from pipeline.learning.fitting import Lesson, fit
from pipeline.learning.models import ARCHES, NetSpec, build, default_size
from pipeline.learning.models.describe import describe, totals
from pipeline.learning.models.small import cifar, lenet5, mlp
from pipeline.learning.models.whitened import whiten
from pipeline.learning.models.zoo import ZOO, GridMeans, zoo_net
from pipeline.learning.options import TrainOptions


def _parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_the_reference_network_has_101_893_parameters():
    # 8·(3·9+1) + 16·(8·9+1) + 250·(16·5·5+1) + 251
    assert _parameters(build("reference", NetSpec())) == 224 + 1168 + 100_250 + 251 == 101_893


def test_the_maps_of_the_reference_network_shrink_as_in_2017():
    net = build("reference", NetSpec()).body
    sizes, x = [], torch.zeros(1, 3, 335, 335)
    for layer in net.features:
        x = layer(x)
        if not isinstance(layer, torch.nn.ReLU):
            sizes.append(tuple(x.shape[1:]))

    assert sizes == [(8, 167, 167), (8, 42, 42), (16, 20, 20), (16, 5, 5)]


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_pooling_before_a_monotone_activation_changes_no_answer(activation):
    torch.manual_seed(0)
    net = build("reference", NetSpec(3, 80, 80, activation=activation)).body.features
    kinds = [type(layer).__name__ for layer in net]
    x = torch.randn(2, 3, 80, 80)
    bend, pool = net[kinds.index("MaxPool2d") + 1], net[kinds.index("MaxPool2d")]

    assert kinds[1] == ("GELU" if activation == "gelu" else "MaxPool2d")
    if activation != "gelu":  # GELU falls before it rises: there the order matters, and is kept
        assert torch.equal(bend(pool(net[0](x))), pool(bend(net[0](x))))


def test_batch_norm_and_dropout_are_options_of_the_same_class():
    net = build("reference", NetSpec(batch_norm=True, dropout=0.5))

    assert _parameters(net) == 101_893 + 2 * (8 + 16)
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in net.modules())


def test_kaiming_initialisation_keeps_the_spread_of_activations():
    torch.manual_seed(0)
    net = build("reference", NetSpec()).body
    weights = net.features[3].weight  # 16 filters of 8·3·3 = 72 inputs: std √(2/72)

    assert float(weights.detach().std()) == pytest.approx((2 / 72) ** 0.5, rel=0.1)
    assert float(net.features[0].bias.detach().abs().max()) == 0.0


@pytest.mark.parametrize("arch", ["residual", "whitened"])
@pytest.mark.parametrize("channels", [3, 6])
def test_own_networks_take_three_or_six_channels(arch, channels):
    net = build(arch, NetSpec(channels=channels, height=32, width=40)).eval()

    assert net(torch.zeros(2, channels, 32, 40, dtype=torch.uint8)).shape == (2,)


def test_a_wider_whitened_network_has_as_many_parameters_as_counted_by_hand():
    """24×3×2×2 + 24; 3×3 kernels 24→w, w→w, w→2w, 2w→2w, 2w→4w, 4w→4w; norms 2×2 each; 4w."""

    def by_hand(w):
        kernels = 24 * w + w * w + w * 2 * w + 4 * w * w + 2 * w * 4 * w + 16 * w * w
        return 312 + 9 * kernels + 4 * (w + 2 * w + 4 * w) + 4 * w

    def count(**spec):
        net = build("whitened", NetSpec(channels=3, height=32, width=32, **spec))
        return sum(p.numel() for p in net.parameters())

    assert count() == by_hand(64) == 1_158_968
    assert count(widen=1.5) == by_hand(96)
    assert count(widen=1.5, turns=8) == by_hand(96) + 384 * 8 + 8


def test_directions_are_those_of_all_pictures_not_of_the_first_five_thousand():
    flat = torch.full((5000, 3, 9, 9), 90, dtype=torch.uint8)
    torch.manual_seed(0)
    coloured = torch.randint(0, 256, (1000, 3, 9, 9), dtype=torch.uint8)
    kernels = []
    for pictures in (flat, torch.cat([flat, coloured])):  # as in a file sorted by class
        net = build("whitened", NetSpec(channels=3, height=9, width=9)).body
        whiten(net, pictures, 3)
        kernels.append(net.white.weight.abs().max())
    assert kernels[1] < 0.2 * kernels[0]  # what never varies is scaled by 1 / sqrt(eps)


def test_a_card_of_before_that_told_turns_had_four_answers():
    spec = {"channels": 3, "height": 16, "width": 16}
    for turns, answers in ((True, 4), (8, 8)):
        net = checkpoints.empty_net({"arch": "whitened", "spec": {**spec, "turns": turns}})
        assert net.body.turns.out_features == answers
    deaf = checkpoints.empty_net({"arch": "whitened", "spec": {**spec, "turns": False}})
    assert deaf.body.turns is None


def test_the_last_odd_row_counts():
    """Ten pixels make nine patches a side, and these five after pooling; four without the last."""
    torch.manual_seed(0)
    spec = NetSpec(channels=3, height=10, width=10)
    keeps = build("whitened", spec).eval()
    drops = build("whitened", replace(spec, odd_rows=False)).eval()
    maps = torch.zeros(1, 24, 9, 9)
    maps[:, :, -1] = 5.0
    for net, height in ((keeps, 5), (drops, 4)):
        pool = net.body.groups[0].pool
        assert pool(maps).shape[2] == height
        assert (pool(maps).max() > 0) == (height == 5)


def test_turns_are_told_only_while_a_network_learns():
    net = build("whitened", NetSpec(channels=3, height=16, width=16, turns=8))
    pixels = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)

    assert net.train()(pixels).shape == (2, 9)
    assert net.eval()(pixels).shape == (2,)
    with pytest.raises(InputError, match="arch residual does not tell turns"):
        build("residual", NetSpec(channels=3, height=16, width=16, turns=8))


def test_the_residual_network_keeps_detail_for_its_first_pair():
    """96×64 → 48×32 for stem and first pair, then 24×16, 12×8, 6×4; bias only in the head."""
    stem, first = 6 * 16 * 9, 2 * 16 * 16 * 9
    pairs = [(a * b + b * b) * 9 + a * b for a, b in ((16, 32), (32, 64), (64, 128))]
    scales = 2 * 16 + 2 * 2 * 16 + 3 * 2 * (32 + 64 + 128)
    spec = NetSpec(channels=6, height=96, width=64)

    told = totals(build("residual", spec).body, spec)

    assert told["parameters"] == stem + first + sum(pairs) + scales + 2 * 128 + 1 == 308_225
    sizes = (24 * 16, 12 * 8, 6 * 4)
    by_size = sum(n * pair for n, pair in zip(sizes, pairs, strict=True))
    assert told["multiply_adds"] == 48 * 32 * (stem + first) + by_size + 2 * 128


def test_bytes_and_floats_say_the_same():
    net = build("residual", NetSpec(channels=6, height=32, width=32)).eval()
    pixels = torch.randint(0, 255, (3, 6, 32, 32), dtype=torch.uint8)

    assert torch.allclose(net(pixels), net(pixels.float() / 255.0))


def test_a_picture_equal_to_its_background_differs_by_nothing():
    from pipeline.learning.models.parts import prepared

    pixels = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8).repeat(1, 2, 1, 1)

    assert float(prepared(pixels, 6)[:, 3:].detach().abs().max()) == 0.0


def test_views_average_the_mirror_image():
    net = build("residual", NetSpec(height=32, width=32)).eval()
    x = torch.rand(2, 3, 32, 32)
    plain, mirrored = net(x), net(x.flip(3))
    net.views = ("flip",)

    assert torch.allclose(net(x), (plain + mirrored) / 2, atol=1e-5)


def test_dropout_of_a_network_from_torchvision_falls_on_its_head_while_it_learns():
    torch.manual_seed(0)
    net = build("resnet18", NetSpec(channels=3, height=32, width=32, dropout=0.5))
    plain = build("resnet18", NetSpec(channels=3, height=32, width=32))
    x = torch.rand(4, 3, 32, 32)

    assert list(net.state_dict()) == list(plain.state_dict())
    net.eval()
    torch.testing.assert_close(net(x), net(x))
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    seen = []
    head.register_forward_pre_hook(
        lambda _, given: seen.append(float((given[0] == 0).float().mean()))
    )
    net.train()
    net(x)
    assert 0.4 < seen[0] < 0.75


def test_an_unknown_arch_is_named():
    with pytest.raises(InputError, match="unknown arch 'resnet1'"):
        build("resnet1", NetSpec())


def test_too_small_a_picture_is_refused():
    with pytest.raises(InputError, match="32×32"):
        build("reference", NetSpec(height=32, width=32))


@pytest.mark.parametrize(
    ("arch", "parameters"),
    # With 1,000 classes: torchvision's tables of weights ("num_params"), which agree with
    # Krizhevsky (2014: 61 M), Simonyan & Zisserman (2015, table 2: 133, 133, 138, 144 M), He et al.
    # (2016), Howard et al. (2019, tables 3, 4: 2.5, 5.4 M), Ma et al. (2018: 2.3 M), Tan & Le
    # (2019: 5.3 M), Dosovitskiy et al. (2021: 86 M), Liu et al. (2022: 28.6 M). LeNet-5: below.
    [
        ("alexnet", 61_100_840),
        ("vgg11", 132_863_336),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("mobilenet_v3_small", 2_542_856),
        ("mobilenet_v3_large", 5_483_032),
        ("shufflenet_v2", 2_278_604),
        ("efficientnet_b0", 5_288_548),
        ("vit_b_16", 86_567_656),
        ("convnext_tiny", 28_589_128),
        ("googlenet", 6_624_904),
    ],
)
def test_parameter_counts_match_the_literature(arch, parameters):
    with torch.device("meta"):
        net = zoo_net(arch, NetSpec(3, 224, 224), 1000)

    assert _parameters(net) == parameters


def test_parameter_counts_of_the_small_ones():
    # LeCun et al. (1998) on 32×32 grey, ten digits: 156 + 2,416 + 48,120 + 10,164 + 850
    assert _parameters(lenet5(NetSpec(1, 32, 32), 10)) == 61_706
    # 896 + 18,496 + 36,928 + 65,600 + 650
    assert _parameters(cifar(NetSpec(3, 32, 32), 10)) == 122_570
    with torch.device("meta"):
        dense = mlp(NetSpec(3, 224, 224))
    assert dense[1].weight.numel() == 150_528_000


@pytest.mark.parametrize("arch", ["mlp", "lenet5", "cifar", "resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("channels", [3, 6])
def test_networks_take_crops_with_and_without_background(arch, channels):
    side = min(default_size(arch) or 32, 32)
    net = build(arch, NetSpec(channels, side, side)).eval()

    assert net(torch.zeros(2, channels, side, side, dtype=torch.uint8)).shape == (2,)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (10, 9)])
def test_grid_means_are_adaptive_average_pooling(size):
    x = torch.randn(2, 3, *size)
    expected = torch.nn.AdaptiveAvgPool2d((7, 7))(x)

    assert torch.allclose(GridMeans((7, 7), size)(x), expected, atol=1e-6)


# The smallest pictures a network takes, or is worth: a full-size step of vgg19 takes a minute.
SMALL = {"reference": 80, "alexnet": 63, "vit_b_16": 16, "mlp": 16}


@pytest.mark.parametrize("arch", ARCHES)
def test_every_network_trains_an_epoch_and_exports(arch):
    """One epoch on four pictures moves the weights; ONNX Runtime says what torch says."""
    side = SMALL.get(arch, 32)
    torch.manual_seed(0)
    net = build(arch, NetSpec(3, side, side))
    pixels = torch.randint(0, 255, (4, 3, side, side), dtype=torch.uint8)
    before = [p.detach().clone() for p in net.parameters() if p.requires_grad]
    asked = TrainOptions(arch=arch, epochs=1, batch_size=4, ema=0.0)
    options = recipes.resolve(asked, "thumbnail", 4)
    lesson = Lesson(pixels, torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.ones(4))

    curve = fit(net, lesson, options, Augment(), seed=0).curve

    assert len(curve) == 1
    assert math.isfinite(curve[0]["loss"])
    now = [p.detach() for p in net.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, now, strict=True))
    graph = checkpoints.to_onnx(net, {"channels": 3, "height": side, "width": side})
    expected = net(pixels).detach().numpy()
    found = engines.graph_engine("onnxruntime", graph, threads=1)(pixels.numpy())
    assert found.shape == (4,)
    assert np.abs(found - expected).max() < 1e-3 * max(1.0, np.abs(expected).max())


def test_the_layer_table_of_the_reference_network():
    rows = describe(build("reference", NetSpec()).body, NetSpec())

    assert [row.output for row in rows[:4]] == [
        (8, 167, 167),
        (8, 42, 42),
        (16, 20, 20),
        (16, 5, 5),
    ]
    assert [row.receptive_field_px for row in rows[:4]] == [3, 7, 23, 55]
    assert sum(row.parameters for row in rows) == 101_893
    assert rows[0].multiply_adds == 8 * 167 * 167 * 27
    assert rows[0].setting == "8 of 3×3, stride 2"


def test_sizes_and_weights_by_hand():
    # 185 pixels, kernel 5, stride 2 → 91; 64 filters of 3×3×3 have 1,728 weights
    first = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 5, stride=2))
    assert describe(first, NetSpec(3, 185, 185))[0].output == (64, 91, 91)
    filters = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3, bias=False))
    assert describe(filters, NetSpec(3, 32, 32))[0].parameters == 1_728


def test_receptive_field_of_resnet18_matches_the_literature():
    # Araujo, Norris & Sim (2019), "Computing receptive fields of CNNs": 435 before its pooling;
    # He et al. (2016), table 1: 1.8·10⁹ multiply-adds at 224×224.
    found = totals(build("resnet18", NetSpec(3, 224, 224)).body, NetSpec(3, 224, 224))

    assert found["receptive_field_px"] == 435
    assert found["multiply_adds"] == pytest.approx(1.814e9, rel=1e-3)


def test_work_of_attention_and_weights_beside_layers_count():
    """Of ViT-B/16 the literature has 17.56·10⁹ multiply-adds at 224×224 (torchvision's table)."""
    spec = NetSpec(3, 224, 224)
    rows = describe(zoo_net("vit_b_16", spec, 1000), spec)

    assert sum(row.multiply_adds for row in rows) == pytest.approx(17.564e9, rel=1e-4)
    assert sum(row.parameters for row in rows) == 86_567_656
    one = next(row for row in rows if row.kind == "MultiheadAttention")
    # 197 places of 768: four projections, each place against each, and the means of their values
    assert one.multiply_adds == 4 * 197 * 768 * 768 + 2 * 197 * 197 * 768


class Squeezed(torch.nn.Module):
    """A map weighted by its own mean, as a squeeze-and-excitation block does; then a 3×3."""

    def __init__(self, *then):
        super().__init__()
        self.mean = torch.nn.AdaptiveAvgPool2d(1)
        self.weigh = torch.nn.Conv2d(3, 3, 1)
        self.then = torch.nn.Sequential(*then)

    def forward(self, x):
        return self.then(x * self.weigh(self.mean(x)))


def test_after_a_squeeze_every_place_sees_the_whole_picture():
    first, spec = torch.nn.Conv2d(3, 3, 3), NetSpec(3, 32, 32)

    squeezed = torch.nn.Sequential(first, Squeezed(torch.nn.Conv2d(3, 3, 3)))
    assert totals(squeezed, spec)["receptive_field_px"] is None
    # A mean over the last map is no map: what it is taken of sees 3 pixels.
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Conv2d(3, 3, 1)]
    assert totals(torch.nn.Sequential(first, *head), spec)["receptive_field_px"] == 3


def test_a_linear_layer_on_a_map_sees_one_place_at_a_time():
    # ConvNeXt-T: 4, then 3 blocks of 6·4, a step of 4, 3 of 6·8, 8, 9 of 6·16, 16, 3 of 6·32.
    found = totals(build("convnext_tiny", NetSpec(3, 64, 64)).body, NetSpec(3, 64, 64))

    assert found["receptive_field_px"] == 4 + 72 + 4 + 144 + 8 + 864 + 16 + 576


@pytest.mark.parametrize("arch", sorted(set(ARCHES) - set(ZOO)))
def test_own_networks_can_be_described(arch):
    side = default_size(arch) or 64

    assert describe(build(arch, NetSpec(3, side, side)).body, NetSpec(3, side, side))
