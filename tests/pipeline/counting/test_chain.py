"""The chain against enumeration of every path."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.counting.chain import Blocks, Flicker, Standstill, expect
from pipeline.counting.dwell import cells_pmf

STAY = np.array([0.1, 0.3, 0.4, 0.2])
RATE, CLUMP = 0.3, 1.7
NEVER = Standstill()
STANDING = 4  # as a state, beside 0 to 3 cells until the zone is next empty


def move(before: int, after: int, still: Standstill = NEVER) -> tuple[float, float]:
    """P(after | before) and the expected arrivals in that step, by the definition."""
    if before == STANDING:
        back = min(still.back, 3)
        goes_on = still.end / back if 1 <= after <= back else 0.0
        return (1 - still.end if after == STANDING else goes_on), 0.0
    if after == STANDING:
        return (still.begin if before > 1 else 0.0), 0.0
    chance, came = _moving(before, after)
    return chance * (1 - still.begin if before > 1 else 1.0), came


def _moving(before: int, after: int) -> tuple[float, float]:
    rate = RATE * (CLUMP if before > 1 else 1.0)
    below = np.cumsum(STAY)
    left = max(before - 1, 0)
    if after < left:
        return 0.0, 0.0
    at_most = np.exp(-rate * (1 - below[after]))
    if after == left:
        return at_most, rate * below[after]
    under = np.exp(-rate * (1 - below[after - 1]))
    own = rate * STAY[after]
    return at_most - under, rate * below[after - 1] + own / (1 - np.exp(-own))


STILL = Standstill(begin=0.2, end=0.3, back=2)


def test_rows_of_the_transition_table_add_up_to_one() -> None:
    for before in range(5):
        assert sum(move(before, after, STILL)[0] for after in range(5)) == pytest.approx(1.0)


@pytest.mark.parametrize("still", [NEVER, STILL, Standstill(0.2, 0.3, back=9)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_expected_arrivals_and_presence_by_enumeration(seed: int, still: Standstill) -> None:
    cells = 6
    llr = np.random.default_rng(seed).normal(size=(cells, 1)) * 2
    core = np.ones((cells, 1))
    core[[0, -1]] = 0.0
    blocks = Blocks(llr, core, np.zeros((cells, 1), int), np.zeros(1, int), 1)
    found = expect(
        blocks, np.array([RATE]), np.array([CLUMP]), STAY[:, None], Flicker(), still, by_cell=True
    )
    # P(r <= x) before anything is seen: nobody came j cells ago and stays longer than x + j
    ahead = [sum(1 - np.cumsum(STAY)[j] for j in range(x, 4)) for x in range(4)]
    start = np.append(np.diff(np.concatenate(([0.0], np.exp(-RATE * np.array(ahead))))), 0.0)
    total = arrivals = 0.0
    busy = np.zeros(cells)
    for path in itertools.product(range(5), repeat=cells):
        chance = start[path[0]] * np.exp(llr[0, 0] * (path[0] > 0))
        came = 0.0
        for t in range(1, cells):
            step, new = move(path[t - 1], path[t], still)
            chance *= step * np.exp(llr[t, 0] * (path[t] > 0))
            came += new if t < cells - 1 else 0.0
        total += chance
        arrivals += chance * came
        busy += chance * (np.array(path) > 0)
    assert found.arrivals.sum() == pytest.approx(arrivals / total, rel=1e-4)
    assert found.stays.sum() == pytest.approx(arrivals / total, rel=1e-4)
    assert found.busy[:, 0] == pytest.approx(busy / total, abs=1e-5)


def test_flicker_explains_a_brief_sight_and_not_a_long_one() -> None:
    cells = 60
    llr = np.full((cells, 2), -3.0)
    llr[30, 0] = 3.0  # one cell: far too short for a truck of about 8
    llr[30:38, 1] = 3.0
    blocks = Blocks(llr, np.ones((cells, 2)), np.zeros((cells, 2), int), np.zeros(2, int), 1)
    stay = np.repeat(cells_pmf(8.0, 0.3, 20)[:, None], 2, axis=1)
    found = expect(blocks, np.full(2, 0.01), np.ones(2), stay, Flicker(0.01, 0.3), NEVER)
    assert found.busy[30, 0] < 0.05
    assert found.flicker[30, 0] > 0.1
    assert found.busy[34, 1] > 0.99


def test_stays_by_hand() -> None:
    # a quarter of a cell is seen by one frame in four; two and a half cells by two or three
    assert cells_pmf(0.25, 0.05, 2) == pytest.approx([0.75, 0.25, 0.0], abs=1e-6)
    pmf = cells_pmf(2.5, 0.05, 5)
    assert pmf[2] + pmf[3] == pytest.approx(1.0, abs=0.01)
    assert pmf @ np.arange(6) == pytest.approx(2.5, abs=0.01)
