"""Muon: orthogonal steps, of AdamW's size; what is no matrix moves exactly as by AdamW."""

import pytest
import torch

from pipeline.learning import fitting, muon
from pipeline.learning.muon import Muon
from pipeline.learning.options import TrainOptions


def with_singular_values(values, rows, columns):
    """Return a matrix of these singular values, its orthogonal factors drawn."""
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(rows, len(values), generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values), generator=generator))
    return left @ torch.diag(torch.tensor(values)) @ right.T, left @ right.T


@pytest.mark.parametrize("shape", [(4, 30), (30, 4), (4, 4)])
def test_every_direction_is_turned_equally_far(shape):
    matrix, nearest = with_singular_values([5.0, 1.0, 0.3, 0.02], *shape)

    turned = muon.orthogonal(matrix)

    # Singular values within Jordan's 0.7 to 1.2; the direction that was 250 times smaller as well.
    values = torch.linalg.svdvals(turned)[:4]
    assert values.min() > 0.65
    assert values.max() < 1.25
    # The singular vectors stay: along each of them the answer is the nearest orthogonal matrix's.
    assert torch.nn.functional.cosine_similarity(turned.flatten(), nearest.flatten(), 0) > 0.98


def test_large_matrices_are_turned_in_half_precision_where_asked():
    large, nearest = with_singular_values([5.0, 1.0, 0.3, 0.1] * 50, 200, 300)

    whole, half = muon.orthogonal(large), muon.orthogonal(large, half=True)

    assert half.dtype == torch.float32
    assert not torch.equal(whole, half)
    for turned in (whole, half):
        assert torch.nn.functional.cosine_similarity(turned.flatten(), nearest.flatten(), 0) > 0.97
    small = large[:190]
    assert torch.equal(muon.orthogonal(small), muon.orthogonal(small, half=True))


def test_a_gradient_of_nothing_moves_nothing():
    assert muon.orthogonal(torch.zeros(3, 5)).abs().max() == 0


def test_a_step_is_as_long_as_one_of_adamw():
    # An orthogonal 16x144 matrix has 16 singular values of 1: its entries' mean square is
    # 16 / (16 x 144), times 0.2² x 144 makes 0.2² (Liu et al. 2025).
    kernel = torch.nn.Parameter(torch.zeros(16, 16, 3, 3))
    optimiser = Muon([{"params": [kernel]}], lr=0.1)
    generator = torch.Generator().manual_seed(1)
    kernel.grad = torch.randn(16, 16, 3, 3, generator=generator) * 1000

    optimiser.step()

    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.1 * 0.2, rel=0.25)
    assert float((kernel.detach() * kernel.grad).sum()) < 0


def test_momentum_looks_ahead():
    # Gradients I and -0.7 I: the mean is 0.95 x 0.05 - 0.05 x 0.7 = 0.0125, still along the first,
    # but 0.95 of it ahead of a gradient of 0.05 x -0.7 is below 0: the second step turns back.
    param = torch.nn.Parameter(torch.zeros(2, 2))
    optimiser = Muon([{"params": [param]}], lr=1.0)
    for size in (1.0, -0.7):
        param.grad = size * torch.eye(2)
        optimiser.step()

    assert torch.allclose(optimiser.state[param]["mean"], 0.0125 * torch.eye(2))
    assert torch.allclose(param.detach(), torch.zeros(2, 2), atol=1e-4)


def test_a_layer_that_learns_nothing_any_more_stands_still():
    param = torch.nn.Parameter(torch.zeros(2, 3))
    optimiser = Muon([{"params": [param]}], lr=0.01)
    param.grad = torch.full((2, 3), 1e-3)
    optimiser.step()
    param.grad = torch.zeros(2, 3)
    for _ in range(1000):  # the mean fades by 0.95 a step, to less than float32 can square
        before = param.detach().clone()
        optimiser.step()

    assert torch.isfinite(param).all()
    assert torch.equal(param.detach(), before)


def test_decay_pulls_by_rate_times_decay():
    param = torch.nn.Parameter(torch.full((2, 2), 3.0))
    optimiser = Muon([{"params": [param], "weight_decay": 0.5}], lr=0.1)
    param.grad = torch.zeros(2, 2)

    optimiser.step()

    assert torch.allclose(param.detach(), torch.full((2, 2), 3.0 * (1 - 0.1 * 0.5)))


def _moved(optimiser_of, shape, steps):
    """Return a drawn parameter after some steps of an optimiser, by gradients drawn alike."""
    generator = torch.Generator().manual_seed(2)
    param = torch.nn.Parameter(torch.randn(shape, generator=generator))
    optimiser = optimiser_of([param])
    for _ in range(steps):
        param.grad = torch.randn(shape, generator=generator)
        optimiser.step()
    return param.detach()


def _muon(params):
    return Muon([{"params": params, "weight_decay": 0.1}], lr=0.02)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (7, 1), ()])
def test_what_is_no_matrix_moves_as_by_adamw(shape):
    def adamw(params):
        return torch.optim.AdamW(params, lr=0.02, weight_decay=0.1)

    assert torch.allclose(_moved(_muon, shape, 6), _moved(adamw, shape, 6), atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_matrices_step_as_by_torch_s_own(shape):
    theirs = getattr(torch.optim, "Muon", None)
    if theirs is None:
        pytest.skip("this torch has no Muon (2.9 and later have)")

    def reference(params):
        return theirs(
            params, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )

    # Theirs is computed in bfloat16; an entry moves by about 0.02 x 0.2 a step.
    assert torch.allclose(_moved(_muon, shape, 4), _moved(reference, shape, 4), atol=1e-3)


def test_it_is_an_option_of_training():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    options = TrainOptions(optimiser="muon", learning_rate=0.01, weight_decay=0.2)

    optimiser = fitting.make_optimiser(net, options)

    assert isinstance(optimiser, Muon)
    assert [(g["weight_decay"], len(g["params"])) for g in optimiser.param_groups] == [
        (0.2, 1),
        (0.0, 3),
    ]
