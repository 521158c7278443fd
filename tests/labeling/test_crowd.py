"""The simulated crowd has the skill it states and the same votes every time."""

from __future__ import annotations

import pandas as pd
import pytest

from labeling import crowd
from pipeline import schemas, store

TRUTH = {f"f{i:04d}": i % 4 == 0 for i in range(2000)}


def test_stated_skill_is_measured_skill():
    workers = (crowd.Worker("a", 0.95), crowd.Worker("b", 0.6), crowd.Worker("c", 0.8, 0.1))
    table = crowd.annotate(TRUTH, 3, workers)
    decided = table[table["label"] != "cant_tell"]
    truth = decided["frame_id"].map(lambda f: "truck" if TRUTH[f] else "no_truck")
    skill = decided["label"].eq(truth).groupby(decided["worker"]).mean()
    # Standard error at most 0.011; where c can't tell, the frames were harder ones.
    assert skill["a"] == pytest.approx(0.95, abs=0.02)
    assert skill["b"] == pytest.approx(0.60, abs=0.04)
    assert skill["c"] >= 0.78
    assert (table["label"] == "cant_tell").groupby(table["worker"]).mean()["c"] == pytest.approx(
        0.1, abs=0.02
    )


def test_hard_frames_are_hard_for_all():
    hard = {f: 5.0 if i % 2 else 0.1 for i, f in enumerate(TRUTH)}
    table = crowd.annotate(TRUTH, 1, (crowd.Worker("a", 0.9),), difficulty=hard)
    wrong = table["label"] != table["frame_id"].map(lambda f: "truck" if TRUTH[f] else "no_truck")
    share = wrong.groupby(table["frame_id"].map(hard)).mean()
    assert share[5.0] > 0.15
    assert share[0.1] < 0.02


def test_votes_do_not_depend_on_other_frames():
    some = {f: TRUTH[f] for f in list(TRUTH)[:50]}
    difficulty = dict.fromkeys(TRUTH, 1.0)
    columns = ["frame_id", "worker", "label", "seconds_spent"]
    few = crowd.annotate(some, 3, seed=1, difficulty=difficulty)[columns]
    more = crowd.annotate(TRUTH, 3, seed=1, difficulty=difficulty)[columns]
    pd.testing.assert_frame_equal(few, more[more["frame_id"].isin(some)].reset_index(drop=True))


def test_ordinary_rows_marked_simulated():
    import pyarrow as pa

    table = crowd.annotate({"a": True, "b": None}, 10)
    assert set(table["source"]) == {"simulated"}
    assert not table.duplicated(["frame_id", "worker"]).any()
    assert (table["frame_id"] == "a").sum() == 10
    store.fitted(pa.Table.from_pandas(table, preserve_index=False), schemas.ANNOTATIONS)
    assert set(table[table["worker"] == "sim-jon"]["label"]) == {"no_truck"}
