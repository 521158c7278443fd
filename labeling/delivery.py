"""Bring a ledger's tasks to their project on Label Studio, each exactly once.

After any ambiguous failure what is there is listed and the difference sent. A server that commits
late can still hold a task twice; the last step lists the project, deletes later copies that nobody
has annotated, and sets how many votes each task waits for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from labeling import tasks as wire
from labeling.client import AmbiguousError, LabelStudio, ServiceError
from labeling.ledger import Ledger
from pipeline.progress import track

CHUNK: Final = 200
ATTEMPTS: Final = 12

Making = Callable[[str], dict[str, Any]]
"""A task's name → the task as the server takes it."""


@dataclass(frozen=True)
class Pushed:
    """``sent``: tasks sent by this call; ``confirmed``: tasks now there; ``removed``: copies;
    ``asked``: tasks that now wait for another number of votes; ``gold``: gold tasks there.
    """  # noqa: D205 - a list, not a sentence

    project: int
    sent: int
    confirmed: int
    removed: int
    asked: int
    gold: int


def bring(
    ledger: Ledger,
    campaign: str,
    server: LabelStudio,
    settings: dict[str, Any],
    make: Making,
    chunk: int = CHUNK,
) -> Pushed:
    """Bring every task of the ledger to the server.

    Args:
        ledger: as it is on the disk.
        campaign: its name, for the project's title.
        server: where to.
        settings: of the project, beside title and number of votes.
        make: lays out a task; asked only for those that are sent.
        chunk: tasks per call.

    Raises:
        ServiceError: the server refuses, or fails again and again; what was confirmed stays so.
    """
    _project(ledger, campaign, server, settings)
    _confirmed(ledger, list(server.tasks(ledger.number())))
    missing = ledger.of_state("pending", "sent")
    parts = [missing[i : i + chunk] for i in range(0, len(missing), chunk)]
    for part in track(parts, f"pushing {campaign}"):
        _send(ledger, server, {task: make(task) for task in part})
    removed = asked = 0
    for _ in range(ATTEMPTS):
        there = list(server.tasks(ledger.number()))
        _confirmed(ledger, there)
        gone, changed = _tidied(ledger, server, there)
        removed, asked = removed + gone, asked + changed
        # Where one copy came late another may: list again until there is none.
        if not gone:
            break
    confirmed = ledger.of_state("confirmed")
    gold = len(set(confirmed) & set(ledger.gold))
    return Pushed(ledger.number(), len(missing), len(confirmed), removed, asked, gold)


def _project(ledger: Ledger, campaign: str, server: LabelStudio, settings: dict[str, Any]) -> None:
    """Find the campaign's project by its title, or create it; never a second one."""
    title = ledger.title(campaign)
    wanted = settings | {"maximum_annotations": ledger.votes}
    for attempt in range(ATTEMPTS):
        found = server.find_projects(title)
        if found:
            ledger.project = found[0]
            break
        try:
            ledger.project = server.create_project(wanted | {"title": title})
            break
        except AmbiguousError:
            if attempt == ATTEMPTS - 1:
                raise
    # The page stays as it was made: annotations hang on it.
    del wanted["label_config"]
    server.change_project(ledger.number(), wanted)
    ledger.write()


def _confirmed(ledger: Ledger, listed: list[dict[str, Any]]) -> None:
    """Set every task's state by what is there."""
    there = {wire.frame_of(task) for task in listed}
    before = dict(ledger.state)
    for task in ledger.state:
        ledger.state[task] = "confirmed" if task in there else "pending"
    if ledger.state != before:
        ledger.write()


def _arrived(ledger: Ledger, server: LabelStudio, waiting: list[str]) -> None:
    """Confirm those of the waiting tasks that are there.

    What is new is listed last, so only the end is read: over a failing line each page costs. Should
    the project have shrunk meanwhile, a task is overlooked and sent again; its copy goes at the
    end.
    """
    listed = server.tasks(ledger.number(), after=len(ledger.of_state("confirmed")))
    there = {wire.frame_of(task) for task in listed}
    ledger.mark([task for task in waiting if task in there], "confirmed")


def _send(ledger: Ledger, server: LabelStudio, tasks: dict[str, dict[str, Any]]) -> None:
    """Send one chunk until every task of it is there."""
    for attempt in range(ATTEMPTS):
        waiting = [task for task in tasks if ledger.state[task] != "confirmed"]
        if not waiting:
            return
        ledger.mark(waiting, "sent")
        try:
            count = server.import_tasks(ledger.number(), [tasks[task] for task in waiting])
        except AmbiguousError:
            if attempt == ATTEMPTS - 1:
                raise
            _arrived(ledger, server, waiting)
            continue
        except ServiceError:
            ledger.mark(waiting, "pending")
            raise
        if count == len(waiting):
            ledger.mark(waiting, "confirmed")
        else:
            _arrived(ledger, server, waiting)
    raise ServiceError(f"{server.url} does not keep the tasks sent to it.", "See its log.")


def _tidied(ledger: Ledger, server: LabelStudio, listed: list[dict[str, Any]]) -> tuple[int, int]:
    """Delete later copies of a task that nobody has annotated; ask for the votes each should get.

    Returns:
        How many copies went, and of how many tasks the number of votes was changed.
    """
    copies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task in listed:
        if wire.frame_of(task) in ledger.state:
            copies[wire.frame_of(task)].append(task)
    removed = asked = 0
    for name, found in copies.items():
        # Annotated ones first, then the oldest: that one stays.
        first, *rest = sorted(found, key=lambda t: (-_given(t), int(t["id"])))
        for copy in rest:
            if _given(copy) == 0:
                server.delete_task(int(copy["id"]))
                removed += 1
        wanted = ledger.votes_for(name)
        if int(first["overlap"]) != wanted:
            server.ask_votes(int(first["id"]), wanted, done=_given(first) >= wanted)
            asked += 1
    return removed, asked


def _given(task: dict[str, Any]) -> int:
    return int(task.get("total_annotations") or 0)
