"""A camera's reference picture: what it saw when its entry was written, ``cameras/<id>/<day>.jpg``.

Zones are drawn on it, and the camera's later pictures are compared with it: see
:mod:`pipeline.aim`. An entry that has none gets the first readable picture of its own footage.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import store
from pipeline.errors import FootageError, NotFoundError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Camera
    from pipeline.store import Workspace

_LOOK_AT = (0.0, 5.0, 30.0)  # seconds into a clip
_CLIPS = 24  # at most: where nothing can be read in a day of hourly clips, something else is wrong
_QUALITY = 92


def kept(ws: Workspace, camera: Camera) -> Path:
    """Return the reference picture of an entry, taking it where there is none yet.

    Raises:
        NotFoundError: there is no footage of this entry to take it from.
        FootageError: there is, and no picture of it can be read.
    """
    path = ws.reference(camera.id, camera.valid_from)
    if not path.is_file():
        store.write_bytes(path, as_jpeg(first_picture(ws, camera)))
    return path


def first_picture(ws: Workspace, camera: Camera) -> NDArray[np.uint8]:
    """Return the first picture of an entry's footage that shows something, ``uint8[h, w, 3]``.

    Raises:
        NotFoundError: there is no footage.
        FootageError: there is, and no picture of it can be read.
    """
    from pipeline.footage import picture_health, video
    from pipeline.footage.files import asked_of, is_live

    tried = 0
    for path in _clips(ws, camera):
        if (tried := tried + 1) > _CLIPS:
            break
        try:
            for frame in video.read_at(path, _LOOK_AT):
                small = picture_health.thumbnail_of(brightness(frame.rgb))
                if not list(picture_health.faults(small)):
                    return frame.rgb
        except FootageError:
            continue
    if tried:
        raise FootageError(
            f"no picture of camera {camera.id!r} can be read in {tried} clip(s).",
            "truck-counter ingest says what is wrong with each.",
        )
    live = "Run truck-counter record" if is_live(camera) else "Put footage there"
    raise NotFoundError(
        f"no footage of camera {camera.id!r} at {asked_of(camera)}.", f"{live}, then try again."
    )


def as_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode ``uint8[h, w, 3]``."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def brightness(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of ``uint8[h, w, 3]`` (BT.601), ``uint8[h, w]``."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.clip(rgb @ weights + 0.5, 0, 255), np.uint8)


def _clips(ws: Workspace, camera: Camera) -> Iterator[Path]:
    """Yield the entry's files in order of their start."""
    from pipeline.footage import stored
    from pipeline.footage.files import files_of, is_stored

    held = stored.look(ws, camera)[0] if is_stored(camera) else []
    there = {one.path: one for one in held}
    for file in files_of(ws, [camera], {camera: list(there)}):
        if file.refused or (file.day and file.day < camera.valid_from):
            continue
        if not file.path.exists() and stored.copy(camera.id, [there[file.path]]):
            continue
        yield file.path
