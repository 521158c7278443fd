"""Recording live cameras on loopback: what was sent is kept, on time, and cut lines cost nothing.

Film number n was taken n/25 s after the camera was switched on, so a recording can be held against
what was truly sent, picture by picture.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.domain import Camera
from pipeline.errors import ConfigError, InputError
from pipeline.exposure import seconds, shift, union
from pipeline.footage import video
from pipeline.footage.live import clips, record, stills, streams
from pipeline.ingest import ingest
from pipeline.store import Workspace

GOP, FPS = 25, 25
LATE_S = 1.0  # under load a server sends late; half of that and more is the test machine's


def expected(given: Iterable[list[int]]) -> set[int]:
    """Pictures from the first keyframe on, of every connection."""
    return {n for whole in given for n in whole if n >= -(-whole[0] // GOP) * GOP}


def exposure_s(ws: Workspace, registry: Any) -> tuple[float, set[str]]:
    """What ingest finds: seconds covered, each instant once, and the clips' statuses."""
    report = ingest(ws, registry)
    spans = union(*(shift(c.covered, c.started_at.timestamp()) for c in report.clips))
    return seconds(spans), {clip.status for clip in report.clips}


def test_rtsp_cut_in_the_middle_of_pictures(ws: Workspace, film: Any, servers: Any) -> None:
    lives = iter([2.5, 3.1, 1e9])
    film.since = time.time() - 1.3
    server = servers.rtsp(film, lambda: next(lives))
    registry = servers.registry(server.url)
    recording = servers.record(ws, registry)
    recording.until(lambda: len(server.given) == 3 and len(server.given[2]) > 60)
    tally = recording.stop()
    server.close()
    found = servers.numbers(ws)
    wanted = expected(server.given[:2])
    kept = [number for _, number in found]
    assert wanted <= set(kept)
    assert len(kept) == len(set(kept)) == tally.pictures
    third = [n for n in kept if n >= server.given[2][0]]
    assert third == list(range(third[0], third[0] + len(third)))
    assert third[0] % GOP == 0
    assert len(third) > 30
    assert all(-0.05 < at - film.at(number) < LATE_S for at, number in found)
    assert (tally.connections, tally.failures, tally.clips) == (3, 2, 3)
    covered, statuses = exposure_s(ws, registry)
    assert covered == pytest.approx(len(kept) / FPS, abs=0.05)
    assert statuses == {"ok"}


def test_clips_end_at_keyframes_and_follow_on_each_other(
    ws: Workspace, film: Any, servers: Any
) -> None:
    film.since = time.time() - 0.8
    server = servers.rtsp(film)
    server.from_keyframe = True
    registry = servers.registry(server.url)
    recording = servers.record(ws, registry, clip_s=2.0)
    recording.until(lambda: recording.tally.clips >= 3)
    recording.stop()
    server.close()
    found = servers.numbers(ws)
    numbers = [number for _, number in found]
    assert numbers[0] == server.given[0][0]
    assert all(-0.05 < at - film.at(number) < LATE_S for at, number in found)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    paths = sorted((ws.root / "footage" / "gate").iterdir())
    assert [path.name for path in paths if path.name.startswith(".")] == [".recording.lock"]
    covered, statuses = exposure_s(ws, registry)
    assert covered == pytest.approx(len(numbers) / FPS, abs=0.05)
    assert statuses == {"ok"}


@pytest.mark.parametrize("kind", ["mpegts", "fmp4"])
def test_hls_with_answers_that_break_off(
    kind: str, ws: Workspace, film: Any, servers: Any, tmp_path: Path
) -> None:
    camera = servers.hls(film, tmp_path / "hls", kind)
    film.since = time.time() - 3.3
    broken: set[str] = set()

    def cut(path: str) -> bool:  # every answer but playlists breaks off the first time
        first = path not in broken and not path.endswith(".m3u8")
        broken.add(path)
        return first

    camera.server.cut = cut
    registry = servers.registry(camera.server.url("live.m3u8"))
    recording = servers.record(ws, registry)
    time.sleep(8)
    tally = recording.stop()
    camera.server.close()
    found = servers.numbers(ws)
    numbers = [number for _, number in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] % GOP == 0
    assert len(numbers) >= 4 * FPS
    assert len(broken) > 4
    assert all(-0.05 < at - film.at(number) < LATE_S for at, number in found)
    assert tally.clips == 1
    covered, statuses = exposure_s(ws, registry)
    assert covered == pytest.approx(len(numbers) / FPS, abs=0.05)
    assert statuses == {"ok"}


