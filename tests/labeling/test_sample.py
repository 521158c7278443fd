"""Sampling from real H.264: what is written, how often, and with which weights."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from labeling import campaign
from labeling.sample import frame_id, sample
from pipeline import cameras, ingest
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

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


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Workspace:
    ws = Workspace(tmp_path_factory.mktemp("filmed"))
    ws.cameras_toml.write_text(CAMERAS)
    film(ws.root / "footage/gate/2026-03-02T120000+0000.mp4", 120)
    film(ws.root / "footage/gate/2026-03-03T120000+0000.mp4", 60)
    ingest.ingest(ws, cameras.load(ws.cameras_toml))
    return ws


def test_one_call(filmed):
    assert sample(filmed, "one", 40) == 40
    frames = campaign.read_frames(filmed, "one")
    assert frames["frame_id"].is_unique
    assert frames.groupby("zone").size().to_dict() == {"left": 20, "right": 20}
    random = frames[frames["why_chosen"] == "random"]
    # Each zone was seen for 180 s: the random share stands for all of it.
    assert random.groupby("zone")["weight"].sum().to_dict() == pytest.approx(
        {"left": 180.0, "right": 180.0}, abs=0.1
    )
    folder = filmed.campaign_frames("one")
    for row in frames.itertuples():
        assert row.frame_id == frame_id("gate", row.zone, row.clip_id, row.offset_s)
        crop = simplejpeg.decode_jpeg((folder / row.path).read_bytes())
        background = simplejpeg.decode_jpeg((folder / row.background_path).read_bytes())
        assert crop.shape == background.shape
        assert max(crop.shape) <= 128
        assert row.clip_id.startswith(f"{row.captured_at:%Y-%m-%d}")
    # Enrichment: the large thing is there 15% of the time, and in more of the enriched frames.
    enriched = frames[(frames["why_chosen"] != "random") & (frames["zone"] == "left")]
    assert (enriched["captured_at"].map(lambda t: t.second % 20 < 3)).mean() >= 0.3
    assert "still" in set(frames[frames["zone"] == "right"]["why_chosen"])


def test_the_same_call_adds_nothing_and_another_adds(filmed):
    assert sample(filmed, "two", 10, ["gate"], seed=3) == 10
    table = filmed.campaign_frames("two") / "frames.parquet"
    before = table.read_bytes()
    assert sample(filmed, "two", 10, ["gate"], seed=3) == 0
    assert sample(filmed, "two", 10, [], seed=3) == 0  # no camera named means all: the same call
    assert table.read_bytes() == before
    assert sample(filmed, "two", 10, ["gate"], seed=4) == 10
    frames = campaign.read_frames(filmed, "two")
    assert len(frames) == 20
    assert frames["frame_id"].is_unique
    assert frames["batch"].nunique() == 2


def test_a_model_named_is_another_call_and_an_unknown_one_is_named(filmed):
    with pytest.raises(NotFoundError, match="'m9'"):
        sample(filmed, "five", 4, seed=3, model="m9")
    assert sample(filmed, "five", 4, seed=3, model="none") == 4
    assert sample(filmed, "five", 4, seed=3) == 0


def test_a_call_that_was_cut_off_is_made_again(filmed):
    sample(filmed, "three", 12)
    folder = filmed.campaign_frames("three")
    table, pictures = folder / "frames.parquet", sorted(p.name for p in folder.iterdir())
    before = table.read_bytes()
    table.unlink()
    next(folder.glob("*.jpg")).unlink()
    assert sample(filmed, "three", 12) == 12
    assert table.read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == pictures


def test_only_the_days_named(filmed):
    day = dt.date(2026, 3, 3)
    sample(filmed, "four", 6, first_day=day, last_day=day)
    assert set(campaign.read_frames(filmed, "four")["captured_at"].dt.date) == {day}


def test_wrong_input_is_named(filmed):
    with pytest.raises(NotFoundError, match="'back'"):
        sample(filmed, "bad", 5, ["back"])
    with pytest.raises(InputError, match="2027-01-01"):
        sample(filmed, "bad", 5, first_day=dt.date(2027, 1, 1))
    with pytest.raises(InputError, match="--n 0"):
        sample(filmed, "bad", 0)
    assert not filmed.campaign_frames("bad").exists()
