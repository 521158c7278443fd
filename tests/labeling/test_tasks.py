"""Records to Label Studio's JSON and back."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import tasks
from labeling.client import LabelStudio
from pipeline.domain import LABELS
from pipeline.errors import InputError

ROW = {"frame_id": "f1", "camera_id": "gate", "zone": "out", "batch": "b", "offset_s": 1.0}


def annotation(number: int, by: object, label: str | None, at: str, **more: object) -> dict:
    result = [] if label is None else tasks.result_of(label)
    return {"id": number, "completed_by": by, "result": result, "updated_at": at, **more}


def test_interface_is_xml_with_three_hotkeys_and_no_guess():
    page = ET.fromstring(tasks.interface())
    keys = {c.get("value"): c.get("hotkey") for c in page.iter("Choice")}
    assert keys == {"truck": "1", "no_truck": "2", "cant_tell": "3"}
    assert "$guess" not in tasks.interface()
    assert "$guess" in tasks.interface(show_guess=True)


def test_task_carries_its_frame_twice():
    task = tasks.task_of(ROW, "spring", "crop", "wide")
    assert tasks.frame_of(task) == task["data"]["frame_id"] == "f1"
    assert (task["data"]["image"], task["data"]["wide"]) == ("crop", "wide")
    assert tasks.task_of(ROW, "spring", "crop")["data"]["wide"] == "crop"
    assert tasks.frame_of({"meta": None}) == ""


def test_embedded_picture():
    assert tasks.embedded(b"\xff\xd8\xff") == "data:image/jpeg;base64,/9j/"


def test_votes_the_latest_of_each_worker_without_skips():
    task = tasks.task_of(ROW, "spring", "x") | {
        "annotations": [
            annotation(3, 7, "no_truck", "2026-03-02T10:00:02.5Z", lead_time=1.5),
            annotation(1, 7, "truck", "2026-03-02T10:00:01Z", lead_time=9.0),
            annotation(2, {"id": 8}, "cant_tell", "2026-03-02T10:00:00Z"),
            annotation(4, 9, "truck", "2026-03-02T10:00:00Z", was_cancelled=True),
            annotation(5, 9, None, "2026-03-02T10:00:00Z"),
            annotation(6, None, "truck", "2026-03-02T10:00:00Z"),  # their account was deleted
        ]
    }
    assert tasks.votes_of(task, {7: "ann"}) == [
        {
            "frame_id": "f1",
            "worker": "ann",
            "label": "no_truck",
            "annotated_at": dt.datetime(2026, 3, 2, 10, 0, 2, 500_000, tzinfo=dt.UTC),
            "seconds_spent": 1.5,
            "source": "label_studio",
        },
        {
            "frame_id": "f1",
            "worker": "user-8",
            "label": "cant_tell",
            "annotated_at": dt.datetime(2026, 3, 2, 10, tzinfo=dt.UTC),
            "seconds_spent": None,
            "source": "label_studio",
        },
    ]


@given(st.sampled_from(LABELS))
def test_choice_and_back(label):
    assert tasks.choice_of(tasks.result_of(label)) == label


@given(st.lists(st.dictionaries(st.text(), st.text() | st.none()), max_size=3))
def test_foreign_results_are_no_votes(result):
    assert tasks.choice_of(result) is None


def test_an_address_that_is_none_is_named():
    with pytest.raises(InputError, match=r"bad Label Studio address 'http://studio:80a'"):
        LabelStudio("http://studio:80a", "key")
