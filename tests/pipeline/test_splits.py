from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline import splits


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=120),
    st.integers(0, 5),
)
def test_groups_never_straddle_and_rows_are_all_placed(rows, seed):
    groups, labels = [f"g{g}" for g, _ in rows], [y for _, y in rows]
    parts = splits.split(groups, labels, seed)

    of_group = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        of_group[group].add(part)
    assert all(len(found) == 1 for found in of_group.values())
    assert len(parts) == len(rows)
    assert parts == splits.split(groups, labels, seed)


def test_shares_and_classes_are_kept():
    labels = [int(i % 10 == 0) for i in range(1000)]
    parts = np.array(splits.split([str(i) for i in range(1000)], labels, seed=3))

    assert [int((parts == p).sum()) for p in splits.PARTS] == [800, 100, 100]
    for part in splits.PARTS:
        assert np.mean(np.array(labels)[parts == part]) == 0.1


def test_few_positives_reach_every_part():
    labels = [1] * 3 + [0] * 40
    parts = np.array(splits.split([str(i) for i in range(43)], labels))

    assert {*parts[:3]} == {"train", "validation", "test"}


def test_another_seed_is_another_split():
    groups, labels = [str(i) for i in range(100)], [i % 2 for i in range(100)]

    assert splits.split(groups, labels, 0) != splits.split(groups, labels, 1)


def test_folds_are_even():
    fold = splits.folds([str(i // 2) for i in range(80)], [0, 1] * 40, 4)

    assert np.bincount(fold).tolist() == [20] * 4
    assert (fold[::2] == fold[1::2]).all()


def test_time_blocks_are_minutes_long_and_shorter_only_where_footage_is():
    long = [i * 60.0 for i in range(600)]
    assert splits.block_length_s(["a"] * 600, long) == 600.0
    assert splits.block_length_s(["a"] * 30, [i * 1.0 for i in range(30)]) == 1.0
    assert splits.time_blocks(["a", "b"], [605.0, 605.0]) == ["a@605/1s", "b@605/1s"]


def test_neighbours_of_held_out_frames_are_left_out():
    at = [0.0, 9.0, 10.0, 11.0, 30.0, 10.5]
    cameras = ["a"] * 5 + ["b"]
    held = [False, False, True, False, False, False]

    assert splits.too_close(cameras, at, held, 5.0).tolist() == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
