"""Money, advice, and what another hundred labels buy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from labeling import campaign, crowd, status
from labeling.aggregate import aggregate
from pipeline import store
from pipeline.errors import InputError
from pipeline.store import Workspace

TRUTH = {f"f{i:05d}": i % 4 == 0 for i in range(60)}


def test_half_width_by_hand():
    # se = 49/52, sp = 100/102: sqrt(0.05²·se(1−se)/52 + 0.95²·sp(1−sp)/102) = 0.013142;
    # ÷ (se + sp − 1) = 0.92270, × 1.96 ÷ 0.05 = 0.5583.
    found = status.HeldOut(48, 2, 1, 99)
    assert status.half_width(found, 0.05) == pytest.approx(0.5583, abs=2e-4)
    # Three times the labels more: a quarter of the variance.
    more = status.half_width(found, 0.05, 450)
    assert more == pytest.approx(0.5583 / 2, abs=2e-4)
    assert status.half_width(status.HeldOut(1, 50, 50, 1), 0.05) == math.inf


@pytest.fixture
def voted(workspace_of):
    ws = workspace_of(60)
    campaign.add_table(ws, "spring", crowd.annotate(TRUTH, 4, seed=1))
    return ws


def test_costs_add_up(voted):
    found = status.status(voted, "spring", price=0.05, budget=20.0)
    assert found["annotations"] == 240
    assert found["spent"] == 12.0
    assert found["budget_left"] == 8.0
    for by in ("worker", "batch", "camera"):
        parts = found["costs"][by].values()
        assert sum(p["labels"] for p in parts) == 240
        assert sum(p["cost"] for p in parts) == pytest.approx(12.0)
    assert found["advice"].startswith("train a model")
    assert status.status(voted, "spring", 0.05, 12.0)["advice"] == "the budget is spent"


def test_advice_follows_the_gain(voted):
    voted.current_model.parent.mkdir(parents=True)
    voted.current_model.write_text("m1\n")
    card = voted.model("m1") / "card.json"
    store.write_json(card, {"held_out": {"tp": 20, "fn": 1, "fp": 1, "tn": 60}})
    found = status.status(voted, "spring", price=0.1)
    assert found["advice"].startswith("go on: ±")
    assert found["next_100"]["then"] < found["next_100"]["half_width"]
    assert found["next_100"]["cost"] == 10.0
    store.write_json(card, {"held_out": {"tp": 20000, "fn": 1000, "fp": 1000, "tn": 60000}})
    assert status.status(voted, "spring")["advice"].startswith("stop: ±")


def test_before_any_vote(workspace_of):
    found = status.status(workspace_of(3), "spring")
    assert (found["frames"], found["annotations"], found["pushed"]) == (3, 0, None)
    assert found["advice"].startswith("no votes yet")
    with pytest.raises(InputError, match="-1"):
        status.status(Workspace(Path("x")), "spring", price=-1)
    with pytest.raises(InputError, match="bad budget nan"):
        status.status(Workspace(Path("x")), "spring", budget=float("nan"))


def test_votes_on_frames_that_are_gone_are_named_and_not_counted(workspace_of, voted):
    ws = workspace_of(10)  # ten of sixty are left
    found = status.status(ws, "spring", price=0.05)
    assert (found["frames"], found["frames_judged"], found["frames_left_over"]) == (10, 10, 50)
    assert (found["annotations"], found["quality"]["frames"]) == (40, 10)
    assert found["spent"] == 12.0  # all 240 votes were paid for
    assert set(found["adjudication"]["frames"]) <= {f"f{i:05d}" for i in range(10)}
    text = status.as_text(found)
    assert "10 of 10 frame(s) judged, 40 annotation(s), 12.0 spent" in text
    assert "50 more with votes are not in the campaign now" in text


def test_without_a_price_nothing_is_said_of_money(voted):
    assert "60 frame(s) judged, 240 annotation(s); " in status.as_text(
        status.status(voted, "spring")
    )
    assert "240 annotation(s), 24.0 spent; " in status.as_text(status.status(voted, "spring", 0.1))


def test_unsure_frames_get_another_vote():
    result = aggregate(crowd.annotate(TRUTH, 3, seed=2))
    wanted = set(status.unsure(result))
    table = result.labels.set_index("frame_id")
    assert set(table.index[table["label"].isna()]) <= wanted
    assert table.loc[sorted(set(table.index) - wanted), "p_truck"].sub(0.5).abs().min() >= 0.4


def test_every_vote_that_was_paid_for_is_counted(voted):
    expert = crowd.annotate({"f00000": True}, 1, seed=3).assign(worker="boss")
    campaign.add_adjudications(voted, "spring", expert.to_dict("records"))
    found = status.status(voted, "spring", price=0.05)
    assert found["annotations"] == 240
    assert found["spent"] == 12.05
    assert found["costs"]["worker"]["boss"] == {"labels": 1, "cost": 0.05}
    assert found["quality"]["adjudicated"] == found["adjudication"]["settled"] == 1


def test_what_waits_for_an_expert_is_listed_and_worded(voted):
    tied = [f"f{i:05d}" for i in range(3)]
    rows = [
        {"frame_id": f, "worker": w, "label": v, "annotated_at": None}
        | {"seconds_spent": None, "source": "import"}
        for f in tied
        for w, v in (("a", "cant_tell"), ("b", "cant_tell"), ("c", "cant_tell"), ("d", "cant_tell"))
    ]
    campaign.add_annotations(voted, "spring", rows)
    found = status.status(voted, "spring")["adjudication"]
    assert set(tied) <= set(found["frames"])
    assert found["waiting"] == len(found["frames"]) == sum(found["reasons"].values())
    assert found["reasons"]["can't tell"] >= 3
    text = status.as_text(status.status(voted, "spring"))
    assert "frames wait for an expert" in text
    assert "  f00000" in text
