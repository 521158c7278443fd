"""Pictures made of others: their answers go with them."""

import pytest
import torch

from pipeline.learning.mixing import mixed, pieced, with_turned


def test_a_piece_of_another_picture_brings_as_much_of_its_answer():
    torch.manual_seed(0)
    target = torch.arange(4000) / 4000
    plain = target[:, None, None, None].expand(-1, 3, 32, 16)  # of one colour: the answer's
    x, answer = pieced(plain, target)
    torch.testing.assert_close(x.mean(dim=(1, 2, 3)), answer)
    other = x.flatten(1)
    changed = (other - target[:, None]).abs() > 1e-6
    # The box's side is √u; of it s − s²/4 lies inside, so E[(s − s²/4)²] = 1/2 − 1/5 + 1/48.
    assert float(changed.float().mean()) == pytest.approx(0.3208, abs=0.012)
    assert len(torch.unique((changed.float().mean(dim=1) * 512).round())) > 100


def test_turned_pictures_are_told_by_how_many_quarters():
    """Nine pictures of which each is known by its corner: three come again, turned."""
    x = torch.zeros(9, 1, 2, 2)
    x[:, 0, 0, 0] = torch.arange(1.0, 10.0)
    torch.manual_seed(3)

    trucks = torch.arange(9) % 2.0

    both, answers = with_turned(x, trucks)

    assert torch.equal(both[:9], x)
    quarters = answers.argmax(dim=1) % 4
    assert quarters[:9].tolist() == [0] * 9
    assert (answers.argmax(dim=1) // 4)[:9].tolist() == [0, 1] * 4 + [0]
    assert (answers.argmax(dim=1) // 4)[9:].tolist() == [
        int(trucks[int(picture.max()) - 1]) for picture in both[9:]
    ]
    assert both[9:].amax(dim=(1, 2, 3)).unique().numel() == len(both) - 9 == 3
    # Against the clock the upper left corner goes to the lower left, the lower right, the upper
    # right.
    corners = {1: (1, 0), 2: (1, 1), 3: (0, 1)}
    for picture, by in zip(both[9:, 0], quarters[9:].tolist(), strict=True):
        assert picture[corners[by]] == picture.max()
    _, oblong = with_turned(torch.zeros(9, 1, 2, 3), torch.full((9,), 0.25))
    upright, on_its_head = [0.75, 0, 0, 0, 0.25, 0, 0, 0], [0, 0, 0.75, 0, 0, 0, 0.25, 0]
    assert oblong.tolist() == [upright] * 9 + [on_its_head] * 3


def test_bytes_are_blended_as_shares_of_255():
    torch.manual_seed(0)
    pixels = torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)
    x, target = mixed(pixels, torch.tensor([0.0, 1.0]), 0.4)

    assert torch.allclose(x, torch.full_like(x, 0.2))
    assert float(target.sum()) == pytest.approx(1.0)
