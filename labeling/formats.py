"""Other people's formats: SageMaker Ground Truth manifests, MTurk's image classifier, COCO, CSV.

Amazon closed Mechanical Turk on 30 September 2026; its task template and result files live on in
other markets. What comes in becomes votes like any other; what goes out are a campaign's frames and
labels. Unresolved frames are left out of the label formats: they have no label.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from labeling.tasks import WORDS
from pipeline.errors import InputError
from pipeline.localtime import parse_instant

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE: Final = "truck"
CLASSES: Final = {"no_truck": 0, "truck": 1}
MARKET_ZONES: Final = {"UTC": 0, "GMT": 0, "PST": -8, "PDT": -7}

CROWD_TEMPLATE: Final = """<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<crowd-form>
  <crowd-image-classifier
    name="label"
    src="${{image_url}}"
    header="Is any part of a truck on the outlined stretch of road?"
    categories="{categories}">
    <full-instructions header="What is a truck?">
      <p>A goods vehicle over about 3.5 t. A van, pickup, minibus, bus, coach or car is not.</p>
    </full-instructions>
    <short-instructions>If you cannot tell, say so: it is an answer.</short-instructions>
  </crowd-image-classifier>
</crowd-form>
"""


def ground_truth_manifest(
    labels: pd.DataFrame,
    frames: pd.DataFrame,
    job: str,
    made_at: dt.datetime | None = None,
    address: str = "",
) -> str:
    """Return an augmented manifest: a JSON object per labelled frame and line.

    Args:
        labels: columns of ``schemas.LABELS``.
        frames: columns of ``schemas.FRAMES``.
        job: the campaign's name.
        made_at: when the last vote was given, where that is known.
        address: put before every picture's name.
    """
    dated = {"creation-date": f"{made_at:%Y-%m-%dT%H:%M:%S.%f}"} if made_at else {}
    lines = []
    for row in _labelled(labels, frames):
        confidence = row["p_truck"] if row["label"] == "truck" else 1.0 - row["p_truck"]
        about = {
            "class-name": row["label"],
            "confidence": round(float(confidence), 4),
            "type": "groundtruth/image-classification",
            "human-annotated": "yes",
            **dated,
            "job-name": f"labeling-job/{job}",
        }
        line = {
            "source-ref": address + str(row["path"]),
            "frame-id": row["frame_id"],
            ATTRIBUTE: CLASSES[row["label"]],
            f"{ATTRIBUTE}-metadata": about,
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    return "".join(line + "\n" for line in lines)


def read_ground_truth(text: str, known: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the votes in an augmented manifest, one per line, by the worker ``job:<name>``.

    Args:
        text: the manifest.
        known: picture name → frame id, for lines that carry no ``frame-id``.

    Raises:
        InputError: a line is not JSON, names an unknown picture, or has another class.
    """
    votes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        found = _object(line, number)
        about = _about(found)
        label = str(about.get("class-name", ""))
        if label not in CLASSES:
            raise InputError(f"line {number}: class {label!r}.", f"Use {' or '.join(CLASSES)}.")
        job = str(about.get("job-name", "ground-truth")).removeprefix("labeling-job/")
        if any("\ud800" <= letter <= "\udfff" for letter in job):  # half of an escaped pair
            raise InputError(f"line {number}: job {job!r} is no text.", "Mend its \\u escapes.")
        frame = found.get("frame-id") or _frame(known, str(found.get("source-ref", "")), number)
        votes.append(_vote(str(frame), f"job:{job}", label))
    return votes


