"""Going on from another network's weights: the head by itself, and blocks that join in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import InputError
from pipeline.learning import fitting, transfer
from pipeline.learning.augment import Augment
from pipeline.learning.fitting import Lesson, fit
from pipeline.learning.models import NetSpec, TruckNet, build
from pipeline.learning.options import TrainOptions


def _net(arch: str) -> TruckNet:
    torch.manual_seed(1)
    return build(arch, NetSpec(3, 32, 32))


def _lesson(n: int = 60) -> Lesson:
    """Bright pictures are trucks."""
    torch.manual_seed(2)
    target = (torch.arange(n) % 2).float()
    noise = torch.randint(0, 90, (n, 3, 32, 32))
    return Lesson((noise + 120 * target[:, None, None, None]).byte(), target, torch.ones(n))


@pytest.mark.parametrize("arch", ["lenet5", "residual", "whitened"])
def test_the_head_alone_is_fitted_to_its_optimum(arch: str) -> None:
    net, lesson = _net(arch), _lesson()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = transfer.fit_head(net, lesson.pixels, lesson.target, lesson.weight, decay=0.01)
    head = transfer.head_of(net)
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert {name.rsplit(".", 1)[1] for name in changed} <= {"weight", "bias"}
    assert len(changed) == (1 if head.bias is None else 2)
    assert found["accuracy"] == 1.0
    # At the optimum the slope of the penalised mean loss vanishes, seen through the whole network.
    net.eval()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(net(lesson.pixels), lesson.target)
    cost = losses + 0.5 * 0.01 * (head.weight**2).sum()
    assert cost.item() == pytest.approx(found["loss"], abs=1e-5)
    (slope,) = torch.autograd.grad(cost, head.weight)
    assert float(slope.norm()) < 2e-3


def test_blocks_join_from_the_head_down() -> None:
    net = _net("residual")
    thaw = transfer.thawing(net, 0.5)
    assert [type(b).__name__ for b in thaw.blocks[:2]] == ["Linear", "ResidualBlock"]
    # Head, four stages and the stem's convolution and norm: seven, within half of eight epochs.
    assert len(thaw.blocks) == 7
    assert [thaw.joined(epoch, 8) for epoch in range(8)] == [1, 3, 5, 7, 7, 7, 7, 7]
    paces = [pace for pace, _ in thaw.paces()]
    assert paces[0] == 1.0
    assert paces[3] == pytest.approx(0.1**0.5)
    assert paces[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("arch", ["vit_b_16", "resnet18", "mobilenet_v3_small"])
def test_every_parameter_of_a_network_from_torchvision_has_a_pace(arch: str) -> None:
    net = build(arch, NetSpec(3, 224, 224))
    thaw = transfer.thawing(net, 0.5)
    assert len(thaw.blocks) >= 3
    paced = [id(p) for _, params in thaw.paces() for p in params]
    assert len(paced) == len(set(paced)) == len(list(net.parameters()))
    assert id(transfer.head_of(net).weight) == id(next(iter(thaw.blocks[0].parameters())))


def test_what_has_not_joined_keeps_weights_and_statistics() -> None:
    net, lesson = _net("residual"), _lesson()
    options = TrainOptions(
        epochs=4, batch_size=20, learning_rate=0.01, optimiser="adamw", schedule="constant",
        warm_up=0.0, weight_decay=0.02, weights="x", thaw=1.0,
    )  # fmt: skip
    states = [{n: v.clone() for n, v in net.state_dict().items()}]
    fit(
        net,
        lesson,
        options,
        Augment(),
        seed=3,
        thaw=transfer.thawing(net, 1.0),
        note=lambda *_: states.append({n: v.clone() for n, v in net.state_dict().items()}),
    )

    def moved(epoch: int, prefix: str) -> bool:
        then, now = states[epoch - 1], states[epoch]
        return any(not torch.equal(then[n], now[n]) for n in now if n.startswith(prefix))

    assert moved(1, "body.head.")
    assert not moved(1, "body.stages.")
    assert not moved(1, "body.stem.")
    assert moved(2, "body.stages.3.")
    assert not moved(2, "body.stages.0.")
    assert moved(4, "body.stem.0.")


def test_a_layer_that_never_learns_stays_so() -> None:
    net, lesson = _net("whitened"), _lesson()
    thaw = transfer.thawing(net, 0.0)
    white = net.body.white.weight
    kept = white.clone()
    options = TrainOptions(
        epochs=2, batch_size=20, learning_rate=0.01, optimiser="sgd", schedule="constant",
        warm_up=0.0, weight_decay=0.0, weights="x",
    )  # fmt: skip
    fit(net, lesson, options, Augment(), seed=3, thaw=thaw)
    assert torch.equal(white, kept)


@pytest.mark.parametrize("killed_after", [None, 1, 4, 8, 12])
def test_blocks_that_join_make_epochs_dearer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed_after: int | None
) -> None:
    """Two minutes, a second per learning block and epoch: by the first alone 100 would fit."""
    clock = [0.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY_S", 0.0)
    counted: list[int] = []

    def epoch(run: Any, number: int) -> dict[str, float]:
        counted.append(run.epochs)
        run.begin(number)
        clock[0] += run.joined
        return {"loss": 1.0, "accuracy": 1.0, "rate": 0.0}

    monkeypatch.setattr(fitting._Run, "epoch", epoch)
    options = TrainOptions(
        epochs=100, batch_size=20, learning_rate=0.01, optimiser="adamw", schedule="constant",
        warm_up=0.0, weight_decay=0.0, weights="x", thaw=0.1, ema=0.0,
    )  # fmt: skip

    def go(stop_after: int | None) -> None:
        net = _net("residual")

        def note(done: int, _: int, __: dict[str, float]) -> None:
            if done - 1 == stop_after:  # the checkpoint before this epoch is the last
                raise KeyboardInterrupt

        fit(
            net, _lesson(), options, Augment(), seed=3, minutes=2.0, note=note,
            thaw=transfer.thawing(net, 0.1), checkpoint=tmp_path / "c.safetensors",
        )  # fmt: skip

    if killed_after is not None:
        with pytest.raises(KeyboardInterrupt):
            go(killed_after)
        clock[0] += 1000.0  # nobody was at work
        lost = counted.pop()
        go(None)
        assert counted[killed_after] == lost  # taken up with as many in mind
        clock[0] -= 1000.0
    else:
        go(None)
    assert counted[:2] == [100, 100]
    # Seven blocks: most epochs take 7 s, so 17 of them would fill two minutes.
    assert 17 <= len(counted) <= 24
    assert clock[0] <= 120.0 + (7.0 if killed_after is not None else 0.0)


def test_freeze_and_thaw_ask_for_weights() -> None:
    with pytest.raises(InputError, match="go on from weights"):
        TrainOptions(freeze=True)
    with pytest.raises(InputError, match="go on from weights"):
        TrainOptions(thaw=0.5, weights="none")
    with pytest.raises(InputError, match=r"thaw is 1\.5"):
        TrainOptions(thaw=1.5, weights="m")
