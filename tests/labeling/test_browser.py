"""A person at a real browser: logs in, reads the question, presses keys, and the votes arrive."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from labeling import campaign, studio
from labeling.client import LabelStudio

PRESSED = {"f00000": "1", "f00001": "2", "f00002": "3"}
MEANT = {"f00000": "truck", "f00001": "no_truck", "f00002": "cant_tell"}
SUBMIT = "Control+Enter"


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium under playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    binary = os.environ.get("TRUCK_COUNTER_CHROMIUM") or shutil.which("chromium")
    if not binary:
        pytest.skip("no chromium here: install it, or set TRUCK_COUNTER_CHROMIUM")
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(
            executable_path=binary,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


def artefacts() -> Path:
    """Return where screenshots are kept."""
    folder = Path(__file__).resolve().parents[2] / "artefacts" / "label-studio"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def has_answers(client: LabelStudio, project: int, n: int) -> bool:
    return sum(int(t["total_annotations"]) for t in client.tasks(project)) >= n


def choice(page, label: str):
    return page.locator(f"input[name={label}]")


def answer(page, keys: str, label: str, arrived: Callable[[], bool], picture: Path) -> None:
    """Choose and submit by keys; again where the page, drawn anew, has forgotten the choice."""
    choice(page, label).wait_for(state="attached")
    for _ in range(20):
        page.wait_for_timeout(800)
        if not choice(page, label).is_checked():
            page.keyboard.press(keys)
            continue
        page.screenshot(path=picture)
        page.keyboard.press(SUBMIT)
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            if arrived():
                return
            page.wait_for_timeout(200)
    raise AssertionError(f"nothing comes of pressing {keys} and {SUBMIT}")


def test_labels_by_hotkeys_arrive(
    workspace_of, credentials, people, password, studio_client, chromium
):
    ws = workspace_of(3)
    project = studio.push(ws, "spring", studio_client, votes=1).project
    email = next(iter(people))
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(f"{credentials.url}/user/login")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)
    for done, task in enumerate(sorted(studio_client.tasks(project), key=lambda t: t["id"])):
        page.goto(f"{credentials.url}/projects/{project}/data?task={task['id']}")
        frame = task["meta"]["frame_id"]
        shot = artefacts() / f"answer-{done + 1}.png"
        arrived = partial(has_answers, studio_client, project, done + 1)
        answer(page, PRESSED[frame], MEANT[frame], arrived, shot)
    page.close()
    pulled = studio.pull(ws, "spring", studio_client)
    assert pulled.annotations == 3
    held = campaign.read_annotations(ws, "spring").set_index("frame_id")
    assert held["label"].to_dict() == MEANT
    assert set(held["worker"]) == {email}
    assert (held["seconds_spent"] > 0).all()
