"""From a published cell back to the votes; a file that changed since is said to have."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest

from pipeline import schemas, store
from pipeline.digests import digest_of
from pipeline.errors import NotFoundError, StoreError
from pipeline.lineage import Link, lineage

DAY = dt.date(2026, 3, 8)
AT = dt.datetime(2026, 3, 8, 12, tzinfo=dt.UTC)


@pytest.fixture
def traced(counted):
    """A published camera-day with every file on the way to its votes."""
    ws = counted.ws
    votes = [
        {"frame_id": f, "worker": w, "label": "truck", "source": "import"}
        for f in ("f1", "f2")
        for w in ("ann", "bob", "cy")
    ]
    votes = [{**v, "annotated_at": None, "seconds_spent": None} for v in votes]
    labels = [
        {"frame_id": f, "label": "truck", "p_truck": 1.0, "n_annotations": 3, "agreement": 1.0}
        for f in ("f1", "f2")
    ]
    labels = [{**row, "method": "majority"} for row in labels]
    clip = {
        "camera_id": "north-gate",
        "clip_id": "k1",
        "uri": "footage/north-gate/k1.mp4",
        "started_at": AT,
        "duration_s": 60.0,
        "frames_expected": 600,
        "frames_read": 600,
        "width_px": 640,
        "height_px": 360,
        "codec": "h264",
        "status": "ok",
        "reason": "",
        "timebase": "container",
        "content_hash": "abc",
        "covered": [{"start_s": 0.0, "end_s": 60.0}],
    }
    score = {
        "camera_id": "north-gate",
        "zone": "exit",
        "captured_at": AT,
        "p_truck": 0.5,
        "model_id": "m1",
        "clip_id": "k1",
        "offset_s": 0.0,
    }
    folder = ws.campaign_labels("first")
    for path, rows, schema in (
        (folder / "annotations.parquet", votes, schemas.ANNOTATIONS),
        (folder / "labels.parquet", labels, schemas.LABELS),
        (ws.clips("north-gate", DAY), [clip], schemas.CLIPS),
        (ws.scores("north-gate", DAY, "m1"), [score] * 2, schemas.SCORES),
        (ws.passages("north-gate", DAY, "m1"), [], schemas.PASSAGES),
    ):
        store.write_table(path, store.table_of(rows, schema), schema)
    store.write_json(ws.scores("north-gate", DAY, "m1").with_suffix(".json"), {"made_from": "x"})
    store.write_bytes(ws.model("m1") / "model.safetensors", b"weights")
    card = {
        "model_id": "m1",
        "label_set_id": "l1",
        "labels": {"n": 2, "truck": 2},
        "campaigns": {"first": digest_of(folder / "labels.parquet")},
    }
    store.write_json(ws.model("m1") / "card.json", card)
    counted.count(str(DAY), 40)
    counted.publish("2026-03-10T12:00:00Z")
    return counted


def _links(link: Link) -> dict[str, Link]:
    found = {link.kind: link}
    for below in link.made_from:
        found.update(_links(below))
    return found


def test_the_chain_runs_from_cell_to_votes(traced):
    ws = traced.ws
    tree = lineage(ws, "north-gate", DAY)
    links = _links(tree)
    assert list(links) == [
        "table",
        "vintage",
        "cell",
        "counts",
        "passages",
        "scores",
        "clips",
        "clip",
        "card",
        "weights",
        "label set",
        "labels",
        "votes",
    ]
    assert links["cell"].name == "out: 40.0 trucks, 36.0 to 44.0, coverage 104.3%"
    assert links["vintage"].name == "features/vintages/2026-03-10T120000.000000Z.parquet"
    assert links["votes"].said == "6 annotations by 3 workers"
    assert links["scores"].said == "2 rows"
    assert links["clip"].digest == "abc"
    for kind in ("counts", "passages", "scores", "clips", "card", "labels"):
        assert links[kind].state == "as published", kind
    for kind in ("table", "vintage", "counts", "passages", "scores", "clips", "weights", "votes"):
        content = (ws.root / links[kind].name).read_bytes()
        assert links[kind].digest == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_text_and_json_tell_the_same(traced):
    tree = lineage(traced.ws, "north-gate", DAY)
    lines = tree.as_text().splitlines()
    assert lines[0].startswith("table  features/daily_truck_counts.parquet  north-gate 2026-03-08")
    assert lines[1].startswith("└─ vintage  features/vintages/")
    assert lines[2].startswith("   ├─ cell  out: 40.0 trucks")
    assert lines[-1].lstrip(" │└─").startswith("votes  labels/first/annotations.parquet")
    told = tree.as_json()
    assert told["made_from"][0]["kind"] == "vintage"
    assert len(lines) == str(told).count("'kind'")


def test_files_that_changed_since_publication_are_said(traced):
    ws = traced.ws
    traced.count(str(DAY), 41)
    store.write_json(ws.scores("north-gate", DAY, "m1").with_suffix(".json"), {"made_from": "y"})
    store.write_bytes(ws.campaign_labels("first") / "labels.parquet", b"")
    assert "damaged" in str(_links(lineage(ws, "north-gate", DAY))["labels"])
    (ws.campaign_labels("first") / "labels.parquet").unlink()
    (ws.model("m1") / "model.safetensors").unlink()
    links = _links(lineage(ws, "north-gate", DAY))
    assert links["counts"].state == "changed since publication"
    assert links["scores"].state == "changed since publication"
    assert links["labels"].state == "missing"
    assert links["weights"].state == "missing"
    assert links["weights"].digest is None
    assert links["card"].state == "as published"
    assert "40.0 trucks" in links["cell"].name


def test_a_clip_that_came_after_publication_is_no_source_of_it(traced):
    ws = traced.ws
    path = ws.clips("north-gate", DAY)
    (clip,) = store.read_table(path, schemas.CLIPS).to_pylist()
    late = {**clip, "clip_id": "k2", "uri": "footage/late.mp4", "content_hash": "def"}
    store.write_table(path, store.table_of([clip, late], schemas.CLIPS), schemas.CLIPS)
    links = _links(lineage(ws, "north-gate", DAY))
    assert (links["clips"].said, links["clips"].state) == ("2 rows", "changed since publication")
    assert links["counts"].state == links["passages"].state == "as published"


def test_a_clip_that_came_between_count_and_publication_is_no_source_either(traced, counted):
    ws = traced.ws
    path = ws.clips("north-gate", DAY)
    beside = ws.counts("north-gate", DAY, "m1").with_suffix(".json")
    store.write_json(beside, {"arithmetic": {}, "clips": digest_of(path)})
    (clip,) = store.read_table(path, schemas.CLIPS).to_pylist()
    store.write_table(
        path, store.table_of([clip, {**clip, "clip_id": "k2"}], schemas.CLIPS), schemas.CLIPS
    )
    counted.count(str(DAY), 41)
    counted.publish("2026-03-11T12:00:00Z")
    links = _links(lineage(ws, "north-gate", DAY))
    assert (links["counts"].state, links["clips"].state) == (
        "as published",
        "changed since publication",
    )


def test_a_bare_publication_has_a_tree_too(counted):
    counted.count(str(DAY), None)
    counted.publish("2026-03-10T12:00:00Z")
    links = _links(lineage(counted.ws, "north-gate", DAY))
    assert links["cell"].name == "out: no count (insufficient)"
    assert links["scores"].state == "missing"
    assert links["label set"].name == "unknown"


def test_a_day_that_was_never_published_is_named(traced):
    with pytest.raises(NotFoundError, match="north-gate on 2026-03-09"):
        lineage(traced.ws, "north-gate", dt.date(2026, 3, 9))


def test_a_damaged_vintage_is_one_line(counted):
    counted.count("2026-02-03", 24.0)
    path = counted.publish("2026-02-05T00:00:00Z").path
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=f"{path.name} cannot be read"):
        counted.publish("2026-02-06T00:00:00Z")
    with pytest.raises(StoreError, match=f"{path.name} cannot be read"):
        lineage(counted.ws, "north-gate", dt.date(2026, 2, 3))
