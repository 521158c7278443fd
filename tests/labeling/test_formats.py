"""Out and back again in other people's formats."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from labeling import crowd, formats
from pipeline.errors import InputError

START = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
FRAMES = pd.DataFrame(
    {
        "frame_id": ["a", "b", "c"],
        "path": ["a.jpg", "b.jpg", "c.jpg"],
        "captured_at": [START] * 3,
    }
)
LABELS = pd.DataFrame(
    {"frame_id": ["a", "b", "c"], "label": ["truck", "no_truck", None], "p_truck": [0.9, 0.2, 0.5]}
)
NAMES = {"a.jpg": "a", "b.jpg": "b", "c.jpg": "c"}


def said(votes: list[dict]) -> dict[str, str]:
    return {v["frame_id"]: v["label"] for v in votes}


def test_ground_truth_manifest_and_back():
    text = formats.ground_truth_manifest(LABELS, FRAMES, "spring")
    first = json.loads(text.splitlines()[0])
    assert first["source-ref"] == "a.jpg"
    assert first["truck"] == 1
    assert first["truck-metadata"]["class-name"] == "truck"
    assert first["truck-metadata"]["confidence"] == 0.9
    assert json.loads(text.splitlines()[1])["truck-metadata"]["confidence"] == 0.8
    votes = formats.read_ground_truth(text, {})
    assert said(votes) == {"a": "truck", "b": "no_truck"}  # the unresolved one has no label
    assert {v["worker"] for v in votes} == {"job:spring"}


def test_ground_truth_from_elsewhere_is_matched_by_picture():
    line = {"source-ref": "s3://bucket/x/b.jpg", "truck-metadata": {"class-name": "truck"}}
    assert said(formats.read_ground_truth(json.dumps(line), NAMES)) == {"b": "truck"}
    with pytest.raises(InputError, match=r"line 1: unknown picture 's3://bucket/x/b\.jpg'"):
        formats.read_ground_truth(json.dumps(line), {})
    with pytest.raises(InputError, match="line 2: class 'lorry'"):
        formats.read_ground_truth('\n{"truck-metadata": {"class-name": "lorry"}}', NAMES)
    with pytest.raises(InputError, match="line 1 is not a JSON object"):
        formats.read_ground_truth("[1", NAMES)


def test_crowd_template_and_results():
    page = formats.crowd_template().split("</script>")[1]
    task = ET.fromstring(page).find("crowd-image-classifier")
    assert json.loads(task.get("categories")) == ["Truck", "No truck", "Can't tell"]
    assert task.get("src") == "${image_url}"
    listed = list(csv.DictReader(io.StringIO(formats.crowd_input(FRAMES, "https://p.example/"))))
    assert listed[1] == {"image_url": "https://p.example/b.jpg", "frame_id": "b"}
    results = (
        "Input.frame_id,WorkerId,Answer.label.label,SubmitTime,WorkTimeInSeconds,AssignmentStatus\n"
        "a,W1,Truck,2026-03-02T12:00:00+00:00,4,Approved\n"
        "a,W2,Can't tell,,,\n"
        "b,W3,No truck,,,Rejected\n"
    )
    votes = formats.read_crowd_results(results)
    assert [(v["frame_id"], v["worker"], v["label"]) for v in votes] == [
        ("a", "W1", "truck"),
        ("a", "W2", "cant_tell"),
    ]
    assert (votes[0]["annotated_at"], votes[0]["seconds_spent"]) == (START, 4.0)
    with pytest.raises(InputError, match="line 2: answer 'Lorry'"):
        formats.read_crowd_results("Input.frame_id,WorkerId,Answer.label.label\na,W,Lorry\n")
    with pytest.raises(InputError, match="'WorkerId'"):
        formats.read_crowd_results("Input.frame_id\na\n")


def test_coco_and_back():
    document = json.loads(json.dumps(formats.coco(LABELS, FRAMES, (128, 96))))
    assert document["images"][0]["file_name"] == "a.jpg"
    assert document["annotations"][0]["bbox"] == [0, 0, 128, 96]
    assert [c["name"] for c in document["categories"]] == ["no_truck", "truck"]
    assert said(formats.read_coco(document, NAMES)) == {"a": "truck", "b": "no_truck"}


def test_votes_csv_is_what_import_takes(tmp_path):
    from labeling.importing import _read_csv

    votes = crowd.annotate({"a": True, "b": False}, 3)
    path = tmp_path / "votes.csv"
    path.write_text(formats.votes_csv(votes))
    read = pd.DataFrame(_read_csv(path, {"a", "b"}))
    columns = ["frame_id", "worker", "label", "annotated_at", "seconds_spent"]
    pd.testing.assert_frame_equal(read[columns], votes[columns], check_dtype=False)