@pytest.mark.parametrize("ended", ["", "#EXT-X-ENDLIST\n"])
def test_a_playlist_left_behind_is_not_recorded(
    ended: str, ws: Workspace, servers: Any, film: Any, tmp_path: Path
) -> None:
    camera = servers.hls(film, tmp_path / "hls")
    film.since = time.time() - 10
    still = camera._answer("live.m3u8")[2] + ended.encode()
    server = servers.http(lambda path: (200, {}, still) if "m3u8" in path else (404, {}, b""))
    recording = servers.record(ws, servers.registry(server.url("live.m3u8")))
    time.sleep(2)
    assert recording.stop().clips == 0
    assert not any(path.endswith(".ts") for path in server.asked)
    camera.server.close()
    server.close()


def picture(number: int) -> bytes:
    """A JPEG of noise, another for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (90, 160, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def test_stills_become_a_clip_that_is_read_like_any(ws: Workspace, servers: Any) -> None:
    taken = [picture(n) for n in range(4)]
    order = [0, 0, 1, 1, 1, 2, 3]
    asked: list[int] = []

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(order[min(len(asked), len(order) - 1)])
        said = {"Last-Modified": f"still {asked[-1]}", "ETag": f'"{asked[-1]}"'}
        if server.headers[-1].get("if-none-match") == f'"{asked[-1]}"' and len(asked) != 4:
            return 304, {"Content-Length": "0"}, b""
        return 200, said, taken[asked[-1]]

    server = servers.http(answer)
    server.cut = lambda path: len(asked) == 6  # breaks off; asked again, it is the next
    registry = servers.registry(server.url("still.jpg?token=1"), sample_hz=1.0)
    recording = servers.record(ws, registry)
    recording.until(lambda: len(asked) > len(order))
    tally = recording.stop()
    server.close()
    assert (tally.clips, tally.pictures, tally.connections) == (1, 3, 1)
    (path,) = (ws.root / "footage" / "gate").glob("*.mkv")
    lines = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["last_modified"] for line in lines] == ["still 0", "still 1", "still 3"]
    offsets = [line["offset_s"] for line in lines]
    assert offsets == pytest.approx([0.0, 2.0, 6.0], abs=0.7)
    fetched = [dt.datetime.fromisoformat(line["fetched_at"]).timestamp() for line in lines]
    assert [at - fetched[0] for at in fetched] == pytest.approx(offsets, abs=0.002)
    frames = list(video.read_at(path, [offset + 0.01 for offset in offsets]))
    for frame, number in zip(frames, (0, 1, 3), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(taken[number])).convert("RGB"), np.int16)
        assert np.abs(shown - frame.rgb).mean() < 25  # of chroma; another still is 80 away
    covered, statuses = exposure_s(ws, registry)
    assert statuses == {"ok"}
    assert covered == pytest.approx(offsets[-1] + 3.0, abs=1.5)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", picture(1)[:-900], b"\xff\xd8\xff\xd9", b"\xff\xd8\xff" + bytes(99)]
)
def test_what_is_no_whole_jpeg_is_not_recorded(body: bytes, ws: Workspace, servers: Any) -> None:
    server = servers.http(lambda path: (200, {}, body))
    recording = servers.record(ws, servers.registry(server.url("a.jpg"), sample_hz=1.0))
    recording.until(lambda: len(server.asked) >= 2)
    assert recording.stop().clips == 0
    assert not list((ws.root / "footage" / "gate").glob("*.mkv"))
    server.close()


def test_a_list_of_stills_is_saved_without_its_half_line(tmp_path: Path) -> None:
    (tmp_path / ".2026-03-29T100000+0000.jsonl.abcd1234.part").write_text(
        '{"a": 1}\n{"a": 2}\n{"a"'
    )
    (tmp_path / ".2026-03-29T110000+0000.jsonl.abcd1234.part").write_text('{"a"')
    stills.salvage_lists(tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.name == "2026-03-29T100000+0000.jsonl"
    assert left.read_text() == '{"a": 1}\n{"a": 2}\n'


def workspace(root: Path, source: str, **keys: Any) -> Path:
    """A workspace on disk, as the command finds it."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    root.mkdir(parents=True, exist_ok=True)
    text = (
        f'[[camera]]\nid = "gate"\nsite = "dc-1"\ntimezone = "Europe/Berlin"\n'
        f"source = {json.dumps(source)}\n" + "\n".join(lines) + "\n"
        'zones = [{ name = "lane", polygon = [[0, 0], [1, 0], [1, 1]] }]\n'
    )
    (root / "cameras.toml").write_text(text)
    return root


