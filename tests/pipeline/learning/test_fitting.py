"""The pieces of the training loop, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import InputError, ModelError, NotFoundError
from pipeline.learning import augment, fitting, recipes
from pipeline.learning.augment import Augment
from pipeline.learning.fitting import class_weights, drawn_order, scheduled, within
from pipeline.learning.mixing import with_turned
from pipeline.learning.models import NetSpec, build
from pipeline.learning.options import TrainOptions


def test_half_of_each_class_is_drawn_when_asked():
    target = torch.tensor([1.0] * 10 + [0.0] * 90)
    torch.manual_seed(0)
    order = drawn_order(target, "half")

    assert len(order) == 100
    assert int((target[order] > 0.5).sum()) == 50
    assert sorted(drawn_order(target, "none").tolist()) == list(range(100))


def test_what_fills_the_picture_is_drawn_more_eagerly():
    torch.manual_seed(0)
    target = torch.cat([torch.ones(50), torch.zeros(150)])
    eager = torch.cat([torch.ones(50), torch.full((50,), 0.9), torch.full((100,), 0.05)])
    orders = [drawn_order(target, "half", eager) for _ in range(20)]
    drawn = torch.bincount(torch.cat(orders), minlength=200).float() / 20
    assert drawn[:50].sum() == 100  # half of the rows show trucks, each as often as any other
    # 100 draws over weights 50 × 0.9 and 100 × 0.05: 90 and 10
    assert drawn[50:100].sum() == pytest.approx(90, abs=3)
    assert drawn[100:].sum() == pytest.approx(10, abs=3)


def test_class_weights_make_classes_equal():
    target = torch.tensor([1.0] * 10 + [0.0] * 90)
    weights = class_weights(target)

    assert float(weights[1]) * 10 == pytest.approx(float(weights[0]) * 90)


def test_cutmix_is_applied_in_its_share_of_steps(monkeypatch):

    calls = []
    monkeypatch.setattr(fitting, "pieced", lambda *both: calls.append(1) or both)
    pixels = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    lesson = fitting.Lesson(pixels, torch.arange(32) % 2 * 1.0, torch.ones(32))
    for share, least, most in ((0.0, 0, 0), (0.5, 8, 24), (1.0, 32, 32)):
        calls.clear()
        asked = TrainOptions(arch="lenet5", cutmix=share, epochs=4, batch_size=4)
        options = recipes.resolve(asked, "thumbnail", 32)  # 4 × 8 steps
        net = build("lenet5", NetSpec(3, 32, 32))
        fitting.fit(net, lesson, options, Augment(), seed=0)
        assert least <= len(calls) <= most


def test_a_network_learns_which_way_is_up():
    """Sky above road: asked by how far they were turned, it can tell pictures it never saw."""
    pixels = torch.randint(0, 60, (96, 3, 16, 16), dtype=torch.uint8)
    pixels[:, :, :8] += 150
    lesson = fitting.Lesson(pixels[:64], torch.arange(64) % 2 * 1.0, torch.ones(64))
    asked = TrainOptions(epochs=8, batch_size=32, ema=0.0, cutmix=0.0, widen=0.25)
    options = recipes.resolve(asked, "thumbnail", 64)
    torch.manual_seed(1)
    net = build("whitened", NetSpec(3, 16, 16, widen=0.25, turns=8))

    fitting.fit(net, lesson, options, Augment(flip=True), seed=0)

    new, answers = with_turned(pixels[64:], torch.zeros(32))
    by = answers.argmax(dim=1)
    told = net.train()(new)[:, 1:].argmax(dim=1) % 4  # truck or none is left to chance here
    assert (told == by).float().mean() > 0.9
    torch.manual_seed(1)
    deaf = build("whitened", NetSpec(3, 16, 16, widen=0.25, turns=8))
    fitting.fit(deaf, lesson, replace(options, turns=0.0), Augment(flip=True), seed=0)
    assert (deaf.train()(new)[:, 1:].argmax(dim=1) % 4 == by).float().mean() < 0.9
    heavy = replace(options, turns=10.0, epochs=1)
    (row,) = fitting.fit(deaf, lesson, heavy, Augment(), seed=0).curve
    assert row["loss"] < 5.0, "that of the first question alone: the second weighs about 14"


def test_schedules_rise_and_fall():
    def rates(schedule):
        options = TrainOptions(schedule=schedule, learning_rate=1.0, warm_up=0.1)
        return [scheduled(step, 100, options) for step in range(100)]

    for schedule in ("cosine", "one_cycle", "constant", "step"):
        found = rates(schedule)
        assert found[0] < 0.2
        assert max(found) <= 1.0
    assert rates("cosine")[55] == pytest.approx(0.5)
    assert rates("one_cycle")[99] < 0.05
    assert set(np.round(rates("step")[10:], 3)) == {1.0, 0.1, 0.01}


def test_epochs_shrink_to_the_time_there_is():
    # Ten minutes, of which the first of 30 s is over.
    assert within(100, 1, 570.0, 30.0) == 20
    assert within(10, 1, 570.0, 30.0) == 10
    assert within(10, 1, -6600.0, 7200.0) == 1


@pytest.mark.parametrize(
    ("first", "lasting", "then", "done"),
    [
        # Ten epochs of a second let 100 seem to fit, then each takes four: 27 in the 110 s left.
        (10, 1.0, 4.0, 10 + 27),
        # Other work for five epochs lets 12 seem to fit; 70 s are left for those of a second. With
        # one left to go the mean is still above it.
        (5, 10.0, 1.0, 5 + 69),
    ],
)
def test_a_machine_of_changing_speed_ends_in_two_minutes(monkeypatch, first, lasting, then, done):
    clock = [0.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: clock[0])

    def epoch(run, number):
        run.begin(number)
        clock[0] += lasting if number < first else then
        return {"loss": 1.0, "accuracy": 1.0, "rate": 0.0}

    monkeypatch.setattr(fitting._Run, "epoch", epoch)
    pixels = torch.zeros((4, 3, 32, 32), dtype=torch.uint8)
    lesson = fitting.Lesson(pixels, torch.arange(4) % 2 * 1.0, torch.ones(4))
    options = recipes.resolve(TrainOptions(arch="lenet5", epochs=100), "thumbnail", 4)
    net = build("lenet5", NetSpec(3, 32, 32))
    curve = fitting.fit(net, lesson, options, Augment(), seed=1, minutes=2.0).curve
    assert len(curve) == done


def test_no_augmentation_changes_nothing():
    pixels = torch.randint(0, 255, (4, 6, 16, 16), dtype=torch.uint8)

    assert Augment()(pixels) is pixels


@pytest.mark.parametrize("kind", ["thumbnail", "photograph", "footage"])
@pytest.mark.parametrize("channels", [3, 6])
def test_augmented_pictures_stay_pictures(kind, channels):
    torch.manual_seed(1)
    pixels = torch.randint(0, 255, (16, channels, 24, 20), dtype=torch.uint8)
    shown = recipes.augmentation(kind, 1.0)(pixels)

    assert shown.shape == pixels.shape
    assert float(shown.min()) >= 0.0
    assert float(shown.max()) <= 1.0
    assert torch.isfinite(shown).all()
    assert not torch.allclose(shown, pixels.float() / 255.0)


def test_geometry_moves_crop_and_background_alike():
    torch.manual_seed(0)
    same = torch.rand(8, 3, 20, 20).repeat(1, 2, 1, 1)
    moved = augment.jittered(same, 5.0, 0.1, 0.05)

    assert torch.equal(moved[:, :3], moved[:, 3:])


def test_rain_lamps_and_shadows_leave_the_background_alone():
    torch.manual_seed(0)
    x = torch.rand(32, 6, 20, 20)
    for change in (augment.raining, augment.glowing, augment.shadowed):
        changed = change(x.clone(), 2.0)
        assert torch.equal(changed[:, 3:], x[:, 3:])
        assert not torch.equal(changed[:, :3], x[:, :3])


def test_a_shadow_darkens_a_part_and_keeps_its_colour():
    torch.manual_seed(0)
    x = torch.rand(64, 3, 24, 36) * 0.9 + 0.1
    share = augment.shadowed(x.clone(), 2.5) / x  # 0.4 of 2.5: every picture

    assert float(share.max()) <= 1.0
    assert torch.allclose(share.amin(dim=1), share.amax(dim=1), atol=1e-5)
    darkest, shaded = share.amin(dim=(1, 2, 3)), (share < 0.9).float().mean(dim=(1, 2, 3))
    assert float(darkest.min()) > 0.34  # at most 0.65 of the light is taken
    assert float(shaded.max()) < 0.8
    assert float((shaded > 0.02).float().mean()) > 0.8


def test_footage_is_shown_with_shadows_and_loose_pictures_are_not():
    torch.manual_seed(0)
    pixels = torch.full((32, 6, 24, 36), 200, dtype=torch.uint8)
    strength = recipes.augmentation("footage", 1.0).shadow
    shown = augment.Augment(shadow=strength)(pixels)

    assert 0.1 < float((shown[:, :3].amin(dim=(1, 2, 3)) < 0.7).float().mean()) < 0.7  # 0.4 of them
    assert torch.equal(shown[:, 3:], pixels[:, 3:].float().mul(1 / 255))
    assert recipes.augmentation("photograph", 1.0).shadow == 0.0


def test_turning_hues_repaints_a_truck_but_not_the_road():
    torch.manual_seed(0)
    turns = augment.hue_turns(50, 1.0, torch.device("cpu"))
    grey, red = torch.tensor([0.4, 0.4, 0.4]), torch.tensor([0.8, 0.1, 0.1])

    assert torch.allclose(turns @ grey, grey, atol=1e-6)
    assert torch.allclose((turns @ red).sum(dim=1), red.sum(), atol=1e-6)
    assert float((turns @ red).std(dim=0).max()) > 0.2


def test_shift_reflects_at_the_edge():
    torch.manual_seed(0)
    row = torch.arange(8, dtype=torch.uint8).repeat(64, 1, 8, 1)
    moved = {tuple(r) for r in augment.shifted(row, 2)[:, 0, 0].tolist()}

    assert (2, 1, 0, 1, 2, 3, 4, 5) in moved
    assert (2, 3, 4, 5, 6, 7, 6, 5) in moved
    assert len(moved) == 5


def test_flips_alternate():
    pixels = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2).repeat(3, 1, 1, 1)
    before = pixels.clone()
    shown = Augment(flip=True)(pixels, torch.tensor([True, False, True]))

    assert torch.equal(shown, torch.stack([before[0].flip(2), before[1], before[2].flip(2)]))
    assert torch.equal(pixels, before), "the lesson itself was flipped"


def test_recipes_fill_every_gap():
    for kind in ("thumbnail", "photograph", "footage"):
        options = recipes.resolve(TrainOptions(), kind, 1000)
        assert options.arch in ("whitened", "residual")
        for name in ("epochs", "batch_size", "learning_rate", "optimiser", "schedule", "ema"):
            assert getattr(options, name) is not None
        steps = (options.optimiser, options.learning_rate, options.weight_decay)
        assert (
            steps
            == {
                "thumbnail": ("muon", 0.01, 0.05),
                "photograph": ("sgd", 0.04, 1e-3),
                "footage": ("muon", 3e-3, 0.02),
            }[kind]
        )


def test_a_named_optimiser_gets_steps_of_its_own():
    for kind in ("thumbnail", "photograph", "footage"):
        for optimiser, rate in (("sgd", 0.05), ("adamw", 2e-3), ("muon", 3e-3)):
            its_own = recipes.resolve(TrainOptions(), kind, 1000).optimiser == optimiser
            options = recipes.resolve(TrainOptions(optimiser=optimiser), kind, 1000)
            assert its_own or options.learning_rate == rate
    asked = TrainOptions(optimiser="sgd", learning_rate=0.3, weight_decay=0.0)
    options = recipes.resolve(asked, "footage", 1000)
    assert (options.learning_rate, options.weight_decay) == (0.3, 0.0)


def test_another_network_gets_larger_photographs_and_none_of_the_recipe_s_own_tricks():
    assert [recipes.side("photograph", arch) for arch in ("auto", "whitened", "resnet18")] == [
        48,
        48,
        128,
    ]
    assert recipes.side("thumbnail", "resnet18") is None
    assert recipes.resolve(TrainOptions(), "photograph", 1000).cutmix == 0.5
    auto = recipes.resolve(TrainOptions(), "thumbnail", 10_000)
    assert (auto.epochs, auto.widen, auto.turns) == (150, 1.5, 0.3)
    other = recipes.resolve(TrainOptions(arch="resnet18"), "thumbnail", 10_000)
    assert (other.widen, other.turns) == (1.0, 0.0)
    other = recipes.resolve(TrainOptions(arch="resnet18"), "photograph", 1000)
    assert (other.cutmix, other.optimiser, other.epochs) == (0.0, "adamw", 100)
    footage = recipes.resolve(TrainOptions(), "footage", 1000)
    other = recipes.resolve(TrainOptions(arch="resnet18"), "footage", 1000)
    assert (footage.optimiser, other.optimiser, other.learning_rate) == ("muon", "adamw", 1e-3)
    for asked in (TrainOptions(self_training=0), TrainOptions(rounds=0)):
        alone = recipes.resolve(asked, "footage", 1000)
        assert (alone.optimiser, alone.learning_rate, alone.balance) == ("adamw", 2e-3, "half")
    other = recipes.resolve(TrainOptions(self_training=0, arch="resnet18"), "footage", 1000)
    assert (other.optimiser, other.learning_rate) == ("adamw", 1e-3)


def test_what_is_asked_for_is_kept():
    options = recipes.resolve(TrainOptions(arch="reference", epochs=3), "footage", 600)

    assert (options.arch, options.epochs, options.background) == ("reference", 3, False)


def test_weights_that_are_not_there_are_named(tmp_path):
    from pipeline.learning import checkpoints
    from pipeline.store import Workspace

    net = build("lenet5", NetSpec(3, 32, 32))
    with pytest.raises(NotFoundError, match="no weights at 'absent'"):
        checkpoints.start_from(Workspace(tmp_path), net, "absent")
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="is not a safetensors file"):
        checkpoints.start_from(Workspace(tmp_path), net, str(tmp_path / "x.safetensors"))


def test_starting_from_an_earlier_model_keeps_its_weights(tmp_path):
    from safetensors.torch import save_file

    from pipeline.learning import checkpoints
    from pipeline.store import Workspace

    earlier = build("lenet5", NetSpec(3, 32, 32))
    path = str(tmp_path / "earlier.safetensors")
    save_file(earlier.state_dict(), path)
    net = build("lenet5", NetSpec(6, 32, 32))  # another first layer: it alone stays fresh
    checkpoints.start_from(Workspace(tmp_path), net, path)

    assert torch.equal(net.body[3].weight, earlier.body[3].weight)


def test_weights_of_which_little_fits_are_refused(tmp_path):
    from safetensors.torch import save_file

    from pipeline.learning import checkpoints
    from pipeline.store import Workspace

    path = str(tmp_path / "narrow.safetensors")
    save_file(build("whitened", NetSpec(3, 32, 32)).state_dict(), path)
    wide = build("whitened", NetSpec(3, 32, 32, widen=1.5))
    with pytest.raises(ModelError, match=r"0% of the network's weights are found in .*--widen"):
        checkpoints.start_from(Workspace(tmp_path), wide, path)


def test_windows_smooth_within_a_run_only():
    from pipeline.learning.unlabelled import Windows

    windows = Windows(np.zeros((5, 6, 1, 1), np.uint8), np.array([0, 0, 0, 1, 1]), np.ones(5, bool))

    assert windows.smoothed(np.array([0.0, 3.0, 0.0, 9.0, 9.0])).tolist() == [1.0, 1.5, 1.0, 9, 9]


def test_labels_alone_are_not_drawn_by_size():
    both = recipes.resolve(TrainOptions(), "footage", 400)
    alone = recipes.resolve(TrainOptions(self_training=0), "footage", 400)
    told = recipes.resolve(TrainOptions(self_training=0, augment=0.2), "footage", 400)
    assert (both.balance, both.augment) == ("size", 0.4)
    assert (alone.balance, alone.augment, told.augment) == ("half", 0.7, 0.2)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw", "rmsprop", "muon"])
def test_a_run_taken_up_after_a_kill_ends_with_the_same_weights(tmp_path, monkeypatch, optimiser):
    """Weights lie channels last in memory, a checkpoint's tensors do not."""
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY_S", 0.0)
    options = TrainOptions(
        epochs=4, batch_size=8, learning_rate=0.01, optimiser=optimiser, schedule="cosine",
        warm_up=0.1, weight_decay=0.1, ema=0.2,
    )  # fmt: skip
    pixels = torch.randint(
        256, (24, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )
    lesson = fitting.Lesson(pixels, (torch.arange(24) % 2).float(), torch.ones(24))

    def go(path, dies_after=None):
        torch.manual_seed(5)
        net = build("residual", NetSpec(channels=3, height=16, width=16))

        def note(done, _of, _row):
            if done - 1 == dies_after:  # the checkpoint before this epoch is the last
                raise KeyboardInterrupt

        fitting.fit(net, lesson, options, Augment(), seed=6, checkpoint=path, note=note)
        return net.state_dict()

    whole = go(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "killed.safetensors", dies_after=2)
    taken_up = go(tmp_path / "killed.safetensors")

    assert all(torch.equal(whole[name], taken_up[name]) for name in whole)
    written = (tmp_path / "killed.safetensors").stat().st_mtime_ns
    again = go(tmp_path / "killed.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert (tmp_path / "killed.safetensors").stat().st_mtime_ns == written, "done is done"


def test_a_validation_loss_is_not_smoothed():
    """Else settings could not be compared: at 0.15 a perfect network has 0.266."""
    lesson = fitting.Lesson(
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.ones(2), torch.ones(2)
    )
    sure = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1), torch.nn.Flatten(0))
    torch.nn.init.constant_(sure[1].bias, 20.0)
    options = TrainOptions(label_smoothing=0.15)

    assert fitting.loss_of(sure, lesson, options) == pytest.approx(0.0, abs=1e-6)


