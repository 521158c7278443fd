"""Pushing and pulling over a failing line, and with kills at any moment: nothing twice, none lost.

The proxy fails about a third of the calls: an error before the server sees the call, an error or a
cut line after the server did it, or silence until the client gives up.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import pytest

from labeling import campaign, studio, tasks
from labeling.client import AmbiguousError, LabelStudio
from labeling.gold import GoldShare
from labeling.ledger import Ledger
from pipeline import schemas, store

# On a machine that is busy with other things a page may take longer than this.
CLIENT_TIMEOUT_S = float(os.environ.get("TRUCK_COUNTER_TEST_TIMEOUT_S", "4"))


class Proxy(BaseHTTPRequestHandler):
    """Passes calls on, or fails in one of five ways."""

    protocol_version = "HTTP/1.1"
    target = ""
    share = 0.3
    seen = failed = 0
    draw = random.Random(5)
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        cls = type(self)
        with cls.lock:
            cls.seen += 1
            fails = cls.draw.random() < cls.share
            how = cls.draw.choice(("500", "cut", "late 500", "late cut", "late silence"))
            cls.failed += fails
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fails and not how.startswith("late"):
            self.fail(how)
            return
        status, headers, content = self.passed_on(body)
        if fails:
            self.fail(how.removeprefix("late "))
            return
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the library's names

    def passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        line = http.client.HTTPConnection(type(self).target, timeout=120)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        line.request(self.command, self.path, body, headers)
        answer = line.getresponse()
        content = answer.read()
        line.close()
        return answer.status, answer.getheaders(), content

    def fail(self, how: str) -> None:
        if how == "silence":
            time.sleep(CLIENT_TIMEOUT_S + 1.0)
        if how == "500":
            self.send_error(500)
        self.close_connection = True


@pytest.fixture
def failing(credentials) -> Iterator[LabelStudio]:
    """A client behind a proxy that fails 30% of the calls."""
    handler = type("Handler", (Proxy,), {"target": urlsplit(credentials.url).netloc})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{proxy.server_port}"
    client = LabelStudio(
        url, credentials.token, timeout_s=CLIENT_TIMEOUT_S, wait=lambda s: time.sleep(s / 10)
    )
    client.handler = handler  # type: ignore[attr-defined]
    yield client
    client.close()
    proxy.shutdown()
    proxy.server_close()


def push_until_done(ws, client: LabelStudio, chunk: int) -> int:
    """Push, again where the line was too bad, as a person would; return the project."""
    for _ in range(10):
        try:
            return studio.push(ws, "spring", client, chunk=chunk, drawing=no_pictures).project
        except AmbiguousError:
            continue
    raise AssertionError("ten pushes failed")


def no_pictures(_row: object) -> tuple[str, str]:
    return "https://pictures.example/x.jpg", ""


def frames_on(client: LabelStudio, project: int) -> list[str]:
    return sorted(tasks.frame_of(t) for t in client.tasks(project))


def check_failing(ws, n, failing, studio_client, people, credentials, chunk):
    project = push_until_done(ws, failing, chunk)
    assert frames_on(studio_client, project) == [f"f{i:05d}" for i in range(n)]
    assert failing.handler.failed >= 0.15 * failing.handler.seen > 0
    numbers = {tasks.frame_of(t): t["id"] for t in studio_client.tasks(project)}
    headers = {"Authorization": f"Token {next(iter(people.values()))}"}
    with httpx.Client(base_url=credentials.url, headers=headers, timeout=60) as http_client:
        for i in range(20):
            body = {"result": tasks.result_of("truck")}
            task = numbers[f"f{i:05d}"]
            http_client.post(f"/api/tasks/{task}/annotations", json=body).raise_for_status()
    for _ in range(10):
        try:
            pulled = studio.pull(ws, "spring", failing)
            break
        except AmbiguousError:
            continue
    assert pulled.annotations == 20
    assert len(campaign.read_annotations(ws, "spring")) == 20


def test_a_failing_line(workspace_of, failing, studio_client, people, credentials):
    check_failing(workspace_of(200), 200, failing, studio_client, people, credentials, chunk=20)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_tasks_over_a_failing_line(
    workspace_of, failing, studio_client, people, credentials
):
    ws = workspace_of(10_000)
    check_failing(ws, 10_000, failing, studio_client, people, credentials, chunk=200)


CHILD = """
import sys
from pathlib import Path
from labeling import campaign, server, studio
from labeling.client import LabelStudio
from labeling.gold import GoldShare
from pipeline.store import Workspace
root, folder, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
held = server.read_credentials(folder)
draw = lambda row: ("https://pictures.example/x.jpg", "")
campaign.read_frames(Workspace(root), "spring")  # what is slow to import is there before "begin"
with LabelStudio(held.url, held.token) as client:
    client.whoami()
    print("begin", flush=True)
    if what == "push":
        share = GoldShare(0.1)
        studio.push(Workspace(root), "spring", client, drawing=draw, chunk=2, gold_share=share)
    else:
        studio.pull(Workspace(root), "spring", client)
