"""A campaign on Label Studio: push its frames, pull the votes, close it; nothing twice or lost.

The ledger ``labels/<campaign>/label_studio.json`` says for every frame how far it has come::

    pending ──► sent ──► confirmed
       ▲          │
       └──────────┘  an ambiguous failure: list what is there, send the difference

It is written before and after every call, so a push that is killed at any instant is simply made
again. A server that commits late can still hold a task twice; the last step of every push lists the
project and deletes later copies that nobody has annotated. ``pull`` lists by pages and compares its
count with the server's. The ledger holds no secret.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from labeling import campaign as campaigns
from labeling import tasks as wire
from labeling.client import AmbiguousError, LabelStudio, ServiceError
from pipeline import store
from pipeline.errors import InputError, NotFoundError
from pipeline.progress import track
from pipeline.store import Workspace

CHUNK: Final = 200
ATTEMPTS: Final = 12

Drawing = Callable[[Mapping[str, Any]], tuple[str, str]]
"""Row of ``frames`` → addresses of the crop and of the wider view (may be empty)."""


@dataclass(frozen=True)
class Pushed:
    """``sent``: tasks sent by this call; ``confirmed``: tasks now there; ``removed``: copies."""

    project: int
    sent: int
    confirmed: int
    removed: int


@dataclass(frozen=True)
class Pulled:
    """What a pull found on the server and changed here."""

    tasks: int
    annotations: int
    skipped: int
    foreign: int
    added: int
    changed: int


@dataclass
class Ledger:
    """How far every frame of a campaign has come. ``state``: pending, sent or confirmed."""

    path: Path
    url: str
    key: str
    project: int | None = None
    closed: bool = False
    votes: int = 1
    state: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, ws: Workspace, campaign: str) -> Ledger | None:
        """Return the ledger of a campaign, None where it was never pushed."""
        path = ws.campaign_labels(campaign) / "label_studio.json"
        if not path.is_file():
            return None
        return cls(path=path, **store.read_json(path))

    def write(self) -> None:
        """Put it on the disk."""
        content = {
            "url": self.url,
            "key": self.key,
            "project": self.project,
            "closed": self.closed,
            "votes": self.votes,
            "state": self.state,
        }
        store.write_json(self.path, content)

    def of_state(self, *states: str) -> list[str]:
        """Return the frames in these states, sorted."""
        return sorted(f for f, s in self.state.items() if s in states)

    def mark(self, frames: Iterable[str], state: str) -> None:
        """Move frames to a state and put the ledger on the disk."""
        self.state.update(dict.fromkeys(frames, state))
        self.write()


def push(
    ws: Workspace,
    campaign: str,
    server: LabelStudio,
    votes: int = 3,
    show_guess: Mapping[str, float] | None = None,
    drawing: Drawing | None = None,
    chunk: int = CHUNK,
) -> Pushed:
    """Bring every frame of a campaign to the server, each exactly once.

    Args:
        ws: the workspace.
        campaign: its name; its frames must have been sampled.
        server: where to.
        votes: how many people should judge each frame.
        show_guess: frame_id → p_truck, to show annotators the model's guess; hidden by default.
        drawing: how a frame's pictures are addressed; by default they travel in the task.
        chunk: tasks per call.

    Raises:
        NotFoundError: there is no such campaign.
        InputError: it is closed, or lies on another server.
        ServiceError: the server refuses, or fails again and again; what was confirmed stays so.
    """
    rows = {str(r["frame_id"]): r for r in _rows(ws, campaign)}
    ledger = _opened(ws, campaign, server, votes)
    _project(ledger, campaign, server, show_guess is not None)
    for frame in rows:
        ledger.state.setdefault(frame, "pending")
    ledger.write()
    if not ledger.of_state("pending", "sent"):
        there = _confirmed(ledger, server)
        if not ledger.of_state("pending"):
            return Pushed(_number(ledger), 0, there, _without_copies(ledger, server))
    else:
        _confirmed(ledger, server)
    picture = drawing or _embedding(ws, campaign)
    guesses = show_guess or {}
    missing = ledger.of_state("pending", "sent")
    parts = [missing[i : i + chunk] for i in range(0, len(missing), chunk)]
    for part in track(parts, f"pushing {campaign}"):
        made = [_task(rows[f], campaign, picture, guesses.get(f)) for f in part]
        _send(ledger, server, dict(zip(part, made, strict=True)))
    removed = _without_copies(ledger, server)
    return Pushed(_number(ledger), len(missing), _confirmed(ledger, server), removed)


def pull(ws: Workspace, campaign: str, server: LabelStudio) -> Pulled:
    """Bring every vote from the server into the ``annotations`` table.

    Raises:
        NotFoundError: the campaign was never pushed.
        ServiceError: the server fails, or its pages do not hold as many annotations as it says.
    """
    ledger = Ledger.read(ws, campaign)
    if ledger is None or ledger.project is None:
        raise NotFoundError(f"campaign {campaign!r} was never pushed.", "Use label push first.")
    for _ in range(3):
        expected = _expected(server, ledger.project)
        listed = {int(t["id"]): t for t in server.annotated_tasks(ledger.project)}
        given = [a for t in listed.values() for a in t.get("annotations") or []]
        if len(given) >= expected:
            break
    else:
        raise ServiceError(
            f"{server.url} says {expected} annotations but lists {len(given)}.", "Pull again."
        )
    return _taken(ws, campaign, ledger, server.users(), list(listed.values()))


def close(ws: Workspace, campaign: str, server: LabelStudio) -> Pulled:
    """Pull the last votes, then end the campaign: the server asks nobody any more.

    The project stays on the server, renamed; nothing is deleted.
    """
    pulled = pull(ws, campaign, server)
    ledger = Ledger.read(ws, campaign)
    if ledger is not None and not ledger.closed:
        title = _title(campaign, ledger)
        server.change_project(_number(ledger), {"title": f"(closed) {title}"[:50]})
        ledger.closed = True
        ledger.write()
    return pulled


def _rows(ws: Workspace, campaign: str) -> list[dict[str, Any]]:
    return [
        {str(k): v for k, v in row.items()}
        for row in campaigns.read_frames(ws, campaign).to_dict("records")
    ]


def _opened(ws: Workspace, campaign: str, server: LabelStudio, votes: int) -> Ledger:
    ledger = Ledger.read(ws, campaign)
    if ledger is None:
        path = ws.campaign_labels(campaign) / "label_studio.json"
        ledger = Ledger(path=path, url=server.url, key=secrets.token_hex(4), votes=votes)
        ledger.write()
        return ledger
    if ledger.closed:
        raise InputError(f"campaign {campaign!r} is closed.", "Sample a new one.")
    if ledger.project is not None and not server.find_projects(_title(campaign, ledger)):
        raise InputError(
            f"campaign {campaign!r} was pushed to {ledger.url}, and {server.url} does not have it.",
            f"Use that server, or remove {ledger.path.name} to start afresh.",
        )
    # A local server may come back on another port.
    ledger.url, ledger.votes = server.url, votes
    return ledger


def _title(campaign: str, ledger: Ledger) -> str:
    """Return a title that no other campaign uses, known before the project exists."""
    return f"{campaign[:38]} {ledger.key}"


def _project(ledger: Ledger, campaign: str, server: LabelStudio, show_guess: bool) -> None:
    """Find the campaign's project by its title, or create it; never a second one."""
    title = _title(campaign, ledger)
    settings = {
        "title": title,
        "label_config": wire.interface(show_guess),
        "expert_instruction": wire.INSTRUCTIONS,
        "show_instruction": True,
        "maximum_annotations": ledger.votes,
        "sampling": "Uniform sampling",
    }
    for attempt in range(ATTEMPTS):
        found = server.find_projects(title)
        if found:
            ledger.project = found[0]
            break
        try:
            ledger.project = server.create_project(settings)
            break
        except AmbiguousError:
            if attempt == ATTEMPTS - 1:
                raise
    server.change_project(_number(ledger), {"maximum_annotations": ledger.votes})
    ledger.write()


