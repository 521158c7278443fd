"""The page that draws zones: a person's clicks become an entry; strangers get nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flows.drawing import Drawing
from pipeline import cameras, entries, reference, store
from pipeline.store import Workspace
from pipeline.view import Crop

WIDTH, HEIGHT = 640, 360


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Drawing]:
    ws = Workspace(tmp_path)
    entry = {"id": "gate", "site": "s", "timezone": "UTC", "source": "footage/*.mp4"}
    entries.add(ws.cameras_toml, {**entry, "zones": [entries.PLACEHOLDER]})
    camera = cameras.load(ws.cameras_toml).camera("gate")
    road = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    road[:, 200:440] = 130
    road[150:210, 280:360] = (200, 40, 40)
    store.write_bytes(ws.reference("gate", camera.valid_from), reference.as_jpeg(road))
    with Drawing(ws, camera) as drawing:
        yield drawing


def asked(
    page: Drawing, path: str, host: str = "", origin: str = "", body: object = None
) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    headers = {"Host": host or f"127.0.0.1:{page.port}"} | ({"Origin": origin} if origin else {})
    given = None if body is None else json.dumps(body)
    link.request("GET" if body is None else "POST", path, given, headers)
    answer = link.getresponse()
    text = answer.read().decode(errors="replace")
    link.close()
    return answer.status, text


def test_strangers_get_nothing(page: Drawing) -> None:
    own = f"/{page.token}/"
    assert asked(page, own)[0] == 200
    assert asked(page, own, host=f"localhost:{page.port}")[0] == 200
    for path in ("/", "/wrong/", f"/{page.token[:-1]}/", "/reference.jpg"):
        assert asked(page, path) == (403, "Forbidden")
    assert asked(page, own, host=f"example.test:{page.port}")[0] == 403
    assert asked(page, own, host="127.0.0.1")[0] == 403
    zones = [entries.PLACEHOLDER]
    assert asked(page, own + "save", origin="http://example.test", body=zones)[0] == 403
    assert asked(page, "/wrong/save", body=zones)[0] == 403
    assert asked(page, own + "../cameras.toml")[0] == 404
    assert not page.zones


def test_what_is_not_sound_is_told_and_nothing_is_written(page: Drawing) -> None:
    before = page.ws.cameras_toml.read_bytes()
    own = f"/{page.token}/"
    crossed = {"name": "lane", "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}
    for told, said in (
        ([crossed], "crosses itself"),
        ([], "at least one zone"),
        ([entries.PLACEHOLDER] * 2, "two zones are called"),
        ("x", "zones is"),
    ):
        status, text = asked(page, own + "save", body=told)
        assert status == 200
        assert said in json.loads(text)["error"]
    assert asked(page, own + "save", body="x" * 200_000)[0] == 413
    assert page.ws.cameras_toml.read_bytes() == before


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
            timeout=300_000,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


CORNERS = [(0.35, 0.40), (0.60, 0.40), (0.70, 0.90), (0.30, 0.90)]


def test_a_person_clicks_a_lane_and_saves(page: Drawing, chromium) -> None:
    waiting = threading.Thread(target=page.until_saved)
    waiting.start()
    before = page.ws.cameras_toml.read_text()
    tab = chromium.new_page(viewport={"width": 1280, "height": 800})
    tab.set_default_timeout(240_000)
    troubles: list[str] = []
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    tab.goto(page.address)
    picture = tab.locator("#picture").bounding_box()
    for x, y in CORNERS:
        tab.mouse.click(picture["x"] + x * picture["width"], picture["y"] + y * picture["height"])
    tab.locator("polygon.seen").wait_for(state="attached")
    tab.locator(".zone img").wait_for()
    tab.fill(".zone input[data-key=name]", "exit-left")
    tab.fill(".zone input[data-key=movement]", "out")
    folder = Path(__file__).resolve().parents[2] / "artefacts" / "cameras-draw"
    folder.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=folder / "drawn.png")
    shown = tab.locator("polygon.seen").get_attribute("points")
    tab.click("#save")
    tab.get_by_text("Saved.").wait_for()
    tab.screenshot(path=folder / "saved.png")
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    tab.close()
    assert [one for one in troubles if "favicon" not in one] == []
    (zone,) = cameras.load(page.ws.cameras_toml).camera("gate").zones
    assert (zone.name, zone.movement) == ("exit-left", "out")
    assert np.array(zone.polygon) == pytest.approx(np.array(CORNERS), abs=0.004)
    assert page.ws.cameras_toml.read_text().startswith(before[: before.index("zones")])
    # what is drawn dashed is what the model sees of the zone
    told = np.array([[float(v) for v in point.split(",")] for point in shown.split()])
    assert told == pytest.approx(np.array(Crop.of(zone, WIDTH, HEIGHT).corners), abs=2.0)
