"""One change of any strength to each picture, by hand."""

import pytest
import torch

from pipeline.learning import recipes, trivial


@pytest.mark.parametrize(
    ("change", "strength", "grey", "becomes"),
    [
        ("posterize", 0.0, 200, 200),
        ("posterize", -1.0, 255, 0b11100000),
        ("solarize", 0.0, 200, 200),
        ("solarize", 0.0, 255, 0),
        ("solarize", 0.5, 127, 127),  # only what is brighter than half is turned round
        ("solarize", 0.5, 128, 127),
        ("adjust_brightness", 1.0, 100, 190),
        ("adjust_brightness", -1.0, 100, 10),
        ("adjust_contrast", 1.0, 100, 100),  # a flat picture has none
        ("adjust_saturation", -1.0, 100, 99),  # 0.2989 + 0.587 + 0.114 of it, cut to a whole
    ],
)
def test_changes_of_any_strength_by_hand(change, strength, grey, becomes):
    flat = torch.full((2, 3, 8, 8), grey, dtype=torch.uint8)

    changed = trivial.CHANGES[change](flat, strength)

    assert changed.dtype == torch.uint8
    assert changed.unique().tolist() == [becomes]


def test_each_picture_gets_one_change_of_thirteen():
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(2600, 3, 8, 8)
    torch.manual_seed(0)

    changed = trivial.changed(ramp)

    assert (changed.shape, changed.dtype) == (ramp.shape, ramp.dtype)
    kept = (changed == ramp).flatten(1).all(dim=1).float().mean()
    # One in thirteen by intent; equalising and stretching leave this ramp nearly as it is, and
    # a grey has no saturation: at most four in thirteen.
    assert 0.06 < kept < 4 / 13 + 0.03
    assert len({picture.numpy().tobytes() for picture in changed}) >= 15


def test_batches_are_changed_either_way(monkeypatch):
    calls = []
    monkeypatch.setattr(trivial, "changed", lambda x: calls.append(1) or x)
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    torch.manual_seed(0)
    for _ in range(200):
        recipes.augmentation("thumbnail", 1.0)(pixels)
    assert 80 < len(calls) < 120
