"""Who is flagged, skill on gold, and suspected wrong labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from labeling import crowd, quality
from labeling.aggregate import aggregate

CROWD = (
    *(crowd.Worker(f"good{i}", s) for i, s in enumerate((0.97, 0.95, 0.93, 0.9, 0.86))),
    crowd.Worker("poor1", 0.6),
    crowd.Worker("poor2", 0.55),
    crowd.Worker("const", habit="constant"),
    crowd.Worker("coin", habit="coin"),
)


@pytest.mark.parametrize("seed", range(4))
def test_exactly_the_bad_workers_are_flagged(seed):
    rng = np.random.default_rng(seed)
    truth = {f"f{i:03d}": bool(rng.random() < 0.4) for i in range(400)}
    found = quality.flags(aggregate(crowd.annotate(truth, 5, CROWD, seed=seed)))
    flagged = dict(zip(found["worker"], found["flag"], strict=True))
    assert set(flagged) == {"poor1", "poor2", "const", "coin"}
    assert flagged["const"] == "constant"
    assert flagged["coin"] == "coin"


def test_few_votes_raise_no_flag():
    truth = {f"f{i}": i % 2 == 0 for i in range(15)}
    assert quality.flags(aggregate(crowd.annotate(truth, 9, CROWD))).empty


def test_skill_on_gold_by_hand():
    table = pd.DataFrame(
        [
            ("a", "x", "truck", True),
            ("b", "x", "truck", False),
            ("c", "x", "cant_tell", True),
        ],
        columns=["task_id", "worker", "label", "truck"],
    )
    skill = quality.gold_skill(table).iloc[0]
    assert (skill["worker"], skill["n_gold"], skill["n_right"], skill["skill"]) == ("x", 2, 1, 0.5)
    assert (skill["skill_lo"], skill["skill_hi"]) == pytest.approx((0.0945, 0.9055), abs=1e-3)


def test_wilson_as_published():
    # Newcombe 1998, Statistics in Medicine 17: 81 of 263 gives 0.2553 to 0.3662.
    assert quality.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert quality.wilson(0, 0) == (0.0, 1.0)


def test_suspected_labels_by_hand():
    labels = np.array([True, True, True, False, False, False])
    p = np.array([0.9, 0.8, 0.1, 0.1, 0.2, 0.95])
    # Thresholds: truck 0.6, no truck 1 − 0.4167 = 0.583. Frame 5 (0.95 against its label, margin
    # 0.9) is worse than frame 2 (margin 0.8).
    assert quality.suspected(labels, p).tolist() == [5, 2]
    assert quality.suspected(labels[:3], p[:3]).tolist() == []


def test_suspected_finds_flipped_labels():
    rng = np.random.default_rng(0)
    truth = rng.random(500) < 0.3
    p = np.clip(np.where(truth, 0.85, 0.1) + rng.normal(0, 0.12, 500), 0.001, 0.999)
    flipped = rng.choice(500, 25, replace=False)
    given = truth.copy()
    given[flipped] = ~given[flipped]
    found = quality.suspected(given, p)
    hits = len(set(found) & set(flipped))
    # The thresholds are the classes' means, so about half is found, and hardly a right one.
    assert hits >= 13
    assert hits / len(found) >= 0.9
