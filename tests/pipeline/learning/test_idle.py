"""Options that could do nothing are refused; what recipes fill in never is."""

import pytest

from pipeline.errors import InputError, NotFoundError
from pipeline.learning import idle, recipes, train
from pipeline.learning.models import ARCHES
from pipeline.learning.options import TrainOptions
from pipeline.store import Workspace


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [
        ("thumbnail", {"background": True}, "loose pictures .* teach a --campaign"),
        ("photograph", {"self_training": 60}, "loose pictures"),
        ("thumbnail", {"rounds": 2}, "loose pictures"),
        ("thumbnail", {"trust": 0.5}, "loose pictures"),
        ("thumbnail", {"learning_rate": 0.1, "freeze": True, "weights": "m"}, "freeze .* --thaw"),
        ("footage", {"minutes": 3.0}, "every epoch.* --rounds 0"),
        ("footage", {"early_stopping": 2}, "every epoch.* --rounds 0"),
        ("footage", {"refit": 0.5}, "every epoch.* --rounds 0"),
        ("footage", {"self_training": 60, "rounds": 0}, "no teachers.* --rounds 2"),
        ("footage", {"finish": 2.0, "self_training": 0}, "no unlabelled instants"),
        ("footage", {"momentum": 0.5}, "--optimiser sgd or rmsprop"),
        ("thumbnail", {"balance": "size"}, "without a background"),
    ],
)
def test_an_option_that_could_do_nothing_is_named_with_its_value_and_the_way_out(kind, asked, said):
    name, value = next(iter(asked.items()))
    flag = name.replace("_", "-")
    with pytest.raises(InputError, match=rf"^{name} is {value!r}, but .*Leave out --{flag}, or .*"):
        idle.refuse(TrainOptions(**asked), kind)
    with pytest.raises(InputError, match=said):
        idle.refuse(TrainOptions(**asked), kind)


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [
        ("thumbnail", {"widen": 2.0, "arch": "residual"}, "residual does not take it (only whi"),
        ("thumbnail", {"turns": 0.3, "arch": "cifar"}, "cifar does not take it (only whitened)"),
        ("thumbnail", {"activation": "silu"}, "whitened does not take it (only mlp, reference, "),
        ("footage", {"pooling": "average"}, "residual does not take it (only reference, lenet5, "),
        ("photograph", {"batch_norm": True, "arch": "resnet18"}, "resnet18 does not take it"),
        ("photograph", {"padding": "same", "arch": "lenet5"}, "lenet5 does not take it (only ref"),
        ("photograph", {"init": "xavier", "arch": "vgg11"}, "vgg11 does not take it"),
    ],
)
def test_what_only_the_network_does_not_take_is_told_of(kind, asked, said, capsys):
    name, value = next(iter(asked.items()))
    idle.refuse(TrainOptions(**asked), kind)
    told = capsys.readouterr().err
    assert f"{name} is {value!r}, but arch " in told
    assert said in told


@pytest.mark.parametrize("kind", ["thumbnail", "photograph", "footage"])
@pytest.mark.parametrize("arch", ["auto", *ARCHES])
def test_what_a_recipe_filled_in_is_no_wish(kind, arch, capsys):
    """The command line that a model's card shows names all of it."""
    for asked in (TrainOptions(arch=arch), TrainOptions(arch=arch, freeze=True, weights="m")):
        idle.refuse(asked, kind)
        idle.refuse(recipes.resolve(asked, kind, 1), kind)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("thumbnail", {"widen": 2.0}),
        ("photograph", {"momentum": 0.5, "minutes": 3.0, "early_stopping": 2, "refit": 0.0}),
        ("footage", {"minutes": 3.0, "early_stopping": 2, "refit": 0.5, "rounds": 0}),
        ("footage", {"self_training": 60, "finish": 2.0, "trust": 0.5, "balance": "size"}),
        ("footage", {"arch": "reference", "pooling": "average", "padding": "same"}),
        ("thumbnail", {"background": False, "rounds": 0, "self_training": 0, "trust": 0.0}),
        ("footage", {"widen": 2.0, "arch": "nosuch"}),  # refused by its name, elsewhere
    ],
)
def test_options_that_act_or_are_off_pass(kind, asked):
    idle.refuse(TrainOptions(**asked), kind)


def test_both_ways_of_training_refuse(blocks, tmp_path):
    with pytest.raises(InputError, match="rounds is 2, but loose"):
        train.train_images(
            Workspace(tmp_path), blocks, blocks / "labels.csv", TrainOptions(rounds=2)
        )
    with pytest.raises(InputError, match=r"refit is 0\.5, but cross-fitted"):
        train.train_campaigns(Workspace(tmp_path), ["first"], TrainOptions(refit=0.5))
    with pytest.raises(NotFoundError, match="no such campaign"):
        train.train_campaigns(Workspace(tmp_path), ["first"], TrainOptions())
