"""A tiny world: real H.264 clips of a white lorry on a dark road, and a really trained model."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest

from pipeline import loopback

FIRST = dt.date(2026, 3, 2)
ZONES = {"west": "America/Chicago", "east": "Europe/Berlin"}
CAMERA = """
[[camera]]
id = "{id}"
site = "dc-1"
timezone = "{timezone}"
source = "footage/{id}/*.mp4"
sample_hz = 5.0
schedule = [["12:00", "12:01"]]
zones = [{{ name = "exit", movement = "out", polygon = [[0.3, 0.3], [0.7, 0.3], [0.7, 0.8], [0.3, 0.8]] }}]
"""  # noqa: E501


def lorry_clip(path: Path, passages: int, seconds: int = 60, fps: int = 10) -> None:
    """Write a 96×64 clip in which a white box crosses the middle ``passages`` times."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(passages)
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=Fraction(fps), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(seconds * fps):
            picture = noise.integers(30, 50, (64, 96, 3), dtype=np.uint8)
            for k in range(passages):
                x = round((i / fps - 3 - k * (seconds - 6) / passages) * 24)
                if 0 <= x < 96:
                    picture[24:48, max(0, x - 18) : x + 18] = 230
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                sink.mux(packet)
        for packet in stream.encode():
            sink.mux(packet)


