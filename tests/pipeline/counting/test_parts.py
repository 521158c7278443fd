"""Occupancy, profile, audit, intervals, spans: numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.counting import Classifier, PastHour, emq_prevalence, learn_profile
from pipeline.counting.evidence import Cells, Evidence
from pipeline.counting.fit import variance_of
from pipeline.counting.interval import truck_interval
from pipeline.counting.model import ZoneDay
from pipeline.counting.occupancy import arrivals, by_occupancy, rogan_gladen
from pipeline.counting.profile import shape_of
from pipeline.counting.records import CountParams, Dwell
from pipeline.counting.spans import by_hour, common, merged


def test_rogan_gladen_by_hand() -> None:
    judge = Classifier(0.5, tp=9000, fn=1000, fp=500, tn=9500)
    share, slope = rogan_gladen(0.2, judge)
    assert share == pytest.approx((0.2 + 0.95 - 1) / 0.85, abs=1e-3)
    assert slope == pytest.approx(1 / 0.85, abs=1e-3)


def test_occupancy_law_by_hand() -> None:
    assert arrivals(0.5, 10.0, 1000.0) == pytest.approx(math.log(2) / 10 * 1000)
    assert arrivals(0.0, 10.0, 1000.0) == 0.0


def test_near_saturation_the_error_opens() -> None:
    judge = Classifier(0.5, tp=9999, fn=0, fp=0, tn=9999)

    def relative_error(share: float) -> float:
        positive = np.arange(3600) < share * 3600
        rng = np.random.default_rng(1)
        seen = Evidence(np.arange(3600.0), rng.permutation(positive), np.zeros(3600), share)
        found = by_occupancy(
            seen, judge, Dwell(20.0, 0.35, 0.01), [(0.0, 3600.0)], np.array([3600.0])
        )
        return found.se / found.trucks

    assert relative_error(0.98) > 1.2 * relative_error(0.5)


def test_emq_finds_the_new_prevalence() -> None:
    # a perfectly calibrated two-valued score: sensitivity and specificity 0.9 at prevalence 1/2
    scores = np.where(np.arange(1000) < 260, 0.9, 0.1)  # 26% positive = 0.2·0.9 + 0.8·0.1
    assert emq_prevalence(scores, 0.5) == pytest.approx(0.2, abs=0.01)


def test_profile_shrinks_towards_the_hour_of_day() -> None:
    past = [PastHour("out", 8, 3600.0, 40.0), PastHour("out", 9, 3600.0, 0.0)]
    rates = learn_profile([*past, PastHour("out", 10, 0.0, 99.0)]).rates["out"]
    assert len(rates) == 168
    assert rates[8] == pytest.approx((40 + 2 * 30) / 3)  # day rate (40 + 20) / 2 weighs two hours
    assert rates[9] == pytest.approx((0 + 2 * 10) / 3)
    assert rates[8 + 24] == pytest.approx(30.0)  # never seen: the hour of day
    assert rates[10] == pytest.approx(20.0)  # never exposed: the overall level
    shape = shape_of(learn_profile(past), ["out"], 2, [8, 9])
    assert shape == pytest.approx([100 / 3 / 20, 20 / 3 / 20])


def test_intervals_hold_a_poisson_count() -> None:
    rng = np.random.default_rng(5)
    for mean in (3.0, 12.0, 150.0):
        lo, hi = truck_interval(mean, mean, 0.0)
        drawn = rng.poisson(mean, 20_000)
        assert 0.93 <= np.mean((lo <= drawn) & (drawn <= hi)) <= 0.985
    assert truck_interval(37.02, 0.01, 37.0) == (37.0, 37.0)


def test_spans_by_hand() -> None:
    assert merged([(5, 8), (0, 2), (1, 3), (4, 4)]) == [(0, 3), (5, 8)]
    assert common([(0, 10)], [(5, 12), (-3, 1)]) == [(0, 1), (5, 10)]
    assert by_hour([(0.5, 2.5)], [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]).tolist() == [0.5, 1.0, 0.5]


def zone_day(hz: float, dwell_s: float, looks: float | None) -> ZoneDay:
    """Two frames to a cell, none with a truck; labels: 20 of 25 trucks found, no false alarm."""
    cells = Cells(
        0.0,
        2 / hz,
        np.zeros(100),
        np.full(100, 2.0),
        np.zeros(100),
        np.arange(100) < 99,
        np.zeros(100, dtype=np.int64),
    )
    judge = Classifier(0.05, tp=20.0, fn=5.0, fp=0.0, tn=100.0)
    return ZoneDay(cells, judge, CountParams(looks=looks), Dwell(dwell_s), np.ones(1))


@pytest.mark.parametrize(
    ("hz", "dwell_s", "looks", "weight"),
    [
        (5.0, 2.4, 1.0, 48.0),  # 12 frames a stay are one look; four times
        (5.0, 2.4, 3.0, 16.0),
        (5.0, 2.4, None, 1.0),
        (5.0, 2.4, 1000.0, 1.0),  # frames that err by themselves
        (1.0, 4.0, 1.0, 1.0),  # too sparse: the day must be able to put labels right
        (0.1, 10.0, 1.0, 1.0),
    ],
)
def test_what_a_label_weighs(hz: float, dwell_s: float, looks: float | None, weight: float) -> None:
    day = zone_day(hz, dwell_s, looks)
    assert day.label_weight == pytest.approx(weight)
    assert day.classifier.tp == pytest.approx(20 * weight)


def test_a_label_counts_once_in_the_interval() -> None:
    day = zone_day(5.0, 2.4, 1.0)
    theta = day.start().moved(np.zeros(6))
    rates = np.array([theta.sensitivity, theta.specificity])
    # Of sensitivity the day itself says 6, of specificity 2; labels n s (1 - s), 48 times over.
    once = np.array([25, 100]) * rates * (1 - rates)
    information = np.diag([1.0, 1, 1, 48 * once[0] + 6, 48 * once[1] + 2, 1])
    effect = np.array([3.0, 0, 0, 2.0, 1.0, 0])
    found = variance_of(day, theta, information, effect, np.linalg.inv(information))
    assert found == pytest.approx(3.0 + 9.0 + 4.0 / (once[0] + 6) + 1.0 / (once[1] + 2))
