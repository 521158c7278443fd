"""Small pictures of counted trucks: the road around the zone at the middle of a passage, as JPEG.

A model sees the zone's crop, which a truck fills with its roof; a person needs the road around it
to see that it is a truck. So the picture is cut wider than the crop, and the zone is outlined.

A picture is decoded once and kept under ``reports/thumbnails/<camera>/<day>/``; its name holds what
it shows and a digest of what it was made from, so a changed clip or zone makes a new picture and a
second report decodes nothing. Where the footage is gone there is no picture, and the page says so.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import daily, store
from pipeline.domain import Camera, Zone
from pipeline.errors import FootageError
from pipeline.view import Box, Crop, union_box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.store import Workspace

Row = dict[str, Any]

SIZE = (192, 144)
QUALITY = 76
_WIDER = 1.5  # how much higher than the crop, so that a lorry's ends are in it
_OUTLINE = (255, 214, 102)


def thumbnails(
    ws: Workspace, camera: Camera, day: dt.date, passages: Sequence[Row]
) -> list[bytes | None]:
    """Return a JPEG per passage (rows of ``passages``), None where it cannot be shown.

    Each clip is read once, however many of its passages are wanted.
    """
    clips = {c["clip_id"]: c for c in daily.clip_rows(ws, camera.id, day)}
    paths = [_path(ws, camera, day, p, clips.get(p["clip_id"])) for p in passages]
    wanted: dict[str, list[int]] = defaultdict(list)
    for i, (passage, path) in enumerate(zip(passages, paths, strict=True)):
        if path is not None and not path.is_file():
            wanted[passage["clip_id"]].append(i)
    for clip_id in sorted(wanted):
        chosen = wanted[clip_id]
        shots = _shots(ws, camera, clips[clip_id], [passages[i] for i in chosen])
        for i, jpeg in zip(chosen, shots, strict=True):
            path = paths[i]
            if jpeg is not None and path is not None:
                store.write_bytes(path, jpeg)
    return [p.read_bytes() if p is not None and p.is_file() else None for p in paths]


def _path(
    ws: Workspace, camera: Camera, day: dt.date, passage: Row, clip: Row | None
) -> Path | None:
    if clip is None or clip["status"] == "quarantined":
        return None
    try:
        zone = camera.zone(passage["zone"])
    except KeyError:
        return None
    made_from = (clip["uri"], clip["content_hash"], passage["offset_s"], zone.polygon)
    digest = hashlib.blake2b(
        repr((*made_from, SIZE, QUALITY, _WIDER)).encode(), digest_size=6
    ).hexdigest()
    name = f"{passage['entered_at']:%H%M%S}Z-{zone.name}-{digest}.jpg"
    return ws.reports / "thumbnails" / camera.id / str(day) / name


def _shots(ws: Workspace, camera: Camera, clip: Row, passages: Sequence[Row]) -> list[bytes | None]:
    """Decode one clip at the middle of each passage; all None where it cannot be read."""
    from pipeline.footage.video import read_at

    source = ws.root / clip["uri"]
    if not source.is_file():
        return [None] * len(passages)
    frame_px = (int(clip["width_px"]), int(clip["height_px"]))
    views = {p["zone"]: View.of(camera.zone(p["zone"]), *frame_px) for p in passages}
    box = union_box([view.crop for view in views.values()])
    offsets = sorted({float(p["offset_s"]) for p in passages})
    shown: list[tuple[float, dict[str, NDArray[np.uint8]]]] = []
    try:
        for frame in read_at(source, offsets, box):
            shown.append((frame.offset_s, {z: v.draw(frame.rgb, box) for z, v in views.items()}))
    except FootageError:
        return [None] * len(passages)
    if not shown:
        return [None] * len(passages)
    return [_jpeg(_nearest(shown, float(p["offset_s"]))[p["zone"]]) for p in passages]


def _nearest(
    shown: Sequence[tuple[float, dict[str, NDArray[np.uint8]]]], offset_s: float
) -> dict[str, NDArray[np.uint8]]:
    return min(shown, key=lambda s: abs(s[0] - offset_s))[1]


@dataclass(frozen=True)
class View:
    """What a person is shown of a zone: an upright cut of the picture, and the zone's corners.

    ``crop`` is that cut (picture pixels, not straightened); ``outline`` the zone within it, in
    pixels of the thumbnail.
    """

    crop: Crop
    outline: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, zone: Zone, width_px: int, height_px: int) -> View:
        """Return the view of ``zone`` in pictures of this size: 4:3, within the picture."""
        x0, y0, x1, y1 = Crop.of(zone, width_px, height_px).box
        aspect = SIZE[0] / SIZE[1]
        height = min(max(y1 - y0, (x1 - x0) / aspect) * _WIDER, height_px, width_px / aspect)
        height, width = int(height) // 2 * 2, int(height * aspect) // 2 * 2
        left = _within((x0 + x1 - width) // 2, width_px - width)
        top = _within((y0 + y1 - height) // 2, height_px - height)
        right, bottom = left + width, top + height
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        scale = SIZE[0] / width, SIZE[1] / height
        outline = tuple(
            ((x * width_px - left) * scale[0], (y * height_px - top) * scale[1])
            for x, y in zone.polygon
        )
        return cls(Crop((left, top, right, bottom), corners, SIZE), outline)

    def draw(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """Return the thumbnail ``uint8[h, w, 3]`` RGB from the pixels of ``box``."""
        import cv2
        import numpy as np

        x0, y0, x1, y1 = self.crop.box
        seen = rgb[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
        shown = cv2.resize(np.ascontiguousarray(seen), SIZE, interpolation=cv2.INTER_AREA)
        lines = shown.copy()
        corners = np.array(self.outline).round().astype(np.int32)
        cv2.polylines(lines, [corners], True, _OUTLINE, 1, cv2.LINE_AA)
        return np.asarray(cv2.addWeighted(lines, 0.7, shown, 0.3, 0.0), dtype=np.uint8)


def _within(start: int, most: int) -> int:
    """Keep a window's even start between 0 and ``most``."""
    return min(max(start, 0), max(most, 0)) // 2 * 2


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    import numpy as np
    import simplejpeg

    made = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=QUALITY, colorspace="RGB")
    return bytes(made)


def smaller(jpeg: bytes, factor: float) -> bytes:
    """Return the JPEG again with its sides times ``factor`` (below 1), for a crowded page."""
    import cv2
    import simplejpeg

    rgb = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    height, width = rgb.shape[:2]
    size = (max(round(width * factor), 24), max(round(height * factor), 24))
    shrunk = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return bytes(simplejpeg.encode_jpeg(shrunk, quality=QUALITY - 10, colorspace="RGB"))
