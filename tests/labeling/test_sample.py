"""Sampling from real H.264: what is written, how often, and with which weights."""

from __future__ import annotations

import datetime as dt
import shutil
import tomllib
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg

from flows.cli import cli
from labeling import blocks, campaign, selection
from labeling import sample as sampling
from labeling.judging import Judged
from labeling.looking import Seen
from labeling.sample import _enriched, _repeats, _vehicles, frame_id, sample
from labeling.selection import RANDOM_SHARE, Motion
from pipeline import cameras, exposure, ingest
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace


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


def test_a_campaign_that_judges_draws_frames_of_its_own(filmed):
    drawn = {}
    for name in ("spring", "summer", "held-out-a", "held-out-b"):
        assert sample(filmed, name, 10) == 10
        assert sample(filmed, name, 10) == 0
        frames = campaign.read_frames(filmed, name)
        random = frames["why_chosen"] == "random"
        drawn[name] = [set(frames.loc[part, "frame_id"]) for part in (random, ~random)]
    assert drawn["spring"] == drawn["summer"]
    for one, other in combinations(("spring", "held-out-a", "held-out-b"), 2):
        random, chosen = (a & b for a, b in zip(drawn[one], drawn[other], strict=True))
        assert not random
        assert len(chosen) <= 2  # of 6, from 180 candidates a zone; of what is alike few are left


def test_what_another_call_added_during_a_draw_is_kept(filmed, monkeypatch):
    """Looking for movement takes minutes; two people may draw for one campaign at once."""
    draw = sampling._draw

    def slowly(*of):
        monkeypatch.setattr(sampling, "_draw", draw)
        assert sample(filmed, "both", 10, seed=4) == 10  # someone else, meanwhile
        return draw(*of)

    monkeypatch.setattr(sampling, "_draw", slowly)
    added = sample(filmed, "both", 10, seed=3)
    frames = campaign.read_frames(filmed, "both")
    assert frames["frame_id"].is_unique
    assert sorted(frames.groupby("batch").size()) == sorted([added, 10])


def test_all_of_it_may_be_drawn_at_random(filmed):
    assert sample(filmed, "random", 20, random_share=1.0) == 20
    frames = campaign.read_frames(filmed, "random")
    assert set(frames["why_chosen"]) == {"random"}
    told = next(p.help for p in cli.commands["sample"].params if p.name == "random_share")
    assert f"{RANDOM_SHARE} unless told" in told
    assert sample(filmed, "random", 20) == 20  # another call than the one above
    assert sample(filmed, "random", 20, random_share=1.0) == 0
    with pytest.raises(InputError, match=r"1\.5.*Give a part between 0 and 1"):
        sample(filmed, "random", 20, random_share=1.5)


def test_which_repeat_stands_for_the_others_is_drawn():
    # Nine repeats of one picture, one of which is a truck's: each stands for all in its turn, so a
    # weighted share is right on average. The tenth picture is another.
    pool = [(0, float(i), Motion(0.1, 0.1, 0)) for i in range(9)]
    pool += [(0, 9.0, Motion(0.1, 0.1, 2**40 - 1))]
    counts = np.zeros(10)
    for seed in range(900):
        stands = _repeats(pool, np.zeros(10, np.intp), 2, np.random.default_rng(seed))
        assert sorted(stands[stands > 0]) == [1, 9]
        assert stands[9] == 1
        counts += stands == 9
    assert counts[9] == 0
    assert np.abs(counts[:9] - 100).max() < 40  # binomial: standard deviation 9.4
    assert _repeats(pool, np.zeros(10, np.intp), 3, np.random.default_rng(0)).tolist() == [1] * 10


