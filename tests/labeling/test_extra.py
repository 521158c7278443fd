"""Another vote where the posterior is unsure, and nowhere else."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from labeling import crowd
from labeling.aggregate import aggregate
from labeling.extra import ExtraVotes, votes_wanted
from pipeline.errors import InputError


def said(**frames: str) -> pd.DataFrame:
    words = {"t": "truck", "n": "no_truck", "c": "cant_tell"}
    rows = [(f, f"w{i}", words[v]) for f, line in frames.items() for i, v in enumerate(line)]
    return pd.DataFrame(rows, columns=["frame_id", "worker", "label"])


def wanted(table: pd.DataFrame, usual: int = 3, **limits: float) -> dict[str, int]:
    # Majority: the posterior is the share of votes.
    return votes_wanted(aggregate(table, "majority"), table, usual, ExtraVotes(**limits))


def test_by_hand():
    table = said(sure="ttt", split="ttn", tie="tntn", few="tn", most="ttntn", hard="tccn", no="nnn")
    assert wanted(table) == {"split": 4, "tie": 5}
    assert wanted(table, most=6) == {"split": 4, "tie": 5, "most": 6}
    assert wanted(table, low=0.4, high=0.65, most=9) == {"tie": 5, "most": 6}
    assert wanted(table, usual=2) == {"split": 4, "tie": 5, "few": 3}


def test_what_an_expert_settled_needs_no_more():
    table = said(split="ttn", other="ttn")
    result = aggregate(table, "majority", known={"split": True})
    assert votes_wanted(result, table, 3, ExtraVotes()) == {"other": 4}


def test_thresholds_make_a_range():
    with pytest.raises(InputError, match=r"0\.9 and 0\.1"):
        ExtraVotes(0.9, 0.1)


def test_votes_go_where_they_matter():
    """Two votes, and more where unsure, beat more votes spread evenly over all frames."""
    truth = {f"f{i:03d}": i % 3 == 0 for i in range(400)}
    crew = tuple(crowd.Worker(f"w{i}", s) for i, s in enumerate((0.92, 0.9, 0.88, 0.86, 0.84, 0.8)))
    every = crowd.annotate(truth, 6, crew, seed=2).sample(frac=1.0, random_state=0)
    turn = every.groupby("frame_id").cumcount()
    given = pd.Series(2, index=sorted(truth))
    for _ in range(3):
        held = every[turn < every["frame_id"].map(given)]
        given.update(pd.Series(votes_wanted(aggregate(held), held, 2, ExtraVotes(0.05, 0.95))))
    held = every[turn < every["frame_id"].map(given)]
    even = every[turn < math.ceil(len(held) / len(truth))]
    assert len(held) <= len(even)
    assert right(held, truth) > right(even, truth)


def right(votes: pd.DataFrame, truth: dict[str, bool]) -> float:
    labels = aggregate(votes).labels
    said = dict(zip(labels["frame_id"], labels["label"], strict=True))
    return sum(said[f] == ("truck" if t else "no_truck") for f, t in truth.items()) / len(truth)