def _number(ledger: Ledger) -> int:
    if ledger.project is None:
        raise AssertionError("the project is known by now")
    return ledger.project


def _confirmed(ledger: Ledger, server: LabelStudio) -> int:
    """List what is there, set every frame's state by it, and return how many are there."""
    there = {wire.frame_of(task) for task in server.tasks(_number(ledger))}
    before = dict(ledger.state)
    for frame in ledger.state:
        ledger.state[frame] = "confirmed" if frame in there else "pending"
    if ledger.state != before:
        ledger.write()
    return sum(1 for frame in ledger.state if frame in there)


def _send(ledger: Ledger, server: LabelStudio, tasks: dict[str, dict[str, Any]]) -> None:
    """Send one chunk until every task of it is there."""
    for attempt in range(ATTEMPTS):
        waiting = [frame for frame in tasks if ledger.state[frame] != "confirmed"]
        if not waiting:
            return
        ledger.mark(waiting, "sent")
        try:
            count = server.import_tasks(_number(ledger), [tasks[frame] for frame in waiting])
        except AmbiguousError:
            if attempt == ATTEMPTS - 1:
                raise
            _confirmed(ledger, server)
            continue
        except ServiceError:
            ledger.mark(waiting, "pending")
            raise
        if count == len(waiting):
            ledger.mark(waiting, "confirmed")
        else:
            _confirmed(ledger, server)
    raise ServiceError(f"{server.url} does not keep the tasks sent to it.", "See its log.")


