"""The slope of the log-posterior against differences of the log-posterior itself."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.counting import Classifier, CountParams, ZoneScores
from pipeline.counting.blocks import Work, cut
from pipeline.counting.evidence import grid, weigh
from pipeline.counting.model import Theta, ZoneDay
from pipeline.counting.passes import e_step
from pipeline.counting.records import Dwell
from pipeline.counting.simulation import HOURS, Setting, simulate

AXES = ("rate", "stay", "spread of stays", "sensitivity", "specificity")


@pytest.fixture(scope="module")
def half_a_day() -> tuple[Work, Theta]:
    """Half a day of 200 trucks seen once a second; parameters beside the best ones."""
    day = simulate(Setting(200, 6.0, 1.0, 0.9, 0.98, seen=0.5), np.random.default_rng(3))
    cells = grid(weigh(day.scores, day.covered, day.classifier), day.covered, HOURS, 1)
    zone = ZoneDay(cells, day.classifier, CountParams(), day.dwell, np.ones(24))
    theta = zone.start()
    return Work(zone, *cut(zone, theta)), theta.moved(np.array([0.2, -0.1, 0.1, 0.3, 0.2, 0.0]))


@pytest.mark.parametrize("axis", range(5), ids=AXES)
def test_the_slope_is_that_of_the_score(half_a_day: tuple[Work, Theta], axis: int) -> None:
    """Fisher's identity, for what is learned from every day."""
    work, theta = half_a_day
    step = np.zeros(6)
    step[axis] = 0.01
    here, up, down = e_step(work, [theta, theta.moved(step), theta.moved(-step)])

    assert here.gradient[axis] == pytest.approx((up.score - down.score) / 0.02, rel=0.02)


def test_the_prior_for_rates_is_one_stay_without_a_truck() -> None:
    """It makes a rate of r a second exp(-6 r) times as likely, a stay being 6 s."""
    scores = ZoneScores("exit", "out", np.arange(30) + 0.5, np.full(30, 0.9))
    judge = Classifier(0.25, 450, 50, 30, 1470)
    cells = grid(weigh(scores, [(0.0, 30.0)], judge), [(0.0, 30.0)], HOURS, 1)
    zone = ZoneDay(cells, judge, CountParams(), Dwell(6.0, 0.35, 0.1), np.ones(24))
    theta = zone.start()
    work = Work(zone, *cut(zone, theta))
    (here,) = e_step(work, [theta])
    zone.calm = np.zeros(24)
    (without,) = e_step(work, [theta])

    per_s = theta.rate[0] / cells.width_s
    assert here.score - without.score == pytest.approx(-6.0 * per_s)
    assert here.gradient[0] - without.gradient[0] == pytest.approx(-6.0 * per_s)
    assert (here.exposure - without.exposure)[0] * cells.width_s == pytest.approx(6.0)
    assert not (here.exposure - without.exposure)[1:].any()  # nothing was seen in these hours
