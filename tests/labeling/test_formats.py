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
    other = {"source-ref": "b.jpg", "yard": 0, "yard-metadata": {"class-name": "no_truck"}}
    assert said(formats.read_ground_truth(json.dumps(other), NAMES)) == {"b": "no_truck"}
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
    votes = formats.read_crowd_results(results, {})
    assert [(v["frame_id"], v["worker"], v["label"]) for v in votes] == [
        ("a", "W1", "truck"),
        ("a", "W2", "cant_tell"),
    ]
    assert (votes[0]["annotated_at"], votes[0]["seconds_spent"]) == (START, 4.0)
    with pytest.raises(InputError, match="'WorkerId'"):
        formats.read_crowd_results("Input.frame_id\na\n", {})


def test_crowd_results_as_the_market_wrote_them():
    head = "Input.image_url,WorkerId,Answer.label.label,SubmitTime,WorkTimeInSeconds\n"
    row = "https://p.example/b.jpg,W1,Truck,Mon Mar 02 04:00:00 PST 2026,7\n"
    (vote,) = formats.read_crowd_results(head + row, NAMES)
    assert (vote["frame_id"], vote["annotated_at"], vote["seconds_spent"]) == ("b", START, 7.0)
    for wrong, said_so in (
        (row.replace("Truck", "Lorry"), "line 2: answer 'Lorry'"),
        (row.replace("W1", ""), "line 2: WorkerId is empty"),
        (row.replace("PST", "XYZ"), "line 2: bad instant 'Mon Mar 02"),
        (row.replace(",7", ",soon"), "line 2: bad WorkTimeInSeconds 'soon'"),
        (row.replace("b.jpg", "z.jpg"), "line 2: unknown picture"),
    ):
        with pytest.raises(InputError, match=said_so):
            formats.read_crowd_results(head + wrong, NAMES)


def test_coco_and_back():
    sizes = {"a.jpg": (128, 96), "b.jpg": (64, 48)}
    document = json.loads(json.dumps(formats.coco(LABELS, FRAMES, sizes)))
    assert document["images"][0]["file_name"] == "a.jpg"
    assert document["annotations"][0]["bbox"] == [0, 0, 128, 96]
    assert [c["name"] for c in document["categories"]] == ["no_truck", "truck"]
    assert document["annotations"][1]["bbox"] == [0, 0, 64, 48]
    assert said(formats.read_coco(json.dumps(document), {})) == {"a": "truck", "b": "no_truck"}
    for image in document["images"]:
        del image["frame_id"]  # as others write it
    assert said(formats.read_coco(json.dumps(document), NAMES)) == {"a": "truck", "b": "no_truck"}


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("{", "no COCO document"),
        ("[]", "no COCO document"),
        ('{"images": [], "annotations": []}', "lacks 'categories'"),
        (
            '{"images": [], "categories": [{"id": 1, "name": "truck"}],'
            ' "annotations": [{"image_id": 7, "category_id": 1}]}',
            "lacks 7",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}],'
            ' "categories": [], "annotations": []}',
            "two images of this COCO document have one id",
        ),
    ],
)
def test_what_is_no_coco_is_refused(text, lacks):
    with pytest.raises(InputError, match=lacks):
        formats.read_coco(text, NAMES)


def test_votes_csv_is_what_import_takes(tmp_path):
    from labeling.importing import _read_csv

    votes = crowd.annotate({"a": True, "b": False}, 3)
    path = tmp_path / "votes.csv"
    path.write_text(formats.votes_csv(votes))
    read = pd.DataFrame(_read_csv(path, {"a", "b"}))
    columns = ["frame_id", "worker", "label", "annotated_at", "seconds_spent"]
    pd.testing.assert_frame_equal(read[columns], votes[columns], check_dtype=False)


@pytest.fixture
def judged(workspace_of):
    """Six frames, three votes on each, labels made."""
    from labeling import campaign

    ws = workspace_of(6)
    campaign.add_table(ws, "spring", crowd.annotate({f"f{i:05d}": i < 2 for i in range(6)}, 3))
    campaign.aggregate(ws, "spring", "majority")
    return ws


def command(ws, *words: str) -> dict:
    from click.testing import CliRunner

    from flows.cli import cli

    given = ["label", *words, "--root", str(ws.root), "--json"]
    done = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


