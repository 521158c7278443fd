"""The notebooks run: 02 on the demonstration's output where there is one, else on made-up counts.

Cells are run in this process, one after another, without a Jupyter kernel: what is tested is the
code in them.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path

import pytest

from pipeline import cameras, localtime, schemas, store, vintages
from pipeline.publish import publish
from pipeline.store import Workspace

pytest.importorskip("matplotlib", reason="notebooks need matplotlib: pip install -e '.[dev]'")

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
DEMO = FOLDER.parent / "data" / "demo"

REGISTRY = """
[[camera]]
id = "north-gate"
site = "dc-14"
timezone = "America/Chicago"
source = "footage/*.mp4"
exchange = "XNYS"
zones = [{ name = "exit", movement = "out", polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }]
"""


@pytest.fixture
def run(monkeypatch, capsys):
    """Run every code cell of a notebook; return what they printed and their names."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    plt.switch_backend("Agg")

    def cells(name: str) -> tuple[str, dict]:
        names: dict = {}
        for i, cell in enumerate(json.loads((FOLDER / name).read_text())["cells"]):
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                exec(compile(source, f"{name}, cell {i}", "exec"), names)
        return capsys.readouterr().out, names

    yield cells
    sys.modules.pop("rendered_company", None)


def _made_up(root: Path) -> Path:
    """Two weeks of one camera: a dark day, and a day counted anew."""
    store.write_bytes(root / "cameras.toml", REGISTRY.encode())
    ws, registry = Workspace(root), cameras.load(root / "cameras.toml")
    store.write_json(ws.model("m1") / "card.json", {"model_id": "m1"})
    store.write_bytes(ws.current_model, b"m1")
    for trucks in (40, 45):
        for i in range(14):
            day = dt.date(2026, 3, 1 + i)
            _count(ws, day, None if i == 4 else trucks if i == 6 else 30 + i)
        publish(ws, registry)
    return root


def _count(ws: Workspace, day, trucks: int | None) -> None:
    hours = localtime.hour_spans(day, "America/Chicago")

    def counted(share: float) -> dict:
        n = None if trucks is None else trucks * share
        interval = (None, None) if n is None else (n * 0.9, n * 1.1)
        return {"truck_count": n, "truck_count_lo": interval[0], "truck_count_hi": interval[1]}

    key = {
        "camera_id": "north-gate",
        "movement": "out",
        "date": dt.datetime.combine(day, dt.time()),
        "site": "dc-14",
        "coverage": 1.0,
        "model_id": "m1",
    }
    rest = {"method": "events", "passages_seen": 0, "frames_scored": 0, "prevalence": 0.1}
    rest = {**rest, "exposure_s": 86400.0, "quality": "ok", "label_set_id": "l1"}
    hourly = [
        {
            **key,
            **counted(1 / len(hours)),
            "exposure_s": 3600.0,
            "hour_start_at": dt.datetime.fromtimestamp(first, dt.UTC),
        }
        for first, _ in hours
    ]
    for path, rows, schema in (
        (ws.counts("north-gate", day, "m1"), [{**key, **rest, **counted(1.0)}], schemas.COUNTS),
        (ws.counts_hourly("north-gate", day, "m1"), hourly, schemas.HOURLY),
    ):
        store.write_table(path, store.table_of(rows, schema), schema)


def test_02_daily_counts(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUCK_COUNTER_ROOT", str(_made_up(tmp_path)))
    out, names = run("02_daily_counts.ipynb")
    assert "largest |sum of hours - day|: 0.0" in out
    assert len(names["rows"]) >= 1
    assert len(names["counts"]) == 14


def test_02_draws_each_movement_and_no_camera_whose_clock_is_not_known(run, tmp_path, monkeypatch):
    """Three times as many enter as leave; camera a is published, but no longer registered.

    Rows of a movement that was withdrawn say that nothing was seen, which is not true of the day.
    """
    ws, registry = Workspace(_made_up(tmp_path)), cameras.load(tmp_path / "cameras.toml")
    at = vintages.instants(ws)[-1] + dt.timedelta(microseconds=1)
    for series in (vintages.HOURLY, vintages.DAILY):
        rows = [
            {**row, "as_of": at}
            for row in vintages.latest(ws, series, vintages.instants(ws)).to_pylist()
        ]
        more = [
            {**row, "movement": "in", "truck_count": row["truck_count"] and 3 * row["truck_count"]}
            for row in rows
        ]
        gone = [{**row, "movement": "gone", "truck_count": None, "coverage": 0.0} for row in rows]
        more += gone if series is vintages.DAILY else []
        table = store.table_of([*more, *({**row, "camera_id": "a"} for row in rows)], series.schema)
        store.write_table(series.vintage(ws, at), table, series.schema)
    publish(ws, registry)  # nothing new: brings the folded tables up to date
    monkeypatch.setenv("TRUCK_COUNTER_ROOT", str(tmp_path))
    _, names = run("02_daily_counts.ipynb")
    drawn = {line.get_label(): line.get_ydata() for line in names["axis"].get_lines()}
    assert (names["seen"] == 1.0).all()
    assert list(drawn) == [f"north-gate, {way} (America/Chicago)" for way in ("in", "out")]
    entered, left = drawn.values()
    assert entered == pytest.approx(3 * left)


@pytest.mark.skipif(
    not (DEMO / "features" / "daily_truck_counts.parquet").is_file(),
    reason="no demonstration output: run make demo first",
)
def test_02_daily_counts_of_the_demonstration(run, monkeypatch):
    monkeypatch.delenv("TRUCK_COUNTER_ROOT", raising=False)
    _, names = run("02_daily_counts.ipynb")
    assert len(names["counts"]) > 0
    assert os.fspath(names["ROOT"]) == "../data/demo"


def test_03_features_in_a_forecast(run):
    out, names = run("03_features_in_a_forecast.ipynb")
    errors = names["errors"].mean()
    # The feature helps, and the leak flatters it further.
    assert errors["with trucks, as known"] < 0.7 * errors["without trucks"]
    assert errors["with a leak"] < 0.7 * errors["with trucks, as known"]
    assert "The trucks cut the error by" in out


def test_01_how_a_cnn_sees_trucks(run):
    pytest.importorskip("captum", reason="the notebook explains: pip install -e '.[explain]'")
    out, names = run("01_how_a_cnn_sees_trucks.ipynb")
    assert "[[6, 8], [3, 4]]" in out
    assert names["softmax"].round(2).tolist() == [0.71, 0.26, 0.04]  # e², e, 1/e over their sum
    assert names["largest"] < 1e-5
    assert names["dense"] == 150_528_000
    assert names["kernels"].shape[1:] == (3, 3, 3)
    found = names["side_by_side"]
    assert found.loc["mlp", "parameters"] == 3072 * 1000 + 1000 + 1000 + 1
    # 896 + 18,496 + 36,928 + (4·4·64)·64 + 64 + 65
    assert found.loc["cifar", "parameters"] == 121_985
    assert found.loc["cifar", "accuracy"] > found.loc["mlp", "accuracy"]
    assert found.loc["residual", "accuracy"] > 0.9
    assert names["attended"]["share_on_truck"] > names["attended"]["truck_share_of_crop"]
