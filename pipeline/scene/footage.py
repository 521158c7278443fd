"""Scenes as files and pictures: the only module of the package that writes.

Segments are independent of each other: render them in any order, in as many processes as there
are cores, and get the same bytes.
"""

from __future__ import annotations

import datetime as dt
import os
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.scene.light import light_at
from pipeline.scene.scenario import ScenePlan, Segment, Window, windows
from pipeline.scene.sites import Site

if TYPE_CHECKING:
    from pipeline.scene.paint import Painter

_GOP_S = 2
_STILLS = 9


def frame_count(site: Site, segment: Segment) -> int:
    """Return how many frames a segment holds; the last one ends within its window."""
    return int(Fraction(segment.duration_s) * site.fps)


def frames(scene: ScenePlan, segment: Segment) -> Iterator[NDArray[np.uint8]]:
    """Yield a segment's frames before encoding, uint8[h * 3 / 2, w] planar YUV 4:2:0."""
    from pipeline.scene.sensor import Sensor

    site = scene.site(segment.camera_id)
    middle = segment.start + dt.timedelta(seconds=segment.duration_s / 2)
    painter = _painter(scene, site, _window(scene, site, segment.start), middle)
    seed = zlib.crc32(f"{scene.seed} {segment.path}".encode())
    sensor = Sensor(site, painter.light, seed, painter.empty)
    start = segment.start.timestamp()
    for number in range(frame_count(site, segment)):
        instant = start + float(number / site.fps)
        drawn = painter.draw(instant)
        yield sensor.develop(drawn, painter.glare, instant)


def render(scene: ScenePlan, segment: Segment, root: Path) -> Path | None:
    """Write one segment below ``root`` as H.264 and return its path; None for the missing one.

    The file appears whole or not at all. The corrupt one is cut off after three fifths of its
    bytes, as by a full disk: its index, at the end, is lost. A file already there is left alone
    (the bytes would be the same).
    """
    if segment.fault == "missing":
        return None
    path = root / segment.path
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _encode(scene, segment, part)
        if segment.fault == "corrupt":
            os.truncate(part, part.stat().st_size * 3 // 5)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _encode(scene: ScenePlan, segment: Segment, path: Path) -> None:
    import av

    site = scene.site(segment.camera_id)
    options = {
        "preset": "ultrafast",  # half the time of the next one, for a fifth more bytes
        "crf": "28",
        "bf": "2",
        "threads": "1",
        "sc_threshold": "0",
    }
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=site.fps, options=options)
        stream.width, stream.height = site.view.width_px, site.view.height_px
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = round(site.fps * _GOP_S)
        stream.codec_context.time_base = 1 / site.fps
        for number, yuv in enumerate(frames(scene, segment)):
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def picture(scene: ScenePlan, camera_id: str, instant: dt.datetime) -> NDArray[np.uint8]:
    """Return what a camera sees at an instant of a window, uint8[h, w, 3] RGB, unencoded."""
    return study(scene, camera_id, instant).picture


def mask(scene: ScenePlan, camera_id: str, instant: dt.datetime) -> NDArray[np.bool_]:
    """Return bool[h, w]: the pixels that show a truck at an instant of a window."""
    site = scene.site(camera_id)
    painter = _painter(scene, site, _window(scene, site, instant), instant)
    return painter.silhouettes(instant.timestamp())


class Study(NamedTuple):
    """One instant: ``picture`` and ``empty`` (the road without vehicles) uint8[h, w, 3] RGB.

    Like a zone's background, ``empty`` is the median of several pictures, so that it has next to no
    noise. ``mask`` bool[h, w] marks the pixels that show a truck.
    """

    picture: NDArray[np.uint8]
    empty: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def study(scene: ScenePlan, camera_id: str, instant: dt.datetime) -> Study:
    """Return what a camera sees, would see of the empty road, and where the trucks are."""
    return next(studies(scene, camera_id, [instant]))


def studies(scene: ScenePlan, camera_id: str, instants: Sequence[dt.datetime]) -> Iterator[Study]:
    """Study instants of one window in turn, all in the light of the first of them.

    Many cost little more than their drawing: the empty road is lit once.
    """
    import cv2

    from pipeline.scene.sensor import Sensor

    site, first = scene.site(camera_id), instants[0].timestamp()
    painter = _painter(scene, site, _window(scene, site, instants[0]), instants[0])
    seed = zlib.crc32(f"{scene.seed} {camera_id} {first}".encode())
    sensor = Sensor(site, painter.light, seed, painter.empty)

    def seen(yuv: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)

    still = Sensor(site, painter.light, seed + 1, painter.empty)
    stills = [seen(still.develop(painter.empty, None, first + k)) for k in range(_STILLS)]
    empty = np.asarray(np.median(stills, axis=0), dtype=np.uint8)
    for instant in instants:
        at = instant.timestamp()
        full = painter.draw(at)
        shown = seen(sensor.develop(full, painter.glare, at))
        yield Study(shown, empty, painter.silhouettes(at))


def _painter(scene: ScenePlan, site: Site, window: Window, lit_at: dt.datetime) -> Painter:
    from pipeline.scene.paint import Painter

    return Painter(scene, site, window, light_at(scene, site, lit_at, window.date))


def _window(scene: ScenePlan, site: Site, instant: dt.datetime) -> Window:
    for day in scene.dates():
        for window in windows(scene, site.id, day):
            if window.start <= instant < window.end:
                return window
    raise InputError(
        f"{site.id} does not film at {instant.isoformat()}.", "Choose an instant of a window."
    )
