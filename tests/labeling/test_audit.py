"""Audit windows: drawn fairly, shown as strips, counted by people."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
import simplejpeg

from labeling import audit, pictures
from labeling.blocks import Block
from pipeline import schemas, store
from pipeline.domain import Camera, Zone
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

ZONE = Zone("out", ((0.1, 0.3), (0.9, 0.3), (0.9, 0.9), (0.1, 0.9)))
CAMERA = Camera("gate", "yard", "UTC", "x", (ZONE,))
START = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def block(hour: int, *spans: tuple[float, float]) -> Block:
    start = START.replace(hour=hour)
    return Block(CAMERA, f"c{hour}", "x", start, (320, 180), (0.0, 100.0), spans, hour)


def test_every_window_is_as_likely_as_any_other():
    # 100 s hold five windows of 20 s; 30 s and 50 s hold one and two: eight in all.
    blocks = [block(9, (0.0, 100.0)), block(10, (0.0, 30.0), (50.0, 100.0))]
    counts: dict[tuple[str, float], int] = {}
    for seed in range(800):
        drawn = audit._windows(blocks, 2, 20.0, seed)
        assert len(drawn) == 2
        for found, offset, total in drawn:
            assert total == 8
            counts[found.clip_id, offset] = counts.get((found.clip_id, offset), 0) + 1
    assert sorted(counts) == [
        *(("c10", t) for t in (0.0, 50.0, 70.0)),
        *(("c9", 20.0 * k) for k in range(5)),
    ]
    # 1,600 draws over eight windows: 200 each, standard deviation at most 12.3.
    assert all(abs(n - 200) < 50 for n in counts.values())


def test_more_than_there_are_gives_all():
    assert len(audit._windows([block(9, (0.0, 100.0))], 50, 20.0, 0)) == 5


@pytest.fixture
def drawn(tmp_path) -> Workspace:
    ws = Workspace(tmp_path)
    rows = [audit._row(block(9, (0.0, 100.0)), "all", 20.0 * k, 20.0, 5) for k in range(3)]
    schema = audit.windows_schema()
    path = tmp_path / "audits" / "spring" / "windows.parquet"
    store.write_table(path, store.table_of(rows, schema), schema)
    return ws


def test_counts_become_the_table_that_counting_reads(drawn, tmp_path):
    table = store.read_table(tmp_path / "audits" / "spring" / "windows.parquet")
    first, second, third = table.column("window_id").to_pylist()
    path = tmp_path / "counts.csv"
    path.write_text(
        f"window_id,worker,truck_count\n{first},ann,3\n{first},bob,4\n{second},ann,0\n{third},,\n"
    )
    assert audit.import_counts(drawn, "spring", path) == 3
    table = drawn.campaign_labels("spring") / "audit.parquet"
    before = table.stat().st_mtime_ns
    assert audit.import_counts(drawn, "spring", path) == 3
    assert table.stat().st_mtime_ns == before  # the days it corrects would be due again
    rows = store.read_table(tmp_path / "labels/spring/audit.parquet", schemas.AUDIT).to_pylist()
    assert rows == [
        {
            "window_id": window,
            "camera_id": "gate",
            "movement": "all",
            "started_at": START.replace(hour=9) + dt.timedelta(seconds=start),
            "ended_at": START.replace(hour=9) + dt.timedelta(seconds=start + 20),
            "truck_count": count,
            "n_workers": workers,
        }
        for window, start, count, workers in ((first, 0, 3.5, 2), (second, 20, 0.0, 1))
    ]
    path.write_text(f"window_id,worker,truck_count\n{first},bob,5\n")  # bob looked again
    audit.import_counts(drawn, "spring", path)
    rows = store.read_table(tmp_path / "labels/spring/audit.parquet").to_pylist()
    assert [row["truck_count"] for row in rows] == [4.0, 0.0]
    found = audit.status(drawn, "spring")
    assert (found["windows"], found["counted"], found["workers"]) == (3, 2, 2)


def test_wrong_counts_are_named(drawn, tmp_path):
    window = store.read_table(tmp_path / "audits/spring/windows.parquet").to_pylist()[0]
    path = tmp_path / "counts.csv"
    name = window["window_id"]
    for bad, naming in (
        ("zz,ann,1", "'zz'"),
        (f"{name},ann,some", "'some'"),
        (f"{name},ann,999999", "'999999'"),
        (f"{name},ann,3\n{name},ann,4", "'ann' counted window"),
    ):
        path.write_text(f"window_id,worker,truck_count\n{bad}\n")
        with pytest.raises(InputError, match=f"line [23]: .*{naming}"):
            audit.import_counts(drawn, "spring", path)
    path.write_text("window_id,worker\n")
    with pytest.raises(InputError, match="'truck_count'"):
        audit.import_counts(drawn, "spring", path)
    path.write_bytes(b"window_id,worker,truck_count\n\xff\xfe,a,1\n")
    with pytest.raises(InputError, match="no UTF-8 CSV"):
        audit.import_counts(drawn, "spring", path)
    with pytest.raises(InputError, match="nan s cannot be drawn"):
        audit.draw(drawn, "spring", 2, float("nan"))
    with pytest.raises(NotFoundError, match="'autumn'"):
        audit.import_counts(drawn, "autumn", path)
    with pytest.raises(InputError, match="windows of 20 s, not 30 s"):
        audit.draw(drawn, "spring", 2, 30.0)


def test_a_draw_writes_strips_and_tasks_and_twice_is_once(filmed):
    # 120 s and 60 s hold nine windows of 20 s; both zones are of one movement.
    assert audit.draw(filmed, "watch", 3, seed=1) == 3
    folder = filmed.root / "audits" / "watch"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    rows = store.read_table(folder / "windows.parquet").to_pylist()
    assert {row["windows_total"] for row in rows} == {9}
    for row in rows:
        shown = simplejpeg.decode_jpeg((folder / row["strip"]).read_bytes())
        assert shown.shape[1] == audit.STRIP_COLUMNS * 320
        assert shown.shape[0] == 7 * 180  # 40 frames in rows of six
    tasks = store.read_json(folder / "tasks.json")
    assert [t["data"]["window_id"] for t in tasks] == [row["window_id"] for row in rows]
    assert (folder / "to_fill.csv").read_text().splitlines()[1] == f"{rows[0]['window_id']},,"
    assert audit.draw(filmed, "watch", 3, seed=1) == 3
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert audit.draw(filmed, "watch", 9, seed=2) == 9
    drawn = {row["window_id"] for row in store.read_table(folder / "windows.parquet").to_pylist()}
    assert drawn > {row["window_id"] for row in rows}


def test_what_people_filled_in_stays_when_more_is_drawn(filmed):
    audit.draw(filmed, "kept", 3, seed=1)
    sheet = filmed.root / "audits" / "kept" / "to_fill.csv"
    filled = sheet.read_bytes().replace(b",,", b",ann,4").rstrip(b"\n")  # as an editor leaves it
    sheet.write_bytes(filled)
    audit.draw(filmed, "kept", 3, seed=1)
    assert sheet.read_bytes() == filled
    audit.draw(filmed, "kept", 9, seed=2)
    lines = sheet.read_text().splitlines()
    assert sheet.read_bytes().startswith(filled + b"\n")
    assert len(lines) == 1 + 9
    assert [line for line in lines if line.endswith(",ann,4")] == filled.decode().splitlines()[1:]


def test_the_command(filmed):
    from click.testing import CliRunner

    from flows.cli import cli

    root = str(filmed.root)
    words = ["label", "audit", "told", "--windows", "2", "--camera", "gate", "--root", root]
    done = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["windows"], found["counted"], found["table"]) == (2, 0, None)
    path = filmed.root / "told.csv"
    blanks = (filmed.root / "audits/told/to_fill.csv").read_text().splitlines()
    path.write_text("\n".join([blanks[0], blanks[1] + "2", blanks[2] + "0"]).replace(",,", ",ann,"))
    words = ["label", "audit", "told", "--counts", str(path), "--root", root]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.output.splitlines()[-1].endswith("2 counted by 1 worker(s)")
    table = store.read_table(filmed.campaign_labels("told") / "audit.parquet", schemas.AUDIT)
    assert sorted(table.column("truck_count").to_pylist()) == [0.0, 2.0]


def test_pictures_show_the_zone():
    road = np.full((180, 320, 3), 90, np.uint8)
    view = simplejpeg.decode_jpeg(pictures.wide_view(road, ZONE))
    assert view.shape == (180, 320, 3)
    edge, middle = view[54, 160].astype(int), view[110, 160].astype(int)
    assert edge[0] - edge[2] > 80  # yellow on the zone's upper edge
    assert np.abs(middle - 90).max() <= 4
    crop = np.full((100, 128, 3), 90, np.uint8)
    assert simplejpeg.decode_jpeg(pictures.outlined_crop(crop, ZONE, (320, 180))).shape[1] >= 300
