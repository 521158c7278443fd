"""Setting a camera up from the command line: its entry, and the picture it is recognised by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from flows.cli import cli
from pipeline import cameras
from pipeline.errors import ConfigError, InputError
from pipeline.learning.pictures import read_picture


def film(path: Path, level: int, n: int = 6) -> Path:
    """Encode a few grey pictures with a bright box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
        for _ in range(n):
            picture = np.full((108, 192, 3), level, np.uint8)
            picture[40:60, 50:100] = min(level * 3, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def add(root: Path, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["cameras", "add", *words, "--root", str(root), "--json"])
    if done.exception:
        raise done.exception
    result: dict[str, Any] = json.loads(done.stdout)
    return result


GATE = ("gate", "--source", "footage/gate/*.mp4", "--timezone", "Europe/Berlin")


def test_a_camera_gets_an_entry_and_a_picture(tmp_path: Path) -> None:
    film(tmp_path / "footage/gate/2026-03-01T100000+0000.mp4", level=0)  # at night: shows nothing
    (tmp_path / "footage/gate/2026-03-01T110000+0000.mp4").write_bytes(b"no clip")
    film(tmp_path / "footage/gate/2026-03-01T120000+0000.mp4", level=80)
    result = add(tmp_path, *GATE, "--site", "dc-1")
    made = cameras.load(tmp_path / "cameras.toml").camera("gate")
    assert (made.site, made.timezone, made.source) == (
        "dc-1",
        "Europe/Berlin",
        "footage/gate/*.mp4",
    )
    picture = read_picture(Path(result["reference"]))
    assert Path(result["reference"]).is_relative_to(tmp_path / "cameras" / "gate")
    assert picture.shape == (108, 192, 3)
    assert picture[:30].mean() == pytest.approx(80, abs=4)


def test_without_footage_there_is_no_picture_yet(tmp_path: Path) -> None:
    assert add(tmp_path, *GATE)["reference"] is None
    assert cameras.load(tmp_path / "cameras.toml").ids == ["gate"]


def test_a_view_anew_keeps_what_is_not_told(tmp_path: Path) -> None:
    film(tmp_path / "footage/gate/2026-03-01T120000+0000.mp4", level=80)
    film(tmp_path / "footage/gate/2026-03-05T120000+0000.mp4", level=50)
    add(tmp_path, *GATE, "--site", "dc-1", "--sample-hz", "2")
    before = (tmp_path / "cameras.toml").read_bytes()
    with pytest.raises(InputError, match="there already"):
        add(tmp_path, *GATE)
    assert (tmp_path / "cameras.toml").read_bytes() == before
    result = add(tmp_path, "gate", "--valid-from", "2026-03-04")
    assert (tmp_path / "cameras.toml").read_bytes().startswith(before)
    first, second = cameras.load(tmp_path / "cameras.toml").entries
    assert (second.site, second.sample_hz, str(second.valid_from)) == ("dc-1", 2.0, "2026-03-04")
    assert second.zones == first.zones
    assert read_picture(Path(result["reference"]))[:30].mean() == pytest.approx(50, abs=4)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no --timezone is given"):
        add(tmp_path, "gate", "--source", "x")
    with pytest.raises(ConfigError, match="'Moon'"):
        add(tmp_path, "gate", "--source", "x", "--timezone", "Moon")
    assert not (tmp_path / "cameras.toml").exists()
