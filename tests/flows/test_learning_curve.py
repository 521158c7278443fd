"""The learning curve's figures: what counts as right, what is left out, what is drawn."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from flows import demo, learning_curve
from pipeline import cameras, scene, schemas, store
from pipeline.daily import CameraDay
from pipeline.errors import InputError
from pipeline.store import Workspace


@pytest.fixture(scope="module")
def plan() -> scene.ScenePlan:
    return scene.plan(seed=7, days=2)


def _scored(
    root: Path, plan: scene.ScenePlan, wrong: bool = False
) -> tuple[Workspace, list[CameraDay]]:
    """A model that says what the scene knows (or its opposite), five times a second."""
    ws = Workspace(root)
    store.write_bytes(ws.cameras_toml, scene.cameras_toml(plan).encode())
    day = plan.dates()[0]
    camera = cameras.load(ws.cameras_toml).camera("north-gate", day)
    start = scene.windows(plan, camera.id, day)[0].start
    instants = [start + dt.timedelta(seconds=0.2 * i) for i in range(1500)]
    rows = []
    for zone in camera.zones:
        truth = scene.presence(plan, camera.id, zone.name, instants) != wrong
        rows += [
            {
                "camera_id": camera.id,
                "zone": zone.name,
                "captured_at": at,
                "p_truck": 0.9 if truck else 0.1,
                "model_id": "m",
                "clip_id": "c",
                "offset_s": 0.0,
            }
            for at, truck in zip(instants, truth, strict=True)
        ]
    path = ws.scores(camera.id, day, "m")
    store.write_table(path, store.table_of(rows, schemas.SCORES), schemas.SCORES)
    return ws, [CameraDay(camera, day)]


def test_a_model_that_knows_is_right_everywhere(tmp_path: Path, plan: scene.ScenePlan) -> None:
    ws, days = _scored(tmp_path, plan)
    found = learning_curve.frames_judged(ws, plan, days, "m")
    assert [found[k] for k in ("accuracy", "sensitivity", "specificity")] == [1.0, 1.0, 1.0]
    ws, days = _scored(tmp_path / "wrong", plan, wrong=True)
    found = learning_curve.frames_judged(ws, plan, days, "m")
    assert [found[k] for k in ("accuracy", "sensitivity", "specificity")] == [0.0, 0.0, 0.0]


def test_instants_at_an_entry_or_exit_are_left_out(tmp_path: Path, plan: scene.ScenePlan) -> None:
    """At 5 Hz two or three samples lie within a quarter of a second of each edge, on both sides."""
    ws, days = _scored(tmp_path, plan)
    judged = learning_curve.frames_judged(ws, plan, days, "m")["instants"]
    edges = 0
    for zone in days[0].camera.zones:
        start = scene.windows(plan, "north-gate", days[0].day)[0].start.timestamp()
        at_s = start + 0.2 * np.arange(1500)
        present = scene.presence(plan, "north-gate", zone.name, at_s)
        edges += int(np.count_nonzero(np.diff(present.astype(int))))
    assert edges > 4
    assert 2 * edges <= 3000 - judged <= 3 * edges


def test_a_day_without_a_count_is_a_whole_error() -> None:
    none = {"truck_count": None, "truck_count_lo": None, "truck_count_hi": None, "truth": 9}
    found = learning_curve.counts_judged([none])
    assert found == {"count_error": 1.0, "total_error": None, "held": 0, "camera_days": 1}
    assert "none" in learning_curve.as_text([_row("chosen", 75, 0.9, 1.0) | found])


def _row(way: str, labels: int, accuracy: float, error: float) -> dict[str, object]:
    return {
        "way": way,
        "labels_per_camera": labels,
        "accuracy": accuracy,
        "sensitivity": 0.8,
        "specificity": 0.99,
        "count_error": error,
        "total_error": 0.1,
        "held": 5,
        "camera_days": 6,
    }


def test_the_figure_has_a_line_for_each_way() -> None:
    rows = [_row(way, n, 0.9 + n / 5000, 0.2) for n in (75, 300) for way in ("chosen", "random")]
    drawn = ElementTree.fromstring(learning_curve.figure(rows))
    named = "{http://www.w3.org/2000/svg}"
    assert len(list(drawn.iter(f"{named}polyline"))) == 4
    assert len(list(drawn.iter(f"{named}circle"))) == 8
    high = [c.get("cy") for c in drawn.iter(f"{named}circle")]
    assert float(high[0] or 0) > float(high[1] or 0)  # more accurate is higher up


def test_another_seeds_folder_is_not_taken_for_its_own(
    tmp_path: Path, plan: scene.ScenePlan
) -> None:
    """Their registries are alike, byte for byte; the truth is not."""
    ws = Workspace(tmp_path)
    demo._write_world(ws, plan)
    truth = (tmp_path / "truth.parquet").read_bytes()
    demo._write_world(ws, plan)
    for other in (scene.plan(seed=8, days=2), scene.plan(seed=7, days=3)):
        assert scene.cameras_toml(other) == scene.cameras_toml(plan)
        with pytest.raises(InputError, match="holds another demonstration"):
            demo._write_world(ws, other)
    assert (tmp_path / "truth.parquet").read_bytes() == truth


def test_somebody_elses_registry_is_not_overwritten(tmp_path: Path, plan: scene.ScenePlan) -> None:
    ws = Workspace(tmp_path)
    store.write_bytes(ws.cameras_toml, b"# mine\n")
    with pytest.raises(InputError, match="not this demonstration's registry"):
        demo.film(ws, plan)
    assert ws.cameras_toml.read_bytes() == b"# mine\n"
