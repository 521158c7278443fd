"""Made-up input: clips whose every picture tells its own number, and workspaces with counts.

The counted workspaces hold daily and hourly counts written by hand, so that what comes after
counting (publication, lineage, features) is tested alone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import localtime, schemas, store
from pipeline.cameras import Registry, parse
from pipeline.exposure import intersection
from pipeline.publish import Publication, publish
from pipeline.store import Workspace

MakeClip = Callable[..., Path]


def numbered_picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A noisy moving gradient with the number as 12 black or white squares along the top."""
    noise = np.random.default_rng(number).integers(0, 12, (height, width, 1), np.uint16)
    x = np.arange(width, dtype=np.uint16)[None, :, None]
    y = np.arange(height, dtype=np.uint16)[:, None, None]
    colour = np.array([3, 2, 1], np.uint16)[None, None, :]
    picture = ((x + 4 * number) * colour // 4 + y) % 200 + noise
    side = width // 12
    for bit in range(12):
        picture[:side, bit * side : (bit + 1) * side] = 235 if number >> bit & 1 else 16
    return picture.astype(np.uint8)


def number_of(rgb: NDArray[np.uint8]) -> int:
    """Read back the number of a :func:`numbered_picture`, whole and decoded."""
    side = rgb.shape[1] // 12
    middle = rgb[side // 4 : side // 2 + 1, side // 2 :: side].mean(axis=(0, 2))
    return sum(1 << bit for bit in range(12) if middle[bit] > 128)


@pytest.fixture(scope="session")
def read_number() -> Callable[[NDArray[np.uint8]], int]:
    return number_of


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """Encode a clip: ``make_clip("a.mp4", n=50, fps=Fraction(25), gop=50, b_frames=0)``.

    ``times_s`` places the pictures (VFR); ``codec``, ``size`` and ``options`` go to the encoder.
    """
    folder = tmp_path_factory.mktemp("footage")
    made: dict[str, Path] = {}

    def make(
        name: str,
        n: int = 50,
        fps: Fraction = Fraction(25),
        gop: int = 25,
        b_frames: int = 0,
        codec: str = "libx264",
        size: tuple[int, int] = (192, 108),
        times_s: Sequence[float] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        key = repr((name, n, fps, gop, b_frames, codec, size, times_s, options))
        if key in made:
            return made[key]
        path = folder / str(len(made)) / name
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.gop_size = gop
            if codec == "libx264":
                stream.options = {"bf": str(b_frames), "preset": "veryfast", "sc_threshold": "0"}
            stream.options = {**stream.options, **(options or {})}
            stream.codec_context.max_b_frames = b_frames
            tick_s = Fraction(1, 90_000) if times_s else 1 / fps
            stream.codec_context.time_base = tick_s
            for number in range(n):
                frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), "rgb24")
                frame.pts = round(times_s[number] * 90_000) if times_s else number
                frame.time_base = tick_s
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        made[key] = path
        return path

    return make


SQUARE = [[0.1, 0.4], [0.9, 0.4], [0.9, 0.8], [0.1, 0.8]]


def entry(camera: str = "north-gate", **keys) -> dict:
    """One ``[[camera]]`` entry as TOML would give it."""
    return {
        "id": camera,
        "site": "dc-14",
        "timezone": "America/Chicago",
        "source": "footage/*.mp4",
        "exchange": "XNYS",
        "zones": [{"name": "exit", "movement": "out", "polygon": SQUARE}],
        **keys,
    }


class CountedWorkspace:
    """Counts are put in by hand; publications are made through the library."""

    def __init__(self, root: Path, registry: Registry | None = None) -> None:
        self.ws = Workspace(root)
        self.registry = registry or parse({"camera": [entry()]})
        self.model("m1")

    def model(self, model_id: str) -> None:
        """Make ``model_id`` the model in use."""
        store.write_json(self.ws.model(model_id) / "card.json", {"model_id": model_id})
        store.write_bytes(self.ws.current_model, model_id.encode())

    def count(
        self,
        day: str,
        trucks: float | None,
        camera: str = "north-gate",
        model_id: str = "m1",
        movement: str | tuple[str, ...] = "out",
        exposure_s: float = 86400.0,
        label_set_id: str = "l1",
    ) -> None:
        """Write one camera-day: the same count for each movement, even over the scheduled hours."""
        date = dt.date.fromisoformat(day)
        movements = (movement,) if isinstance(movement, str) else movement
        zone = self.registry.camera(camera, date)
        hours = localtime.hour_spans(date, zone.timezone)
        start, end = localtime.day_span(date, zone.timezone)
        key = {
            "camera_id": camera,
            "date": dt.datetime.combine(date, dt.time()),
            "site": zone.site,
            "model_id": model_id,
        }
        scheduled = [
            bool(intersection([span], localtime.scheduled_spans(zone, date))) for span in hours
        ]
        share = None if trucks is None else trucks / sum(scheduled)
        daily, hourly = [], []
        for name in movements:
            daily.append(
                {
                    **key,
                    **_counted(trucks),
                    "movement": name,
                    "method": "none" if trucks is None else "events",
                    "passages_seen": 0 if trucks is None or math.isnan(trucks) else int(trucks),
                    "exposure_s": exposure_s,
                    "coverage": exposure_s / (end - start),
                    "frames_scored": int(exposure_s * 5),
                    "prevalence": 0.01,
                    "quality": "insufficient" if trucks is None else "ok",
                    "label_set_id": label_set_id,
                }
            )
            hourly += [
                {
                    **key,
                    **_counted(share if filmed else None),
                    "movement": name,
                    "hour_start_at": dt.datetime.fromtimestamp(first, dt.UTC),
                    "exposure_s": exposure_s / len(hours) if filmed else 0.0,
                    "coverage": exposure_s / (end - start) if filmed else None,
                }
                for (first, _), filmed in zip(hours, scheduled, strict=True)
            ]
        for path, rows, schema in (
            (self.ws.counts_hourly(camera, date, model_id), hourly, schemas.HOURLY),
            (self.ws.counts(camera, date, model_id), daily, schemas.COUNTS),
        ):
            store.write_table(path, store.table_of(rows, schema), schema)

    def publish(self, as_of: str | None = None, reason: str = "") -> Publication:
        """Publish, at ``as_of`` where it is given."""
        instant = None if as_of is None else localtime.parse_instant(as_of)
        return publish(self.ws, self.registry, as_of=instant, reason=reason)


def _counted(trucks: float | None) -> dict:
    if trucks is None:
        return {"truck_count": None, "truck_count_lo": None, "truck_count_hi": None}
    return {
        "truck_count": float(trucks),
        "truck_count_lo": trucks * 0.9,
        "truck_count_hi": trucks * 1.1,
    }


@pytest.fixture
def counted(tmp_path: Path) -> CountedWorkspace:
    """An empty workspace with one camera and a model in use."""
    return CountedWorkspace(tmp_path / "ws")


@pytest.fixture
def camera_entry():
    """The maker of ``[[camera]]`` entries."""
    return entry


@pytest.fixture
def counted_workspace():
    """The class itself, for tests that need several workspaces or cameras."""
    return CountedWorkspace