@pytest.mark.parametrize("form", ["csv", "ground-truth", "coco"])
def test_out_and_in_by_command(judged, form):
    from labeling import campaign

    found = command(judged, "export", "spring", "--format", form)
    (path,) = found["files"]
    before = campaign.read_annotations(judged, "spring")
    done = command(judged, "import", "spring", path, "--format", form)
    assert done["changed"] == 0
    assert done["unchanged"] == (len(before) if form == "csv" else 0)
    labels = campaign.aggregate(judged, "spring", "majority").labels
    resolved = int(labels["label"].notna().sum())
    assert done["added"] == (0 if form == "csv" else resolved)
    assert resolved >= 5
    again = command(judged, "import", "spring", path, "--format", form)
    assert again["added"] == 0


def test_a_market_needs_an_address(judged):
    with pytest.raises(InputError, match="--address"):
        command(judged, "export", "spring", "--format", "crowd")
    found = command(judged, "export", "spring", "--format", "crowd", "--address", "https://p.ex/")
    with open(found["files"][0], encoding="utf-8") as handle:
        listed = list(csv.DictReader(handle))
    assert [row["frame_id"] for row in listed] == [f"f{i:05d}" for i in range(6)]
    assert {row["image_url"] for row in listed} == {"https://p.ex/crop.jpg"}


def test_an_address_and_a_name_are_parted_by_one_slash(judged):
    def first(form: str, address: str) -> str:
        found = command(judged, "export", "spring", "--format", form, "--address", address)
        with open(found["files"][0], encoding="utf-8") as handle:
            text = handle.read()
        return text.splitlines()[1].split(",")[0] if form == "crowd" else text.split('"')[3]

    assert first("crowd", "https://x/y") == "https://x/y/crop.jpg"
    assert first("ground-truth", "s3://x/y") == "s3://x/y/crop.jpg"
    assert first("ground-truth", "https://x/get?name=") == "https://x/get?name=crop.jpg"
    for form in ("csv", "coco"):
        with pytest.raises(InputError, match=f"--address https://x is of no use to {form}"):
            command(judged, "export", "spring", "--format", form, "--address", "https://x")


@pytest.mark.parametrize("form", ["coco", "ground-truth"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000])
def test_a_file_nested_too_deeply_is_refused(judged, tmp_path, form, content):
    deep = tmp_path / "deep.json"
    deep.write_text(content)
    with pytest.raises(InputError, match=r"no COCO document|not a JSON object"):
        command(judged, "import", "spring", str(deep), "--format", form)


def test_a_name_with_half_a_character_is_refused(judged, tmp_path):
    wrong = tmp_path / "wrong.manifest"
    about = {"class-name": "truck", "job-name": "labeling-job/\ud800"}
    wrong.write_text(json.dumps({"frame-id": "f00000", "truck-metadata": about}))
    with pytest.raises(InputError, match=r"line 1: job '\\ud800' is no text"):
        command(judged, "import", "spring", str(wrong), "--format", "ground-truth")


def test_what_cannot_be_taken_is_named(judged, tmp_path):
    wrong = tmp_path / "wrong.manifest"
    for content, said_so in (
        ('{"frame-id": "nine", "truck-metadata": {"class-name": "truck"}}', "unknown frame 'nine'"),
        ('{"source-ref": "crop.jpg", "truck-metadata": {"class-name": "truck"}}', "unknown pict"),
        ('{"source-ref": "http://[x", "truck-metadata": {"class-name": "truck"}}', "unknown pict"),
    ):
        wrong.write_text(content)
        with pytest.raises(InputError, match=f"wrong.manifest.*{said_so}"):
            command(judged, "import", "spring", str(wrong), "--format", "ground-truth")
    line = '{"frame-id": "f00000", "truck-metadata": {"class-name": "%s"}}\n'
    wrong.write_text(line % "truck" + line % "no_truck")
    with pytest.raises(InputError, match="already voted on frame 'f00000'"):
        command(judged, "import", "spring", str(wrong), "--format", "ground-truth")
    with pytest.raises(InputError, match="no such file"):
        command(judged, "import", "spring", str(tmp_path / "none"), "--format", "coco")
