"""A model's guesses: of every frame, and of no labels that it has learned from."""

from __future__ import annotations

import pytest

from labeling import guesses
from pipeline.errors import InputError, NotFoundError


def test_every_frame_is_guessed_the_same_every_time(workspace_of, untrained):
    ws = workspace_of(3)
    untrained(ws, {})
    found = guesses.shown_guesses(ws, "spring")
    assert sorted(found) == ["f00000", "f00001", "f00002"]
    assert len({round(p, 5) for p in found.values()}) == 1  # they are one picture
    assert 0.0 < found["f00000"] < 1.0
    with pytest.raises(NotFoundError, match="'autumn'"):
        guesses.shown_guesses(ws, "autumn")


def test_no_model_no_guess(workspace_of):
    ws = workspace_of(1)
    assert guesses.outside_opinion(ws, "spring") == {}
    with pytest.raises(InputError, match="no model is in use"):
        guesses.shown_guesses(ws, "spring")


def test_a_model_is_no_judge_of_what_it_learned_from(workspace_of, untrained):
    ws = workspace_of(2)
    untrained(ws, {"winter": "x"})
    assert len(guesses.outside_opinion(ws, "spring")) == 2
    assert guesses.outside_opinion(ws, "spring", "none") == {}
    untrained(ws, {"winter": "x", "spring": "y"})
    assert guesses.outside_opinion(ws, "spring") == {}
    with pytest.raises(InputError, match="'m1' has learned from 'spring'"):
        guesses.outside_opinion(ws, "spring", "m1")