def _about(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a line says of its label; other people's jobs call the attribute otherwise."""
    kept = found.get(f"{ATTRIBUTE}-metadata")
    others = (v for k, v in found.items() if k.endswith("-metadata") and isinstance(v, dict))
    named = (kept if isinstance(kept, dict) else None, *others)
    return next((about for about in named if about and "class-name" in about), {})


def crowd_template() -> str:
    """Return the task page for markets that speak ``crowd-image-classifier``."""
    categories = json.dumps(list(WORDS.values())).replace('"', "&quot;")
    return CROWD_TEMPLATE.format(categories=categories)


def crowd_input(frames: pd.DataFrame, address: str) -> str:
    """Return the market's input file; ``address`` is put before every picture's name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["image_url", "frame_id"])
    for frame, path in zip(frames["frame_id"], frames["path"], strict=True):
        writer.writerow([address + str(path), frame])
    return out.getvalue()


def read_crowd_results(text: str, known: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the votes in a market's result file.

    It has ``WorkerId``, ``Answer.label.label``, ``Input.frame_id`` or ``Input.image_url`` and,
    optionally, ``SubmitTime`` (ISO 8601, or as the market wrote it: ``Mon Mar 02 04:00:00 PST
    2026``) and ``WorkTimeInSeconds``; rejected assignments are left out.

    Args:
        text: the CSV.
        known: picture name → frame id, for files that carry no ``Input.frame_id``.

    Raises:
        InputError: a column is missing, or a cell cannot be understood.
    """
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    frame_column = "Input.frame_id" if "Input.frame_id" in columns else "Input.image_url"
    for column in (frame_column, "WorkerId", "Answer.label.label"):
        if column not in columns:
            raise InputError(f"the result file has no column {column!r}.", "Take the whole file.")
    labels = {words: label for label, words in WORDS.items()}
    votes = []
    for row in reader:
        if (row.get("AssignmentStatus") or "") == "Rejected":
            continue
        number = reader.line_num
        answer, worker = str(row["Answer.label.label"] or ""), str(row["WorkerId"] or "").strip()
        if answer not in labels:
            raise InputError(f"line {number}: answer {answer!r}.", f"Use {list(labels)}.")
        if not worker:
            raise InputError(f"line {number}: WorkerId is empty.", "Name who judged the frame.")
        shown = str(row[frame_column] or "")
        frame = shown if frame_column == "Input.frame_id" else _frame(known, shown, number)
        told = {
            "annotated_at": _submitted(row.get("SubmitTime") or "", f"line {number}"),
            "seconds_spent": seconds(
                row.get("WorkTimeInSeconds") or "", f"line {number}", "WorkTimeInSeconds"
            ),
        }
        votes.append(_vote(frame, worker, labels[answer]) | told)
    return votes


def _submitted(text: str, where: str) -> dt.datetime | None:
    words = text.split()
    if len(words) == 6 and words[4] in MARKET_ZONES:
        with contextlib.suppress(ValueError):
            hours = MARKET_ZONES[words[4]]
            stamp = " ".join([*words[1:4], words[5], f"{hours:+03d}00"])
            return dt.datetime.strptime(stamp, "%b %d %H:%M:%S %Y %z").astimezone(dt.UTC)
    return instant(text, where)


def instant(text: str, where: str) -> dt.datetime | None:
    """Read a cell that holds an instant, or nothing.

    Raises:
        InputError: it is no instant; ``where`` is named.
    """
    try:
        return parse_instant(text) if text else None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def seconds(text: str, where: str, column: str) -> float | None:
    """Read a cell that holds seconds, or nothing.

    Raises:
        InputError: it is no number, or less than 0; ``where`` and ``column`` are named.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}: bad {column} {text!r}.", "Give seconds, 0 or more.")
    return value


def coco(
    labels: pd.DataFrame, frames: pd.DataFrame, sizes_px: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """Return a COCO document: a label is a box around the whole crop.

    Args:
        labels: columns of ``schemas.LABELS``.
        frames: columns of ``schemas.FRAMES``.
        sizes_px: a crop's ``path`` → its width and height.
    """
    images, marks = [], []
    for number, row in enumerate(_labelled(labels, frames), start=1):
        width, height = sizes_px[row["path"]]
        images.append(
            {
                "id": number,
                "file_name": row["path"],
                "width": width,
                "height": height,
                "date_captured": row["captured_at"].isoformat(),
                "frame_id": row["frame_id"],
            }
        )
        marks.append(
            {
                "id": number,
                "image_id": number,
                "category_id": CLASSES[row["label"]] + 1,
                "bbox": [0, 0, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
        )
    categories = [{"id": k + 1, "name": name} for name, k in CLASSES.items()]
    return {"images": images, "annotations": marks, "categories": categories}


def read_coco(text: str, known: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the votes in a COCO document, by the worker ``coco``; see :func:`read_ground_truth`.

    A picture with any truck is a truck; with marks of other categories only, it is none; without
    any mark it has no vote.

    Raises:
        InputError: it is no COCO document, names an unknown picture or category, or gives two of
            them one id.
    """
    try:
        document = json.loads(text)
        names = {c["id"]: str(c["name"]) for c in document["categories"]}
        images = {i["id"]: i for i in document["images"]}
        _all_apart(document, "categories", names)
        _all_apart(document, "images", images)
        trucks: dict[Any, bool] = {}
        for mark in document["annotations"]:
            image, is_truck = mark["image_id"], names[mark["category_id"]] == "truck"
            trucks[image] = trucks.get(image, False) or is_truck
        shown = {image: images[image] for image in trucks}
        frames = {
            image: str(about.get("frame_id") or _frame(known, str(about["file_name"]), 0))
            for image, about in shown.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InputError("this is no COCO document.", "It is one JSON object.") from None
    except KeyError as error:
        raise InputError(
            f"this COCO document lacks {error}.",
            "It has images, annotations and categories, which name each other by id.",
        ) from None
    return [
        _vote(frames[image], "coco", "truck" if truck else "no_truck")
        for image, truck in trucks.items()
    ]


def _all_apart(document: Mapping[str, Any], what: str, by_id: Mapping[Any, Any]) -> None:
    """Refuse ids that are given twice: a mark would go to whichever comes last."""
    if len(by_id) < len(document[what]):
        raise InputError(f"two {what} of this COCO document have one id.", "Number them anew.")


def votes_csv(votes: pd.DataFrame) -> str:
    """Return votes as the CSV that ``label import`` takes."""
    columns = ["frame_id", "worker", "label", "annotated_at", "seconds_spent"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in votes[columns].astype(object).itertuples(index=False):
        writer.writerow(["" if value is None or value != value else _text(value) for value in row])
    return out.getvalue()


def _text(value: Any) -> str:  # noqa: ANN401 - a cell
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _labelled(labels: pd.DataFrame, frames: pd.DataFrame) -> Iterable[dict[str, Any]]:
    known = labels[labels["label"].notna()].sort_values("frame_id")
    joined = known.merge(frames[["frame_id", "path", "captured_at"]], on="frame_id")
    yield from ({str(k): v for k, v in row.items()} for row in joined.to_dict("records"))


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # the last: thousands of brackets deep
        found = None
    if not isinstance(found, dict):
        raise InputError(f"line {number} is not a JSON object.", "Give one per line.")
    return found


def _frame(known: Mapping[str, str], picture: str, number: int) -> str:
    try:
        name = Path(urlsplit(picture).path).name  # a signed address has a query
    except ValueError:  # a bracket that is not closed
        name = ""
    if name not in known:
        where = f"line {number}: " if number else ""
        raise InputError(f"{where}unknown picture {picture!r}.", "Use the campaign's file names.")
    return known[name]


def _vote(frame: str, worker: str, label: str) -> dict[str, Any]:
    return {
        "frame_id": frame,
        "worker": worker,
        "label": label,
        "annotated_at": None,
        "seconds_spent": None,
        "source": "import",
    }
