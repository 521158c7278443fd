"""Frames of one vehicle err together: a passage counts as much as its vehicle is believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.counting.doubt import counted_as, doubted, stay_evidence, sure_trucks
from pipeline.counting.records import Calibrated, Passage, ZoneScores
from pipeline.metrics import sigmoid

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
    weighed, seen, doubt, _ = doubted(scores, passages, (), np.array([1.0, 0.0]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([0.5, 0.0])
    # q (1 - q) of one vehicle, and (0.6 · q (1 - q))² of all together
    assert doubt == pytest.approx(0.25 + (0.6 * 0.25) ** 2)
    assert weighed[0].trucks == pytest.approx(0.5)


def test_a_bus_that_is_a_third_likely_all_the_while_is_unlikely_and_a_truck_is_not():
    # looks 3: odds (1/3 ÷ 2/3)³ = 1/8, q = 1/9; odds 0.9 ÷ 0.1 to the third = 729, q = 0.9986
    scores, passages = zone((100.0, 1 / 3), (4000.0, 0.9))
    (bus, truck), seen, *_ = doubted(scores, passages, (), np.array([1.0, 1.0]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([1 / 9, 729 / 730])
    assert (bus.flags, truck.flags) == (("weak", "unlikely"), ())


def test_a_glimpse_is_doubted_by_its_own_frames_and_not_as_trucks_are():
    # A car at p = 0.05 for two seconds, of which the chain makes 0.4 of a truck.
    scores, (truck, car) = zone((100.0, 0.99), (4000.0, 0.05))
    glimpse = replace(car, trucks=0.4, flags=("weak",))
    weighed, seen, *_ = doubted(
        scores, (truck,), (glimpse,), np.array([1.0, 0.4]), HOURS, looks=1.0
    )
    assert seen.tolist() == pytest.approx([0.99, 0.4 * 0.05])
    assert weighed[1].flags == ("weak", "unlikely")


def test_what_no_passage_shows_is_doubted_as_the_passages_are():
    scores, passages = zone((100.0, 1 / 3))
    _, seen, *_ = doubted(scores, passages, (), np.array([1.5, 0.3]), HOURS, looks=3.0)
    assert seen.tolist() == pytest.approx([1.5 / 9, 0.3 / 9])


def road(*stays: float, flags: tuple[str, ...] = ()) -> list[Passage]:
    """Passages of these many seconds."""
    return [Passage("z", 0.0, stay, 0.9, 0.9, flags=flags) for stay in stays]


def stays(
    passages: list[Passage], q: list[float], hour: list[int] | None = None
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What stays say of passages believed by ``q``, all in one hour unless told."""
    at = np.zeros(len(q), dtype=np.int64) if hour is None else np.array(hour)
    return stay_evidence(passages, np.log(np.array(q) / (1 - np.array(q))), at)


def test_what_is_gone_sooner_than_trucks_are_is_believed_less_and_a_long_stay_no_more():
    # Trucks of 2 s, 35% of spread by the prior alone: s = sqrt(5 · 0.35² / 17) = 0.19; at a usual
    # stay the truck's density is 0.4 / 0.19 = 2.1, a shorter vehicle's 0.4 / 0.44 · exp(-0.6² /
    # (2 · 0.44²)) = 0.36: odds (0.9 · 2.1 + 0.1 · 0.36) / (0.3 · 2.1 + 0.7 · 0.36) = 2.2.
    # At 0.8 s the truck's is nothing, and 0.1 ÷ 0.7 is left.
    told = stays(road(*[2.0] * 12, 0.8, 6.0), [0.999] * 12 + [0.001, 0.001])
    assert np.exp(told[0]) == pytest.approx(2.2, rel=0.15)
    assert np.exp(told[12]) == pytest.approx(1 / 7, rel=0.15)
    assert told[13] == pytest.approx(told[0], rel=0.01)


def test_stays_say_nothing_where_trucks_are_few_or_the_footage_cut_them():
    few = stays(road(2.0, 2.0, 2.0, 2.0, 0.5), [0.9] * 4 + [0.5])
    assert few.tolist() == [0.0] * 5  # 3.6 trucks and half a one, of which five would tell
    cut = stays([*road(*[2.0] * 10), *road(0.5, flags=("cut",))], [0.99] * 10 + [0.5])
    assert cut[10] == 0.0


def test_vehicles_that_stay_as_long_as_trucks_are_not_told_from_them_by_it():
    told = stays(road(*[2.0] * 40), [0.5] * 40)
    assert np.exp(told).tolist() == pytest.approx([1.0] * 40, abs=0.1)


def test_vans_that_pass_for_trucks_are_counted_less():
    lorries = [(100.0 + 60 * k, 0.97) for k in range(12)]
    scores, passages = zone(*lorries, *((1000.0 + 60 * k, 0.6) for k in range(6)))
    vans = tuple(replace(one, exited_s=one.entered_s + 0.8) for one in passages[12:])
    _, seen, *_ = doubted(scores, passages[:12] + vans, (), np.array([18.0, 0.0]), HOURS, looks=1.0)
    # By their looks each van is 0.6 of a truck. Its stay makes odds of 1.5 about 1.5 ÷ 7: 0.18.
    assert seen.tolist() == [pytest.approx(11.8 + 6 * 0.18, abs=0.45), pytest.approx(0.0)]


