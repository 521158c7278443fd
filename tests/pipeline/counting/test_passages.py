"""What becomes a passage, and what is but a glimpse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.counting.passages import list_passages
from pipeline.counting.records import ZoneScores


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
    fit: Any = SimpleNamespace(busy=busy, arrivals=arrivals)
    passages, glimpses = list_passages(
        ZoneScores("z", "out", at_s, busy[:-1]), evidence, cells, fit
    )
    assert [(one.entered_s, one.exited_s) for one in passages] == [(5.0, 7.0), (9.0, 10.0)]
    assert [one.trucks for one in passages] == pytest.approx([0.97, 0.6])
    assert [one.flags for one in passages] == [(), ("weak",)]
    assert [(one.entered_s, one.exited_s, one.trucks) for one in glimpses] == [(1.0, 3.0, 0.25)]
