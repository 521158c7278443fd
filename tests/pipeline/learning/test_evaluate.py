"""Models are compared on what has taught none of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.learning import evaluate, taught
from pipeline.learning.dataset import Labelled
from pipeline.store import Workspace

SAID = {"old": [0.8, 0.4, 0.9, 0.1], "new": [0.6, 0.4, 1.0, 0.0]}


@pytest.fixture
def ws(tmp_path, monkeypatch):
    """Four held-out frames, two of each kind, and two models that say of them what ``SAID`` has."""
    ws = Workspace(tmp_path)
    frames = Labelled(
        pixels=np.zeros((4, 3, 8, 8), np.uint8),
        truth=np.array([1, 0, 1, 0], np.int8),
        p=np.array([1, 0, 1, 0], np.float32),
        weight=np.ones(4),
        random=np.ones(4, bool),
        names=("f1", "f2", "f3", "f4"),
        groups=("g",) * 4,
        cameras=("gate",) * 4,
        zones=("exit",) * 4,
        captured_s=np.arange(4.0),
    )

    def opened(_, model_id):
        p_truck = SimpleNamespace(p_truck=lambda logits: np.array(SAID[model_id]))
        size = {"channels": 3, "height": 8, "width": 8, "needs_background": False}
        return SimpleNamespace(engine=lambda pixels: pixels, calibration=p_truck, **size)

    monkeypatch.setattr(evaluate.Scorer, "open", opened)
    monkeypatch.setattr(evaluate.dataset, "from_campaigns", lambda *_, **__: frames)
    monkeypatch.setattr(evaluate.checkpoints, "load_card", lambda _, name: {"model_id": name})
    return ws, frames


def _teach(ws, frames, model_id, but_not):
    nothing_before = np.zeros(0, np.uint64)
    taught.note(ws, model_id, frames, np.array(but_not, np.int64), nothing_before)


def test_frames_that_taught_a_challenger_do_not_speak_for_it(ws, capsys):
    ws, frames = ws
    _teach(ws, frames, "old", [0, 1, 2, 3])
    _teach(ws, frames, "new", [0, 1])  # f3 and f4, which another campaign of that day has, too

    found = evaluate.brier_scores(ws, ["old", "new"], ["held-out"])

    # (0.2² + 0.4²) ÷ 2 and (0.4² + 0.4²) ÷ 2; over all four it would be 0.055 and 0.08:
    # the challenger's two errors of 0 are no merit.
    assert found == {"old": pytest.approx(0.10), "new": pytest.approx(0.16)}
    assert "2 of 4 held-out label(s) left out: they taught old or new" in capsys.readouterr().err


def test_labels_of_which_each_has_taught_one_model_judge_nobody(ws):
    ws, frames = ws
    _teach(ws, frames, "old", [2, 3])
    _teach(ws, frames, "new", [0, 1])

    with pytest.raises(InputError, match=r"each label of held-out has taught old or new\. Hold"):
        evaluate.brier_scores(ws, ["old", "new"], ["held-out"])


def test_one_model_against_itself_is_judged_once(ws):
    ws, frames = ws
    _teach(ws, frames, "old", [0, 1, 2, 3])

    assert evaluate.brier_scores(ws, ["old", "old"], ["held-out"]) == {
        "old": pytest.approx((0.04 + 0.16 + 0.01 + 0.01) / 4)
    }
