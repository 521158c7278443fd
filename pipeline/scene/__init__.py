"""Rendered demonstration footage with a known truth.

The project ships nobody's pictures, so its demonstration films its own road: vehicles are boxes,
prisms and cylinders in metres on a ground plane, a pinhole camera looks down on them, and the
traffic simulation alone says when a truck's footprint lies on a zone. What a user meets afterwards
is ordinary: a ``cameras.toml`` and H.264 files named with their UTC start.

* :mod:`pipeline.scene.scenario`: what is filmed, where, when, in what weather (:class:`ScenePlan`)
* :mod:`pipeline.scene.sites`: the two cameras; :mod:`pipeline.scene.roads`: any number of others
* :mod:`pipeline.scene.optics`: pinhole camera and the place of the sun
* :mod:`pipeline.scene.traffic`: who drives when, and hence the truth
* :mod:`pipeline.scene.solids`, :mod:`pipeline.scene.shapes`: what each kind of vehicle looks like
* :mod:`pipeline.scene.light`: what the hour and the weather do to the light
* :mod:`pipeline.scene.backdrop`, :mod:`pipeline.scene.paint`, :mod:`pipeline.scene.sensor`:
  pixels (OpenCV)
* :mod:`pipeline.scene.footage`: files (PyAV), the only module here that writes

>>> scene = plan(seed=7, days=2)
>>> [s.path for s in segments(scene)][0]
'footage/north-gate/2026-03-02T130000+0000.mp4'
"""

from __future__ import annotations

from pipeline.scene.footage import Study, mask, picture, render, studies, study
from pipeline.scene.roads import instants, road
from pipeline.scene.scenario import (
    ScenePlan,
    Segment,
    cameras_toml,
    plan,
    segments,
    windows,
)
from pipeline.scene.sites import Lane, Site
from pipeline.scene.traffic import (
    DailyTruth,
    Passage,
    presence,
    truth_daily,
    truth_passages,
)

__all__ = [
    "DailyTruth",
    "Lane",
    "Passage",
    "ScenePlan",
    "Segment",
    "Site",
    "Study",
    "cameras_toml",
    "instants",
    "mask",
    "picture",
    "plan",
    "presence",
    "render",
    "road",
    "segments",
    "studies",
    "study",
    "truth_daily",
    "truth_passages",
    "windows",
]