def _without_copies(ledger: Ledger, server: LabelStudio) -> int:
    """Delete later copies of a task that nobody has annotated; return how many."""
    copies: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for task in server.tasks(_number(ledger)):
        # Annotated ones first, then the oldest: that one stays.
        rank = -int(task.get("total_annotations") or 0)
        copies[wire.frame_of(task)].append((rank, int(task["id"])))
    removed = 0
    for frame, found in copies.items():
        for rank, number in sorted(found)[1:] if frame in ledger.state else ():
            if rank == 0:
                server.delete_task(number)
                removed += 1
    return removed


def _task(
    row: Mapping[str, Any], campaign: str, picture: Drawing, guess: float | None
) -> dict[str, Any]:
    image, wide = picture(row)
    said = "" if guess is None else f"model: {guess:.0%} truck"
    return wire.task_of(row, campaign, image, wide, said)


def _embedding(ws: Workspace, campaign: str) -> Drawing:
    """Return the default drawing: pictures inside the task."""
    from labeling.pictures import Pictures

    pictures = Pictures(ws, campaign)

    def draw(row: Mapping[str, Any]) -> tuple[str, str]:
        crop, wide = pictures.of(row)
        return wire.embedded(crop), wire.embedded(wide) if wide else ""

    return draw


def _expected(server: LabelStudio, project: int) -> int:
    """Return how many annotations, skips left out, the server says it holds."""
    return int(server.project(project)["total_annotations_number"] or 0)


def _taken(
    ws: Workspace,
    campaign: str,
    ledger: Ledger,
    workers: Mapping[int, str],
    listed: Sequence[dict[str, Any]],
) -> Pulled:
    """Put what was listed into the table."""
    ours = [task for task in listed if wire.frame_of(task) in ledger.state]
    given = [a for task in ours for a in task.get("annotations") or []]
    rows = list(_latest(vote for task in ours for vote in wire.votes_of(task, workers)))
    added = campaigns.add_annotations(ws, campaign, rows)
    return Pulled(
        tasks=len(ours),
        annotations=len(rows),
        skipped=sum(1 for a in given if a.get("was_cancelled")),
        foreign=len(listed) - len(ours),
        added=added.added,
        changed=added.changed,
    )


def _latest(votes: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one vote per frame and worker, the latest, even where a task is there twice."""
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for vote in votes:
        key = vote["frame_id"], vote["worker"]
        if key not in held or held[key]["annotated_at"] <= vote["annotated_at"]:
            held[key] = vote
    yield from held.values()
