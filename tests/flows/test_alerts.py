"""What a run says aloud, worked out by hand; and that it reaches the channel an operator names."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from flows import _watch, automations, commandline

DAY = dt.date(2026, 3, 20)


def row(day: dt.date, coverage: float | None, quality: str = "ok") -> dict[str, Any]:
    known = {"camera_id": "gate", "movement": "out", "quality": quality, "coverage": coverage}
    return known | {"date": dt.datetime.combine(day, dt.time())}


def before(*coverages: float) -> list[dict[str, Any]]:
    return [row(DAY - dt.timedelta(days=i + 1), c) for i, c in enumerate(coverages)]


def test_a_drop_is_measured_against_the_cameras_own_days_before() -> None:
    usual = before(0.9, 1.0, 0.8)  # the median is 0.9
    assert _watch.coverage_drops([row(DAY, 0.71)], usual) == []
    assert _watch.coverage_drops([row(DAY, 0.69)], usual) == [
        {"camera": "gate", "day": "2026-03-20", "coverage": 0.69, "usual": 0.9}
    ]
    assert _watch.coverage_drops([row(DAY, None)], usual)[0]["coverage"] == 0.0
    assert _watch.coverage_drops([row(DAY, 0.0)], usual[:2]) == []  # two days are no habit
    later = [row(DAY + dt.timedelta(days=1 + i), 1.0) for i in range(3)]
    assert _watch.coverage_drops([row(DAY, 0.0)], later) == []


def test_days_long_past_do_not_count_as_usual() -> None:
    old, recent = [1.0] * 5, [0.5] * 14  # a camera that has filmed half the day for two weeks
    assert _watch.coverage_drops([row(DAY, 0.5)], before(*recent, *old)) == []


def test_each_drifting_day_once_in_order() -> None:
    days = [DAY + dt.timedelta(days=i) for i in (1, 0, 1)]
    assert _watch.drifting([row(day, 1.0, "drift") for day in days]) == {
        "gate": [DAY, DAY + dt.timedelta(days=1)]
    }


def test_an_audit_batch_belongs_to_an_iso_week() -> None:
    # 1 January 2027 is a Friday, so it belongs to week 53 of 2026.
    assert _watch.audit_campaign("gate", dt.date(2027, 1, 1)) == "audit-gate-2026-w53"


def test_alerts_tell_camera_day_and_reason() -> None:
    from flows import _alerts

    missing = [{"camera": "b", "day": "2026-03-20", "what": "infer failed", "why": "disk"}]
    drops = [{"camera": "a", "day": "2026-03-20", "coverage": 0.5, "usual": 0.95}]
    found = _alerts.alerts(missing, drops, {"c": [DAY]})
    assert [(f["event"].rsplit(".", 1)[1], f["text"]) for f in found] == [
        ("missing", "b misses 2026-03-20: infer failed: disk"),
        ("drop", "a sees less: 2026-03-20: 50%, 95% usual"),
        ("drift", "c drifts: 2026-03-20"),
    ]


def test_without_a_channel_nothing_is_sent() -> None:
    made = automations.automations(None)
    assert {a["actions"][0]["type"] for a in made[2:]} == {"do-nothing"}


def test_a_run_that_falls_silent_at_any_stage_has_crashed() -> None:
    zombies, stillborn = automations.automations(None)[:2]
    assert zombies["trigger"]["within"] == 90  # three heartbeats
    assert "prefect.flow-run.Running" in zombies["trigger"]["after"]  # before the first of them
    assert stillborn["trigger"]["after"] == ["prefect.flow-run.Pending"]
    for made in (zombies, stillborn):
        assert {"prefect.flow-run.Completed", "prefect.flow-run.Incomplete"} <= set(
            made["trigger"]["expect"]
        )
        assert made["actions"][0]["state"] == "CRASHED"


def test_a_run_that_fails_or_does_not_begin_is_told_of() -> None:
    made = {a["name"]: a for a in automations.automations("an-id")}
    failed = made["truck-counter: a run has failed"]["trigger"]
    assert (failed["posture"], failed["expect"]) == ("Reactive", ["prefect.flow-run.Failed"])
    late = made["truck-counter: a late run does not begin"]
    assert late["trigger"]["posture"] == "Proactive"
    assert late["trigger"]["after"] == ["prefect.flow-run.Late"]
    assert late["trigger"]["within"] == 900
    began = set(late["trigger"]["expect"])
    assert {"prefect.flow-run.Pending", "prefect.flow-run.Cancelled"} <= began
    assert "15 minutes" in json.loads(late["actions"][0]["payload"])["text"]


@pytest.mark.parametrize("event", [automations.MISSING, automations.COVERAGE, automations.DRIFT])
def test_what_is_sent_is_json_whatever_the_text_holds(event: str) -> None:
    """Rendered as the server renders it: Jinja, then the webhook."""
    from types import SimpleNamespace

    from jinja2.sandbox import SandboxedEnvironment

    made = {a["trigger"]["expect"][0]: a for a in automations.automations("an-id")[2:]}
    payload = made[event]["actions"][0]["payload"]
    text = 'west misses "noon"\nand <more>'
    told = SimpleNamespace(payload={"text": text})
    rendered = SandboxedEnvironment().from_string(payload).render(event=told)
    assert json.loads(rendered) == {"text": text}


def test_a_run_done_in_part_is_exit_code_1_and_says_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import click

    rows = [
        {"camera": f"c{i}", "day": "2026-03-20", "what": "infer failed", "why": "x"}
        for i in range(5)
    ]
    ended = {"state": "Incomplete", "missing": rows}
    group = click.Group()

    @commandline.command(group, "work")
    def work(context: commandline.Context) -> tuple[dict[str, Any], str]:
        return ended, "some text"

    assert group.main(["work"], standalone_mode=False) == 1
    out, err = capsys.readouterr()
    assert out == "some text\n"
    assert len(err.splitlines()) == 1
    assert err.startswith("incomplete: c0 2026-03-20: infer failed: x; c1 ")
    assert err.endswith("; and 2 more\n")
    ended["state"] = "Completed"
    assert group.main(["work"], standalone_mode=False) is None
