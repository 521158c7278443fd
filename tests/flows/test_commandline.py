"""What people type: stretches of time."""

from __future__ import annotations

import pytest

from flows.commandline import Duration
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1.5s", 1.5), (" 45 ", 45)],
)
def test_a_stretch_of_time(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0s", "soon", "-5m", "5 m", "10m5h", "1.5h"])
def test_what_is_no_stretch_of_time(text: str) -> None:
    with pytest.raises(InputError, match=r"Write 90s, 10m or 1h30m\."):
        Duration().convert(text, None, None)
