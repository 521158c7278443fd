"""The records are frozen and find their zones; the core imports nothing heavy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from pipeline.domain import LABELS, Camera, Zone

_SQUARE = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))


def test_a_camera_finds_its_zones_and_cannot_be_changed():
    camera = Camera("c", "s", "UTC", "x", (Zone("left", _SQUARE, "out"), Zone("right", _SQUARE)))
    assert camera.zone("left").movement == "out"
    assert camera.zone("right").movement == "all"
    with pytest.raises(KeyError, match="middle"):
        camera.zone("middle")
    with pytest.raises(dataclasses.FrozenInstanceError):
        camera.site = "elsewhere"  # type: ignore[misc]
    assert camera.schedule == ((0, 1440),)


def test_the_three_labels():
    assert LABELS == ("truck", "no_truck", "cant_tell")


@pytest.mark.parametrize(
    "module",
    ["pipeline", "pipeline.domain", "pipeline.errors", "pipeline.localtime", "pipeline.exposure"],
)
def test_the_core_imports_nothing_heavy(module):
    heavy = "{'cv2', 'torch', 'av', 'prefect', 'pandas', 'pyarrow', 'scipy', 'exchange_calendars'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
