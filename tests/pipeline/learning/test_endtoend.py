"""The end-to-end benchmark: every CPU second is some stage's, and a stage is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from pipeline.errors import FootageError
from pipeline.footage import containers
from pipeline.learning import endtoend


def test_on_a_small_clip_shares_add_up(tmp_path: Path) -> None:
    clip = endtoend.film_street(tmp_path / "a.mp4", (320, 192), seconds=2, times=3)
    figures = endtoend.bench_end_to_end(clip, hz=2.0, rounds=1)
    cpu_s, share = figures["cpu_s"], figures["share"]
    assert set(share) == {"decode", "crop", "classify", "write"}
    assert sum(share.values()) == pytest.approx(1.0, abs=0.001)
    assert all(spent > 0 for spent in cpu_s.values())
    assert figures["scores"] == 12  # six seconds, twice a second, one zone
    assert figures["camera_hours_per_core_hour"] == pytest.approx(6 / sum(cpu_s.values()), rel=0.02)
    rest = cpu_s["crop"] + cpu_s["classify"] + cpu_s["write"]
    ratio = rest / figures["full_decode_cpu_s"]
    assert figures["rest_per_full_decode"] == pytest.approx(ratio, rel=0.01)
    text = endtoend.as_text(figures)
    assert "untrained" in text
    assert "camera-hours per core-hour" in text


def test_a_street_is_shown_as_often_as_asked(tmp_path: Path) -> None:
    path = endtoend.film_street(tmp_path / "a.mp4", (160, 96), seconds=2, times=3)
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 150
    assert times == pytest.approx([i / 25 for i in range(150)], abs=0.001)
    assert containers.probe(path).duration_s == pytest.approx(6.0, abs=0.05)


def test_what_is_no_footage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(FootageError, match=r"a\.mp4 cannot be opened"):
        endtoend.bench_end_to_end(tmp_path / "a.mp4", rounds=1)


@pytest.mark.slow
def test_everything_but_decoding_is_cheap_at_720p() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "bench", "end-to-end", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["size"] == [1280, 720]
    assert figures["rest_per_full_decode"] <= 0.15, figures
