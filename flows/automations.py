"""What Prefect's server does by itself: end runs that died silently, send alerts on.

An alert goes to ``TRUCK_COUNTER_ALERT_URL`` (a webhook that takes ``{"text": …}``, as chat services
do), kept on the server in an encrypted block; without one it stays an event on Prefect's pages, a
line in the log and an artifact. ``truck-counter up`` makes all of this known over HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

MISSING = "truck-counter.day.missing"
COVERAGE = "truck-counter.coverage.drop"
DRIFT = "truck-counter.drift"
CRASHED = "prefect.flow-run.Crashed"
FAILED = "prefect.flow-run.Failed"
LATE = "prefect.flow-run.Late"

BLOCK = "truck-counter-alerts"
HEARTBEAT_S = 30
START_S = 600
LATE_S = 900
_ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "Incomplete")


def _heard(event: str) -> Row:
    """Return the trigger that fires whenever an event of a camera or a run comes."""
    return {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": ["truck-counter.camera.*", "prefect.flow-run.*"]},
        "for_each": ["prefect.resource.id"],
        "expect": [event],
        "threshold": 1,
        "within": 0,
    }


def _silence(after: Sequence[str], expect: Sequence[str], within_s: int) -> Row:
    """Return the trigger that fires where nothing more is heard of a run after some event."""
    return {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
        "for_each": ["prefect.resource.id"],
        "after": [f"prefect.flow-run.{event}" for event in after],
        "expect": [f"prefect.flow-run.{event}" for event in (*expect, *_ENDED)],
        "threshold": 1,
        "within": within_s,
    }


def _crashed(name: str, trigger: Row) -> Row:
    """Return the automation that ends a run which is taken for dead."""
    return {
        "name": name,
        "description": "A run whose process died silently ends, so that it can be run again.",
        "enabled": True,
        "trigger": trigger,
        "actions": [
            {"type": "change-flow-run-state", "state": "CRASHED", "message": f"{name}: ended"}
        ],
    }


# A run may die before its first heartbeat, so that it began is enough to wait for one.
ZOMBIES = _crashed(
    "runs without a heartbeat have crashed",
    _silence(("Running", "heartbeat"), ("heartbeat",), 3 * HEARTBEAT_S),
)
STILLBORN = _crashed(
    "runs that were handed out and never began have crashed",
    _silence(("Pending",), ("Running",), START_S),
)

_TOLD = {
    MISSING: ("a day is missing", "{{ event.payload.text }}"),
    COVERAGE: ("a camera sees less than it used to", "{{ event.payload.text }}"),
    DRIFT: ("a camera drifts from what its model learned", "{{ event.payload.text }}"),
    CRASHED: ("a run has crashed", "run {{ event.resource.name }} crashed"),
    FAILED: ("a run has failed", "run {{ event.resource.name }} failed"),
    LATE: (
        "a late run does not begin",
        f"a run is late and has not begun for {LATE_S // 60} minutes: is the worker alive?",
    ),
}


def automations(block_id: str | None) -> list[Row]:
    """Return every automation; ``block_id`` names the webhook that alerts go to, None: nowhere."""
    return [ZOMBIES, STILLBORN, *(_alert(event, block_id) for event in _TOLD)]


def _alert(event: str, block_id: str | None) -> Row:
    name, text = _TOLD[event]
    action: Row = {"type": "do-nothing"}
    if block_id is not None:
        words = text.replace(" }}", " | tojson }}") if text.startswith("{{") else f'"{text}"'
        payload = f'{{"text": {words}}}'
        action = {"type": "call-webhook", "block_document_id": block_id, "payload": payload}
    trigger = _heard(event)
    if event == LATE:  # for seconds many a run is
        trigger = _silence(("Late",), ("Pending", "Running"), LATE_S)
    return {
        "name": f"truck-counter: {name}",
        "description": f"{event} → the alert channel" if block_id else f"{event}: no channel set",
        "enabled": True,
        "trigger": trigger,
        "actions": [action],
    }
