"""Every write is whole or not at all: kills, full disks, wrong tables, odd names."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import schemas, store
from pipeline.errors import InputError, NotFoundError, StoreError
from pipeline.store import Workspace

SCHEMA = pa.schema(
    [
        pa.field("camera_id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("p", pa.float64()),
    ],
    metadata={"title": "small", "key": "camera_id"},
)
AT = dt.datetime(2026, 3, 1, 6, tzinfo=dt.UTC)


def _rows(n: int) -> pa.Table:
    return store.table_of(
        [{"camera_id": "c", "at": AT, "n": i, "p": None} for i in range(n)], SCHEMA
    )


def test_a_table_comes_back_as_it_went(tmp_path):
    path = tmp_path / "deep" / "er" / "t.parquet"
    store.write_table(path, _rows(3), SCHEMA)
    assert store.read_table(path, SCHEMA).to_pylist() == _rows(3).to_pylist()
    assert store.read_table(path).schema.metadata[b"title"] == b"small"
    assert sorted(p.name for p in path.parent.iterdir()) == ["t.parquet"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_flipped_bit_is_never_read_as_another_number(tmp_path):
    path = tmp_path / "t.parquet"
    rng = np.random.default_rng(7)
    table = _rows(300).set_column(3, "p", pa.array(rng.random(300)))  # which do not compress
    store.write_table(path, table, SCHEMA)
    sound, found = path.read_bytes(), 0

    for at in rng.choice(len(sound) - 8, 300, replace=False).tolist():
        damaged = bytearray(sound)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read = store.read_table(path, SCHEMA)
        except StoreError as error:
            found += str(path) in str(error)
        else:
            assert read.equals(store.fitted(table, SCHEMA)), at
    assert found > 150  # the numbers fill most of the file


def test_the_same_rows_give_the_same_bytes(tmp_path):
    store.write_table(tmp_path / "a.parquet", _rows(100), SCHEMA)
    store.write_table(tmp_path / "b.parquet", _rows(100), SCHEMA)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert store.same_rows(tmp_path / "a.parquet", _rows(100), SCHEMA)
    assert not store.same_rows(tmp_path / "a.parquet", _rows(99), SCHEMA)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")  # damaged: it can be made anew
    assert not store.same_rows(tmp_path / "a.parquet", _rows(100), SCHEMA)
    assert not store.same_rows(tmp_path / "c.parquet", _rows(100), SCHEMA)


def test_columns_are_put_in_order_and_extra_ones_dropped(tmp_path):
    table = _rows(2).select(["p", "n", "at", "camera_id"]).append_column("x", pa.array([1, 2]))
    assert store.fitted(table, SCHEMA).schema.names == SCHEMA.names


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("n", pa.array([1, None]), "column n may not hold nulls"),
        ("camera_id", pa.array(["c", None]), "column camera_id may not hold nulls"),
        ("n", pa.array([1.5, 2.0]), "does not fit"),
        ("n", pa.array(["one", "two"]), "does not fit"),
        ("at", pa.array([AT, AT], pa.timestamp("ns", tz="UTC")), None),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, column, values, said):
    path = tmp_path / "t.parquet"
    store.write_table(path, _rows(1), SCHEMA)
    before = path.read_bytes()
    table = _rows(2)
    table = table.set_column(table.schema.get_field_index(column), column, values)
    if said is None:
        store.write_table(path, table, SCHEMA)
        return
    with pytest.raises(StoreError, match=said) as caught:
        store.write_table(path, table, SCHEMA)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_columns_are_named(tmp_path):
    with pytest.raises(StoreError, match=r"missing: at, p"):
        store.write_table(tmp_path / "t.parquet", _rows(1).select(["camera_id", "n"]), SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_instants_lose_nothing():
    nanoseconds = pa.array([1], pa.timestamp("ns", tz="UTC"))
    table = _rows(1).set_column(1, "at", nanoseconds)
    with pytest.raises(StoreError, match="does not fit"):
        store.fitted(table, SCHEMA)


def test_a_failure_inside_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    store.write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), store.replacing(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"new")
        _ = 1 / 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write") as caught:
        store.write_bytes(tmp_path / "file" / "below.txt", b"x")
    assert "\n" not in str(caught.value)


def test_what_is_missing_or_damaged_is_said(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.parquet"):
        store.read_table(tmp_path / "none.parquet")
    with pytest.raises(NotFoundError, match=r"none\.json"):
        store.read_json(tmp_path / "none.json")
    store.write_table(tmp_path / "t.parquet", _rows(1000), SCHEMA)
    whole = (tmp_path / "t.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-1], b"x" * 100):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(StoreError, match=r"t\.parquet cannot be read") as caught:
            store.read_table(tmp_path / "t.parquet")
        assert "\n" not in str(caught.value)
    (tmp_path / "t.json").write_bytes(b"{")
    with pytest.raises(StoreError, match="is not JSON"):
        store.read_json(tmp_path / "t.json")
    for content in (b"[]", b"null", b'"truck"'):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(StoreError, match=r"t\.json holds no JSON object"):
            store.read_object(tmp_path / "t.json")
    (tmp_path / "t.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="is not JSON"):
        store.read_json(tmp_path / "t.json")


def test_json_is_the_same_for_equal_values(tmp_path):
    store.write_json(tmp_path / "a.json", {"b": 1, "a": "ü", "t": AT})
    store.write_json(tmp_path / "b.json", {"t": AT, "a": "ü", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert store.read_json(tmp_path / "a.json")["a"] == "ü"


_WRITER = textwrap.dedent(
    """
    import itertools, sys
    from pathlib import Path
    import pyarrow as pa
    from pipeline import store
    path, schema = Path(sys.argv[1]), pa.schema([pa.field("n", pa.int64())])
    for n in itertools.count():
        store.write_table(path, pa.table({"n": [n] * 50_000}, schema=schema), schema)
        if n == 0:
            print("started", flush=True)
    """
)


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "t.parquet"
    rng = np.random.default_rng(0)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.communicate(timeout=30)
        column = store.read_table(path)["n"].to_numpy()
        assert len(column) == 50_000
        assert len(set(column.tolist())) == 1


_FULL = textwrap.dedent(
    """
    import json, resource, signal, sys
    from pathlib import Path
    import numpy as np, pyarrow as pa
    from pipeline import store
    from pipeline.errors import StoreError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path, schema = Path(sys.argv[1]), pa.schema([pa.field("x", pa.float64())])
    table = lambda seed: pa.table({"x": np.random.default_rng(seed).random(20_000)}, schema=schema)
    store.write_table(path, table(0), schema)
    longest = path.stat().st_size
    for i in range(20):
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest * i // 20, resource.RLIM_INFINITY))
        try:
            store.write_table(path, table(1), schema)
            said = None
        except StoreError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        left = sorted(p.name for p in path.parent.iterdir())
        print(json.dumps([said, store.read_table(path).equals(table(0)), left]))
    """
)


def test_a_full_disk_leaves_the_old_file_and_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "t.parquet")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == 20
    for said, old_is_whole, left in outcomes:
        assert "File too large" in said
        assert "Free space" in said
        assert "\n" not in said
        assert old_is_whole
        assert left == ["t.parquet"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "a..b", "-x", "a b", "é", "x" * 101]
)
def test_names_that_could_leave_the_workspace_are_refused(name):
    with pytest.raises(InputError) as caught:
        Workspace(Path("w")).campaign_frames(name)
    assert repr(name) in str(caught.value)


@given(name=st.text(max_size=120))
def test_a_checked_name_stays_in_its_folder(name):
    try:
        checked = store.checked_name(name, "camera")
    except InputError:
        return
    assert (Path("/w") / checked).resolve().parent == Path("/w")


def test_where_things_lie():
    ws, day = Workspace(Path("w")), dt.date(2026, 3, 1)
    assert ws.cameras_toml == Path("w/cameras.toml")
    assert ws.clips("c", day) == Path("w/clips/c/2026-03-01.parquet")
    assert ws.campaign_frames("first") == Path("w/frames/first")
    assert ws.campaign_labels("first") == Path("w/labels/first")
    assert ws.model("m1") == Path("w/models/m1")
    assert ws.current_model == Path("w/models/current")
    assert ws.scores("c", day, "m1") == Path("w/scores/c/2026-03-01/m1.parquet")
    assert ws.passages("c", day, "m1") == Path("w/passages/c/2026-03-01/m1.parquet")
    assert ws.counts("c", day, "m1") == Path("w/counts/c/2026-03-01/m1.parquet")
    assert ws.daily_counts == Path("w/features/daily_truck_counts.parquet")
    assert ws.hourly_counts == Path("w/features/hourly_truck_counts.parquet")
    assert ws.vintages == Path("w/features/vintages")


def test_days_of_a_table(tmp_path):
    ws = Workspace(tmp_path)
    assert ws.days("clips", "c") == []
    for name in ("2026-03-02.parquet", "2026-03-01.parquet", "2026-13-01.parquet", "x.parquet"):
        store.write_bytes(tmp_path / "clips" / "c" / name, b"")
    store.write_bytes(ws.scores("c", dt.date(2026, 3, 5), "m"), b"")
    assert ws.days("clips", "c") == [dt.date(2026, 3, 1), dt.date(2026, 3, 2)]
    assert ws.days("scores", "c") == [dt.date(2026, 3, 5)]


def test_every_table_of_the_design_can_be_written_empty(tmp_path):
    for schema in schemas.TABLES:
        path = tmp_path / f"{schemas.title(schema)}.parquet"
        store.write_table(path, store.table_of([], schema), schema)
        assert store.read_table(path, schema).num_rows == 0
