"""The camera's own week: trucks per hour by hour of the week, learned from the past only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.counting.records import Floats, PastHour, Profile

_WEEK = 168
_PSEUDO_HOURS = 1.0


def learn_profile(past_hours: Iterable[PastHour]) -> Profile:
    """Learn hourly rates by hour of the week from earlier days.

    A cell of the week is shrunk towards its hour of the day (over all days), and that towards the
    overall rate, by one hour's weight each: a camera's first week already has a shape, and an hour
    never seen borrows its neighbours' level. Hours with no exposure are ignored.
    """
    seen: dict[str, tuple[Floats, Floats]] = {}
    for hour in past_hours:
        trucks, time = seen.setdefault(hour.key, (np.zeros(_WEEK), np.zeros(_WEEK)))
        if hour.exposure_s > 0:
            trucks[hour.hour_of_week % _WEEK] += hour.truck_count
            time[hour.hour_of_week % _WEEK] += hour.exposure_s / 3600.0
    rates = {}
    for key, (trucks, time) in seen.items():
        if time.sum() <= 0:
            continue
        level = trucks.sum() / time.sum()
        of_day = np.arange(_WEEK) % 24
        day_trucks = np.bincount(of_day, weights=trucks, minlength=24)
        day_time = np.bincount(of_day, weights=time, minlength=24)
        day_rate = (day_trucks + level * _PSEUDO_HOURS) / (day_time + _PSEUDO_HOURS)
        rate = (trucks + day_rate[of_day] * 2 * _PSEUDO_HOURS) / (time + 2 * _PSEUDO_HOURS)
        rates[key] = tuple(float(value) for value in rate)
    return Profile(rates)


def shape_of(
    profile: Profile | None, keys: Sequence[str], hours: int, hour_of_week: Sequence[int] | None
) -> Floats:
    """Return float64[hours], mean 1: how the day's hours differ, flat where nothing is known."""
    if profile is None or hour_of_week is None:
        return np.ones(hours)
    for key in keys:
        if key in profile.rates:
            rate = np.array([profile.rates[key][index % _WEEK] for index in hour_of_week])
            if rate.mean() > 0:
                return np.asarray(np.maximum(rate / rate.mean(), 0.01))
    return np.ones(hours)
