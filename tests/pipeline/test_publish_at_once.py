"""Processes that publish at once, die at once, and run out of disk; and how much is read fast."""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline import schemas, vintages
from pipeline.cameras import parse
from pipeline.publish import (
    read_daily_counts,
    read_hourly_counts,
)

T1, T2 = "2026-03-10T12:00:00+00:00", "2026-03-11T12:00:00+00:00"
DAY = "2026-03-08"

_PUBLISHER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from pipeline import cameras, store
    from pipeline.publish import publish
    ws = store.Workspace(Path(sys.argv[1]))
    registry = cameras.load(ws.cameras_toml)
    own = cameras.Registry(tuple(c for c in registry.entries if c.id == sys.argv[2]))
    """
)
_COUNTING = textwrap.dedent(
    """
    import datetime as dt
    from pipeline import schemas
    camera, times = sys.argv[2], int(sys.argv[3])
    day = dt.date(2026, 3, 1)
    daily = store.read_table(ws.counts(camera, day, "m1"), schemas.COUNTS).to_pylist()
    hourly = store.read_table(ws.counts_hourly(camera, day, "m1"), schemas.HOURLY).to_pylist()
    for n in range(1, times + 1):
        for rows, path, schema in (
            (hourly, ws.counts_hourly(camera, day, "m1"), schemas.HOURLY),
            (daily, ws.counts(camera, day, "m1"), schemas.COUNTS),
        ):
            rows = [{**row, "truck_count": n / len(rows)} for row in rows]
            store.write_table(path, store.table_of(rows, schema), schema)
        done = publish(ws, own)
        assert done.rows == 1, done
        print(n, flush=True)
    """
)


def _write_registry(root: Path, entries) -> None:
    lines = []
    for e in entries:
        polygon = "[[0.1, 0.4], [0.9, 0.4], [0.9, 0.8], [0.1, 0.8]]"
        lines.append(
            f'[[camera]]\nid = "{e["id"]}"\nsite = "{e["site"]}"\ntimezone = "{e["timezone"]}"\n'
            f'source = "footage/*.mp4"\nexchange = "XNYS"\n'
            f'zones = [{{ name = "exit", movement = "out", polygon = {polygon} }}]\n'
        )
    (root / "cameras.toml").write_text("\n".join(lines))


def _start(script: str, *arguments: str, **keys) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keys,
    )


def _publish_at_once(folder, counted_workspace, camera_entry, processes: int, times: int) -> None:
    entries = [camera_entry(f"c{i}") for i in range(processes)]
    counted = counted_workspace(folder, parse({"camera": entries}))
    _write_registry(folder, entries)
    for e in entries:
        counted.count("2026-03-01", 0, camera=e["id"])
    counted.publish("2026-03-10T00:00:00Z")
    running = [_start(_PUBLISHER + _COUNTING, str(folder), e["id"], str(times)) for e in entries]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    known = vintages.instants(counted.ws)
    assert len(known) == 1 + processes * times
    seen = Counter()
    for instant in known[1:]:
        table = pq.ParquetFile(vintages.DAILY.vintage(counted.ws, instant)).read().to_pylist()
        hours = pq.ParquetFile(vintages.HOURLY.vintage(counted.ws, instant)).read().to_pylist()
        assert len(table) == 1
        assert table[0]["as_of"] == instant
        # Not mixed: the hours are of the same camera and count as the day.
        assert {(h["camera_id"], round(24 * h["truck_count"], 9)) for h in hours} == {
            (table[0]["camera_id"], table[0]["truck_count"])
        }
        seen[table[0]["camera_id"], table[0]["truck_count"]] += 1
    assert seen == Counter({(e["id"], float(n)): 1 for e in entries for n in range(1, times + 1)})
    assert set(read_daily_counts(folder)["truck_count"]) == {float(times)}
    pd.testing.assert_frame_equal(
        pd.read_parquet(counted.ws.daily_counts), read_daily_counts(folder, as_of=known[-1])
    )


def test_processes_that_publish_at_once_lose_nothing(tmp_path, counted_workspace, camera_entry):
    _publish_at_once(tmp_path, counted_workspace, camera_entry, processes=4, times=5)


@pytest.mark.slow
def test_8_processes_200_publications(tmp_path, counted_workspace, camera_entry):
    _publish_at_once(tmp_path, counted_workspace, camera_entry, processes=8, times=25)


def _kill_while_publishing(folder, counted_workspace, camera_entry, times: int) -> None:
    """Kill a busy publisher at random instants; after each kill, everything must be whole."""
    entries = [camera_entry("c0")]
    counted = counted_workspace(folder, parse({"camera": entries}))
    _write_registry(folder, entries)
    counted.count("2026-03-01", 0, camera="c0")
    counted.publish("2026-03-10T00:00:00Z")
    rng = random.Random(9)
    endless = _COUNTING.replace("range(1, times + 1)", "__import__('itertools').count(times)")
    history: dict[dt.datetime, float] = {}
    for round_ in range(1, times + 1):
        process = _start(_PUBLISHER + endless, str(folder), "c0", str(10_000 * round_))
        process.stdout.readline()  # it has published once
        time.sleep(rng.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        known = vintages.instants(counted.ws)
        for instant in known:
            days = pq.ParquetFile(vintages.DAILY.vintage(counted.ws, instant)).read()
            assert days["truck_count"].to_pylist() == [
                history.setdefault(instant, days["truck_count"][0].as_py())
            ]
        frame = read_daily_counts(folder)
        assert frame["truck_count"].tolist() == [history[known[-1]]]
        assert frame["as_of"].tolist() == [pd.Timestamp(known[-1])]
        hours = read_hourly_counts(folder)
        assert set((24 * hours["truck_count"]).round(9)) == {history[known[-1]]}
        assert set(hours["as_of"]) == {pd.Timestamp(known[-1])}
        for path in (counted.ws.daily_counts, counted.ws.hourly_counts):
            assert len(pd.read_parquet(path)) in (1, 24)
    assert len(history) > times


def test_a_kill_leaves_everything_whole(tmp_path, counted_workspace, camera_entry):
    _kill_while_publishing(tmp_path, counted_workspace, camera_entry, times=5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_50_kills_leave_everything_whole(tmp_path, counted_workspace, camera_entry):
    _kill_while_publishing(tmp_path, counted_workspace, camera_entry, times=50)


_LIMITED = textwrap.dedent(
    """
    import json, resource, signal
    import pandas as pd
    from pipeline import read_daily_counts
    from pipeline.errors import StoreError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)   # an error, as a full disk gives, not a signal
    longest = int(sys.argv[3])
    for i in range(20):
        said = None
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest * i // 20, resource.RLIM_INFINITY))
        try:
            publish(ws, own)
        except StoreError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(json.dumps({
            "said": said,
            "days": pd.read_parquet(ws.daily_counts)["truck_count"].tolist(),
            "hours": len(pd.read_parquet(ws.hourly_counts)),
            "known": read_daily_counts(ws.root)["truck_count"].tolist(),
            "left": [str(p) for p in (ws.root / "features").rglob("*.part")],
        }), flush=True)
    """
)


def test_a_full_disk_leaves_the_old_table_and_one_line(tmp_path, counted_workspace, camera_entry):
    """Writing fails after so many bytes of a file, at 20 offsets over the longest file."""
    entries = [camera_entry("c0")]
    counted = counted_workspace(tmp_path, parse({"camera": entries}))
    _write_registry(tmp_path, entries)
    for day in range(1, 20):
        counted.count(f"2026-02-{day:02d}", day, camera="c0")
    counted.publish("2026-03-10T00:00:00Z")
    for day in range(1, 20):
        counted.count(f"2026-02-{day:02d}", day + 100, camera="c0")
    old, new = [float(d) for d in range(1, 20)], [float(d + 100) for d in range(1, 20)]
    longest = max(p.stat().st_size for p in (tmp_path / "features").rglob("*.parquet"))
    process = _start(_PUBLISHER + _LIMITED, str(tmp_path), "c0", str(longest))
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    tried = [json.loads(line) for line in out.splitlines()]
    assert len(tried) == 20
    for outcome in tried:
        assert outcome["days"] in (old, new)
        assert outcome["known"] in (old, new)
        assert outcome["hours"] == 19 * 24
        assert outcome["left"] == []
        if outcome["said"] is not None:
            assert "File too large" in outcome["said"]
            assert "Free space" in outcome["said"]
            assert "\n" not in outcome["said"]
    assert sum(outcome["said"] is not None for outcome in tried) >= 15
    counted.publish()
    assert pd.read_parquet(counted.ws.daily_counts)["truck_count"].tolist() == new


def test_a_reader_of_now_waits_for_the_publisher(counted):
    """Else the same question would get less now than a moment later."""
    counted.count(DAY, 40)
    counted.publish(T1)
    read = "import sys; from pipeline import read_daily_counts as r; print(len(r(*sys.argv[1:])))"
    with vintages.publishing(counted.ws):
        later = _start(read, str(counted.ws.root), T2)
        assert _start(read, str(counted.ws.root), T1).communicate(timeout=300)[0] == "1\n"
        assert later.poll() is None
    assert later.communicate(timeout=300)[0] == "1\n"


@pytest.mark.slow
def test_a_year_of_200_cameras_loads_within_a_second(tmp_path, counted_workspace):
    """200 cameras × 365 days, published daily; loaded in a process of its own.

    CPU seconds, of all threads: on an idle machine loading takes no longer than that.
    """
    import pyarrow as pa

    counted = counted_workspace(tmp_path)
    counted.count(DAY, 40)
    counted.publish(T1)
    row = pq.ParquetFile(counted.ws.daily_counts).read().to_pylist()[0]
    vintages.DAILY.vintage(counted.ws, dt.datetime.fromisoformat(T1)).unlink()
    for i in range(365):
        day = dt.datetime.combine(dt.date(2025, 1, 1) + dt.timedelta(days=i), dt.time())
        as_of = (day + dt.timedelta(hours=30)).replace(tzinfo=dt.UTC)
        rows = [
            {**row, "camera_id": f"c{c:03d}", "date": day, "as_of": as_of, "truck_count": 1.0 * c}
            for c in range(200)
        ]
        path = vintages.DAILY.vintage(counted.ws, as_of)
        pq.write_table(pa.Table.from_pylist(rows, schema=schemas.DAILY), path)
    known = vintages.instants(counted.ws)
    table = vintages.folded(counted.ws, vintages.DAILY, known)
    vintages.write_latest(counted.ws, vintages.DAILY, table, known[-1])
    timed = textwrap.dedent(
        """
        import sys, time
        import pandas as pd
        from pipeline import read_daily_counts
        def best(load, *given, **known):
            spent = []
            for _ in range(3):
                started = time.process_time()
                rows = len(load(*given, **known))
                spent.append(time.process_time() - started)
            print(rows, min(spent))
        best(read_daily_counts, sys.argv[1])
        best(read_daily_counts, sys.argv[1], as_of="2030-01-01T00:00:00Z")
        best(pd.read_parquet, sys.argv[2])
        """
    )
    out, errors = _start(timed, str(tmp_path), str(counted.ws.daily_counts)).communicate()
    print(out, errors)
    for line in out.splitlines():
        rows, seconds = line.split()
        assert int(rows) == 200 * 365
        assert float(seconds) < 1.0
    assert len(out.splitlines()) == 3
