"""A model knows the pictures it learned from."""

import numpy as np
import pytest

from pipeline import store
from pipeline.errors import ModelError
from pipeline.learning import taught
from pipeline.learning.dataset import Labelled
from pipeline.store import Workspace

NO_ROWS, NO_MODEL = np.zeros(0, np.int64), np.zeros(0, np.uint64)
CARD = {"model_id": "m", "label_set_id": "elsewhere", "campaigns": {"june": "d1"}}


def _labelled(levels, names=None, captured_s=None):
    """Flat pictures, loose unless ``captured_s`` says when each frame was."""
    n = len(levels)
    return Labelled(
        pixels=np.repeat(np.array(levels, np.uint8), 3 * 8 * 8).reshape(n, 3, 8, 8),
        truth=np.zeros(n, np.int8),
        p=np.zeros(n, np.float32),
        weight=np.ones(n),
        random=np.ones(n, bool),
        names=tuple(names or (f"{i}.jpg" for i in range(n))),
        groups=("g",) * n,
        cameras=("",) * n,
        zones=("",) * n,
        captured_s=np.full(n, np.nan) if captured_s is None else np.array(captured_s, float),
    )


@pytest.fixture
def ws(tmp_path):
    return Workspace(tmp_path)


def test_a_loose_picture_is_known_by_its_pixels_whatever_its_name(ws):
    taught.note(ws, "m", _labelled([10, 20, 30]), np.array([2]), NO_MODEL)

    found = taught.among(ws, CARD, _labelled([30, 20, 99, 10], ["d", "c", "b", "a"]))

    assert found.tolist() == [False, True, False, True]  # 30 was held back


def test_a_frame_is_known_by_its_id_at_any_size(ws):
    taught.note(ws, "m", _labelled([10, 20], ["f1", "f2"], [0, 1]), NO_ROWS, NO_MODEL)

    found = taught.among(ws, CARD, _labelled([77, 10], ["f2", "f3"], [1, 2]), ["june"])

    assert found.tolist() == [True, False]  # though june has taught the model: f3 came later


def test_what_taught_the_model_gone_on_from_taught_this_one(ws):
    taught.note(ws, "first", _labelled([10, 20]), NO_ROWS, NO_MODEL)
    before = taught.earlier(ws, {"model_id": "first"})
    taught.note(ws, "m", _labelled([20, 30]), NO_ROWS, before)
    for card in ({}, {"model_id": "elsewhere"}):
        assert taught.earlier(ws, card).size == 0
    taught.note(ws, "alone", _labelled([20, 30]), NO_ROWS, NO_MODEL)

    asked = _labelled([10, 20, 30, 40])
    assert taught.among(ws, CARD, asked).tolist() == [True, True, True, False]
    alone = taught.among(ws, CARD | {"model_id": "alone"}, asked)
    assert alone.tolist() == [False, True, True, False]


def test_a_model_without_a_note_goes_by_label_set_and_campaign(ws):
    some = _labelled([1, 2])

    assert not taught.among(ws, CARD, some, ["july"]).any()
    assert taught.among(ws, CARD, some, ["july", "june"]).all()
    assert taught.among(ws, CARD | {"label_set_id": some.label_set_id}, some).all()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"pickled?"])
def test_a_damaged_note_is_named(ws, content):
    store.write_bytes(ws.model("m") / taught.TAUGHT, content)

    with pytest.raises(ModelError, match=r"m/taught\.npy cannot be read"):
        taught.among(ws, CARD, _labelled([1]))
