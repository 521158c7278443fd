"""Candidates judged with and without a model."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg

from labeling import judging
from labeling.looking import Seen
from pipeline.errors import NotFoundError
from pipeline.store import Workspace


def scene(x: int | None) -> np.ndarray:
    picture = np.full((64, 80, 3), 90, np.uint8)
    if x is not None:
        picture[20:50, x : x + 24] = (200, 180, 60)
    return picture


def seen_of(*xs: int | None) -> dict[int, Seen]:
    shown = {float(i): simplejpeg.encode_jpeg(scene(x)) for i, x in enumerate(xs)}
    return {0: Seen({}, {}, {"out": shown}, {"out": simplejpeg.encode_jpeg(scene(None))})}


def test_thumbnails_place_like_beside_like(tmp_path):
    judge = judging.judge_of(Workspace(tmp_path))  # no model is in use yet
    found = judge(seen_of(10, 11, 50, 51), "out", [(0, float(i)) for i in range(4)])
    assert found.p_truck is None
    a, b, c, d = found.place
    near, far = np.linalg.norm(a - b), np.linalg.norm(a - c)
    assert far > 5 * near
    assert np.linalg.norm(c - d) < far / 5
    assert found.place.shape[1] <= judging.AXES


def test_main_axes_by_hand():
    # On the line y = x all the extent is on the first axis: distances √2 apart.
    places = judging.main_axes(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
    assert np.abs(np.diff(places[:, 0])) == pytest.approx([2**0.5, 2**0.5])
    assert np.abs(places[:, 1:]).max() < 1e-9


def test_a_model_scores_and_places(tmp_path, untrained):
    ws = Workspace(tmp_path)
    untrained(ws, {})
    seen, wanted = seen_of(10, 50, None), [(0, 0.0), (0, 1.0), (0, 2.0)]
    by_id = judging.judge_of(ws, "m1")(seen, "out", wanted)
    in_use = judging.judge_of(ws)(seen, "out", wanted)
    assert by_id.p_truck is not None
    assert by_id.p_truck.tolist() == in_use.p_truck.tolist()
    assert len(set(by_id.p_truck.tolist())) == 3
    assert by_id.place.shape[0] == 3
    assert judging.judge_of(ws, "none")(seen, "out", wanted).p_truck is None
    with pytest.raises(NotFoundError, match="'m2'"):
        judging.judge_of(ws, "m2")


def test_features_are_what_the_last_layer_sees():
    import torch

    from pipeline.learning.embedding import features_of
    from pipeline.learning.fitting import logits_of
    from pipeline.learning.models import NetSpec, build

    torch.manual_seed(0)
    net = build("mlp", NetSpec(channels=3, height=32, width=32)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    features = features_of(net, pixels)
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = head(torch.from_numpy(features)).flatten().numpy()
    assert logits == pytest.approx(logits_of(net, torch.from_numpy(pixels)).numpy(), abs=1e-5)
