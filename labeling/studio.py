"""A campaign on Label Studio: push its frames, pull the votes, close it; nothing twice or lost.

Two projects: the crowd's, with every frame, gold tasks mixed in and extra votes where the posterior
is unsure; and, once something is to be adjudicated, the experts', whose votes settle. ``ledger``
says what was sent, ``delivery`` sends it. ``pull`` lists by pages and compares its count with the
server's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from labeling import campaign as campaigns
from labeling import extra, gold, instructions
from labeling import tasks as wire
from labeling.client import LabelStudio, ServiceError
from labeling.delivery import CHUNK, Making, Pushed, bring
from labeling.extra import ExtraVotes
from labeling.gold import GoldShare
from labeling.ledger import CROWD, EXPERTS, Ledger, in_turn
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

ATTEMPTS: Final = 3

Drawing = Callable[[Mapping[str, Any]], tuple[str, str]]
"""Row of ``frames`` → addresses of the crop and of the wider view (may be empty)."""


@dataclass(frozen=True)
class Pulled:
    """What a pull found on the server and changed here.

    ``annotations`` are all votes that count, ``gold`` and ``adjudicated`` those among them on gold
    tasks and by experts; ``foreign`` are tasks that are not ours, and votes of people who are not
    experts on what only experts may settle.
    """

    tasks: int = 0
    annotations: int = 0
    gold: int = 0
    adjudicated: int = 0
    skipped: int = 0
    foreign: int = 0
    added: int = 0
    changed: int = 0


def push(
    ws: Workspace,
    campaign: str,
    server: LabelStudio,
    votes: int | None = None,
    show_guess: Mapping[str, float] | None = None,
    drawing: Drawing | None = None,
    chunk: int = CHUNK,
    gold_share: GoldShare | None = None,
    extra_votes: ExtraVotes | None = None,
) -> Pushed:
    """Bring every frame of a campaign to the server, each exactly once.

    Args:
        ws: the workspace.
        campaign: its name; its frames must have been sampled.
        server: where to.
        votes: how many people should judge each frame; as before by default, three at first.
        show_guess: frame_id → p_truck, to show annotators the model's guess; hidden by default.
        drawing: how a frame's pictures are addressed; by default they travel in the task.
        chunk: tasks per call.
        gold_share: gold tasks to mix in with what is new; none by default.
        extra_votes: ask for one more vote on unsure frames; none by default.

    Raises:
        NotFoundError: there is no such campaign.
        InputError: it is closed, or lies on another server, or gold would be known by its guess.
        ServiceError: the server refuses, or fails again and again; what was confirmed stays so.
    """
    frames = _frames(ws, campaign)
    if show_guess and gold_share and gold_share.campaign not in ("", campaign):
        raise InputError(
            f"gold from {gold_share.campaign!r} has no guess to show, and would be known by that.",
            "Hide the guess, or take gold from the campaign itself.",
        )
    with in_turn(ws, campaign):
        ledger = Ledger.opened(ws, campaign, server, votes)
        new = ledger.add(frames)
        cases = instructions.hard_cases(ws, campaign, ledger.gold_frames(campaign))
        if gold_share is not None:
            given_away = {case["frame_id"] for case in cases}
            gold.mix_in(ws, campaign, ledger, len(new), gold_share, given_away)
        if extra_votes is not None:
            ledger.extra |= _extra(ws, campaign, ledger, extra_votes)
        # One write for frames and their gold: a push cut off after it goes on with the same tasks.
        ledger.write()
        make = _making(ws, campaign, ledger, drawing, show_guess or {})
        page = _page(instructions.text(ws, campaign, cases), show_guess is not None)
        return bring(ledger, campaign, server, page, make, chunk)


def push_to_experts(
    ws: Workspace,
    campaign: str,
    server: LabelStudio,
    experts: Sequence[str],
    drawing: Drawing | None = None,
    chunk: int = CHUNK,
) -> Pushed:
    """Bring what waits for an expert to a project of its own; only these experts' votes settle.

    Args:
        ws: the workspace.
        campaign: its name; it must have votes.
        server: where to.
        experts: e-mail addresses of users of the server.
        drawing: as for :func:`push`.
        chunk: tasks per call.

    Raises:
        InputError: an expert is no user there, nobody has voted, or the campaign is closed.
        NotFoundError: there is no such campaign.
    """
    strangers = sorted(set(experts) - set(server.users().values()))
    if strangers or not experts:
        who = f"expert {strangers[0]!r} is no user of {server.url}" if strangers else "no expert"
        raise InputError(f"{who}.", "Invite them there first; name them by e-mail address.")
    waiting = campaigns.waiting(ws, campaign)
    with in_turn(ws, campaign):
        ledger = Ledger.opened(ws, campaign, server, 1, EXPERTS)
        ledger.experts = sorted({*ledger.experts, *experts})
        ledger.add(waiting)
        ledger.write()
        make = _making(ws, campaign, ledger, drawing, {})
        cases = instructions.hard_cases(ws, campaign, set(waiting))
        page = _page(instructions.text(ws, campaign, cases))
        return bring(ledger, campaign, server, page, make, chunk)


def pull(ws: Workspace, campaign: str, server: LabelStudio) -> Pulled:
    """Bring every vote from the server into ``annotations``, ``gold`` and ``adjudications``.

    Raises:
        NotFoundError: the campaign was never pushed.
        ServiceError: the server fails, or its pages do not hold as many annotations as it says.
    """
    held = [Ledger.read(ws, campaign, which) for which in (CROWD, EXPERTS)]
    ledgers = [ledger for ledger in held if ledger is not None and ledger.project is not None]
    if not ledgers:
        raise NotFoundError(f"campaign {campaign!r} was never pushed.", "Use label push first.")
    workers = server.users()
    parts = [_taken(ws, campaign, one, workers, _listed(one, server)) for one in ledgers]
    return Pulled(*(sum(vars(p)[name] for p in parts) for name in Pulled.__dataclass_fields__))


def close(ws: Workspace, campaign: str, server: LabelStudio) -> Pulled:
    """Pull the last votes, then end the campaign: the server asks nobody any more.

    The projects stay on the server, renamed; nothing is deleted.
    """
    pulled = pull(ws, campaign, server)
    with in_turn(ws, campaign):
        for which in (CROWD, EXPERTS):
            ledger = Ledger.read(ws, campaign, which)
            if ledger is not None and ledger.project is not None and not ledger.closed:
                title = f"(closed) {ledger.title(campaign)}"[:50]
                server.change_project(ledger.project, {"title": title})
                ledger.closed = True
                ledger.write()
    return pulled


def _frames(ws: Workspace, campaign: str) -> dict[str, dict[str, Any]]:
    """Return the campaign's frames by id."""
    rows = campaigns.read_frames(ws, campaign).to_dict("records")
    return {str(row["frame_id"]): {str(k): v for k, v in row.items()} for row in rows}


