import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.learning import bench


def test_ways_take_turns_and_are_warmed_up():
    calls = []
    spent = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)

    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert [len(times) for times in spent.values()] == [2, 2]


def test_the_ratio_is_the_median_of_the_rounds():
    # 4/2, 9/1 and 6/2: a round that was disturbed does not decide
    assert bench.ratio({"plain": [4.0, 9.0, 6.0], "ours": [2.0, 1.0, 2.0]}, "plain", "ours") == 3.0


def test_pictures_are_the_same_for_the_same_seed():
    one, trucks = bench.made_pictures(4, 64, 0)
    other, _ = bench.made_pictures(4, 64, 0)

    assert np.array_equal(one, other)
    assert trucks.tolist() == [False, True, False, True]
    assert one[1].max() > one[0].max()


def test_training_and_loading_are_measured():
    # A process of its own: the plain way forks workers, which a process with threads should not.
    asked = (
        "import json; from pipeline.learning import bench;"
        "print(json.dumps(bench.bench_train(n=8, epochs=1, rounds=1)))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])

    assert {"train_ratio", "loader_ratio"} <= found.keys()
    assert found["train_ratio"] > 0
    assert found["loader_ratio"] > 0
    assert set(found["pictures_per_s"]) == {"train", "plain_train", "load", "bare_load"}


def test_a_small_network_is_faster_than_a_large_one():
    from pipeline.learning.models import NetSpec, build

    spec = NetSpec(3, 64, 64)
    small, large = (bench.pictures_per_s(build(a, spec), spec) for a in ("lenet5", "resnet18"))

    assert small > large > 0


@pytest.mark.slow
def test_the_aims_are_met():
    found = {**bench.bench_train(), **bench.bench_infer()}

    for key, aim in bench.TARGETS.items():
        assert found[key] >= aim, key