"""


def kill_after(ws, folder, what: str, delay_s: float) -> int:
    """Run push or pull in a process of its own and kill it ``delay_s`` after it has begun."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(ws.root), str(folder), what],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        code = child.wait(delay_s)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        code = child.wait()
    child.stdout.close()
    return code


def check_kills(ws, n, moments, longest_s, credentials, folder, studio_client, people):
    """Kill push at half of the moments and pull at the other half, then run both to the end."""
    draw = random.Random(11)
    killed = under_way = 0
    for _ in range(moments - moments // 2):
        killed += kill_after(ws, folder, "push", draw.random() * longest_s) == -signal.SIGKILL
        ledger = Ledger.read(ws, "spring")
        states = set(ledger.state.values()) if ledger is not None else set()
        under_way += len(states) > 1
    share = GoldShare(0.1)
    pushed = studio.push(ws, "spring", studio_client, drawing=no_pictures, gold_share=share)
    gold = Ledger.read(ws, "spring").gold
    assert len(gold) == round(n / 9)  # drawn once, whatever was killed
    expected = sorted([*gold, *(f"f{i:05d}" for i in range(n))])
    assert frames_on(studio_client, pushed.project) == expected
    headers = {"Authorization": f"Token {next(iter(people.values()))}"}
    with httpx.Client(base_url=credentials.url, headers=headers, timeout=60) as http_client:
        for task in studio_client.tasks(pushed.project):
            body = {"result": tasks.result_of("no_truck")}
            http_client.post(f"/api/tasks/{task['id']}/annotations", json=body).raise_for_status()
    for _ in range(moments // 2):
        killed += kill_after(ws, folder, "pull", draw.random() * longest_s) == -signal.SIGKILL
    studio.pull(ws, "spring", studio_client)
    held = campaign.read_annotations(ws, "spring")
    held = held[held["source"] == "label_studio"]
    assert sorted(held["frame_id"]) == [f"f{i:05d}" for i in range(n)]
    on_gold = store.read_table(ws.campaign_labels("spring") / "gold.parquet", schemas.GOLD)
    assert sorted(on_gold.column("task_id").to_pylist()) == sorted(gold)
    assert killed >= moments // 3
    assert under_way >= moments // 8  # some of it sent, some not


def test_killed_at_four_moments(
    workspace_of, sure_votes, credentials, studio_folder, studio_client, people
):
    ws = workspace_of(40)
    sure_votes(ws, 40)
    check_kills(ws, 40, 4, 0.8, credentials, studio_folder, studio_client, people)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_fifty_moments(
    workspace_of, sure_votes, credentials, studio_folder, studio_client, people
):
    ws = workspace_of(300)
    sure_votes(ws, 300)
    check_kills(ws, 300, 50, 2.5, credentials, studio_folder, studio_client, people)
