"""Votes to labels: published examples, hand-worked cases, and crowds of known skill."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import crowd
from labeling.aggregate import METHODS, aggregate, krippendorff_alpha, label_set_id
from pipeline.errors import InputError

BAD = {"w6", "w7", "const", "coin"}
CROWD = (
    *(crowd.Worker(f"w{i}", s) for i, s in enumerate((0.97, 0.96, 0.95, 0.93, 0.9, 0.85))),
    crowd.Worker("w6", 0.6),
    crowd.Worker("w7", 0.55),
    crowd.Worker("const", habit="constant"),
    crowd.Worker("coin", habit="coin"),
)


def votes(*rows: tuple[str, str, str]) -> pd.DataFrame:
    words = {"t": "truck", "n": "no_truck", "c": "cant_tell"}
    return pd.DataFrame(
        [(f, w, words[v]) for f, w, v in rows], columns=["frame_id", "worker", "label"]
    )


def labels_of(table: pd.DataFrame) -> dict[str, str | None]:
    return {
        f: (None if pd.isna(v) else v)
        for f, v in zip(table["frame_id"], table["label"], strict=True)
    }


def wide(*observers: str) -> pd.DataFrame:
    """Rows of Krippendorff's examples: a character per unit, a dot where nothing was said."""
    rows = [
        (f"u{i:02d}", f"o{k}", value)
        for k, line in enumerate(observers)
        for i, value in enumerate(line.split())
        if value != "."
    ]
    return pd.DataFrame(rows, columns=["frame_id", "worker", "label"])


def test_alpha_of_krippendorff_2011_part_a_binary():
    # "Computing Krippendorff's Alpha-Reliability" (2011), A: two observers, 10 units: 0.095.
    table = wide("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
    assert krippendorff_alpha(table) == pytest.approx(0.095, abs=5e-4)


def test_alpha_of_krippendorff_2011_part_c_missing_values():
    # Ibid., C: four observers, 12 units, five values, some missing: 0.743 for nominal values.
    table = wide(
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    assert krippendorff_alpha(table) == pytest.approx(0.743, abs=5e-4)


def test_alpha_needs_two_votes_on_a_frame_and_two_values():
    assert np.isnan(krippendorff_alpha(votes(("a", "x", "t"), ("b", "x", "n"))))
    assert np.isnan(krippendorff_alpha(votes(("a", "x", "t"), ("a", "y", "t"))))


def test_majority_by_hand():
    result = aggregate(
        votes(
            *(("a", w, v) for w, v in zip("xyz", "ttn", strict=True)),
            *(("b", w, v) for w, v in zip("xy", "tn", strict=True)),
            *(("c", w, v) for w, v in zip("xyz", "cct", strict=True)),
            *(("d", w, v) for w, v in zip("xyz", "nnc", strict=True)),
            ("e", "x", "c"),
            *(("f", w, v) for w, v in zip("xy", "tc", strict=True)),
        ),
        "majority",
    )
    assert labels_of(result.labels) == {
        "a": "truck",
        "b": None,  # a tie
        "c": None,  # most can't tell
        "d": "no_truck",
        "e": None,  # nobody could tell
        "f": None,  # half can't tell
    }
    by = result.labels.set_index("frame_id")
    assert by.loc["a", "p_truck"] == pytest.approx(2 / 3)
    assert by.loc["a", "agreement"] == pytest.approx(2 / 3)
    assert by.loc["d", "p_truck"] == 0.0  # a can't-tell counts for neither class
    assert by.loc["d", "agreement"] == pytest.approx(2 / 3)
    assert pd.isna(by.loc["e", "p_truck"])
    assert by["n_annotations"].to_dict() == {"a": 3, "b": 2, "c": 3, "d": 3, "e": 1, "f": 2}


@pytest.mark.parametrize("method", METHODS)
def test_row_order_changes_nothing_not_even_the_last_bit(method):
    truth = {f"f{i:03d}": i % 3 == 0 for i in range(80)}
    table = crowd.annotate(truth, 3, CROWD, seed=2)
    first = aggregate(table, method)
    for seed in range(2):
        again = aggregate(table.sample(frac=1.0, random_state=seed), method)
        pd.testing.assert_frame_equal(first.labels, again.labels, check_exact=True)
        pd.testing.assert_frame_equal(first.workers, again.workers, check_exact=True)
        assert first.label_set_id == again.label_set_id


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.sampled_from("tnc")),
        min_size=1,
        unique_by=lambda r: r[:2],
    ),
    st.sampled_from(["majority", "dawid_skene", "mace"]),
)
def test_any_few_votes_give_one_sound_row_per_frame(rows, method):
    result = aggregate(votes(*rows), method)
    assert list(result.labels["frame_id"]) == sorted({r[0] for r in rows})
    assert result.labels["p_truck"].dropna().between(0, 1).all()
    assert result.labels["n_annotations"].sum() == len(rows)
    for frame, group in itertools.groupby(sorted(rows), key=lambda r: r[0]):
        said = [v for _, _, v in group]
        if 2 * said.count("c") >= len(said):
            assert labels_of(result.labels)[frame] is None


def test_one_class_only():
    result = aggregate(votes(("a", "x", "n"), ("a", "y", "n"), ("b", "x", "n")))
    assert labels_of(result.labels) == {"a": "no_truck", "b": "no_truck"}


def test_dawid_skene_outvotes_a_crowd_of_bad_workers():
    # Two good workers say truck on a frame where three coin tossers say no: skill decides.
    truth = {f"f{i:03d}": i % 2 == 0 for i in range(200)}
    crew = (
        crowd.Worker("good1", 0.98),
        crowd.Worker("good2", 0.98),
        *(crowd.Worker(f"coin{i}", habit="coin") for i in range(3)),
    )
    table = crowd.annotate(truth, 5, crew, seed=1)
    wrong = {}
    for method in ("majority", "dawid_skene"):
        said = labels_of(aggregate(table, method).labels)
        wrong[method] = sum(v != ("truck" if truth[f] else "no_truck") for f, v in said.items())
    assert wrong["dawid_skene"] <= 12
    assert wrong["majority"] >= 3 * wrong["dawid_skene"]


