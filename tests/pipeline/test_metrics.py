import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import metrics


def test_wilson_matches_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17: 857-872, table I: 81/263 → 0.2553 to 0.3662
    found = metrics.wilson(81, 263)

    assert (round(found.lo, 4), round(found.hi, 4)) == (0.2553, 0.3662)


def test_wilson_at_the_ends_stays_within_bounds():
    # Newcombe (1998): 0/20 → 0.0000 to 0.1611
    found = metrics.wilson(0, 20)

    assert found.lo == 0.0
    assert round(found.hi, 4) == 0.1611
    assert metrics.wilson(20, 20).hi == 1.0
    assert math.isnan(metrics.wilson(0, 0).value)


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_holds_its_value(hits, n):
    found = metrics.wilson(min(hits, n), n)

    assert 0.0 <= found.lo <= found.value <= found.hi <= 1.0


def test_auc_counts_ordered_pairs():
    # positives 0.9, 0.4; negatives 0.5, 0.4, 0.1: ordered pairs 3 + (1 of 2nd: 0, tie ½, 1) = 4.5/6
    found = metrics.auc([1, 1, 0, 0, 0], [0.9, 0.4, 0.5, 0.4, 0.1])

    assert found.value == pytest.approx(4.5 / 6)
    assert 0 < found.lo < found.value < found.hi < 1


def test_auc_interval_holds_the_truth_about_95_times_in_100():
    # two unit normals 1 apart: AUC = Φ(1/√2) = 0.7602
    rng = np.random.default_rng(1)
    truth = np.repeat([1, 0], [60, 90])
    held = 0
    for _ in range(300):
        found = metrics.auc(truth, np.concatenate([rng.normal(1, 1, 60), rng.normal(0, 1, 90)]))
        held += found.lo <= 0.76025 <= found.hi

    assert 0.91 <= held / 300 <= 0.985


def test_confusion_and_weights():
    found = metrics.confusion([1, 1, 0, 0], [0.9, 0.2, 0.6, 0.1], weights=[1, 1, 2, 7])

    assert (found.tp, found.fn, found.fp, found.tn) == (1, 1, 2, 7)
    assert metrics.share([True, False], [3, 1]).value == pytest.approx(0.75)


def test_brier_by_hand():
    assert metrics.brier([1, 0, 1], [0.7, 0.1, 0.5]).value == pytest.approx(
        (0.09 + 0.01 + 0.25) / 3
    )


def test_ece_by_hand():
    # one bin says 0.95 of 4 rows of which 3 are trucks, another 0.02 of 6 rows with none
    truth, p = [1, 1, 1, 0] + [0] * 6, [0.95] * 4 + [0.02] * 6

    assert metrics.ece(truth, p) == pytest.approx(0.4 * 0.2 + 0.6 * 0.02)


def test_temperature_cools_an_overconfident_model():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-logits))

    assert metrics.fit_temperature(3 * logits, truth) == pytest.approx(3.0, rel=0.1)
    assert metrics.fit_temperature([], []) == pytest.approx(1.0, abs=0.01)


def test_prior_shift_is_undone_in_simulation():
    # Learned at one half, used where 5% are trucks: a score with likelihood ratio exp(2x − 2)
    rng = np.random.default_rng(2)
    truth = rng.random(40_000) < 0.05
    x = rng.normal(np.where(truth, 2.0, 0.0), 1.0)
    learned = 1 / (1 + np.exp(-(2 * x - 2)))

    assert metrics.ece(truth, learned) > 0.08
    assert metrics.ece(truth, metrics.shift_prior(learned, 0.5, 0.05)) < 0.005
    assert metrics.estimate_prior(learned, 0.5) == pytest.approx(0.05, abs=0.006)


def test_evaluation_names_every_figure():
    found = metrics.evaluation([1, 0, 1, 0], [0.9, 0.1, 0.8, 0.3])

    for name in ("accuracy", "sensitivity", "specificity", "auc", "brier"):
        assert set(found[name]) == {"value", "lo", "hi"}
    assert found["n"] == 4
    assert found["accuracy"]["value"] == 1.0
    assert found["accuracy"]["lo"] == pytest.approx(0.5101, abs=1e-4)  # Wilson, 4 of 4


def test_evaluation_of_one_class_says_null_for_the_other():
    found = metrics.evaluation([0, 0], [0.1, 0.6])

    assert found["sensitivity"] == {"value": None, "lo": None, "hi": None}
    assert found["auc"]["value"] is None
