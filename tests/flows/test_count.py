"""Runs that find nothing due: what was counted and never published, and models not in use."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from flows import _days, _metrics, _steps, count, operate
from pipeline import cameras, daily, store
from pipeline.ingest import ingest
from pipeline.store import Workspace

NOON = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)


def counted(ws: Workspace, model_id: str) -> None:
    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry)
    daily.count_days(ws, registry, daily.camera_days(ws, registry), model_id)


def test_what_a_run_cut_short_has_counted_is_published(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_steps, "publish_counts", _steps.publish_counts.fn)
    ws = Workspace(world)
    counted(ws, "bright")
    figures = _metrics.write(ws, "morning-america-chicago", (), [{"what": "infer failed"}], 3)
    told = [count.until(str(world), "America/Chicago", NOON, 14).message for _ in range(2)]
    nothing = "nothing is due in America/Chicago up to 2026-03-04"
    # two cameras, three days each
    assert told == [f"{nothing}; 6 row(s) published that a run before had counted", nothing]
    assert len(list(ws.vintages.glob("*.parquet"))) == 1
    lines = figures.read_text().splitlines()  # not those of the run before
    for name in ("failures", "backlog"):
        assert f'truck_counter_{name}{{run="morning-america-chicago"}} 0' in lines


def test_a_morning_tells_the_dark_days_that_it_is_of(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace(world)
    counted(ws, "bright")  # footage of the 2nd to the 4th
    worked: list[object] = []
    monkeypatch.setattr(_days, "work", lambda *given: worked.append(given[2]))
    at = NOON + dt.timedelta(days=2)  # the run of the 6th; two days late it does that of the 8th
    count.until(str(world), "America/Chicago", at, 14)
    count.until(str(world), "America/Chicago", at, 14, at + dt.timedelta(days=2))
    ws.counts("west", dt.date(2026, 3, 4), "bright").unlink()
    count.until(str(world), "America/Chicago", at, 14)
    dark = ["2026-03-06", "2026-03-07", "2026-03-08"]
    assert worked == [{"west": dark[:1]}, {"west": dark}, {"west": ["2026-03-04", *dark[:1]]}]


def test_counts_of_a_model_that_is_not_in_use_are_not_published(world: Path) -> None:
    ws = Workspace(world)
    shutil.copytree(ws.model("bright"), ws.model("other"))
    card = store.read_json(ws.model("other") / "card.json")
    store.write_json(ws.model("other") / "card.json", card | {"model_id": "other"})
    counted(ws, "other")
    registry = cameras.load(ws.cameras_toml)
    last = dt.date(2026, 3, 4)
    found = operate.backfill(ws, registry, None, last, model="other", now=NOON)
    assert (found["there"], found["due"], found["published"], found["in_use"]) == (6, 0, 0, False)
    assert operate.backfill_text(found).endswith("0 row(s) published, for the model is not in use")
    assert not ws.vintages.exists()


def test_counts_of_a_model_that_is_replaced_while_it_counts_are_told_to_be_unpublished(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace(world)
    shutil.copytree(ws.model("bright"), ws.model("other"))

    def overtaken(root: str, days: dict[str, list[str]], model_id: str) -> dict[str, str]:
        counted(ws, model_id)
        store.write_bytes(ws.current_model, b"other\n")
        return {}

    monkeypatch.setattr(_days, "submitted", overtaken)
    monkeypatch.setattr(_days, "gathered", lambda *_: [])
    monkeypatch.setattr(_days, "_tell", lambda *_: None)
    monkeypatch.setattr(_days._alerts, "announce", lambda *_: None)
    ended = _days.work("daily", str(world), {"west": ["2026-03-02"]}, None, lasting=False)
    assert (ended.name, _days.outcome(ended)["published"]) == ("Incomplete", 0)
    said = "nothing published: other took the place of bright meanwhile: run it again"
    assert ended.message == f"all : {said}"
    assert not ws.vintages.exists()
    # Who asks for a model that is not in use knows that.
    asked = _days.work("daily", str(world), {"west": ["2026-03-02"]}, "bright", lasting=False)
    assert (asked.name, asked.message) == ("Completed", "nothing is missing")
