"""Networks taught side by side are those taught one after another."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch

from pipeline import cores
from pipeline.learning import recipes
from pipeline.learning.classroom import Classroom, Course, side_by_side
from pipeline.learning.fitting import Lesson
from pipeline.learning.models import NetSpec
from pipeline.learning.options import TrainOptions
from pipeline.store import Workspace


def lesson(n: int = 32) -> Lesson:
    torch.manual_seed(5)
    pixels = torch.randint(0, 255, (n, 3, 32, 32), dtype=torch.uint8)
    return Lesson(pixels, (torch.arange(n) % 2).float(), torch.ones(n))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def room(root: Path, **changes: object) -> Classroom:
    given = {"arch": "cifar", "epochs": 2, "batch_size": 8, "device": "cpu"}
    options = recipes.resolve(TrainOptions(**given | changes), "thumbnail", 32)
    spec = NetSpec(channels=3, height=32, width=32)
    return Classroom(Workspace(root), "m", options, spec, "thumbnail")


def weights(net) -> list[torch.Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def test_side_by_side_is_one_after_another(tmp_path, monkeypatch, one_thread):
    courses = [Course("first", lesson(), seed=1), Course("second", lesson(), seed=2)]
    alone = [weights(room(tmp_path / "alone").teach(course)[0]) for course in courses]

    beside = room(tmp_path / "beside")
    monkeypatch.setattr(cores, "usable", lambda *_: 2)
    side_by_side(beside, courses)
    before = {p: p.stat().st_mtime_ns for p in beside.checkpoint("first").parent.iterdir()}
    assert set(before) == {beside.checkpoint("first"), beside.checkpoint("second")}
    together = []
    for course in courses:
        net, result = beside.teach(course)
        assert len(result.curve) == 2, "taught in the other process, not again"
        together.append(weights(net))

    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(*alone, strict=True)), "seeds differ"


def test_with_one_core_nobody_else_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "usable", lambda *_: 1)
    monkeypatch.setattr(cores, "pool", lambda *_: pytest.fail("started processes"))
    side_by_side(room(tmp_path), [Course("first", lesson()), Course("second", lesson())])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_pupil_goes_on_from_what_its_teacher_ended_with(tmp_path, one_thread):
    teacher, _ = room(tmp_path).teach(Course("teacher", lesson()))
    still = room(tmp_path, learning_rate=1e-11)
    pupil, _ = still.teach(Course("pupil", lesson(), seed=9, after="teacher"))
    fresh, _ = still.teach(Course("another", lesson(), seed=9))

    def alike(one, other):
        pairs = zip(weights(one), weights(other), strict=True)
        return all(torch.allclose(a, b, rtol=0.0, atol=1e-7) for a, b in pairs)

    assert alike(teacher, pupil), "a pupil that learns next to nothing is its teacher"
    assert not alike(pupil, fresh)


def test_a_lesson_travels_as_arrays():
    given = lesson(4)
    told = pickle.dumps(given)
    taken = pickle.loads(told)
    assert b"torch" not in told.replace(b"_lesson_of", b"").replace(b"pipeline", b"")
    for name in ("pixels", "target", "weight"):
        assert torch.equal(getattr(taken, name), getattr(given, name))
        assert getattr(taken, name).dtype == getattr(given, name).dtype
    assert len(copy.copy(given) + given) == 8
