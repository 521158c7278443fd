"""What waits for an expert, and what an expert's vote does."""

from __future__ import annotations

import pandas as pd
import pytest

from labeling import adjudication, campaign, importing, page
from labeling.aggregate import aggregate
from pipeline.errors import InputError


def said(**frames: str) -> pd.DataFrame:
    words = {"t": "truck", "n": "no_truck", "c": "cant_tell"}
    rows = [(f, f"w{i}", words[v]) for f, line in frames.items() for i, v in enumerate(line)]
    return pd.DataFrame(rows, columns=["frame_id", "worker", "label"])


def test_who_waits_and_why():
    votes = said(tie="tn", hard="tcc", nobody="cc", sure="tt", odd="nn")
    result = aggregate(votes, "majority")
    why = adjudication.waiting(result, votes, {}, ["odd"])
    assert why == {
        "hard": "can't tell",
        "nobody": "can't tell",
        "odd": "doubted gold",
        "tie": "tie",
    }
    assert adjudication.waiting(result, votes, {"tie": True, "hard": None, "odd": False}, []) == {
        "nobody": "can't tell"
    }
    assert adjudication.summary(why, {"x": True}) == {
        "waiting": 4,
        "reasons": {"can't tell": 2, "doubted gold": 1, "tie": 1},
        "frames": ["hard", "nobody", "odd", "tie"],
        "settled": 1,
    }


def test_a_majority_of_experts_settles():
    votes = said(a="ttn", b="tn", c="cc", d="n", e="ntc")
    assert adjudication.settled(votes) == {"a": True, "c": None, "d": False}


@pytest.fixture
def split(workspace_of):
    """Six frames: two sure, two tied, two that nobody can tell."""
    ws = workspace_of(6)
    path = ws.root / "votes.csv"
    lines = ["f00000,a,truck", "f00000,b,truck", "f00001,a,no_truck", "f00001,b,no_truck"]
    lines += [f"f0000{i},{w},{v}" for i in (2, 3) for w, v in (("a", "truck"), ("b", "no_truck"))]
    lines += [f"f0000{i},{w},cant_tell" for i in (4, 5) for w in "ab"]
    path.write_text("\n".join(["frame_id,worker,label", *lines]) + "\n")
    importing.import_annotations(ws, "spring", path)
    return ws


def test_experts_votes_by_file_settle(split):
    assert list(campaign.waiting(split, "spring")) == ["f00002", "f00003", "f00004", "f00005"]
    path = split.root / "expert.csv"
    path.write_text("frame_id,worker,label\nf00002,eve,truck\nf00004,eve,cant_tell\n")
    done = importing.import_annotations(split, "spring", path, adjudicated=True)
    assert done == campaign.Added(2, 0, 0)
    assert len(campaign.read_annotations(split, "spring")) == 12  # the crowd's stay apart
    labels = campaign.aggregate(split, "spring", "majority").labels.set_index("frame_id")
    assert labels.loc["f00002", ["label", "method"]].tolist() == ["truck", "adjudicated"]
    assert pd.isna(labels.loc["f00004", "label"])
    assert labels.loc["f00004", "method"] == "adjudicated"
    assert list(campaign.waiting(split, "spring")) == ["f00003", "f00005"]
    path.write_text("frame_id,worker,label\nzz,eve,truck\n")
    with pytest.raises(InputError, match="'zz'"):
        importing.import_annotations(split, "spring", path, adjudicated=True)


def test_the_page_shows_what_waits(split):
    campaign.aggregate(split, "spring", "majority")
    assert len(page.waiting_frames(split, "spring")) == 4
    text = page.write_page(split, "spring").read_text()
    assert "<h2>For an expert</h2>" in text
    assert "4 frames wait for an expert" in text
