"""What was known at T never changes, whatever is published later."""

from __future__ import annotations

import datetime as dt
import random

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import store, vintages
from pipeline.cameras import parse
from pipeline.publish import (
    publish,
    read_daily_counts,
    read_hourly_counts,
)
from pipeline.store import Workspace

T1, T2 = "2026-03-10T12:00:00+00:00", "2026-03-11T12:00:00+00:00"
DAY, NEXT = "2026-03-08", "2026-03-09"  # the first has 23 hours in Chicago


def _values(frame: pd.DataFrame) -> dict:
    return {
        (r.camera_id, r.movement, str(r.date.date())): r.truck_count
        for r in frame.itertuples(index=False)
    }


def test_only_what_differs_is_published_again_and_history_stays(counted):
    counted.count(DAY, 40)
    counted.count(NEXT, 44)
    counted.publish(T1)
    first = (counted.ws.vintages / "2026-03-10T120000.000000Z.parquet").read_bytes()
    counted.count(NEXT, 46, exposure_s=80000.0)
    assert counted.publish(T2).rows == 1
    root = counted.ws.root
    assert _values(read_daily_counts(root, as_of=T1)) == {
        ("north-gate", "out", DAY): 40.0,
        ("north-gate", "out", NEXT): 44.0,
    }
    assert _values(read_daily_counts(root)) == {
        ("north-gate", "out", DAY): 40.0,
        ("north-gate", "out", NEXT): 46.0,
    }
    just_before = dt.datetime.fromisoformat(T2) - dt.timedelta(microseconds=1)
    assert read_daily_counts(root, as_of=just_before)["truck_count"].tolist() == [40.0, 44.0]
    assert (counted.ws.vintages / "2026-03-10T120000.000000Z.parquet").read_bytes() == first
    assert read_daily_counts(root, as_of="2026-03-01T00:00:00Z").empty


_CAMERAS = ("a", "b")
_DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
_CHANGE = st.tuples(
    st.sampled_from(_CAMERAS),
    st.sampled_from(_DAYS),
    st.one_of(st.none(), st.integers(0, 3)),
    st.sampled_from(("m1", "m2")),
)
_HISTORY = st.lists(st.lists(_CHANGE, min_size=0, max_size=4), min_size=1, max_size=5)


@pytest.fixture
def unflushed(monkeypatch):
    """Thousands of small files: what is written need not outlive a power cut."""
    monkeypatch.setattr(store, "_flush", lambda path: None)


def _replay(history, folder, counted_workspace, camera_entry) -> None:
    """Publish a random history, checking after each step all that was known at every step so far.

    The expectation is a plain dictionary, kept beside the workspace.
    """
    registry = parse({"camera": [camera_entry(c) for c in _CAMERAS]})
    counted = counted_workspace(folder, registry)
    counts: dict[tuple, float | None] = {}
    published: dict[tuple, float | None] = {}
    known: list[tuple[dt.datetime, dict]] = []
    start = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
    for step, changes in enumerate(history):
        for camera, day, trucks, model_id in changes:
            counted.model(model_id)
            counted.count(day, trucks, camera=camera, model_id=model_id)
            counts[model_id, camera, day] = trucks
        if not counts:
            continue
        in_use = counted.ws.current_model.read_text()
        own = {(c, "out", d): v for (m, c, d), v in counts.items() if m == in_use}
        published = {**published, **own}
        instant = start + dt.timedelta(hours=step)
        publish(counted.ws, registry, as_of=instant)
        known.append((instant, published))
        for then, expected in known:
            got = _values(read_daily_counts(folder, as_of=then))
            assert {k: None if pd.isna(v) else v for k, v in got.items()} == expected
    if known:
        then = _values(read_daily_counts(folder, as_of=known[-1][0]))
        assert repr(then) == repr(_values(read_daily_counts(folder)))


def _random(times: int):
    """Give a test ``times`` random histories."""
    unchecked = [HealthCheck.function_scoped_fixture]
    many = settings(max_examples=times, deadline=None, suppress_health_check=unchecked)
    return lambda test: many(given(history=_HISTORY)(test))


@_random(100)
def test_what_was_known_at_an_instant_never_changes(
    history, tmp_path_factory, counted_workspace, camera_entry, unflushed
):
    _replay(history, tmp_path_factory.mktemp("h"), counted_workspace, camera_entry)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@_random(1000)
def test_of_1000_histories_none_changes(
    history, tmp_path_factory, counted_workspace, camera_entry, unflushed
):
    _replay(history, tmp_path_factory.mktemp("h"), counted_workspace, camera_entry)


def test_a_workspace_cut_off_at_an_instant_answers_as_it_did_then(counted, tmp_path):
    """The look-ahead gate: vintages up to T alone give as_of(T) exactly."""
    rng = random.Random(6)
    instants = []
    for step in range(12):
        for day in rng.sample([f"2026-02-{d:02d}" for d in range(1, 20)], 4):
            counted.count(day, rng.randrange(100))
        instant = dt.datetime(2026, 3, 1 + step, 7, tzinfo=dt.UTC)
        counted.publish(instant.isoformat())
        instants.append(instant)
    cut = Workspace(tmp_path / "cut")
    for instant in instants:
        for series in (vintages.DAILY, vintages.HOURLY):
            path = series.vintage(cut, instant)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(series.vintage(counted.ws, instant).read_bytes())
        for read in (read_daily_counts, read_hourly_counts):
            pd.testing.assert_frame_equal(
                read(cut.root), read(counted.ws.root, as_of=instant), check_exact=True
            )
