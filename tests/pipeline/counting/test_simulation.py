"""The simulation grid: its arithmetic, and a small run of it (`truck-counter bench counting`)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.counting.simulation import (
    CI_CELLS,
    GRID,
    Setting,
    as_text,
    chosen,
    one_day,
    rates,
    run_cell,
    simulate,
    summarise,
)
from pipeline.errors import InputError

DAYS = 30


def test_the_grid_is_as_wide_as_promised() -> None:
    assert len(GRID) >= 40
    assert len(set(GRID)) == len(GRID)
    for name, low, high in (
        ("trucks_per_day", 5, 2000),
        ("dwell_s", 1, 20),
        ("sample_hz", 0.1, 10),
        ("sensitivity", 0.85, 0.99),
        ("specificity", 0.85, 0.99),
        ("seen", 0.5, 1.0),
    ):
        values = [getattr(cell, name) for cell in GRID]
        assert min(values) <= low
        assert max(values) >= high
    assert {cell.profile for cell in GRID} == {"flat", "peaks"}


def test_a_simulated_day_is_what_it_says() -> None:
    setting = Setting(500, 10, 1, 0.9, 0.95, 0.5, "peaks")
    assert rates(setting).sum() * 3600 == pytest.approx(500)
    day = simulate(setting, np.random.default_rng(1))
    assert abs(day.truth - 500) < 5 * math.sqrt(500)
    assert sum(end - start for start, end in day.covered) == pytest.approx(43_200)
    assert day.scores.at_s.size == 86_400
    again = simulate(setting, np.random.default_rng(1))
    assert np.array_equal(again.scores.p_truck, day.scores.p_truck)


@pytest.mark.parametrize("cell", CI_CELLS)
def test_bias_is_small_and_intervals_hold(cell: int) -> None:
    row = run_cell(cell, DAYS, seed=3)
    setting = GRID[cell]
    allowed = 0.02 if setting.samples_per_dwell >= 2 else 0.03
    assert row["refused"] <= 0.1
    assert abs(row["bias"]) <= allowed + 2.6 * row["bias_se"]
    assert row["coverage"] >= 0.93 - 2.6 * math.sqrt(0.93 * 0.07 / DAYS)
    assert row["width_ratio"] < 3.5


def test_stays_as_short_as_a_few_frames_are_not_lost() -> None:
    """With two frames to a cell, in which half a second begins and ends, 2.6% were missing."""
    row = run_cell(GRID.index(Setting(20, 1, 10, 0.95, 0.98)), 30)
    assert abs(row["bias"]) <= 0.015


def test_few_trucks_in_half_a_day_are_told_with_their_doubt() -> None:
    """Three a day, half of it seen: often none is, and the rest is anyone's guess."""
    setting = Setting(3, 5, 1, 0.99, 0.999, 0.52)
    days = np.array([one_day(setting, [9, 5 * i + 1]) for i in range(40)])
    made = days[~np.isnan(days[:, 1])]
    held = (made[:, 2] <= made[:, 0]) & (made[:, 0] <= made[:, 3])
    assert len(made) >= 36
    assert held.mean() >= 0.93 - 2.6 * math.sqrt(0.93 * 0.07 / len(made))


def test_five_trucks_a_day_behind_a_poor_classifier_are_refused() -> None:
    refused = GRID.index(Setting(5, 5, 0.1, 0.85, 0.85))
    row = run_cell(refused, 6)
    assert row["refused"] >= 0.8
    assert row["bias"] is None


def test_cells_are_chosen_by_name_or_number() -> None:
    assert list(chosen(None)) == list(chosen("all")) == list(range(len(GRID)))
    assert list(chosen("ci")) == list(CI_CELLS)
    assert list(chosen("7")) == [7]


@pytest.mark.parametrize("cells", ["nosuch", "10000", "-1", ""])
def test_a_cell_that_is_not_there_is_named(cells: str) -> None:
    with pytest.raises(InputError, match=f"there is no cell {cells!r}"):
        chosen(cells)


def test_a_table_has_a_line_per_cell_and_no_figures_where_it_refuses() -> None:
    """Of ten trucks on each of two days 11 and 9 are counted; one of two intervals holds."""
    exact = summarise(GRID[5], [(10, 11, 9, 12, 9, 11), (10, 9, 8, 9, math.nan, math.nan)])
    nothing = summarise(GRID[28], [(5, *[math.nan] * 5)] * 4)
    head, first, second = as_text([exact, nothing]).splitlines()
    assert " ".join(first.split()) == "20 5 2 0.9 0.98 80% flat +0.0% 10.0% 50.0% 1.33 0.0%"
    assert " ".join(second.split()) == "5 5 0.1 0.85 0.85 100% flat - - - - 100.0%"
    assert len(head) == len(first) == len(second)
