"""Children for clips: one start for many, each with its own limits, and none outlives its need."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.footage import nursery as nurseries
from pipeline.footage import verify
from pipeline.footage.nursery import ENDED, Nurseries, Nursery

MakeClip = Callable[..., Path]

CHILDREN = """
import os, resource, signal, sys, time
from pipeline.footage.nursery import say, serve

def work(order):
    say("pid", [os.getpid(), os.getppid()])
    if order["do"] == "die":
        sys.stdout.write('{"half": ')
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    if order["do"] == "fail":
        raise ValueError("no such thing")
    if order["do"] == "sleep":
        time.sleep(60)

serve(work)
"""


@pytest.fixture
def some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nurseries]:
    (tmp_path / "children_of_a_test.py").write_text(CHILDREN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Nurseries("children_of_a_test") as some:
        yield some


def all_said(nursery: Nursery) -> dict[str, Any]:
    said: dict[str, Any] = {}
    while ENDED not in said:
        messages = nursery.heard(20.0)
        assert messages is not None, "silence"
        for message in messages:
            said.update(message)
    return said


def test_every_order_has_a_child_of_its_own(some: Nurseries) -> None:
    pids = []
    for order, code in [("", 0), ("die", -signal.SIGSEGV), ("fail", 1), ("", 0)]:
        with some.one() as nursery:
            nursery.order({"do": order})
            said = all_said(nursery)
        pids.append(said["pid"])
        ended, words = said[ENDED]
        assert ended == code, words
        assert ("ValueError: no such thing" in words) == (order == "fail")
    assert len({own for own, _ in pids}) == 4
    assert len({parent for _, parent in pids}) == 1


def test_whoever_is_given_up_is_killed_with_its_child(some: Nurseries) -> None:
    def given_up() -> tuple[int, int]:
        with some.one() as nursery:
            nursery.order({"do": "sleep"})
            while not (said := nursery.heard(20.0)):
                pass
            pids.extend(said[0]["pid"])
            assert nursery.heard(0.01) is None
            raise TimeoutError

    pids: list[int] = []
    with pytest.raises(TimeoutError):
        given_up()
    for pid in pids:
        waited = time.monotonic()
        while _runs(pid):
            assert time.monotonic() - waited < 10
            time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().split()[2] != "Z"  # killed, to be reaped


def test_a_nursery_that_died_is_not_lent_again(some: Nurseries) -> None:
    with some.one() as nursery:
        os.killpg(nursery._process.pid, signal.SIGKILL)
        assert all_said(nursery)[ENDED] == [-signal.SIGKILL, "the nursery itself ended"]
    with some.one() as another:
        another.order({"do": ""})
        assert all_said(another)[ENDED] == [0, ""]


def test_many_clips_from_two_threads_start_two_nurseries(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    begin = Nursery.__init__

    def counting(self: Nursery, module: str) -> None:
        started.append(module)
        begin(self, module)

    monkeypatch.setattr(nurseries.Nursery, "__init__", counting)
    clip, found = make_clip("a.mp4"), []
    with verify.nurseries() as warm:

        def work() -> None:
            found.extend(verify.verify(clip, warm=warm) for _ in range(3))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 6
    assert found == [verify.verify(clip)] * 6
    assert len(started) == 3  # two, and one for the last by itself