def test_a_loss_that_is_no_number_is_told_at_once():
    pixels = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    lesson = fitting.Lesson(pixels, torch.arange(32) % 2 * 1.0, torch.ones(32))
    asked = TrainOptions(arch="lenet5", epochs=9, batch_size=8, learning_rate=1e30)
    options = recipes.resolve(asked, "thumbnail", 32)
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch \d .*1e\+30"):
        fitting.fit(build("lenet5", NetSpec(3, 32, 32)), lesson, options, Augment(), seed=0)


def test_only_a_held_out_loss_stops_early(monkeypatch):
    def rising(run, epoch):
        return {"loss": 0.5 + epoch / 10, "accuracy": 0.5, "rate": 0.1}

    monkeypatch.setattr(fitting._Run, "epoch", rising)
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    lesson = fitting.Lesson(pixels, torch.arange(8) % 2 * 1.0, torch.ones(8))
    asked = TrainOptions(arch="lenet5", epochs=6, batch_size=8, early_stopping=1)
    options = recipes.resolve(asked, "thumbnail", 8)
    net = build("lenet5", NetSpec(3, 32, 32))
    assert len(fitting.fit(net, lesson, options, Augment(), seed=0).curve) == 6
    monkeypatch.setattr(fitting, "loss_of", lambda *_: 0.5)  # held out: never better than at first
    curve = fitting.fit(net, lesson, options, Augment(), seed=0, validation=lesson).curve
    assert len(curve) == 2


def test_a_curve_tells_of_the_rows_that_were_taught():
    """Of five rows in twos, the last has no step: of the other four all are right, not 4 of 5."""
    pixels = torch.zeros(5, 3, 32, 32, dtype=torch.uint8)
    lesson = fitting.Lesson(pixels, torch.ones(5), torch.ones(5))
    asked = TrainOptions(
        arch="mlp", epochs=1, batch_size=2, ema=0.0, label_smoothing=0.0, dropout=0.0
    )
    options = recipes.resolve(asked, "thumbnail", 5)
    net = build("mlp", NetSpec(3, 32, 32))
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(net.body[-1].bias, 30.0)

    (row,) = fitting.fit(net, lesson, options, Augment(), seed=0).curve

    assert row["accuracy"] == 1.0
    torch.nn.init.constant_(net.body[-1].bias, -30.0)
    assert fitting.fit(net, lesson, options, Augment(), seed=0).curve[0]["loss"] > 29
