"""Cores that are ours, and work shared out over them."""

import os
from pathlib import Path

import pytest

from pipeline import cores


@pytest.mark.parametrize(
    ("text", "least"),
    [("150000 100000", 2), ("100000 100000", 1), ("5000 100000", 1), ("max 100000", 10**6)],
)
def test_a_quota_limits_the_cores(tmp_path: Path, text: str, least: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert cores.usable(quota) == min(least, len(os.sched_getaffinity(0)))


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cores.usable(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_every_job_is_done_once_whatever_the_number() -> None:
    for n in (0, 1, 5):
        jobs = list(range(n))
        assert dict(cores.each(abs, [-j for j in jobs], "jobs")) == {j: j for j in jobs}
