"""Gold: how many, which, never twice, and never changing the label it was drawn from."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from labeling import campaign, gold
from labeling.ledger import Ledger
from pipeline import schemas, store
from pipeline.errors import InputError, NotFoundError


def table(trucks: int, none: int, **changes: object) -> pd.DataFrame:
    rows = [
        {"frame_id": f"t{i:02d}" if i < trucks else f"n{i:02d}", "n_annotations": 3}
        | {"label": "truck" if i < trucks else "no_truck", "agreement": 1.0}
        | {"p_truck": float(i < trucks), "method": "dawid_skene"}
        | changes
        for i in range(trucks + none)
    ]
    return pd.DataFrame(rows)


def test_half_of_gold_are_trucks_as_far_as_there_are():
    drawn = gold.draw(table(30, 30), 10, set())
    assert sum(drawn.values()) == 5
    assert all(truck == frame.startswith("t") for frame, truck in drawn.items())
    assert sum(gold.draw(table(2, 30), 10, set()).values()) == 2
    assert len(gold.draw(table(2, 30), 10, set())) == 10
    assert len(gold.draw(table(2, 3), 10, set())) == 5


def test_the_seed_decides_and_nothing_is_drawn_twice():
    first = gold.draw(table(30, 30), 10, set(), seed=1)
    assert gold.draw(table(30, 30).iloc[::-1], 10, set(), seed=1) == first
    assert gold.draw(table(30, 30), 10, set(), seed=2) != first
    assert not set(gold.draw(table(30, 30), 50, set(first))) & set(first)


def test_only_sure_labels_become_gold():
    assert gold.draw(table(9, 9, n_annotations=2), 4, set()) == {}
    assert gold.draw(table(9, 9, agreement=0.75), 4, set()) == {}
    assert gold.draw(table(9, 9, label=None), 4, set()) == {}
    assert len(gold.draw(table(9, 9, n_annotations=0, method="adjudicated"), 4, set())) == 4


@pytest.fixture
def voted(workspace_of, sure_votes):
    ws = workspace_of(60)
    sure_votes(ws, 60)
    return ws


def ledger_of(ws) -> Ledger:
    return Ledger(path=ws.campaign_labels("spring") / "x.json", url="", key="k")


def test_mixed_in_for_what_is_new(voted):
    ledger = ledger_of(voted)
    share = gold.GoldShare(0.1)
    assert gold.mix_in(voted, "spring", ledger, 90, share) == 10
    assert len(ledger.gold) == len(ledger.state) == 10
    assert not set(ledger.gold) & {f"f{i:05d}" for i in range(60)}  # a task name tells nothing
    assert all(len(task) == 16 for task in ledger.gold)
    same = ledger_of(voted)
    gold.mix_in(voted, "spring", same, 90, share)
    assert same.gold == ledger.gold
    assert gold.mix_in(voted, "spring", ledger, 0, share) == 0
    gold.mix_in(voted, "spring", ledger, 90, share)
    shown = [answer["frame_id"] for answer in ledger.gold.values()]
    assert len(shown) == len(set(shown)) == 20


def test_gold_of_another_campaign(voted):
    ledger = ledger_of(voted)
    assert gold.mix_in(voted, "autumn", ledger, 90, gold.GoldShare(0.1, "spring")) == 10
    assert {answer["campaign"] for answer in ledger.gold.values()} == {"spring"}
    with pytest.raises(NotFoundError, match="'winter'"):
        gold.mix_in(voted, "autumn", ledger, 90, gold.GoldShare(0.1, "winter"))


def judged(ledger: Ledger, workers: str, label: str) -> list[dict]:
    at = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    return [
        {"frame_id": task, "worker": w, "label": label, "annotated_at": at}
        | {"seconds_spent": 1.0, "source": "label_studio"}
        for task in ledger.gold
        for w in workers
    ]


def test_judged_again_gold_keeps_its_label_and_tells_who_is_bad(voted):
    ledger = ledger_of(voted)
    gold.mix_in(voted, "spring", ledger, 180, gold.GoldShare(0.1))
    before = campaign.aggregate(voted, "spring").labels.set_index("frame_id")
    rows = judged(ledger, "z", "no_truck")
    assert gold.add_votes(voted, "spring", ledger, rows) == (20, 0)
    assert gold.add_votes(voted, "spring", ledger, rows) == (0, 0)
    after = campaign.aggregate(voted, "spring")
    told = after.labels.set_index("frame_id")
    shown = [answer["frame_id"] for answer in ledger.gold.values()]
    assert told.loc[shown, "label"].tolist() == before.loc[shown, "label"].tolist()
    assert told["n_annotations"].tolist() == before["n_annotations"].tolist()
    found = campaign.summary(after)
    trucks = sum(answer["truck"] for answer in ledger.gold.values())
    assert found["gold"] == [
        {"worker": "z", "n_gold": 20, "n_right": 20 - trucks, "skill": (20 - trucks) / 20}
        | {k: found["gold"][0][k] for k in ("skill_lo", "skill_hi")}
    ]
    assert {"worker": "z", "flag": "constant"}.items() <= next(
        f for f in found["flagged"] if f["worker"] == "z"
    ).items()


def test_gold_that_most_contradict_goes_to_an_expert_who_overrules_it(voted):
    ledger = ledger_of(voted)
    gold.mix_in(voted, "spring", ledger, 9, gold.GoldShare(0.1))
    (answer,) = ledger.gold.values()
    wrong = "no_truck" if answer["truck"] else "truck"
    gold.add_votes(voted, "spring", ledger, judged(ledger, "xy", wrong))
    assert answer["frame_id"] not in campaign.waiting(voted, "spring")
    gold.add_votes(voted, "spring", ledger, judged(ledger, "xyz", wrong))
    assert campaign.waiting(voted, "spring")[answer["frame_id"]] == "doubted gold"
    vote = judged(ledger, "e", wrong)[0] | {"frame_id": answer["frame_id"]}
    campaign.add_adjudications(voted, "spring", [vote])
    assert answer["frame_id"] not in campaign.waiting(voted, "spring")
    result = campaign.aggregate(voted, "spring")
    assert result.labels.set_index("frame_id").loc[answer["frame_id"], "label"] == wrong
    assert campaign.summary(result)["gold"][0]["skill"] == 1.0  # they were right all along
    held = store.read_table(voted.campaign_labels("spring") / "gold.parquet", schemas.GOLD)
    assert held.num_rows == 3


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(InputError, match=f"bad share of gold {share}"):
        gold.GoldShare(share)
