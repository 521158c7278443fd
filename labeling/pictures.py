"""What an annotator is shown: the model's crop, enlarged, with the zone outlined, and a wider view.

The wider view is read from the footage and is left out where that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline import store
from pipeline.errors import TruckCounterError
from pipeline.store import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Zone

ENLARGED: Final = 3
WIDE_PX: Final = 480
OUTLINE: Final = (255, 210, 0)


class Pictures:
    """Draws the pictures of a campaign's frames. Clips and cameras are looked up once."""

    def __init__(self, ws: Workspace, campaign: str) -> None:
        """Read the registry, where there is one."""
        from pipeline import cameras

        self._ws = ws
        self._folder = ws.campaign_frames(campaign)
        self._known = cameras.load(ws.cameras_toml) if ws.cameras_toml.is_file() else None
        self._clips: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, row: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Return JPEGs of the outlined crop and of the wider view (empty where there is none).

        Args:
            row: of the ``frames`` table.
        """
        stored = (self._folder / str(row["path"])).read_bytes()
        zone, clip = self._zone(row), self._clip(row)
        if zone is None or clip is None:
            return stored, b""
        size = (int(clip["width_px"]), int(clip["height_px"]))
        return outlined_crop(_decoded(stored), zone, size), self._wide(row, zone, clip)

    def _zone(self, row: Mapping[str, Any]) -> Zone | None:
        if self._known is None:
            return None
        from pipeline.localtime import local_day

        camera = self._known.camera(str(row["camera_id"]))
        day = local_day(row["captured_at"], camera.timezone)
        return self._known.camera(camera.id, day).zone(str(row["zone"]))

    def _clip(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        from pipeline import schemas

        camera = str(row["camera_id"])
        if not any(held == camera for held, _ in self._clips):
            for day in self._ws.days("clips", camera):
                for clip in store.read_table(
                    self._ws.clips(camera, day), schemas.CLIPS
                ).to_pylist():
                    self._clips[camera, clip["clip_id"]] = clip
        return self._clips.get((camera, str(row["clip_id"])))

    def _wide(self, row: Mapping[str, Any], zone: Zone, clip: Mapping[str, Any]) -> bytes:
        from pipeline.footage import video

        path = self._ws.root / str(clip["uri"])
        if not path.is_file():
            return b""
        try:
            frame = next(video.read_at(path, [float(row["offset_s"])]), None)
        except TruckCounterError:
            return b""
        return b"" if frame is None else wide_view(frame.rgb, zone)


def outlined_crop(crop: NDArray[np.uint8], zone: Zone, size: tuple[int, int]) -> bytes:
    """Enlarge a crop ``uint8[h, w, 3]`` RGB and draw its zone; ``size`` is the whole picture's."""
    import cv2

    from pipeline.view import Crop

    shown = Crop.of(zone, *size)
    width, height = shown.size[0] * ENLARGED, shown.size[1] * ENLARGED
    large = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)
    to = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    warp = cv2.getPerspectiveTransform(np.array(shown.corners, np.float32), to)
    corners = (np.array(zone.polygon) * np.array(size)).astype(np.float32)
    points = cv2.perspectiveTransform(corners[None], warp)[0]
    return jpeg(_outlined(large, points), 88)


def wide_view(rgb: NDArray[np.uint8], zone: Zone) -> bytes:
    """Shrink a whole picture ``uint8[h, w, 3]`` RGB and draw the zone."""
    return jpeg(outlined_view(rgb, [zone], WIDE_PX), 75)


def outlined_view(
    rgb: NDArray[np.uint8], zones: Sequence[Zone], width_px: int
) -> NDArray[np.uint8]:
    """Shrink a whole picture to at most ``width_px`` and draw zones; ``uint8[h, w, 3]`` RGB."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, width_px / width)
    size = (round(width * scale), round(height * scale))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    for zone in zones:
        small = _outlined(small, np.array(zone.polygon) * np.array(size))
    return small


def numbered(rgb: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Write a number into the upper left corner of ``uint8[h, w, 3]`` RGB."""
    import cv2

    drawn = np.ascontiguousarray(rgb)
    for colour, thickness in (((0, 0, 0), 3), (OUTLINE, 1)):
        cv2.putText(drawn, str(number), (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness)
    return drawn


def _outlined(rgb: NDArray[Any], points: NDArray[Any]) -> NDArray[np.uint8]:
    import cv2

    drawn = np.ascontiguousarray(rgb, dtype=np.uint8)
    corners = np.round(points).astype(np.int32)
    cv2.polylines(drawn, [corners], isClosed=True, color=OUTLINE, thickness=1)
    return drawn


def _decoded(jpeg: bytes) -> NDArray[np.uint8]:
    import simplejpeg

    return np.asarray(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), np.uint8)


def jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Return ``uint8[h, w, 3]`` RGB as a JPEG."""
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(rgb, quality=quality, colorspace="RGB"))