def write_cameras(root: Path, zones: dict[str, str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    text = "".join(CAMERA.format(id=i, timezone=z) for i, z in zones.items())
    (root / "cameras.toml").write_text(text)


def add_footage(root: Path, clip: Path, camera: str, timezone: str, day: dt.date) -> Path:
    """Put a copy of ``clip`` where a camera's local noon of ``day`` belongs."""
    from pipeline.localtime import local_instant

    start = local_instant(day, 12 * 60, timezone)
    path = root / "footage" / camera / f"{start:%Y-%m-%dT%H%M%S+0000}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(clip, path)
    return path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two cameras in two time zones, three days of clips and a small model."""
    root = tmp_path_factory.mktemp("tiny")
    write_cameras(root, ZONES)
    clips = {n: root / "made" / f"{n}.mp4" for n in (3, 5)}
    for n, path in clips.items():
        lorry_clip(path, n)
    for i in range(3):
        for (camera, timezone), n in zip(ZONES.items(), (3, 5), strict=True):
            add_footage(root, clips[n], camera, timezone, FIRST + dt.timedelta(days=i))
    _train(root)
    return root


def on_zone(offset_s: float, passages: int, seconds: int = 60) -> float:
    """How many of the zone's columns (29 to 67) the lorry covers at an instant."""
    xs = [(offset_s - 3 - k * (seconds - 6) / passages) * 24 for k in range(passages)]
    return max(min(67, x + 18) - max(29, x - 18) for x in xs)


def _train(root: Path) -> None:
    """Fit a logistic regression on a crop's mean brightness, and put it in use as an ONNX graph."""
    from pipeline import cameras, view
    from pipeline.footage import video
    from pipeline.store import Workspace, write_bytes, write_json

    lorry_clip(root / "made" / "8.mp4", 8)
    crop = view.Crop.of(cameras.load(root / "cameras.toml").entries[0].zones[0], 96, 64)
    shown = {True: [0.0], False: [0.0]}
    for frame in video.read_at(root / "made" / "8.mp4", np.arange(0.5, 59, 0.3), box=crop.box):
        covered = on_zone(frame.offset_s, 8)
        if not 0 < covered < 12:  # neither clearly there nor clearly not
            shown[covered > 0].append(float(crop.extract(frame.rgb).mean()))
    dark, bright = max(shown[False]), min(shown[True][1:])
    slope = 10.0 / (bright - dark)
    ws = Workspace(root)
    write_bytes(ws.model("bright") / "model.onnx", _graph(slope, -slope * (bright + dark) / 2))
    write_json(ws.model("bright") / "card.json", _card())
    write_bytes(ws.current_model, b"bright\n")


def _graph(slope: float, offset: float) -> bytes:
    from onnx import TensorProto, helper

    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pictures"], ["real"], to=kind),
            helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "slope"], ["steep"]),
            helper.make_node("Add", ["steep", "offset"], ["logit"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("logit", kind, ["n"])],
        [
            helper.make_tensor("slope", kind, [], [slope]),
            helper.make_tensor("offset", kind, [], [offset]),
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def _card() -> dict[str, object]:
    return {
        "model_id": "bright",
        "arch": "brightness",
        "kind": "photograph",
        "label_set_id": "tiny",
        "input": {"width": 32, "height": 32, "channels": 3},
        "labels": {"truck": 80, "n": 200},
        "threshold": 0.5,
        "temperature": 1.0,
        "prior": {"shown": 0.4, "natural": 0.4},
        "prevalence": 0.4,
        "held_out": {"tp": 80, "fn": 0, "fp": 0, "tn": 120},
        "engine": "onnxruntime",
        "campaigns": {},
    }


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Path:
    """A fresh copy of the tiny world."""
    root = tmp_path / "world"
    shutil.copytree(template, root, copy_function=shutil.copy2)
    return root


@pytest.fixture(scope="session", autouse=True)
def _prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep Prefect's database out of the home directory; set before Prefect is imported."""
    os.environ.setdefault("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))


@pytest.fixture(scope="session")
def tools() -> ModuleType:
    """This module: what the tests of flows share beside fixtures."""
    return sys.modules[__name__]


def tables(root: Path) -> dict[str, Any]:
    """Read every table of a workspace that a camera-day makes."""
    import pandas as pd

    folders = ("clips", "scores", "passages", "counts", "counts_hourly")
    paths = [p for folder in folders for p in (root / folder).rglob("*.parquet")]
    return {str(p.relative_to(root)): pd.read_parquet(p) for p in paths}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare tables by content; what is null in both is the same."""
    import pandas as pd

    assert set(found) == set(expected)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, obj=name)


def truck_counter(root: Path, *words: str, **env: str) -> Any:
    """Run a command as a user would; return what ``--json`` prints."""
    command = [sys.executable, "-m", "flows.cli", *words, "--root", str(root), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REPOSITORY = Path(__file__).resolve().parents[2]
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
SECRET = "never-to-be-seen-7b1f"


class Server:
    """A Prefect server of its own, and how to call it."""

    def __init__(self, home: Path, database: str | None) -> None:
        self.url = f"http://127.0.0.1:{loopback.free_port()}"
        self.log = home / "server.log"
        self.secret = SECRET
        self.env = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "TRUCK_COUNTER_LABEL_STUDIO_API_KEY": SECRET,
        }
        if database:
            self.env["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database

    def prefect(self, *arguments: str) -> list[str]:
        """Return a command of Prefect's as ``up`` starts its server and its worker."""
        return [sys.executable, "-m", "flows._lean", *arguments]

    @contextlib.contextmanager
    def running(self, *arguments: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a long-lived ``prefect`` command; at the end, end it and all it started."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.prefect(*arguments),
                env={**self.env, **env},
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def call(self, *arguments: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**self.env, **env},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def post(self, path: str, body: dict[str, object] | None = None) -> object:
        """Ask the server, again while it is too busy (503), as Prefect's own client does."""
        from flows._prefect import patiently

        def ask() -> httpx.Response:
            answer = httpx.post(f"{self.url}/api/{path}", json=body or {}, timeout=30)
            return answer.raise_for_status()

        response = patiently(ask)
        return response.json() if response.content else None

    def run(self, deployment: object, parameters: dict[str, object], at: str | None = None) -> str:
        """Ask for a run of a deployment, scheduled for an instant (none: now); return its id."""
        state: dict[str, object] = {"type": "SCHEDULED"}
        if at is not None:
            state["state_details"] = {"scheduled_time": at}
        asked = {"state": state, "parameters": parameters}
        made = self.post(f"deployments/{deployment}/create_flow_run", asked)
        assert isinstance(made, dict)
        return str(made["id"])

    def deployed(self) -> dict[str, str]:
        """Return the deployments' ids by name, their schedules paused: only what is asked runs."""
        found = self.post("deployments/filter")
        assert isinstance(found, list)
        for one in found:
            self.post(f"deployments/{one['id']}/pause_deployment")
        return {str(one["name"]): str(one["id"]) for one in found}

    def wait_for(self, runs: list[str], seconds: float = 600) -> list[dict[str, object]]:
        """Wait until every run has ended; return them."""
        until = time.monotonic() + seconds
        while True:
            found = self.post("flow_runs/filter", {"flow_runs": {"id": {"any_": runs}}})
            assert isinstance(found, list)
            ended = [r for r in found if r["state_type"] in ENDED]
            if len(ended) == len(runs):
                return found
            assert time.monotonic() < until, self.log.read_text()[-4000:]
            time.sleep(0.5)


def wait_until_healthy(server: Server, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not loopback.is_healthy(f"{server.url}/api/health"):
        assert time.monotonic() < until, server.log.read_text()[-4000:]
        time.sleep(0.2)


class Channel(HTTPServer):
    """Where alerts go: keeps what is posted to it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        super().__init__(("127.0.0.1", 0), Listener)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"


class Listener(BaseHTTPRequestHandler):
    server: Channel

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(json.loads(body)["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
