"""What a lasting installation does by itself: alerts that arrive, dead runs that end, retraining.

Everything is started by ``truck-counter up``, done by its worker, and ended by ``down``.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows import _processes
from pipeline import loopback, store
from pipeline.store import Workspace

WEST = "America/Chicago"


class Installation:
    """A workspace on which ``truck-counter up`` was run, with no schedule of its own."""

    def __init__(self, root: Path, server: Any, told: dict[str, Any]) -> None:
        self.root, self.server, self.running = root, server, told["running"]
        self.deployed = server.deployed()

    def run(self, deployment: str, **parameters: object) -> dict[str, Any]:
        """Have the worker do a deployment's work; return the run when it has ended."""
        run = self.start(deployment, **parameters)
        found: dict[str, Any] = self.server.wait_for([run])[0]
        return found

    def start(self, deployment: str, **parameters: object) -> str:
        asked = {"root": str(self.root), **parameters}
        return str(self.server.run(self.deployed[deployment], asked))


def until(true: Callable[[], Any], seconds: float, why: Callable[[], Any]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.5)


@pytest.fixture
def installation(
    world: Path, tmp_path: Path, tools: ModuleType, channel: Any
) -> Iterator[Installation]:
    port = loopback.free_port()
    server = tools.Server(tmp_path, None)
    server.url = f"http://127.0.0.1:{port}"
    server.log = world / "services" / "server.log"
    try:
        told = tools.truck_counter(
            world, "up", "--port", str(port), TRUCK_COUNTER_ALERT_URL=channel.url
        )
        yield Installation(world, server, told)
    finally:
        tools.truck_counter(world, "down")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_drop_of_coverage_and_a_run_that_dies_are_told_of(
    installation: Installation, tools: ModuleType, channel: Any
) -> None:
    root = installation.root
    half = root / "made" / "half.mp4"
    tools.lorry_clip(half, 2, seconds=30)
    fourth = tools.FIRST + dt.timedelta(days=3)
    tools.add_footage(root, half, "west", WEST, fourth)
    tools.add_footage(root, root / "made" / "5.mp4", "east", "Europe/Berlin", fourth)
    for n in range(4):
        day = str(tools.FIRST + dt.timedelta(days=n))
        ran = installation.run("daily", day=day)
        assert ran["state_name"] == "Completed", ran
    told = f"west sees less: {fourth}: 50%, 100% usual"
    until(lambda: told in channel.heard, 120, lambda: channel.heard)
    assert [text for text in channel.heard if "east" in text] == []

    run = installation.start("backfill", days={"west": [str(fourth)]})
    worker = {"pid": installation.running["worker"], "started": ""}
    worker["started"] = _processes._started(worker["pid"])
    until(lambda: _flow_processes(worker), 120, lambda: "no run began")
    until(lambda: _state(installation, run) == "Running", 120, lambda: _state(installation, run))
    os.kill(worker["pid"], signal.SIGKILL)  # nobody is left to say what became of the run
    for pid in _flow_processes(worker):
        os.kill(pid, signal.SIGKILL)
    until(lambda: _state(installation, run) == "Crashed", 300, lambda: _state(installation, run))
    until(
        lambda: any(t.startswith("run ") and t.endswith(" crashed") for t in channel.heard),
        120,
        lambda: channel.heard,
    )
    again = tools.truck_counter(root, "up", "--port", installation.server.url.rsplit(":", 1)[1])
    assert again["running"]["worker"] != worker["pid"]
    assert again["running"]["server"] == installation.running["server"]


def _flow_processes(worker: dict[str, Any]) -> list[int]:
    return [pid for pid in _processes._family(worker) if pid != worker["pid"]]


def _state(installation: Installation, run: str) -> str:
    wanted = {"flow_runs": {"id": {"any_": [run]}}}
    return str(installation.server.post("flow_runs/filter", wanted)[0]["state_name"])


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_new_labels_replace_a_poor_model_by_a_run_of_the_worker(
    installation: Installation, tools: ModuleType
) -> None:
    from pipeline.publish import read_daily_counts, read_model_changes

    ws = Workspace(installation.root)
    card = ws.model("bright") / "card.json"
    unsure = {"temperature": 20.0, "labels": {"truck": 8, "n": 20}}
    store.write_json(card, store.read_json(card) | unsure)
    tools.truck_counter(ws.root, "backfill", "--to", "2026-03-04")
    for campaign, day in (("spring", "2026-03-02"), ("held-out", "2026-03-03")):
        span = ("--from", day, "--to", day)
        tools.truck_counter(ws.root, "sample", campaign, "--n", "160", *span)
        _label(ws, campaign, tools)

    ran = installation.run("retrain", enough=50, epochs=6)
    assert ran["state_name"] == "Completed", ran
    model_id = ws.current_model.read_text().strip()
    assert model_id != "bright", ran["state"]
    assert store.read_json(ws.model(model_id) / "card.json")["campaigns"].keys() == {"spring"}
    changes = read_model_changes(ws.root)
    assert set(changes["new_model_id"]) == {model_id}
    # 2 March taught the challenger: it is judged on the two days after.
    newest = read_daily_counts(ws.root).set_index(["camera_id", "date"])["model_id"]
    assert newest.value_counts().to_dict() == {model_id: 4, "bright": 2}
    named = {"filter": {"event": {"name": ["truck-counter.model.replaced"]}}}
    told: list[dict[str, Any]] = []

    def arrived() -> bool:  # the server writes events behind
        told[:] = installation.server.post("events/filter", named)["events"]
        return bool(told)

    until(arrived, 60, lambda: "no event of a model replaced")
    assert [e["payload"]["champion"] for e in told] == ["bright"]
    keys = {a["key"] for a in installation.server.post("artifacts/filter")}
    assert "retrain" in keys

    vintages = sorted(ws.vintages.iterdir())
    again = installation.run("retrain", enough=50, epochs=6)
    assert again["state_name"] == "Completed"
    assert "fewer than 50" in again["state"]["message"]
    assert ws.current_model.read_text().strip() == model_id
    assert sorted(ws.vintages.iterdir()) == vintages


def _label(ws: Workspace, campaign: str, tools: ModuleType) -> None:
    """Say of every frame what its clip shows, as a person would; edges are nobody's business."""
    from pipeline import schemas

    frames = store.read_table(ws.campaign_frames(campaign) / "frames.parquet").to_pylist()
    labels = []
    for frame in frames:
        passages = {"west": 3, "east": 5}[frame["camera_id"]]
        covered = tools.on_zone(frame["offset_s"], passages)
        label = "truck" if covered >= 12 else "no_truck" if covered <= 0 else None
        told = {"n_annotations": 3, "agreement": 1.0, "method": "majority"}
        p_truck = {"truck": 1.0, "no_truck": 0.0, None: 0.5}[label]
        labels.append({"frame_id": frame["frame_id"], "label": label, "p_truck": p_truck, **told})
    path = ws.campaign_labels(campaign) / "labels.parquet"
    store.write_table(path, store.table_of(labels, schemas.LABELS), schemas.LABELS)