def test_aggregation_beats_majority_by_three_points_on_simulated_crowds():
    gain = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        truth = {f"f{i:03d}": bool(rng.random() < 0.5) for i in range(300)}
        table = crowd.annotate(truth, 3, CROWD, seed=seed)
        right = {}
        for method in ("majority", "dawid_skene"):
            said = labels_of(aggregate(table, method).labels)
            right[method] = np.mean(
                [v == ("truck" if truth[f] else "no_truck") for f, v in said.items()]
            )
        gain.append(right["dawid_skene"] - right["majority"])
    assert np.mean(gain) >= 0.03


def test_worker_confusion_is_found():
    truth = {f"f{i:03d}": i % 2 == 0 for i in range(300)}
    result = aggregate(crowd.annotate(truth, 5, CROWD, seed=5))
    workers = result.workers.set_index("worker")
    assert workers.loc["w0", "skill"] > 0.92
    assert workers.loc["w7", "skill"] == pytest.approx(0.55, abs=0.1)
    assert workers.loc["const", "specificity"] == 1.0
    assert workers.loc["const", "sensitivity"] == 0.0
    assert result.confusion[["truck", "no_truck", "cant_tell"]].to_numpy().sum() == 1500


def test_experts_overrule_and_teach():
    table = votes(("a", "x", "t"), ("a", "y", "n"), ("b", "x", "t"), ("b", "y", "n"))
    assert labels_of(aggregate(table).labels) == {"a": None, "b": None}
    taught = aggregate(table, known={"a": True})
    assert labels_of(taught.labels) == {"a": "truck", "b": "truck"}
    assert taught.labels["method"].tolist() == ["adjudicated", "dawid_skene"]
    assert taught.labels["p_truck"].iloc[0] == 1.0
    assert taught.labels["agreement"].iloc[0] == 0.5  # the crowd was split


def test_not_even_an_expert_can_tell():
    table = votes(("a", "x", "t"), ("a", "y", "t"), ("b", "x", "t"), ("c", "x", "n"))
    by = aggregate(table, "majority", known={"a": None, "z": False}).labels.set_index("frame_id")
    assert pd.isna(by.loc["a", "label"])
    assert by.loc["a", "method"] == "adjudicated"
    assert by.loc["z", ["label", "n_annotations", "method"]].tolist() == [
        *("no_truck", 0, "adjudicated")
    ]


def gold_of(truth: dict[str, bool], said: pd.DataFrame) -> pd.DataFrame:
    """Votes on frames of known truth as votes on gold tasks."""
    return pd.DataFrame(
        {
            "task_id": "g" + said["frame_id"],
            "worker": said["worker"],
            "label": said["label"],
            "truck": said["frame_id"].map(truth),
        }
    )


def test_gold_saves_a_campaign_from_a_bad_majority():
    # Three good workers against five who always answer "no truck": left to themselves the five
    # agree with one another and win. Twenty gold tasks each show who they are.
    crew = (
        *(crowd.Worker(f"good{i}", 0.95) for i in range(3)),
        *(crowd.Worker(f"lazy{i}", habit="constant") for i in range(5)),
    )
    truth = {f"f{i:03d}": i % 2 == 0 for i in range(150)}
    table = crowd.annotate(truth, 5, crew, seed=4)
    known = {f"k{i:02d}": i % 2 == 0 for i in range(20)}
    gold = gold_of(known, crowd.annotate(known, 8, crew, seed=5))
    right = {}
    for name, lessons in (("without", None), ("with", gold)):
        result = aggregate(table, gold=lessons)
        assert list(result.labels["frame_id"]) == sorted(truth)  # gold labels nothing
        said = labels_of(result.labels)
        right[name] = np.mean([v == ("truck" if truth[f] else "no_truck") for f, v in said.items()])
        skill = result.workers.set_index("worker")["skill"]
    assert right["with"] >= right["without"] + 0.1
    assert right["with"] >= 0.9
    assert skill[["good0", "good1", "good2"]].min() > 0.85
    assert skill[[f"lazy{i}" for i in range(5)]].max() < 0.6


def test_a_worker_known_by_gold_alone_is_listed():
    gold = gold_of({"a": True}, votes(("a", "new", "n")))
    result = aggregate(votes(("b", "x", "t"), ("c", "x", "n")), gold=gold)
    by = result.workers.set_index("worker")
    assert by.loc["new", "n_annotations"] == 1
    assert by.loc["new", "sensitivity"] == 0.0
    assert result.labels["frame_id"].tolist() == ["b", "c"]


def test_label_set_id_names_the_labels_only():
    table = pd.DataFrame({"frame_id": ["a", "b"], "label": ["truck", None]})
    same = label_set_id(table)
    assert same == label_set_id(table.iloc[::-1])
    assert same != label_set_id(table.assign(label=["truck", "truck"]))
    assert len(same) == 12


@pytest.mark.parametrize(
    ("table", "method", "naming"),
    [
        (votes(("a", "x", "t")), "best", "'best'"),
        (votes(), "majority", "no annotations"),
        (votes(("a", "x", "t")).assign(label="lorry"), "majority", "'lorry'"),
        (votes(("a", "x", "t"), ("a", "x", "n")), "majority", "'x'"),
    ],
)
def test_wrong_input_is_named(table, method, naming):
    with pytest.raises(InputError, match=naming):
        aggregate(table, method)
