"""The pieces of the flows that need no server: errors, runners, artifacts, deployments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import deployments
from pipeline import cameras

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = {
    "camera_id": "gate <1>",
    "movement": "out",
    "date": "2026-03-02",
    "truck_count": 12.34,
    "truck_count_lo": 11.0,
    "truck_count_hi": 15.0,
    "coverage": 0.98765,
    "quality": "ok",
}
DARK = ROW | {"truck_count": None, "truck_count_lo": None, "truck_count_hi": None, "coverage": 0.0}


def test_prefect_yaml_is_what_the_code_says() -> None:
    """Remake it with the command in its first lines."""
    zones = [c.timezone for c in cameras.load(REPOSITORY / "data" / "cameras.toml").entries]
    assert (REPOSITORY / "prefect.yaml").read_text() == deployments.prefect_yaml(zones)


def test_every_entrypoint_is_a_flow_and_takes_the_parameters() -> None:
    import importlib
    import inspect

    for entry in deployments.deployments(["Europe/Berlin"], "/w"):
        path, name = entry["entrypoint"].split(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        known = inspect.signature(getattr(module, name).fn).parameters
        assert set(entry["parameters"]) <= set(known), entry["name"]


def test_no_module_of_flows_hides_another() -> None:
    """Prefect may load a flow by path, with ``flows/`` itself first on the search path."""
    names = {p.stem for p in (REPOSITORY / "flows").glob("*.py")}
    packages = {"pipeline", "labeling", "flows", "prefect"}
    assert not names & (set(sys.stdlib_module_names) | packages)


def test_each_time_zone_has_a_morning_of_its_own() -> None:
    entries = deployments.deployments(["America/Chicago", "Asia/Tokyo"])
    mornings = [e for e in entries if e["entrypoint"].endswith(":morning")]
    assert [e["schedules"][0]["timezone"] for e in mornings] == ["America/Chicago", "Asia/Tokyo"]
    assert yaml.safe_load(deployments.prefect_yaml(["Asia/Tokyo"]))["deployments"]


def test_only_what_may_pass_is_tried_again() -> None:
    import httpx

    from flows._steps import count_day, infer_day, ingest_camera, is_transient
    from pipeline.errors import InputError, StoreError

    assert is_transient(ConnectionResetError())
    assert is_transient(TimeoutError())
    assert is_transient(OSError(5, "Input/output error"))
    assert is_transient(httpx.ReadTimeout("slow"))
    assert not is_transient(FileNotFoundError())
    assert not is_transient(InputError("bad."))
    assert not is_transient(StoreError("disk full."))
    assert not is_transient(ValueError())
    for task in (ingest_camera, infer_day, count_day):
        assert task.retries == 3
        assert task.retry_condition_fn is not None


def test_the_task_runner_follows_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows._runners import task_runner
    from pipeline.errors import ConfigError

    monkeypatch.setenv("TRUCK_COUNTER_TASK_WORKERS", "3")
    for kind, name in (("threads", "ThreadPool"), ("processes", "ProcessPool")):
        monkeypatch.setenv("TRUCK_COUNTER_TASK_RUNNER", kind)
        assert type(task_runner()).__name__ == f"{name}TaskRunner"
    monkeypatch.setenv("TRUCK_COUNTER_TASK_RUNNER", "slurm")
    with pytest.raises(ConfigError, match=r"'slurm'.*threads, processes, dask, ray"):
        task_runner()
    monkeypatch.setenv("TRUCK_COUNTER_TASK_RUNNER", "threads")
    monkeypatch.setenv("TRUCK_COUNTER_TASK_WORKERS", "none")
    with pytest.raises(ConfigError, match="'none'"):
        task_runner()


def test_the_report_is_linked_where_pages_can_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import _artifacts

    text = _artifacts.summary("2026-03-02", [], [], Path("/w"))
    assert "[report](file:///w/reports/report.html), table `/w/features/daily" in text
    monkeypatch.setenv("TRUCK_COUNTER_REPORTS_URL", "https://counts.example.org/r/")
    text = _artifacts.summary("2026-03-02", [], [], Path("/w"))
    assert "[report](https://counts.example.org/r/report.html), table" in text


def test_artifacts_say_what_is_missing_and_draw_what_is_there() -> None:
    from flows import _artifacts, _days

    missing = _days.uncounted([ROW, DARK])
    assert [m["why"] for m in missing] == ["ok: coverage 0.0%"]
    text = _artifacts.summary("2026-03-02", [ROW, DARK], missing, Path("/w"))
    assert "2 counts, 1 missing" in text
    assert "no count of movement out" in text
    assert _artifacts.count_line(DARK)["trucks"] is None
    assert _artifacts.count_line(ROW) | {"date": ""} == {
        "camera": "gate <1>",
        "movement": "out",
        "date": "",
        "trucks": 12.3,
        "from": 11.0,
        "to": 15.0,
        "coverage": 0.988,
        "quality": "ok",
    }
    svg = _artifacts.picture([ROW, DARK])
    assert svg.count("<circle") == 1
    assert "gate &lt;1&gt;" in svg


def test_a_failed_camera_makes_the_ending_a_failure_that_says_so() -> None:
    from flows import _days

    missing = [_days.missing_row("gate", "2026-03-02", "infer failed", "clip gone")]
    state = _days.ending({"missing": missing}, failed=True)
    assert (state.name, state.is_failed()) == ("Incomplete", True)
    assert state.message == "gate 2026-03-02: infer failed: clip gone"
    assert _days.ending({"missing": []}, failed=False).is_completed()


def test_asking_what_is_due_loads_no_prefect() -> None:
    code = (
        "import sys, flows.cli, flows.operate, flows.due, flows.deployments;"
        "print([m for m in ('prefect', 'torch', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_step_is_logged_also_where_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    from flows import _steps

    monkeypatch.setattr(_steps, "get_run_logger", logging.getLogger)
    caplog.set_level(logging.INFO)
    with _steps._logged("infer", "gate", "2026-03-02"):
        pass
    with pytest.raises(OSError, match="gone"), _steps._logged("infer", "gate", "2026-03-03"):
        raise OSError("gone")
    told = [record.getMessage().rsplit(" ", 1)[0] for record in caplog.records]
    assert told == [
        "step=infer camera=gate day=2026-03-02 ended=done",
        "step=infer camera=gate day=2026-03-03 ended=failed",
    ]


def test_what_an_ingest_remarks_is_logged(
    world: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    from flows import _steps
    from pipeline import ingest

    report = ingest.Report((), 0, 0, ("west: the camera was knocked",))
    monkeypatch.setattr(ingest, "ingest", lambda *_: report)
    monkeypatch.setattr(_steps, "get_run_logger", logging.getLogger)
    caplog.set_level(logging.INFO)
    _steps.ingest_camera.fn(str(world), "west", None, None)
    assert caplog.records[-1].getMessage() == "west: the camera was knocked"


def test_metrics_are_prometheus_text() -> None:
    """Read back by the client library that Prefect brings."""
    from prometheus_client.parser import text_string_to_metric_families

    from flows import _metrics

    row = ROW | {"exposure_s": 7200.0}
    missing = [
        {"camera": "b", "day": "2026-03-02", "what": "infer failed", "why": "x"},
        {"camera": "c", "day": "2026-03-02", "what": "no count of movement out", "why": "dark"},
    ]
    families = text_string_to_metric_families(_metrics.text("daily", [row, row], missing))
    found = {s.name: (s.labels, s.value) for f in families for s in f.samples}
    assert found["truck_counter_camera_hours"] == ({"run": "daily"}, 2.0)
    assert found["truck_counter_failures"][1] == 1
    assert found["truck_counter_missing"][1] == 1
    labels, coverage = found["truck_counter_coverage"]
    assert labels == {"run": "daily", "camera": "gate <1>", "movement": "out"}
    assert coverage == pytest.approx(0.98765)


def test_an_hourly_ingest_leaves_its_figures(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from prefect.states import Completed, Failed

    from flows import _steps, ingest

    def submit(_root: str, camera: str, *_days: object) -> SimpleNamespace:
        state = Completed() if camera == "west" else Failed(data=OSError("in the way"))
        return SimpleNamespace(wait=lambda: None, state=state)

    monkeypatch.setattr(_steps, "ingest_camera", SimpleNamespace(submit=submit))
    ended = ingest.ingest.fn(str(world), first="2026-03-02", last="2026-03-02")

    assert (ended.name, ended.is_failed()) == ("Incomplete", True)
    assert "east 2026-03-02..2026-03-02: ingest failed: in the way" in ended.message
    figures = (world / "reports" / "metrics" / "truck_counter_ingest.prom").read_text()
    assert 'truck_counter_failures{run="ingest"} 1' in figures
