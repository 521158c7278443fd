"""How far every task of a campaign has come on Label Studio, kept on the disk.

``labels/<campaign>/label_studio.json`` (the crowd's project) and ``experts.json`` (the experts')
say for every task where it is::

    pending ──► sent ──► confirmed
       ▲          │
       └──────────┘  an ambiguous failure: list what is there, send the difference

A task is called after its frame; a gold task, which shows a frame a second time, has a name of its
own that looks alike, and only the ledger knows which they are. It is written before and after every
call, so a push that is killed at any instant is simply made again. It holds no secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline import store
from pipeline.errors import InputError, StoreError
from pipeline.store import Workspace

if TYPE_CHECKING:
    from labeling.client import LabelStudio

CROWD: Final = "label_studio"
EXPERTS: Final = "experts"
VOTES: Final = 3


def in_turn(ws: Workspace, campaign: str) -> AbstractContextManager[None]:
    """Wait until nobody else changes the campaign's ledgers; two pushes would make two projects."""
    return store.alone(ws.campaign_labels(campaign) / ".push.lock")


@dataclass
class Ledger:
    """One project's tasks.

    ``state``: task → pending, sent or confirmed. ``votes``: how many each task should get;
    ``extra``: task → how many, where it is more. ``gold_share``: as last asked for. ``gold``:
    task → ``{"campaign", "frame_id", "truck"}``, the frame it shows and the answer it is measured
    by. ``experts``: whose votes count; empty means everybody's.
    """

    path: Path
    url: str
    key: str
    project: int | None = None
    closed: bool = False
    votes: int = 1
    state: dict[str, str] = field(default_factory=dict)
    gold_share: float | None = None
    extra: dict[str, int] = field(default_factory=dict)
    gold: dict[str, dict[str, Any]] = field(default_factory=dict)
    experts: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, ws: Workspace, campaign: str, which: str = CROWD) -> Ledger | None:
        """Return the ledger of a campaign, None where it was never pushed.

        Raises:
            StoreError: the file is damaged, or of another version.
        """
        path = ws.campaign_labels(campaign) / f"{which}.json"
        if not path.is_file():
            return None
        try:
            return cls(path=path, **store.read_json(path))
        except TypeError:  # no object, or other keys
            raise StoreError(f"{path} is no ledger.", "Restore it.") from None

    @classmethod
    def opened(
        cls,
        ws: Workspace,
        campaign: str,
        server: LabelStudio,
        votes: int | None,
        which: str = CROWD,
    ) -> Ledger:
        """Return the ledger to push by, made anew where there is none.

        ``votes`` of None are as many as before, three at first.

        Raises:
            InputError: the campaign is closed, or lies on another server.
        """
        ledger = cls.read(ws, campaign, which)
        if ledger is None:
            path = ws.campaign_labels(campaign) / f"{which}.json"
            ledger = cls(path, server.url, secrets.token_hex(4), votes=votes or VOTES)
            ledger.write()
            return ledger
        if ledger.closed:
            raise InputError(f"campaign {campaign!r} is closed.", "Sample a new one.")
        if ledger.project is not None and not server.find_projects(ledger.title(campaign)):
            raise InputError(
                f"campaign {campaign!r} was pushed to {ledger.url}, and {server.url} does not have "
                "it.",
                f"Use that server, or remove {ledger.path.name} to start afresh.",
            )
        # A local server may come back on another port.
        ledger.url, ledger.votes = server.url, votes or ledger.votes
        return ledger

    def title(self, campaign: str) -> str:
        """Return a title that no other campaign uses, known before the project exists."""
        return f"{campaign[:30]} {'experts ' if self.experts else ''}{self.key}"

    def number(self) -> int:
        """Return the project's number, once there is one."""
        if self.project is None:
            raise AssertionError("the project is known by now")
        return self.project

    def write(self) -> None:
        """Put it on the disk."""
        content = asdict(self)
        del content["path"]
        store.write_json(self.path, content)

    def add(self, tasks: Iterable[str]) -> list[str]:
        """Note tasks to be sent (not yet on the disk); return those that are new."""
        new = [task for task in tasks if task not in self.state]
        self.state.update(dict.fromkeys(new, "pending"))
        return new

    def of_state(self, *states: str) -> list[str]:
        """Return the tasks in these states, sorted."""
        return sorted(t for t, s in self.state.items() if s in states)

    def mark(self, tasks: Iterable[str], state: str) -> None:
        """Move tasks to a state and put the ledger on the disk."""
        self.state.update(dict.fromkeys(tasks, state))
        self.write()

    def gold_frames(self, campaign: str) -> set[str]:
        """Return the frames of a campaign that gold tasks show."""
        return {g["frame_id"] for g in self.gold.values() if g["campaign"] == campaign}

    def votes_for(self, task: str) -> int:
        """Return how many people should judge a task."""
        return max(self.votes, self.extra.get(task, 0))
