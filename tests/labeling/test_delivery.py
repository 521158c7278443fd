"""Pushing to a server that only this process knows: what two pushes at once come to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from labeling import studio
from labeling.ledger import Ledger
from pipeline.store import Workspace


class Server:
    """As much of Label Studio as a first push needs; ``meanwhile`` happens as a project is made."""

    url = "http://127.0.0.1:1"

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.titles: dict[int, str] = {}
        self.held: dict[int, list[dict[str, Any]]] = {}
        self._meanwhile = [meanwhile]

    def find_projects(self, title: str) -> list[int]:
        return [number for number, held in self.titles.items() if held == title]

    def create_project(self, settings: dict[str, Any]) -> int:
        while self._meanwhile:
            self._meanwhile.pop()()
        number = len(self.titles) + 1
        self.titles[number], self.held[number] = settings["title"], []
        return number

    def change_project(self, project: int, settings: dict[str, Any]) -> None:
        pass

    def tasks(self, project: int, after: int = 0) -> list[dict[str, Any]]:
        return self.held[project]

    def import_tasks(self, project: int, tasks: list[dict[str, Any]]) -> int:
        numbers = range(len(self.held[project]), len(self.held[project]) + len(tasks))
        told = ({"id": n, "meta": t["meta"]} for n, t in zip(numbers, tasks, strict=True))
        self.held[project] += [one | {"overlap": 3, "total_annotations": 0} for one in told]
        return len(tasks)


def test_two_pushes_at_once_make_one_project(workspace_of: Callable[[int], Workspace]) -> None:
    """Votes in a project that no ledger names any more would never be pulled."""
    ws = workspace_of(4)

    def push() -> None:
        studio.push(ws, "spring", server, drawing=lambda row: ("x.jpg", ""))

    second = threading.Thread(target=push)

    def meanwhile() -> None:
        second.start()
        second.join(timeout=1.0)  # it waits its turn, or is done by now

    server: Any = Server(meanwhile)
    push()
    second.join()
    ledger = Ledger.read(ws, "spring")
    assert ledger is not None
    assert list(server.titles) == [ledger.project] == [1]
    assert len(server.held[1]) == 4
    assert ledger.of_state("confirmed") == [f"f{i:05d}" for i in range(4)]