def command(root: Path, *options: str) -> subprocess.Popen[str]:
    """`truck-counter record`, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "record", "--root", str(root), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def in_time(happened: Callable[[], bool], within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_command_records_for_a_while(tmp_path: Path, film: Any, servers: Any) -> None:
    film.since = time.time()
    server = servers.rtsp(film)
    source = server.url.replace("//", "//me:hunter2@") + "?token=hunter2"
    root = workspace(tmp_path, source, allow_private_addresses=True)
    said, told = command(root, "--for", "15s", "--json").communicate(timeout=90)
    result = json.loads(said)
    (tally,) = result["cameras"]
    assert tally["clips"] == 1
    assert tally["seconds"] == pytest.approx(tally["pictures"] / FPS, abs=0.05)
    assert "hunter2" not in said + told
    assert told.count("gate: recording rtsp://127.0.0.1") == 1
    assert b"token=hunter2" in server.requests[0]
    server.close()


def test_ctrl_c_closes_the_clip(tmp_path: Path, film: Any, servers: Any) -> None:
    film.since = time.time()
    server = servers.rtsp(film)
    root = workspace(tmp_path, server.url, allow_private_addresses=True)
    running = command(root)
    in_time(lambda: len(server.given) == 1 and len(server.given[0]) > 60)
    os.killpg(running.pid, signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert re.match(r"gate: [12] clip\(s\)", said), "a starved machine makes two of one"
    assert len(servers.numbers(Workspace(root))) > 20
    server.close()


def test_what_a_killed_recorder_left_is_saved(tmp_path: Path, film: Any, servers: Any) -> None:
    film.since = time.time()
    server = servers.rtsp(film)
    root = workspace(tmp_path, server.url, allow_private_addresses=True)
    registry = servers.registry(server.url)
    running = command(root)
    in_time(lambda: len(server.given) == 1 and len(server.given[0]) > 100)
    given = list(server.given[0])
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    ws = Workspace(root)
    assert list((root / "footage" / "gate").glob(".*.mkv.*.part"))
    assert ingest(ws, registry).clips == ()  # nothing half is taken for whole
    recording = servers.record(ws, registry)
    recording.until(lambda: recording.tally.clips > 0 and recording.tally.connections > 0)
    recording.stop()
    assert not list((root / "footage" / "gate").glob(".*.mkv.*.part"))
    found = servers.numbers(ws)
    first = min(expected([given]))
    saved = [number for _, number in found if number < server.given[1][0]]
    assert saved == list(range(first, first + len(saved)))
    assert saved[-1] >= given[-1] - 5  # the last one or two were still on their way
    assert all(-0.05 < at - film.at(number) < LATE_S for at, number in found)
    assert exposure_s(ws, registry)[1] <= {"ok"}
    server.close()


def test_only_one_records_a_camera(
    ws: Workspace, film: Any, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.footage.live.recorder._LOCK_WAIT_S", 0.2)
    server = servers.rtsp(film)
    registry = servers.registry(server.url)
    first, second = servers.record(ws, registry), None
    first.until(lambda: first.tally.connections > 0)
    second = servers.record(ws, registry)
    with pytest.raises(InputError, match="being recorded already"):
        second.until(lambda: second.error is not None) or second.stop()
    first.stop()
    server.close()


def test_files_are_left_alone(tmp_path: Path) -> None:
    root = workspace(tmp_path, "footage/gate/*.mp4")
    for options, told in (((), "no camera is live"), (("--camera", "gate"), "is not live")):
        running = command(root, *options)
        assert told in running.communicate(timeout=60)[1]
        assert running.returncode == 2


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("rtsp://me:hunter2@127.0.0.1:1/live?key=hunter2", "127.0.0.1 is loopback"),
        ("file:///etc/passwd", "the protocol 'file' is refused"),
    ],
)
def test_a_refused_camera_is_one_line(source: str, told: str, tmp_path: Path) -> None:
    running = command(workspace(tmp_path, source), "--for", "30s")
    said, error = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "hunter2" not in said + error
    last = error.splitlines()[-1]
    assert last.startswith("error: nothing was recorded. gate: ")
    assert told in last
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.toml"]


@pytest.mark.parametrize("pattern", ["%Y%m%d_%H%M%S", "%Y-%m-%dZ", "%H%M%SZ", "north"])
def test_a_clip_start_that_cannot_name_a_recording(pattern: str) -> None:
    camera = Camera("gate", "dc", "Europe/Berlin", "rtsp://x/y", (), clip_start=pattern)
    with pytest.raises(ConfigError, match="cannot name a recording"):
        clips.check_names(camera, dt.datetime(2026, 3, 29, 1, 2, 3, 400_000, tzinfo=dt.UTC))


def test_an_anchor_takes_the_least_delayed_and_follows_a_suspended_camera() -> None:
    anchor = streams.Anchor()
    for delay, media in ((0.9, 0.0), (0.4, 1.0), (0.7, 2.0)):
        anchor.arrived(1000 + media + delay, media)
    assert anchor.posix(0.0) == pytest.approx(1000.4)
    for window, late in enumerate((0.0, 0.0, 7.0)):  # in the third it stood still for 7 s
        for second in range(window * 100, window * 100 + 100):
            anchor.arrived(1000.5 + late + second, float(second))
        anchor.next_window()
    assert anchor.posix(0.0) == pytest.approx(1007.4, abs=0.11)


def test_a_report_names_what_failed() -> None:
    bad = record.Tally("gate", failures=2, last_failure="no connection (refused).")
    report = record.Report((bad,), {}, ("yard",))
    assert report.as_text().splitlines() == [
        "gate: 0 clip(s), 0.0 s, 0 pictures, 0 connection(s), 2 failure(s), "
        "the last: no connection (refused).",
        "yard: its source is files; left alone",
    ]


@pytest.mark.slow
def test_twenty_cuts_at_random(ws: Workspace, make_clip: Any, servers: Any) -> None:
    film = servers.film(make_clip, 160)
    chance = random.Random(20)
    film.since = time.time()
    server = servers.rtsp(film, lambda: chance.uniform(1.5, 8.0))
    registry = servers.registry(server.url)
    recording = servers.record(ws, registry)
    recording.until(lambda: len(server.given) > 20, within_s=150)
    recording.stop()
    server.close()
    given = server.given[:20]
    first_of_21st = server.given[20][0]
    kept = [number for _, number in servers.numbers(ws) if number < first_of_21st]
    wanted = expected(given)
    lost = sorted(wanted - set(kept))
    told = f"{len(wanted)} pictures sent after keyframes, {len(kept)} kept, lost {lost}"
    print(told)
    assert not lost, told
    assert len(kept) == len(set(kept))
    covered, statuses = exposure_s(ws, registry)
    beyond = len([1 for _, n in servers.numbers(ws) if n >= first_of_21st]) / FPS
    print(f"exposure {covered - beyond:.2f} s, sent {len(wanted) / FPS:.2f} s, {statuses}")
    assert covered - beyond == pytest.approx(len(wanted) / FPS, rel=0.01)
    assert statuses == {"ok"}
