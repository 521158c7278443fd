"""Champion and challenger: who teaches, who judges, what replaces what, and the splice."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows import _champion
from pipeline import cameras, daily, schemas, store
from pipeline.errors import InputError
from pipeline.store import Workspace

NOON = dt.datetime(2026, 3, 2, 18, tzinfo=dt.UTC)  # 12:00 in Chicago


def labelled(ws: Workspace, campaign: str, n: int, *, unresolved: int = 0, day: int = 0) -> None:
    """Leave a campaign of ``n`` resolved frames of camera west, ``day`` days after 2 March."""
    names = [f"{campaign}-{i}" for i in range(n + unresolved)]
    at = NOON + dt.timedelta(days=day)
    frames = [
        {
            **dict.fromkeys(("clip_id", "path", "background_path", "batch"), ""),
            "frame_id": name,
            "camera_id": "west",
            "zone": "exit",
            "captured_at": at + dt.timedelta(seconds=i % 50),
            "offset_s": float(i % 50),
            "why_chosen": "random",
            "weight": 1.0,
        }
        for i, name in enumerate(names)
    ]
    labels = [
        {
            "frame_id": name,
            "label": None if i >= n else "truck" if i % 2 else "no_truck",
            "p_truck": 0.5,
            "n_annotations": 3,
            "agreement": 1.0,
            "method": "majority",
        }
        for i, name in enumerate(names)
    ]
    path = ws.campaign_frames(campaign) / "frames.parquet"
    store.write_table(path, store.table_of(frames, schemas.FRAMES), schemas.FRAMES)
    path = ws.campaign_labels(campaign) / "labels.parquet"
    store.write_table(path, store.table_of(labels, schemas.LABELS), schemas.LABELS)


def test_only_named_judges_judge_and_all_others_teach(world: Path) -> None:
    ws = Workspace(world)
    labelled(ws, "spring", 150, unresolved=7)
    labelled(ws, "summer", 90)
    labelled(ws, "held-out-may", 30)
    card = ws.model("bright") / "card.json"
    store.write_json(card, store.read_json(card) | {"campaigns": {"summer": "", "winter": ""}})
    found = _champion.case(ws, "bright", (), (), 28)
    assert (found.campaigns, found.held_out) == (["spring", "summer"], ["held-out-may"])
    assert found.new_labels == 150 + 90 - 200  # the champion's card says 200
    assert found.why_not(200) == "40 new label(s), fewer than 200, and no drift"
    assert found.why_not(40) == ""
    named = _champion.case(ws, "bright", ("summer",), ("spring",), 28)
    assert (named.campaigns, named.held_out) == (["summer"], ["spring"])
    alone = _champion.case(ws, "bright", ("spring",), (), 28)
    assert alone.new_labels == 150 + 90 - 200  # summer's are no more and no fewer for that


def test_all_labels_are_new_to_a_champion_of_loose_pictures(world: Path) -> None:
    ws = Workspace(world)
    labelled(ws, "spring", 150)
    assert store.read_json(ws.model("bright") / "card.json")["labels"]["n"] == 200
    assert _champion.case(ws, "bright", (), (), 28).new_labels == 150


def test_drift_makes_one_new_label_enough_and_none_too_few() -> None:
    drift = {"gate": [dt.date(2026, 3, 2)]}
    assert _champion.Case(["a"], ["held-out"], 1, drift).why_not(200) == ""
    said = _champion.Case(["a"], ["held-out"], 0, drift).why_not(200)
    assert said == "0 new label(s), fewer than 200, and drift of gate"
    assert "held-out campaign" in _champion.Case(["a"], [], 999, drift).why_not(200)


def test_a_judge_may_have_taught_neither(world: Path) -> None:
    ws = Workspace(world)
    labelled(ws, "spring", 10)
    with pytest.raises(InputError, match=r"'spring' is to judge, and teaches the challenger"):
        _champion.case(ws, "bright", ("spring",), ("spring",), 28)
    card = ws.model("bright") / "card.json"
    store.write_json(card, store.read_json(card) | {"campaigns": {"spring": ""}})
    with pytest.raises(InputError, match=r"'spring' is to judge, and teaches bright"):
        _champion.case(ws, "bright", ("summer",), ("spring",), 28)


def test_without_a_model_there_is_nothing_to_challenge(world: Path) -> None:
    from flows.train import retrain

    Workspace(world).current_model.unlink()
    ended = retrain.fn(str(world))
    assert (ended.is_completed(), ended.message) == (
        True,
        "there is no model yet: truck-counter train",
    )


def count_all(ws: Workspace) -> None:
    from pipeline.ingest import ingest
    from pipeline.publish import publish

    registry = cameras.load(ws.cameras_toml)
    ingest(ws, registry)
    daily.count_days(ws, registry, daily.camera_days(ws, registry), "bright")
    publish(ws, registry)


def challenger_of(ws: Workspace, campaign: str) -> str:
    """Leave a model that is the champion under another name, taught by ``campaign``."""
    shutil.copytree(ws.model("bright"), ws.model("brighter"))
    card = store.read_json(ws.model("bright") / "card.json")
    told: dict[str, Any] = {
        "model_id": "brighter",
        "label_set_id": "new",
        "campaigns": {campaign: ""},
        "training_days": {"west": ["2026-03-02"]},
    }
    told["labels"] = {"truck": 250, "n": 500}
    store.write_json(ws.model("brighter") / "card.json", card | told)
    return "brighter"


def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the tasks as plain functions: what is tested is their order and what they leave."""
    import logging

    from flows import _days, _steps, train

    def submitted(root: str, days: dict[str, list[str]], model_id: str) -> dict[str, Any]:
        ws = Workspace(Path(root))
        registry = cameras.load(ws.cameras_toml)
        dates = [(c, dt.date.fromisoformat(day)) for c in days for day in days[c]]
        wanted = [daily.CameraDay(registry.camera(c, day), day) for c, day in dates]
        daily.count_days(ws, registry, wanted, model_id)
        assert ws.current_model.read_text().strip() == "bright", "counted before it is in use"
        return {}

    monkeypatch.setattr(_days, "submitted", submitted)
    monkeypatch.setattr(_days, "gathered", lambda kind, work: [])
    monkeypatch.setattr(_steps, "publish_counts", _steps.publish_counts.fn)
    monkeypatch.setattr(_steps, "get_run_logger", logging.getLogger)
    monkeypatch.setattr(train.artifacts, "create_markdown_artifact", lambda **_: None)
    monkeypatch.setattr(train, "emit_event", lambda **_: None)


