"""What becomes a passage, and what is but a glimpse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.counting.passages import list_passages
from pipeline.counting.records import ZoneScores

_STAYS = SimpleNamespace(dwell_cells=3.0)


def _listed(busy: list[float], arrivals: list[float]) -> tuple[list[float], list[float]]:
    """Return the trucks of passages and of glimpses; cells of one second, one frame each."""
    size = len(busy)
    at_s = np.arange(size - 1) + 0.5
    cells: Any = SimpleNamespace(start_s=0.0, width_s=1.0, seen=np.arange(size) < size - 1)
    evidence: Any = SimpleNamespace(interval_s=1.0, at_s=at_s, positive=at_s > 99)
    fit: Any = SimpleNamespace(busy=np.array(busy), arrivals=np.array(arrivals), theta=_STAYS)
    found = list_passages(ZoneScores("z", "out", at_s, at_s / size), evidence, cells, fit)
    passages, glimpses = ([one.trucks for one in part] for part in found)
    return passages, glimpses


def test_an_entry_that_is_unsure_by_cells_belongs_to_its_passage():
    # Likely from second 5 on, entered at any of 2 to 5; stays are of three cells. What the chain
    # makes of second 1 lies further back than a stay: another truck, which no passage shows.
    busy = [0.0, 0.03, 0.04, 0.1, 0.4, 0.9, 0.9, 0.3, 0.0, 0.0, 0.0]
    arrivals = [0.0, 0.03, 0.04, 0.1, 0.36, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert _listed(busy, arrivals) == ([pytest.approx(0.9)], [])


def test_two_passages_part_where_presence_is_least():
    # Likely at 1 and 2 and again at 6; least likely at 4. The second truck entered at 5 or 6; what
    # entered at 3 was there with the first.
    busy = [0.0, 0.9, 0.8, 0.3, 0.1, 0.4, 0.9, 0.0, 0.0]
    arrivals = [0.0, 0.9, 0.0, 0.05, 0.0, 0.35, 0.55, 0.0, 0.0]
    assert _listed(busy, arrivals) == ([pytest.approx(0.95), pytest.approx(0.9)], [])


def test_no_stretch_lists_nothing():
    assert _listed([0.01, 0.02, 0.01, 0.0], [0.01, 0.01, 0.0, 0.0]) == ([], [])


def test_a_glimpse_is_possible_and_nowhere_likely():
    # Cells of one second, one frame each. A truck at 1 to 3 s is possible by 0.2; one at 5 to 7 s
    # is nearly sure; one at 8 to 11 s begins as possible, is likely, and ends as possible.
    busy = np.array([0.0, 0.2, 0.2, 0.0, 0.01, 0.95, 0.95, 0.0, 0.3, 0.6, 0.1, 0.0, 0.04, 0.0])
    arrivals = np.zeros(busy.size)
    arrivals[[1, 5, 8]] = 0.25, 0.97, 0.6
    seen = np.ones(busy.size, dtype=bool)
    seen[-1] = False
    at_s = np.arange(busy.size - 1) + 0.5
    cells: Any = SimpleNamespace(start_s=0.0, width_s=1.0, seen=seen)
    evidence: Any = SimpleNamespace(interval_s=1.0, at_s=at_s, positive=at_s > 99)
    fit: Any = SimpleNamespace(busy=busy, arrivals=arrivals, theta=_STAYS)
    passages, glimpses = list_passages(
        ZoneScores("z", "out", at_s, busy[:-1]), evidence, cells, fit
    )
    assert [(one.entered_s, one.exited_s) for one in passages] == [(5.0, 7.0), (9.0, 10.0)]
    assert [one.trucks for one in passages] == pytest.approx([0.97, 0.6])
    assert [one.flags for one in passages] == [(), ("weak",)]
    assert [(one.entered_s, one.exited_s, one.trucks) for one in glimpses] == [(1.0, 3.0, 0.25)]
