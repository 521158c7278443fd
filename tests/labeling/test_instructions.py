"""Hard cases on the instructions page: real ones, sure ones, and never gold."""

from __future__ import annotations

import pytest

from labeling import campaign, instructions
from pipeline import schemas, store


@pytest.fixture
def judged(workspace_of, sure_votes):
    """Twelve frames, even ones trucks; the first six large, the rest merely moving."""
    ws = workspace_of(12)
    path = ws.campaign_frames("spring") / "frames.parquet"
    rows = [
        row | {"why_chosen": "large" if i < 6 else "moving"}
        for i, row in enumerate(store.read_table(path).to_pylist())
    ]
    store.write_table(path, store.table_of(rows, schemas.FRAMES), schemas.FRAMES)
    sure_votes(ws, 12)
    return ws


def test_large_things_that_are_no_trucks_and_trucks_that_were_not_large(judged):
    cases = instructions.hard_cases(judged, "spring", {"f00001", "f00006"})
    shown = [(case["frame_id"], case["label"]) for case in cases]
    assert shown == [
        *(("f00003", "no_truck"), ("f00005", "no_truck")),
        *(("f00008", "truck"), ("f00010", "truck")),
    ]
    text = instructions.text(judged, "spring", cases)
    assert text.count("data:image/jpeg;base64,") == 4
    assert text.index("no trucks") < text.index("are <b>trucks")


def test_before_any_label_words_alone(workspace_of):
    ws = workspace_of(2)
    assert instructions.hard_cases(ws, "spring", set()) == []
    assert "<img" not in instructions.text(ws, "spring", [])


def test_what_an_expert_had_to_settle_comes_first(judged):
    vote = {"frame_id": "f00005", "worker": "eve", "label": "no_truck", "annotated_at": None}
    vote |= {"seconds_spent": None, "source": "import"}
    campaign.add_adjudications(judged, "spring", [vote])
    campaign.aggregate(judged, "spring")
    cases = instructions.hard_cases(judged, "spring", set())
    assert [case["frame_id"] for case in cases][:3] == ["f00005", "f00001", "f00003"]