@pytest.fixture
def contest(world: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, dict[str, float]]:
    """A workspace counted by a champion, a challenger that trains at once, and their scores."""
    from flows import _steps

    without_prefect(monkeypatch)
    ws = Workspace(world)
    count_all(ws)
    labelled(ws, "spring", 500, day=0)
    labelled(ws, "held-out", 30, day=1)
    scores = {"bright": 0.20, "brighter": 0.10}

    def train(root: str, campaigns: list[str], *knobs: Any, set_current: bool) -> str:
        assert not set_current, "a challenger is judged before it is put in use"
        assert ws.current_model.read_text().strip() == "bright"
        return challenger_of(ws, campaigns[0])

    monkeypatch.setattr(_steps, "train_campaigns", train)
    monkeypatch.setattr(_steps, "brier", lambda root, models, held_out: dict(scores))
    return ws, scores


def test_a_better_challenger_replaces_and_the_splice_is_published(
    contest: tuple[Workspace, dict[str, float]],
) -> None:
    from flows._days import outcome
    from flows.train import retrain
    from pipeline.publish import read_daily_counts, read_model_changes

    ws, _ = contest
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["state"], ended["champion"], ended["model_id"]) == (
        "Completed",
        "bright",
        "brighter",
    )
    assert ws.current_model.read_text().strip() == "brighter"
    # 2 March taught the challenger at west, so the splice goes over 3 and 4 March there.
    changes = read_model_changes(ws.root).set_index("camera_id")
    assert changes["days"].to_dict() == {"west": 2, "east": 3}
    assert changes["factor"].to_dict() == {"west": 1.0, "east": 1.0}  # it counts the same
    assert [s["camera_id"] for s in ended["splice"]] == ["east", "west"]
    rows = read_daily_counts(ws.root)
    assert (rows["model_id"] == "brighter").sum() == 5
    again = outcome(retrain.fn(str(ws.root)))
    assert (again["challenger"], again["model_id"]) == (None, "brighter")


def test_a_challenger_that_is_not_better_changes_nothing(
    contest: tuple[Workspace, dict[str, float]],
) -> None:
    from flows._days import outcome
    from flows.train import retrain

    ws, scores = contest
    scores["brighter"] = scores["bright"]
    published = sorted(ws.vintages.iterdir())
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["model_id"], ended["challenger"]) == ("bright", "brighter")
    assert ws.current_model.read_text().strip() == "bright"
    assert sorted(ws.vintages.iterdir()) == published


