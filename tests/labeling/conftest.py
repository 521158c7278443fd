"""A real Label Studio for the tests that need one, with people who can log in to it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from labeling import server
from labeling.client import LabelStudio
from pipeline import schemas, store
from pipeline.store import Workspace

PASSWORD = "Quiet-River-42"


@pytest.fixture(scope="session")
def studio_environment() -> Path:
    """The server's own virtual environment."""
    try:
        server.install()
    except server.ServerError as error:
        pytest.skip(f"Label Studio cannot be installed here: {error}")
    return server.default_environment()


@pytest.fixture(scope="session")
def studio_folder(tmp_path_factory) -> Path:
    """Where the server keeps what it has."""
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="session")
def credentials(studio_environment, studio_folder) -> Iterator[server.Credentials]:
    """A running server."""
    with server.serve(studio_folder) as reached:
        yield reached


@pytest.fixture
def studio_client(credentials) -> Iterator[LabelStudio]:
    with LabelStudio(credentials.url, credentials.token) as client:
        yield client


@pytest.fixture(scope="session")
def people(credentials) -> dict[str, str]:
    """E-mail address → token of four users who signed up by an invitation."""
    return {
        f"{name}@crew.example": sign_up(credentials, f"{name}@crew.example")
        for name in ("ann", "bob", "cem", "dua")
    }


def sign_up(credentials: server.Credentials, email: str) -> str:
    """Sign up as people do, and return the new user's token."""
    admin = {"Authorization": f"Token {credentials.token}"}
    with httpx.Client(base_url=credentials.url, timeout=60, follow_redirects=True) as http:
        link = http.get("/api/invite", headers=admin).json()["invite_url"]
        page = http.get(link).text
        csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert csrf is not None
        body = {"email": email, "password": PASSWORD, "csrfmiddlewaretoken": csrf[1]}
        http.post(link, data=body, headers={"Referer": credentials.url}).raise_for_status()
        return str(http.get("/api/current-user/token").json()["token"])


@pytest.fixture
def workspace_of(tmp_path: Path) -> Callable[[int], Workspace]:
    """Make a workspace whose campaign ``spring`` holds n frames with small pictures."""

    def make(n: int) -> Workspace:
        import numpy as np
        import simplejpeg

        ws = Workspace(tmp_path)
        folder = ws.campaign_frames("spring")
        start = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.full((32, 48, 3), 120, np.uint8)
        (folder / "crop.jpg").write_bytes(simplejpeg.encode_jpeg(grey))
        rows = [
            {
                "frame_id": f"f{i:05d}",
                "camera_id": "gate",
                "zone": "out",
                "clip_id": "c",
                "captured_at": start + dt.timedelta(seconds=i),
                "offset_s": float(i),
                "path": "crop.jpg",
                "background_path": "crop.jpg",
                "batch": "b",
                "why_chosen": "random",
                "weight": 1.0,
            }
            for i in range(n)
        ]
        store.write_table(
            folder / "frames.parquet", store.table_of(rows, schemas.FRAMES), schemas.FRAMES
        )
        return ws

    return make


@pytest.fixture(scope="session")
def password() -> str:
    """The password everybody signed up with."""
    return PASSWORD


@pytest.fixture(scope="session")
def sure_votes() -> Callable[[Workspace, int], dict[str, bool]]:
    """Let three people of an earlier crowd agree on n frames, every other a truck; return truth."""
    from labeling import campaign

    def agree(ws: Workspace, n: int) -> dict[str, bool]:
        truth = {f"f{i:05d}": i % 2 == 0 for i in range(n)}
        rows = [
            {"frame_id": f, "worker": worker, "label": "truck" if t else "no_truck"}
            | {"annotated_at": None, "seconds_spent": None, "source": "import"}
            for f, t in truth.items()
            for worker in ("old1", "old2", "old3")
        ]
        campaign.add_annotations(ws, "spring", rows)
        campaign.aggregate(ws, "spring")
        return truth

    return agree


CAMERAS = """
[[camera]]
id = "gate"
site = "yard"
timezone = "UTC"
source = "footage/gate/*.mp4"
zones = [
  { name = "left", polygon = [[0.05, 0.3], [0.45, 0.3], [0.45, 0.95], [0.05, 0.95]] },
  { name = "right", polygon = [[0.55, 0.3], [0.95, 0.3], [0.95, 0.95], [0.55, 0.95]] },
]
"""


def film(path: Path, seconds: int) -> None:
    """Write a road on which, on the left, something small passes, and a large thing every 20 s."""
    import av
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        road = rng.integers(80, 100, (180, 320, 3)).astype(np.uint8)
        for i in range(seconds * 5):
            rgb, t = road.copy(), i / 5
            y = int(40 * (t % 4)) + 30
            if int(t) % 20 < 3:
                top = int(30 * (t % 20)) + 5 * (int(t) // 20)
                rgb[20 + top : 130 + top, 30:130] = (200, 40 + 20 * (int(t) // 20), 40)
            elif int(t) % 4 < 3:
                rgb[y : y + 24, 60:84] = (220, 220, 60)
            for packet in stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory) -> Workspace:
    """Three minutes of footage of one camera with two zones, ingested."""
    from pipeline import cameras, ingest

    ws = Workspace(tmp_path_factory.mktemp("filmed"))
    ws.cameras_toml.write_text(CAMERAS)
    film(ws.root / "footage/gate/2026-03-02T120000+0000.mp4", 120)
    film(ws.root / "footage/gate/2026-03-03T120000+0000.mp4", 60)
    ingest.ingest(ws, cameras.load(ws.cameras_toml))
    return ws


@pytest.fixture(scope="session")
def untrained() -> Callable[[Workspace, dict[str, str]], None]:
    """Put an untrained model ``m1`` into use that says it has learned from these campaigns."""

    def put(ws: Workspace, campaigns: dict[str, str]) -> None:
        import torch

        from pipeline.learning import checkpoints
        from pipeline.learning.models import NetSpec, build

        torch.manual_seed(0)
        spec = NetSpec(channels=6, height=32, width=40)
        card = {
            "model_id": "m1",
            "arch": "mlp",
            "spec": checkpoints.spec_json(spec),
            "input": {"channels": 6, "height": 32, "width": 40},
            "threshold": 0.5,
            "temperature": 1.0,
            "prior": {"shown": 0.5, "natural": 0.05},
            "engine": "torch",
            "campaigns": campaigns,
        }
        checkpoints.save_model(ws, "m1", build("mlp", spec), card)
        checkpoints.set_current(ws, "m1")

    return put
