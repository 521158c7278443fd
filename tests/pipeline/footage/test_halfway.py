"""A verification that was stopped goes on within its clip and finds the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.footage import halfway, verify
from pipeline.footage.view_change import Look, to_json

MakeClip = Callable[..., Path]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halfway, "EVERY_S", 4.0)
    monkeypatch.setattr(halfway.Stops, "__init__", _often)


def _often(self: halfway.Stops) -> None:
    self.due_s, self._entries = 4.0, set()


class Told(list[Any]):
    """What a pass tells, in order: looks and places to go on from."""

    def whole(self, path: Path, state: halfway.State | None = None) -> verify.Verification:
        return verify.examined(path, show=self.append, keep=self.append, state=state)

    def states(self) -> list[int]:
        return [i for i, told in enumerate(self) if not isinstance(told, Look)]

    def looks(self) -> list[list[Any]]:
        return [to_json(told) for told in self if isinstance(told, Look)]


@pytest.mark.parametrize(
    ("name", "b_frames", "codec"),
    [("a.mp4", 0, "libx264"), ("a.mp4", 3, "libx264"), ("a.mkv", 3, "libx264")],
)
def test_from_every_place_the_rest_is_the_same(
    make_clip: MakeClip, name: str, b_frames: int, codec: str
) -> None:
    clip = make_clip(name, n=450, gop=25, b_frames=b_frames, codec=codec, size=(96, 64))
    first = Told()
    whole = first.whole(clip)
    assert whole.status == "ok"
    assert len(first.states()) == 4  # at 4, 8, 12 and 16 of 18 s
    for place in first.states():
        again = Told()
        assert again.whole(clip, first[place]) == whole
        before = [to_json(told) for told in first[:place] if isinstance(told, Look)]
        assert before + again.looks() == first.looks()


def test_a_frozen_stretch_over_the_place_is_one_stretch(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    path = tmp_path / "frozen.mp4"
    still = draw.integers(0, 200, (64, 96, 3), np.uint8)
    with av.open(str(path), "w") as container:
        # With a constant quantiser no rate control decides whether keyframes of one picture differ.
        options = {"preset": "veryfast", "qp": "26"}
        stream = container.add_stream("libx264", rate=5, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 5
        for number in range(200):
            live = draw.integers(0, 200, (64, 96, 3), np.uint8)
            shown = still if 25 <= number < 150 else live
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        container.mux(stream.encode(None))
    first = Told()
    whole = first.whole(path)
    assert "frozen picture for" in whole.reason
    for place in first.states():
        assert asdict(Told().whole(path, first[place])) == asdict(whole)


def test_a_damaged_clip_has_no_such_place_after_the_damage(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip("a.mp4", n=450, gop=25, size=(96, 64))
    content = bytearray(clip.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 4000, 7):
        content[at] ^= 0x55
    path = tmp_path / "hurt.mp4"
    path.write_bytes(bytes(content))
    told = Told()
    found = told.whole(path)
    assert found.damaged
    places = [told[i] for i in told.states()]
    assert all(place["seen"]["end_s"] <= found.damaged[0][0] + 0.1 for place in places)


def test_a_place_that_is_not_there_is_told(make_clip: MakeClip) -> None:
    clip = make_clip("a.mp4", n=450, gop=25, size=(96, 64))
    first = Told()
    first.whole(clip)
    state = {**first[first.states()[0]], "tick": 77}
    with pytest.raises(halfway.LostWayError):
        Told().whole(clip, state)
    told: list[Any] = []
    found = verify.verify(clip, on_state=told.append, state=state)
    assert found.status == "ok"
    assert told[0] is None
