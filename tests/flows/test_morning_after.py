"""``truck-counter up``, a day counted on it, and a person who opens the pages the morning after."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from pipeline import loopback

REPOSITORY = Path(__file__).resolve().parents[2]
SHOTS = REPOSITORY / "artefacts" / "flows"


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of Debian's Chromium under playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    binary = os.environ.get("TRUCK_COUNTER_CHROMIUM") or shutil.which("chromium")
    if not binary:
        pytest.skip("no chromium here: install it, or set TRUCK_COUNTER_CHROMIUM")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=binary, args=arguments)
        opened = browser.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
        opened.set_default_timeout(240_000)
        yield opened
        browser.close()


def artifact_page(server: str, key: str) -> str:
    """Return where Prefect shows the newest artifact of a key."""
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
    found = httpx.post(f"{server}/api/artifacts/filter", json=wanted, timeout=60).json()
    return f"{server}/artifacts/artifact/{found[0]['id']}"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_pages_show_yesterday_and_the_dark_camera_is_told_of(
    world: Path, tools: ModuleType, channel: Any, page: Any
) -> None:
    from flows import due
    from pipeline import cameras

    registry = cameras.load(world / "cameras.toml")
    yesterday = due.newest_closed_day(due.cameras_of(registry), dt.datetime.now(dt.UTC))
    clip = world / "made" / "3.mp4"
    tools.add_footage(world, clip, "west", "America/Chicago", yesterday)  # east stays dark
    told = {"TRUCK_COUNTER_ALERT_URL": channel.url}
    try:
        port = str(loopback.free_port())
        server = tools.truck_counter(world, "up", "--port", port, **told)["prefect"]
        told |= {"PREFECT_API_URL": f"{server}/api"}
        told |= {"TRUCK_COUNTER_REPORTS_URL": f"{server}/truck-counter"}
        ran = tools.truck_counter(world, "run", "daily", **told)
        assert (ran["day"], ran["state"]) == (str(yesterday), "Completed")
        count = next(c["truck_count"] for c in ran["counts"] if c["camera_id"] == "west")

        SHOTS.mkdir(parents=True, exist_ok=True)
        page.goto(artifact_page(server, "daily-summary"))
        page.get_by_text(f"{yesterday}: 2 counts, 1 missing").first.wait_for()
        page.screenshot(path=SHOTS / "prefect-summary.png")
        page.goto(artifact_page(server, "daily-counts"))
        page.get_by_text(str(round(count, 1))).first.wait_for()
        page.screenshot(path=SHOTS / "prefect-counts.png")

        page.goto(artifact_page(server, "daily-summary"))
        link = page.get_by_role("link", name="report", exact=True).get_attribute("href")
        assert link.startswith(server)
        page.goto(link)
        found = page.locator("body").inner_text()
        page.screenshot(path=SHOTS / "report.png", full_page=True)
        assert str(yesterday) in found or f"{yesterday.day} {yesterday:%b %Y}" in found
        assert f"{count:.0f}" in found

        until = time.monotonic() + 300
        while not channel.heard and time.monotonic() < until:
            time.sleep(0.5)
        assert any(
            text.startswith(f"east misses {yesterday}: no count of movement out")
            for text in channel.heard
        ), channel.heard
    finally:
        tools.truck_counter(world, "down")