def test_trucks_of_a_free_hour_are_not_taken_for_cars_because_others_stood_in_a_queue():
    # 40 vehicles of 2 s in hour 0, each a truck by 0.6; 150 plain trucks of 4 s in hours 1 and 2.
    told = stays(road(*[2.0] * 40, *[4.0] * 150), [0.6] * 40 + [0.97] * 150, [0] * 40 + [1, 2] * 75)
    assert np.exp(told[:40]).tolist() == pytest.approx([1.0] * 40, abs=0.35)
    # Within an hour the queue does tell: a car of 2 s there is gone sooner than trucks of 4 s.
    mixed = stays(road(*[4.0] * 150, 2.0), [0.97] * 150 + [0.6], [1, 2] * 75 + [1])
    assert np.exp(mixed[150]) < 0.55  # day and hour agree on 4 s: 0.7 in natural logarithms less


def test_an_hour_of_which_little_is_known_may_be_unlike_the_others():
    # Six trucks an hour, 2 s in even hours and 4 s in odd ones; in a twelfth hour one vehicle of
    # 2 s. The day's mean is 2.8 s, but hours vary: 2 s there is no sign of a car.
    hour = [h for h in range(12) for _ in range(6)]
    usual = road(*(2.0 if h % 2 == 0 else 4.0 for h in hour))
    told = stays([*usual, *road(2.0)], [0.97] * 72 + [0.05], [*hour, 12])
    assert told[72] > 0
    assert stays([*road(*[2.8] * 72), *road(2.0)], [0.97] * 72 + [0.05], [*hour, 12])[72] < 0


def test_what_is_sure():
    def by(q: float, trucks: float = 1.0) -> Passage:
        one = Passage("z", 0.0, 2.0, 0.9, 0.9, trucks=trucks)
        return counted_as(one, float(np.log(q / (1 - q))))

    assert [by(q).flags for q in (0.96, 0.94, 0.49)] == [(), ("weak",), ("weak", "unlikely")]
    assert by(0.94, 1.9).trucks == pytest.approx(1.786)
    # One truck of a passage that may hold two, and 0.97 of another; what is weak is not sure.
    assert sure_trucks([by(0.99, 1.9), by(0.97), by(0.94)]) == pytest.approx(1.97)


def test_many_looks_at_plain_trucks_are_no_error():
    scores, passages = zone(*((100.0 + 60 * k, 0.999) for k in range(11)))
    _, seen, doubt, _ = doubted(scores, passages, (), np.array([11.0, 0.0]), HOURS, looks=120.0)
    assert (seen.tolist(), doubt) == (pytest.approx([11.0, 0.0]), pytest.approx(0.0))


def test_what_was_cut_and_counts_for_nothing_is_doubted_by_its_own_looks():
    # A stay cut at its beginning, of which the chain saw no entry, and the half that its edge adds.
    scores, (bus,) = zone((100.0, 0.1))
    _, seen, *_ = doubted(
        scores, (replace(bus, trucks=0.0),), (), np.array([0.5, 0.0]), HOURS, looks=1.0
    )
    assert seen.tolist() == pytest.approx([0.05, 0.0])


def test_a_truck_across_the_hour_belongs_where_it_entered():
    scores, passages = zone((3599.5, 0.9), (5000.0, 0.1))  # its middle is at 3,600.4 s
    _, seen, *_ = doubted(scores, passages, (), np.array([1.0, 1.0]), HOURS, looks=1.0)
    assert seen.tolist() == pytest.approx([0.9, 0.1])


def test_a_truck_in_the_first_frame_of_an_hour_belongs_to_it():
    # The window opens on the hour, and cells lie about frames. A bus comes later.
    at_s = np.arange(3600.0, 3630.0)
    scores = ZoneScores("exit", "out", at_s, np.where(at_s < 3610, 0.9, 0.1))
    truck = Passage("exit", 3599.5, 3609.5, 0.9, 0.9, 1.0)
    bus = Passage("exit", 3612.5, 3622.5, 0.1, 0.1, 1.0)
    _, seen, *_ = doubted(scores, (truck, bus), (), np.array([0.0, 2.0]), HOURS, looks=1.0)
    assert seen.tolist() == pytest.approx([0.0, 1.0])


def test_trucks_are_off_by_what_labels_leave_open_of_the_calibration():
    # Two vehicles at p = 1/2 and 1/3, three looks each: log odds 0 and -3 log 2. With an offset of
    # -2, a log temperature off by 0.1 moves a frame's by 0.1 (-2 - odds), and an offset off by 0.2
    # by 0.2; three looks thrice as far.
    scores, passages = zone((100.0, 1 / 2), (4000.0, 1 / 3))
    known = Calibrated(offset=-2.0, log_t_var=0.01, offset_var=0.04)
    *_, off = doubted(scores, passages, (), np.ones(2), HOURS, looks=3.0, calibrated=known)
    two, three = -0.2, 0.1 * (-2 + np.log(2))
    by_log_t = sum(
        (sigmoid(z + 3 * move) - sigmoid(z - 3 * move)) / 2
        for z, move in ((0.0, two), (-3 * np.log(2), three))
    )
    by_offset = sum((sigmoid(z + 0.6) - sigmoid(z - 0.6)) / 2 for z in (0.0, -3 * np.log(2)))
    assert np.abs(off).tolist() == pytest.approx([-by_log_t, by_offset])


def test_errors_that_go_together_are_neither_more_nor_less_than_they_are():
    # Var of e (offset - odds) + b, with e and b correlated by one half: 0.25 + 0.04 - 0.1.
    known = Calibrated(offset=2.0, log_t_var=0.01, covariance=0.01, offset_var=0.04)
    moves = known.moves(np.array([7.0]))
    assert float((moves**2).sum()) == pytest.approx(25 * 0.01 + 0.04 - 2 * 5 * 0.01)


def test_a_calibration_that_is_known_adds_nothing():
    scores, passages = zone((100.0, 1 / 2))
    *_, off = doubted(scores, passages, (), np.array([1.0, 0.0]), HOURS, looks=1.0)
    assert off.tolist() == [0.0, 0.0]
