"""Frames of one vehicle err together: a passage counts as much as its vehicle is believed."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.counting.doubt import doubted
from pipeline.counting.records import Passage, ZoneScores

HOURS = [(0.0, 3600.0), (3600.0, 7200.0)]


def zone(*stays: tuple[float, float]) -> tuple[ZoneScores, tuple[Passage, ...]]:
    """Scores at 5 Hz over two hours: ``p`` during two seconds from ``start``, else 0.001."""
    at_s = np.arange(0.0, 7200.0, 0.2)
    p = np.full(at_s.size, 0.001)
    for start, value in stays:
        p[(at_s >= start) & (at_s < start + 2.0)] = value
    passages = tuple(Passage("z", start - 0.1, start + 1.9, v, v) for start, v in stays)
    return ZoneScores("z", "out", at_s, p), passages


def test_an_even_chance_counts_half_a_truck():
    scores, passages = zone((100.0, 0.5))
    kept, seen, doubt = doubted(scores, passages, np.array([1.0, 0.0]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([0.5, 0.0])
    # q (1 - q) of one vehicle, and (0.6 · q (1 - q))² of all together
    assert doubt == pytest.approx(0.25 + (0.6 * 0.25) ** 2)
    assert kept[0].trucks == pytest.approx(0.5)


def test_a_bus_that_is_a_third_likely_all_the_while_is_dropped_and_a_truck_stays():
    # looks 3: odds (1/3 ÷ 2/3)³ = 1/8, q = 1/9; odds 0.9 ÷ 0.1 to the third = 729, q = 0.9986
    scores, passages = zone((100.0, 1 / 3), (4000.0, 0.9))
    kept, seen, _ = doubted(scores, passages, np.array([1.0, 1.0]), HOURS, looks=3.0)
    assert [one.entered_s for one in kept] == [pytest.approx(3999.9)]
    assert seen.tolist() == pytest.approx([1 / 9, 729 / 730])
    assert "weak" not in kept[0].flags


def test_what_no_passage_shows_is_doubted_as_the_passages_are():
    scores, passages = zone((100.0, 1 / 3))
    _, seen, _ = doubted(scores, passages, np.array([1.5, 0.3]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([1.5 / 9, 0.3 / 9])
