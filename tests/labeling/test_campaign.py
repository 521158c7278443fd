"""Import and aggregation on disk: whole or not at all, and twice is once."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labeling import campaign, crowd, importing
from pipeline import schemas, store
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

TOLD = ("annotated_at", "seconds_spent")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace(tmp_path)
    start = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
    rows = [
        {
            "frame_id": f"f{i}",
            "camera_id": "gate",
            "zone": "out",
            "clip_id": "c",
            "captured_at": start + dt.timedelta(seconds=i),
            "offset_s": float(i),
            "path": f"f{i}.jpg",
            "background_path": f"f{i}.bg.jpg",
            "batch": "b",
            "why_chosen": "random",
            "weight": 1.0,
        }
        for i in range(6)
    ]
    path = ws.campaign_frames("spring") / "frames.parquet"
    store.write_table(path, store.table_of(rows, schemas.FRAMES), schemas.FRAMES)
    return ws


def csv(ws: Workspace, text: str) -> Path:
    path = ws.root / "votes.csv"
    path.write_text(text)
    return path


def test_votes_that_come_from_two_sides_at_once_are_all_kept(ws):
    """A file is taken while a pull writes what it found: 2 × 20 votes are 40."""

    def bring(worker: str) -> None:
        for i in range(20):
            row = {"frame_id": f"f{i}", "worker": worker, "label": "truck", "source": "import"}
            campaign.add_annotations(ws, "spring", [row | dict.fromkeys(TOLD)])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(bring, ("ann", "bob")))
    assert len(campaign.read_annotations(ws, "spring")) == 40


def test_import_then_aggregate(ws):
    path = csv(
        ws,
        "frame_id,worker,label,annotated_at,seconds_spent\n"
        "f0,ann,truck,2026-03-03T10:00:00+01:00,2.5\n"
        "f0,bob,truck,,\n"
        "f1,ann,no_truck,,\n"
        "f2,ann,cant_tell,,\n",
    )
    assert importing.import_annotations(ws, "spring", path) == campaign.Added(4, 0, 0)
    held = campaign.read_annotations(ws, "spring").set_index(["frame_id", "worker"])
    assert held.loc[("f0", "ann"), "annotated_at"] == dt.datetime(2026, 3, 3, 9, tzinfo=dt.UTC)
    assert held.loc[("f0", "ann"), "seconds_spent"] == 2.5
    assert set(held["source"]) == {"import"}

    campaign.aggregate(ws, "spring", "majority")
    labels = store.read_table(ws.campaign_labels("spring") / "labels.parquet", schemas.LABELS)
    assert labels.to_pydict()["label"] == ["truck", "no_truck", None]
    quality = store.read_json(ws.campaign_labels("spring") / "quality.json")
    assert (quality["truck"], quality["no_truck"], quality["unresolved"]) == (1, 1, 1)
    assert quality["annotations"] == 4


def test_twice_is_once_and_a_changed_mind_replaces(ws):
    path = csv(ws, "frame_id,worker,label\nf0,ann,truck\nf1,ann,truck\nf1,ann,truck\n")
    importing.import_annotations(ws, "spring", path)
    table = ws.campaign_labels("spring") / "annotations.parquet"
    before = table.read_bytes(), table.stat().st_mtime_ns
    assert importing.import_annotations(ws, "spring", path) == campaign.Added(0, 0, 2)
    assert (table.read_bytes(), table.stat().st_mtime_ns) == before
    path = csv(ws, "frame_id,worker,label\nf1,ann,no_truck\n")
    assert importing.import_annotations(ws, "spring", path) == campaign.Added(0, 1, 0)
    assert campaign.read_annotations(ws, "spring")["label"].tolist() == ["truck", "no_truck"]


@pytest.mark.parametrize(
    ("text", "naming"),
    [
        ("frame_id,worker,label\nf0,ann,truck\nf1,ann,lorry\n", r"line 3: unknown label 'lorry'"),
        ("frame_id,worker,label\nf0,ann,truck\nzz,ann,truck\n", r"line 3: unknown frame 'zz'"),
        ("frame_id,worker,label\nf0,,truck\n", r"line 2: worker is empty"),
        ("frame_id,worker\nf0,ann\n", r"no column 'label'"),
        ("frame_id,worker,label,note\nf0,ann,truck,a,b\n", r"line 2: more fields .*\(b\)"),
        ("frame_id,worker,label,Label \nf0,ann,truck,x\n", r"the column 'label' twice"),
        ("frame_id,worker,label,label\nf0,ann,truck,no_truck\n", r"the column 'label' twice"),
        ("frame_id,worker,label\nf0,\x1b[31mann,truck\n", r"line 2: worker '\\x1b\[31mann'"),
        ("", r"no column 'frame_id'"),
        ("frame_id,worker,label\nf0,ann,truck\nf0,ann,no_truck\n", r"line 3: .*'ann'.*line 2"),
        ("frame_id,worker,label,annotated_at\nf0,a,truck,noon\n", r"line 2: bad instant 'noon'"),
        ("frame_id,worker,label,seconds_spent\nf0,a,truck,-1\n", r"line 2: .*'-1'"),
    ],
)
def test_wrong_input_is_named_and_nothing_written(ws, text, naming):
    with pytest.raises(InputError, match=naming) as caught:
        importing.import_annotations(ws, "spring", csv(ws, text))
    assert "\n" not in str(caught.value)
    assert not ws.campaign_labels("spring").exists()


def test_columns_in_capitals_and_stray_commas_are_read(ws):
    path = csv(ws, "Frame_ID, WORKER,Label\nf0, ann,truck,\n")
    assert importing.import_annotations(ws, "spring", path) == campaign.Added(1, 0, 0)


def test_missing_things_are_named(ws):
    with pytest.raises(InputError, match=r"absent\.csv"):
        importing.import_annotations(ws, "spring", ws.root / "absent.csv")
    with pytest.raises(NotFoundError, match="'autumn'"):
        importing.import_annotations(ws, "autumn", csv(ws, "frame_id,worker,label\n"))
    with pytest.raises(NotFoundError, match="'autumn'"):
        campaign.aggregate(ws, "autumn")
    with pytest.raises(InputError, match="'spring' has no annotations"):
        campaign.aggregate(ws, "spring")


def test_a_simulated_crowd_goes_the_ordinary_way(ws):
    votes = crowd.annotate({f"f{i}": i % 2 == 0 for i in range(6)}, 5)
    assert campaign.add_table(ws, "spring", votes).added == 30
    assert campaign.add_table(ws, "spring", votes) == campaign.Added(0, 0, 30)
    first = campaign.aggregate(ws, "spring")
    path = ws.campaign_labels("spring") / "labels.parquet"
    before = path.stat().st_mtime_ns
    assert campaign.aggregate(ws, "spring").label_set_id == first.label_set_id
    assert path.stat().st_mtime_ns == before
    assert set(campaign.read_annotations(ws, "spring")["source"]) == {"simulated"}
