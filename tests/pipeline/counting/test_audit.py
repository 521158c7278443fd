"""Audit windows: the correction worked by hand, and an interval that holds for a poor model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.counting import AuditWindows, HourCount, MovementCount, audited, debias

LINES = (("passages found", 36.0), ("missed", 4.0), ("truck_count", 40.0))


def windows(model: list[float], human: list[float], today: int = 0) -> AuditWindows:
    flags = np.arange(len(model)) < today
    return AuditWindows(np.array(model, float), np.array(human, float), flags)


def day(
    trucks: float | None = 40.0, method: str = "events", coverage: float = 1.0
) -> MovementCount:
    lo, hi = (None, None) if trucks is None else (trucks - 4, trucks + 4)
    quarter = None if trucks is None else trucks / 4
    hours = [
        HourCount(0.0, 3600.0, quarter, quarter, quarter, 3600.0, 3600.0),
        HourCount(3600.0, 7200.0, quarter and 3 * quarter, 0.0, 99.0, 3600.0, 3600.0),
    ]
    return MovementCount(
        "out",
        trucks,
        lo,
        hi,
        method,
        "ok",
        (),
        7200.0,
        7200.0,
        coverage,
        9,
        0.1,
        tuple(hours),
        LINES,
    )


def test_the_ratio_and_its_variance_by_hand() -> None:
    # 20 windows, 2 trucks each by the model; people counted 3 in half of them, 2 in the others.
    found, variance = debias(windows([2.0] * 20, [3.0] * 10 + [2.0] * 10, today=4), 40.0)
    assert found == pytest.approx(40 * 50 / 40)
    # beyond = ±0.5 in each: φ = (20 · 0.25 · 20/19 + 1) / 40; M = 8 of F = 40.
    dispersion = (5 * 20 / 19 + 1) / 40
    shared = 40**2 / 40 + 40 - 2 * 40 * 8 / 40
    t = 1.96 + 2.5 / 19
    assert variance == pytest.approx(dispersion * shared * (t / 1.96) ** 2)


def test_a_day_without_a_truck_is_not_sure_of_it_where_the_model_misses_some() -> None:
    some = windows([2.0] * 20, [3.0] * 10 + [2.0] * 10)
    found, variance = debias(some, 0.0)
    assert found == 0.0
    assert variance == pytest.approx((5 * 20 / 19 + 1) / 40 * ((1.96 + 2.5 / 19) / 1.96) ** 2)
    # 1.96 times its root is 0.84, so one truck; it was [0, 0], and the model's own end 2.
    row = audited(replace(day(0.0), lo=0.0, hi=2.0), some)
    assert (row.truck_count, row.lo, row.hi) == (0.0, 0.0, 1.0)


def test_on_quiet_days_the_interval_holds_for_a_model_that_misses_three_of_ten() -> None:
    rng, held = np.random.default_rng(1), []
    for _ in range(1500):
        truth = rng.poisson(2.0, 60)
        some = windows(rng.binomial(truth, 0.7).tolist(), truth.tolist())
        trucks = rng.poisson(0.7)
        row = audited(day(float(rng.binomial(trucks, 0.7))), some)
        assert row.lo is not None
        assert row.hi is not None
        held.append(row.lo <= trucks <= row.hi)
    assert np.mean(held) > 0.95  # 0.88, and 0.81 where no truck was seen


def test_a_day_that_was_audited_whole_has_no_doubt_left() -> None:
    _, variance = debias(windows([2.0] * 20, [3.0] * 10 + [2.0] * 10, today=20), 40.0)
    assert variance == 0.0


def test_windows_that_show_nothing_correct_nothing() -> None:
    with pytest.raises(ValueError, match="12 audited windows with 0 trucks"):
        debias(windows([0.0] * 12, [1.0] * 12), 5.0)
    with pytest.raises(ValueError, match="equally long"):
        AuditWindows(np.zeros(2), np.zeros(3), np.zeros(2, bool))


def test_a_corrected_count_adds_up_and_says_so() -> None:
    found = audited(day(), windows([2.0] * 20, [3.0] * 10 + [2.0] * 10))
    assert found.truck_count == pytest.approx(50.0)
    assert (found.method, found.quality) == ("events+audit", "ok")
    assert found.arithmetic == (
        *LINES[:-1],
        ("corrected by 20 audit windows", pytest.approx(10.0)),
        ("truck_count", pytest.approx(50.0)),
    )
    assert [h.truck_count for h in found.hourly] == pytest.approx([12.5, 37.5])
    assert found.lo < 46 < 54 < found.hi  # wider than the model's own 36 to 44
    assert audited(day(method="occupancy"), windows([2.0] * 20, [2.0] * 20)).method == (
        "occupancy+audit"
    )


def test_an_hour_outside_the_schedule_stays_without_a_count() -> None:
    dark = HourCount(7200.0, 10800.0, None, None, None, 0.0, 0.0)
    given = replace(day(), hourly=(*day().hourly, dark))
    found = audited(given, windows([2.0] * 20, [3.0] * 10 + [2.0] * 10))
    assert [h.truck_count for h in found.hourly[:2]] == pytest.approx([12.5, 37.5])
    assert found.hourly[2] == dark


def test_unseen_time_keeps_its_share_of_the_interval() -> None:
    some = windows([2.0] * 20, [3.0] * 10 + [2.0] * 10)
    whole, partial = audited(day(), some), audited(day(coverage=0.9), some)
    # ± 4 trucks times 1.25 are 5, added in squares.
    half = [(one.hi - one.lo) / 2 for one in (whole, partial)]
    assert half[1] == pytest.approx(np.hypot(half[0], 5.0), abs=1.0)
    assert half[1] > half[0]


def test_few_windows_change_nothing_but_are_mentioned() -> None:
    found = audited(day(), windows([2.0] * 4, [3.0] * 4))
    assert (found.truck_count, found.lo, found.hi, found.method) == (40.0, 36.0, 44.0, "events")
    assert found.arithmetic[-2] == ("4 audit windows: too few trucks to correct by", 0.0)
    assert audited(day(None, "none"), windows([2.0] * 20, [3.0] * 20)) == day(None, "none")
    assert audited(day(), windows([], [])) == day()


@pytest.mark.parametrize(("found_share", "false_share"), [(0.8, 0.0), (1.0, 0.2), (0.9, 0.3)])
def test_sixty_windows_mend_a_poor_model(found_share: float, false_share: float) -> None:
    """A bias of 20% goes; the interval holds. 60 windows of 10 minutes over 30 uneven days."""
    rng = np.random.default_rng(5)
    slots, held, found, truths = 144, 0, [], []
    days = 1200
    for _ in range(days):
        level = rng.uniform(150, 600, 30) / slots
        truth = rng.poisson(np.repeat(level[:, None], slots, axis=1))
        model = rng.binomial(truth, found_share) + rng.poisson(
            false_share * level[:, None], truth.shape
        )
        picked = rng.choice(truth.size, 60, replace=False)
        today = picked >= 29 * slots
        some = AuditWindows(
            model.ravel()[picked].astype(float), truth.ravel()[picked].astype(float), today
        )
        total = float(model[-1].sum())
        count = MovementCount(
            "out",
            total,
            total,
            total,
            "events",
            "ok",
            (),
            1.0,
            1.0,
            1.0,
            1,
            None,
            (),
            (("n", total),),
        )
        corrected = audited(count, some)
        found.append(corrected.truck_count)
        truths.append(truth[-1].sum())
        held += corrected.lo <= truths[-1] <= corrected.hi
    bias = np.sum(found) / np.sum(truths) - 1
    error = np.std(np.subtract(found, truths)) / np.mean(truths) / days**0.5
    assert abs(bias) < 0.005 + 2.6 * error
    assert 0.93 <= held / days <= 0.985
