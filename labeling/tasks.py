"""Records ↔ Label Studio's JSON, and the page annotators see. Pure: no network, no files.

A task carries its frame's id twice: in ``data`` for people, in ``meta`` so that tasks can be listed
without their pictures. Pictures travel inside the task as ``data:`` addresses (a crop is a few
kilobytes), or as addresses the caller gives (a signed object store).
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from pipeline.domain import LABELS

WORDS: Final = {"truck": "Truck", "no_truck": "No truck", "cant_tell": "Can't tell"}
HOTKEYS: Final = {"truck": "1", "no_truck": "2", "cant_tell": "3"}

INSTRUCTIONS: Final = """
<p><b>Is any part of a truck on the outlined stretch of road?</b></p>
<p>A truck is a goods vehicle over about 3.5 t: articulated or box lorry, tanker, tipper, skip
lorry. A van, pickup, minibus, bus, coach or car is not.</p>
<p>Keys: <b>1</b> truck, <b>2</b> no truck, <b>3</b> can't tell. If you cannot tell, say so: it is
an answer. A truck beside the outline, on another lane, does not count.</p>
"""


def interface(show_guess: bool = False) -> str:
    """Return the labelling configuration: crop, wider view, three choices with hotkeys 1 2 3.

    The model's guess biases people, so it is shown only when asked for.
    """
    choices = "".join(
        f"<Choice value={quoteattr(label)} alias={quoteattr(label)} "
        f"html={quoteattr(WORDS[label])} hotkey={quoteattr(HOTKEYS[label])}/>"
        for label in LABELS
    )
    guess = '<Text name="guess" value="$guess"/>' if show_guess else ""
    return (
        '<View><Header value="Is a truck on the outlined stretch?"/>'
        '<Image name="image" value="$image" zoom="false" width="480px"/>'
        f'<Choices name="label" toName="image" choice="single" required="true" '
        f'showInLine="true">{choices}</Choices>{guess}'
        '<Collapse><Panel value="Wider view"><Image name="wide" value="$wide" '
        'width="640px"/></Panel></Collapse></View>'
    )


def embedded(jpeg: bytes) -> str:
    """Return a JPEG as a ``data:`` address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def task_of(
    frame: Mapping[str, Any], campaign: str, image: str, wide: str = "", guess: str = ""
) -> dict[str, Any]:
    """Return the task for a row of the ``frames`` table.

    >>> row = {"frame_id": "f1", "camera_id": "gate", "zone": "out"}
    >>> task_of(row, "spring", "x.jpg")["meta"]
    {'frame_id': 'f1', 'campaign': 'spring'}
    """
    shown = {key: str(frame[key]) for key in ("frame_id", "camera_id", "zone")}
    pictures = {"image": image, "wide": wide or image, "guess": guess}
    return {
        "data": shown | pictures,
        "meta": {"frame_id": shown["frame_id"], "campaign": campaign},
    }


def count_interface() -> str:
    """Return the labelling configuration for audit windows: a strip of frames and a number."""
    return (
        '<View><Header value="How many trucks cross the outlined stretch? Frames are half a second '
        'apart; a truck counts here if the middle of its stay does."/>'
        '<Image name="strip" value="$strip" zoom="true"/>'
        '<Number name="truck_count" toName="strip" min="0" step="1" required="true"/></View>'
    )


def count_task(window: Mapping[str, Any], campaign: str, strip: bytes) -> dict[str, Any]:
    """Return the task for an audit window, its strip inside."""
    shown = {key: str(window[key]) for key in ("window_id", "camera_id", "movement")}
    meta = {"window_id": shown["window_id"], "campaign": campaign}
    return {"data": shown | {"strip": embedded(strip)}, "meta": meta}


def frame_of(task: Mapping[str, Any]) -> str:
    """Return the frame id of a task as the server lists it; empty where it is not one of ours."""
    return str((task.get("meta") or {}).get("frame_id") or "")


def votes_of(task: Mapping[str, Any], workers: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the votes on a task as rows of ``schemas.ANNOTATIONS``: one per worker, the latest.

    Skipped and empty annotations are not votes, nor is what nobody is named for any more.

    Args:
        task: as the server gives it, with its annotations.
        workers: user number → name.
    """
    latest: dict[str, dict[str, Any]] = {}
    annotations = task.get("annotations") or []
    for annotation in sorted(annotations, key=lambda a: (str(a["updated_at"]), int(a["id"]))):
        label = choice_of(annotation.get("result") or [])
        if annotation.get("was_cancelled") or label is None:
            continue
        if annotation["completed_by"] is None:  # deleted there; what was pulled before is held
            continue
        number = _user_number(annotation["completed_by"])
        worker = workers.get(number, f"user-{number}")
        spent = annotation.get("lead_time")
        latest[worker] = {
            "frame_id": frame_of(task),
            "worker": worker,
            "label": label,
            "annotated_at": dt.datetime.fromisoformat(str(annotation["updated_at"])),
            "seconds_spent": None if spent is None else float(spent),
            "source": "label_studio",
        }
    return [latest[worker] for worker in sorted(latest)]


def choice_of(result: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the label chosen in an annotation's result, None where there is none of ours."""
    for part in result:
        if part.get("from_name") == "label" and part.get("type") == "choices":
            chosen = (part.get("value") or {}).get("choices") or []
            if len(chosen) == 1 and chosen[0] in LABELS:
                return str(chosen[0])
    return None


def result_of(label: str) -> list[dict[str, Any]]:
    """Return the result an annotator's choice makes; the reverse of :func:`choice_of`.

    >>> choice_of(result_of("truck"))
    'truck'
    """
    value = {"choices": [label]}
    return [{"from_name": "label", "to_name": "image", "type": "choices", "value": value}]


def _user_number(completed_by: Any) -> int:  # noqa: ANN401 - a number, or an object with one
    return int(completed_by["id"] if isinstance(completed_by, Mapping) else completed_by)