def _extra(ws: Workspace, campaign: str, ledger: Ledger, wanted: ExtraVotes) -> dict[str, int]:
    """Return the frames that deserve another vote, judged by the votes held now."""
    votes = campaigns.read_annotations(ws, campaign)
    if votes.empty:
        return {}
    here = votes[votes["source"] == "label_studio"]
    result = campaigns.aggregated(ws, campaign)
    found = extra.votes_wanted(result, here, ledger.votes, wanted) if len(here) else {}
    return {frame: n for frame, n in found.items() if frame in ledger.state}


def _page(text: str, show_guess: bool = False) -> dict[str, Any]:
    return {
        "label_config": wire.interface(show_guess),
        "expert_instruction": text,
        "show_instruction": True,
        "sampling": "Uniform sampling",
    }


def _making(
    ws: Workspace,
    campaign: str,
    ledger: Ledger,
    drawing: Drawing | None,
    guesses: Mapping[str, float],
) -> Making:
    """Return what lays out a task; gold looks like any other."""
    frames: dict[str, dict[str, dict[str, Any]]] = {}
    drawings: dict[str, Drawing] = {}

    def make(task: str) -> dict[str, Any]:
        answer = ledger.gold.get(task)
        source = answer["campaign"] if answer else campaign
        if source not in frames:
            frames[source] = _frames(ws, source)
            drawings[source] = drawing or _embedding(ws, source)
        frame = answer["frame_id"] if answer else task
        row = frames[source][frame]
        said = f"model: {guesses[frame]:.0%} truck" if frame in guesses else ""
        return wire.task_of(row | {"frame_id": task}, campaign, *drawings[source](row), said)

    return make


def _embedding(ws: Workspace, campaign: str) -> Drawing:
    """Return the default drawing: pictures inside the task."""
    from labeling.pictures import Pictures

    pictures = Pictures(ws, campaign)

    def draw(row: Mapping[str, Any]) -> tuple[str, str]:
        crop, wide = pictures.of(row)
        return wire.embedded(crop), wire.embedded(wide) if wide else ""

    return draw


def _listed(ledger: Ledger, server: LabelStudio) -> list[dict[str, Any]]:
    """List a project's annotated tasks, as many as the server says there are."""
    for _ in range(ATTEMPTS):
        # Skipped tasks are listed too, but not counted.
        expected = int(server.project(ledger.number())["total_annotations_number"] or 0)
        listed = {int(t["id"]): t for t in server.annotated_tasks(ledger.number())}
        given = sum(len(_votes(task)) for task in listed.values())
        if given >= expected:
            return list(listed.values())
    raise ServiceError(
        f"{server.url} says {expected} annotations but lists {given}.", "Pull again."
    )


def _votes(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a task's annotations, those who skipped it left out."""
    return [a for a in task.get("annotations") or [] if not a.get("was_cancelled")]


def _taken(
    ws: Workspace,
    campaign: str,
    ledger: Ledger,
    workers: Mapping[int, str],
    listed: Sequence[dict[str, Any]],
) -> Pulled:
    """Put what was listed into the tables."""
    ours = [task for task in listed if wire.frame_of(task) in ledger.state]
    given = [a for task in ours for a in task.get("annotations") or []]
    rows = list(_latest(vote for task in ours for vote in wire.votes_of(task, workers)))
    counted = [row for row in rows if not ledger.experts or row["worker"] in ledger.experts]
    on_gold = [row for row in counted if row["frame_id"] in ledger.gold]
    on_frames = [row for row in counted if row["frame_id"] not in ledger.gold]
    into = campaigns.add_adjudications if ledger.experts else campaigns.add_annotations
    done = into(ws, campaign, on_frames)
    added, changed = gold.add_votes(ws, campaign, ledger, on_gold) if on_gold else (0, 0)
    return Pulled(
        tasks=len(ours),
        annotations=len(counted),
        gold=len(on_gold),
        adjudicated=len(counted) if ledger.experts else 0,
        skipped=sum(1 for a in given if a.get("was_cancelled")),
        foreign=len(listed) - len(ours) + len(rows) - len(counted),
        added=done.added + added,
        changed=done.changed + changed,
    )


def _latest(votes: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one vote per frame and worker, the latest, even where a task is there twice."""
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for vote in votes:
        key = vote["frame_id"], vote["worker"]
        if key not in held or held[key]["annotated_at"] <= vote["annotated_at"]:
            held[key] = vote
    yield from held.values()