def test_what_moves_for_a_stay_is_one_vehicle_and_what_stands_still_is_none():
    moving, still = Motion(0.1, 0.1, 0), Motion(0.0, 0.0, 0)
    # Block 0: a truck at 0, 1 and 1.9 s, another thing from 2 s on; nothing at 3 and 4 s, then a
    # car at 5 s that block 1, a second later, does not show again.
    seconds = [(0, 0.0), (0, 1.0), (0, 1.9), (0, 2.0), (0, 3.0), (0, 4.0), (0, 5.0), (1, 0.5)]
    pool = [(block, at, still if at in (3.0, 4.0) else moving) for block, at in seconds]
    assert _vehicles(pool).tolist() == [0, 0, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("model", [False, True])
def test_weights_stay_true_and_more_trucks_are_seen(monkeypatch, model):
    # Four blocks of 300 s seen once a second. Every tenth second a truck comes and is seen twice, a
    # car in the middle of the ten once; the road between has seven looks, repeated over and over.
    rng = np.random.default_rng(5)
    gate = SimpleNamespace(id="gate")
    blocks = [SimpleNamespace(camera=gate, hour=k, clip_id=f"clip{k}") for k in range(4)]

    def size(at: int) -> float:
        return {0: 0.5, 1: 0.5, 5: 0.1}.get(at % 10, 0.0)

    def look(at: int) -> tuple[float, Motion]:
        bulk = size(at) * (1 + 0.2 * rng.random())
        moves = int(rng.integers(2**62))
        return float(at), Motion(size(at), bulk, moves if bulk else (2**9 - 1) << 9 * (at % 7))

    seen = {k: Seen({"z": [look(at) for at in range(300)]}, {}, {}, {}) for k in range(4)}

    def judge(_seen, _zone, wanted):
        p = np.array([0.9 if size(int(at)) > 0.2 else 0.02 for _, at in wanted])
        return Judged(p if model else None, rng.random((len(wanted), 2)))

    def drawn(seed):
        return _enriched(blocks, seen, ("gate", "z"), 40, set(), 1.0, seed, judge)

    def trucks(frames):
        return [(one.block, one.offset_s // 10) for one in frames if one.offset_s % 10 < 2]

    draws = [drawn(seed) for seed in range(150)]
    seconds = [sum(one.weight for one in d if one.offset_s % 10 < 2) for d in draws]
    error = np.std(seconds) / np.sqrt(len(seconds))
    total = [sum(one.weight for one in d) for d in draws]
    assert np.mean(total) == pytest.approx(1200, abs=3 * np.std(total) / np.sqrt(len(total)))
    assert np.mean(seconds) == pytest.approx(240, abs=3 * error)  # 4 · 30 trucks of two seconds
    assert error < 12
    apart = np.mean([len(set(trucks(d))) / len(trucks(d)) for d in draws])
    monkeypatch.setattr(selection, "SECOND_LOOK", 1.0)
    alike = np.mean([len(set(trucks(d))) / len(trucks(d)) for d in map(drawn, range(150))])
    assert apart == pytest.approx(alike, abs=0.01) if model else apart > alike + 0.04


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


def test_only_what_is_scheduled_is_drawn(filmed):
    """Filmed from noon: two minutes of the second, one of the third."""
    told = tomllib.loads(filmed.cameras_toml.read_text())
    for schedule, seconds in ((["00:00", "24:00"], 180.0), (["12:01", "12:02"], 60.0)):
        told["camera"][0]["schedule"] = [schedule]
        found = blocks._blocks(filmed, cameras.parse(told), "gate", None, None)
        assert sum(exposure.seconds(b.spans) for b in found) == pytest.approx(seconds, abs=0.5)


def test_a_clip_over_the_midnight_of_a_new_aim_is_seen_by_both(filmed, tmp_path):
    """Two minutes from 23:59 on, and one of the next noon."""
    ws = Workspace(tmp_path / "ws")
    shutil.copytree(filmed.root, ws.root)
    clip = ws.root / "footage/gate/2026-03-02T120000+0000.mp4"
    clip.rename(clip.with_name("2026-03-02T235900+0000.mp4"))
    told = tomllib.loads(ws.cameras_toml.read_text())
    before = told["camera"][0]
    zone = {"name": "anew", "polygon": before["zones"][0]["polygon"]}
    told["camera"].append({**before, "valid_from": dt.date(2026, 3, 3), "zones": [zone]})
    ingest.ingest(ws, cameras.parse(told))
    seconds = {"left": 0.0, "anew": 0.0}
    for block in blocks._blocks(ws, cameras.parse(told), "gate", None, None):
        seconds[block.camera.zones[0].name] += exposure.seconds(block.spans)
    assert seconds == pytest.approx({"left": 60.0, "anew": 120.0}, abs=0.5)


def test_footage_that_is_gone_is_not_drawn(filmed, tmp_path):
    ws = Workspace(tmp_path / "ws")
    shutil.copytree(filmed.root, ws.root)
    (ws.root / "footage/gate/2026-03-02T120000+0000.mp4").unlink()
    assert sample(ws, "gone", 6) == 6
    assert {f"{t:%d}" for t in campaign.read_frames(ws, "gone")["captured_at"]} == {"03"}