def test_a_model_that_somebody_puts_in_use_meanwhile_stays(
    contest: tuple[Workspace, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import _days
    from flows._days import outcome
    from flows.train import retrain

    ws, _ = contest
    submitted = _days.submitted
    shutil.copytree(ws.model("bright"), ws.model("by-hand"))

    def while_somebody_chooses(root: str, days: dict[str, list[str]], model_id: str) -> Any:
        found = submitted(root, days, model_id)
        store.write_bytes(ws.current_model, b"by-hand\n")
        return found

    monkeypatch.setattr(_days, "submitted", while_somebody_chooses)
    published = sorted(ws.vintages.iterdir())
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["state"], ended["model_id"]) == ("Completed", "by-hand")
    assert ended["why"].endswith("; but by-hand was put in use meanwhile")
    assert ws.current_model.read_text().strip() == "by-hand"
    assert sorted(ws.vintages.iterdir()) == published


def test_a_challenger_that_counts_nothing_at_a_camera_stays_out(
    contest: tuple[Workspace, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import _days
    from flows._days import outcome
    from flows.train import retrain

    ws, _ = contest
    submitted = _days.submitted

    def all_but_east(root: str, days: dict[str, list[str]], model_id: str) -> Any:
        return submitted(root, {c: of for c, of in days.items() if c != "east"}, model_id)

    lost = [_days.missing_row("east", "2026-03-02", "infer failed", "no weights")]
    monkeypatch.setattr(_days, "submitted", all_but_east)
    monkeypatch.setattr(_days, "gathered", lambda kind, work: lost)
    published = sorted(ws.vintages.iterdir())
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["state"], ended["model_id"], ended["missing"]) == ("Incomplete", "bright", lost)
    assert ended["why"].endswith("but it has counted no day of east")
    assert ws.current_model.read_text().strip() == "bright"
    assert sorted(ws.vintages.iterdir()) == published

    # A day whose footage is gone is told of, and keeps no better model away.
    shutil.rmtree(ws.model("brighter"))

    def all_but_a_day(root: str, days: dict[str, list[str]], model_id: str) -> Any:
        return submitted(root, {**days, "east": days["east"][1:]}, model_id)

    monkeypatch.setattr(_days, "submitted", all_but_a_day)
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["state"], ended["model_id"], ended["missing"]) == ("Incomplete", "brighter", lost)


def test_what_was_counted_of_footage_that_is_forgotten_stands(
    contest: tuple[Workspace, dict[str, float]],
) -> None:
    from flows._days import outcome
    from flows.train import retrain
    from pipeline.ingest import ingest
    from pipeline.publish import read_daily_counts

    ws, _ = contest
    registry = cameras.load(ws.cameras_toml)
    for path in (ws.root / "footage" / "east").iterdir():
        path.unlink()
    ingest(ws, registry, ["east"], forget=True)
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["state"], ended["model_id"]) == ("Incomplete", "bright")
    assert ended["why"].endswith("but it has counted no day of east")
    days = ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert [(m["camera"], m["day"]) for m in ended["missing"]] == [("east", day) for day in days]

    shutil.rmtree(ws.model("brighter"))
    shutil.copy(ws.root / "made" / "5.mp4", ws.root / "footage/east/2026-03-04T110000+0000.mp4")
    ingest(ws, registry, ["east"])
    ended = outcome(retrain.fn(str(ws.root)))
    assert (ended["state"], ended["model_id"]) == ("Incomplete", "brighter")
    assert [(m["camera"], m["day"]) for m in ended["missing"]] == [("east", d) for d in days[:2]]
    assert ended["missing"][0]["why"] == "its footage is gone: the count by bright stands"
    rows = read_daily_counts(ws.root).query("camera_id == 'east'")
    assert rows["truck_count"].notna().all()
    assert rows["model_id"].tolist() == ["bright", "bright", "brighter"]


def test_a_drifting_day_opens_one_audit_batch_a_week(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import _steps, _watch

    without_prefect(monkeypatch)
    ws = Workspace(world)
    count_all(ws)
    day = dt.date(2026, 3, 3)
    name = _watch.audit_campaign("west", day)
    made = _steps.open_audit.fn(str(world), name, "west", str(day), str(day))
    assert made["frames"] > 0
    assert made["windows"] == 3  # the minute of footage holds three of 20 s
    frames = store.read_table(ws.campaign_frames(name) / "frames.parquet").to_pylist()
    assert {f["captured_at"].astimezone(dt.UTC).date() for f in frames} == {day}
    later = day + dt.timedelta(days=1)
    assert _watch.audit_campaign("west", later) == name
    again = _steps.open_audit.fn(str(world), name, "west", str(later), str(later))
    assert again == {"frames": 0, "windows": 0, "sent": 0}
