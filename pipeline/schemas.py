"""Every table's columns in one place, each with its type, unit and meaning.

The README's data dictionary is generated from here (:func:`dictionary`), and ``store`` refuses a
table that does not fit. Instants are ``timestamp[us, UTC]``; ``date`` is naive local midnight.
"""

from __future__ import annotations

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")
MIDNIGHT = pa.timestamp("us")
SPANS = pa.list_(pa.struct([("start_s", pa.float64()), ("end_s", pa.float64())]))


def _field(name: str, kind: pa.DataType, meaning: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"description": meaning})


def _schema(title: str, key: str, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={"title": title, "key": key})


_CAMERA = _field("camera_id", pa.string(), "camera, as named in cameras.toml")
_ZONE = _field("zone", pa.string(), "zone of that camera")
_CLIP = _field("clip_id", pa.string(), "clip, unique within its camera")
_CAPTURED = _field("captured_at", INSTANT, "presentation instant of the frame")
_OFFSET = _field("offset_s", pa.float64(), "seconds after the clip's first frame")
_MODEL = _field("model_id", pa.string(), "model that made the row")
_AS_OF = _field("as_of", INSTANT, "when the row was published")
_DATE = _field("date", MIDNIGHT, "camera-local day, as naive midnight")
_MOVEMENT = _field("movement", pa.string(), "direction counted, summed over its zones")

CLIPS = _schema(
    "clips",
    "camera_id, clip_id",
    [
        _CAMERA,
        _CLIP,
        _field("uri", pa.string(), "footage file, relative to the workspace where it lies in it"),
        _field("started_at", INSTANT, "instant of the first frame, from the file name"),
        _field("duration_s", pa.float64(), "seconds from the first frame to the end of the last"),
        _field("frames_expected", pa.int64(), "frames the header promises", null=True),
        _field("frames_read", pa.int64(), "frames that decode"),
        _field("width_px", pa.int32(), "picture width"),
        _field("height_px", pa.int32(), "picture height"),
        _field("codec", pa.string(), "video codec as FFmpeg names it"),
        _field("status", pa.string(), "ok, partial or quarantined"),
        _field("reason", pa.string(), "why not ok, or a remark; empty where there is none"),
        _field("timebase", pa.string(), "container (presentation times) or index (index ÷ fps)"),
        _field("content_hash", pa.string(), "BLAKE2b of the file"),
        _field("covered", SPANS, "stretches truly seen, in seconds after started_at"),
    ],
)

FRAMES = _schema(
    "frames",
    "frame_id",
    [
        _field("frame_id", pa.string(), "deterministic: camera, zone, clip and offset"),
        _CAMERA,
        _ZONE,
        _CLIP,
        _CAPTURED,
        _OFFSET,
        _field("path", pa.string(), "JPEG of the crop, relative to the campaign's folder"),
        _field("background_path", pa.string(), "JPEG of the crop's background, likewise"),
        _field("batch", pa.string(), "the sample call that chose it"),
        _field("why_chosen", pa.string(), "random (the share that estimates), or the enrichment"),
        _field("weight", pa.float64(), "sampling weight: 1 ÷ inclusion probability"),
    ],
)

ANNOTATIONS = _schema(
    "annotations",
    "frame_id, worker",
    [
        _field("frame_id", pa.string(), "frame judged"),
        _field("worker", pa.string(), "who judged it"),
        _field("label", pa.string(), "truck, no_truck or cant_tell"),
        _field("annotated_at", INSTANT, "when", null=True),
        _field("seconds_spent", pa.float64(), "time spent on the task", null=True),
        _field("source", pa.string(), "import, label_studio or simulated"),
    ],
)

GOLD = _schema(
    "gold",
    "task_id, worker",
    [
        _field(
            "task_id", pa.string(), "gold task: a frame of known label, put before people again"
        ),
        _field("worker", pa.string(), "who judged it"),
        _field("label", pa.string(), "truck, no_truck or cant_tell"),
        _field("truck", pa.bool_(), "the known answer"),
        _field("campaign", pa.string(), "campaign that the frame is from"),
        _field("frame_id", pa.string(), "frame shown"),
        _field("annotated_at", INSTANT, "when", null=True),
        _field("seconds_spent", pa.float64(), "time spent on the task", null=True),
    ],
)

LABELS = _schema(
    "labels",
    "frame_id",
    [
        _field("frame_id", pa.string(), "frame judged"),
        _field("label", pa.string(), "truck or no_truck; null where unresolved", null=True),
        _field("p_truck", pa.float64(), "posterior that it is a truck", null=True),
        _field("n_annotations", pa.int32(), "annotations received, can't-tells included"),
        _field("agreement", pa.float64(), "share of annotations that say the label", null=True),
        _field(
            "method",
            pa.string(),
            "aggregation: dawid_skene, majority, …; or adjudicated, by experts",
        ),
    ],
)

AUDIT = _schema(
    "audit",
    "window_id, movement",
    [
        _field("window_id", pa.string(), "randomly drawn stretch of footage that people counted"),
        _CAMERA,
        _MOVEMENT,
        _field("started_at", INSTANT, "start of the window"),
        _field("ended_at", INSTANT, "end of the window"),
        _field("truck_count", pa.float64(), "truck passages counted by eye, mean over workers"),
        _field("n_workers", pa.int32(), "people who counted"),
    ],
)

SCORES = _schema(
    "scores",
    "camera_id, zone, captured_at",
    [
        _CAMERA,
        _ZONE,
        _CAPTURED,
        _field("p_truck", pa.float32(), "calibrated probability that a truck is on the zone"),
        _MODEL,
        _CLIP,
        _OFFSET,
    ],
)

PASSAGES = _schema(
    "passages",
    "camera_id, zone, entered_at",
    [
        _CAMERA,
        _ZONE,
        _field("entered_at", INSTANT, "estimated entry to the zone"),
        _field("exited_at", INSTANT, "estimated exit from the zone"),
        _field("peak_p_truck", pa.float64(), "highest probability while it was there"),
        _field("trucks", pa.float64(), "expected trucks in this run (merged runs hold more)"),
        _field(
            "flag",
            pa.string(),
            "parked, merged, cut (by the edge of the footage), weak, straddle (seen from the next "
            "zone: no truck of its own), joined by commas; empty where ordinary",
        ),
        _MODEL,
        _CLIP,
        _OFFSET,
    ],
)

_COUNTED = [
    _field("truck_count", pa.float64(), "truck passages; null where none can be given", null=True),
    _field("truck_count_lo", pa.float64(), "lower end of the 95% interval", null=True),
    _field("truck_count_hi", pa.float64(), "upper end of the 95% interval", null=True),
    _field("method", pa.string(), "events, occupancy or none; +audit where windows corrected it"),
    _field("passages_seen", pa.int64(), "passages found in the observed time"),
    _field("exposure_s", pa.float64(), "seconds observed within the schedule"),
    _field("coverage", pa.float64(), "exposure ÷ scheduled seconds"),
    _field("frames_scored", pa.int64(), "samples the count rests on"),
    _field(
        "prevalence",
        pa.float64(),
        "share of observed time with a truck on a zone, mean of the movement's zones",
        null=True,
    ),
    _field("quality", pa.string(), "ok, estimated, drift, view_changed or insufficient"),
    _MODEL,
    _field("label_set_id", pa.string(), "labels the model learned from"),
]

_SITE = _field("site", pa.string(), "site of the camera")

COUNTS = _schema(
    "counts", "camera_id, movement, date", [_CAMERA, _MOVEMENT, _DATE, _SITE, *_COUNTED]
)

DAILY = _schema(
    "daily_truck_counts",
    "camera_id, movement, date, as_of",
    [
        _CAMERA,
        _MOVEMENT,
        _DATE,
        _AS_OF,
        _SITE,
        *_COUNTED,
        _field("tradable_from", INSTANT, "first session open after as_of", null=True),
        _field("revision_reason", pa.string(), "why the row differs from the one before"),
    ],
)

_HOUR = [
    _field("hour_start_at", INSTANT, "start of the local hour"),
    _field(
        "truck_count",
        pa.float64(),
        "truck passages; the hours add to the day; null outside the schedule",
        null=True,
    ),
    _field("truck_count_lo", pa.float64(), "lower end of the 95% interval", null=True),
    _field("truck_count_hi", pa.float64(), "upper end of the 95% interval", null=True),
    _field("exposure_s", pa.float64(), "seconds observed within the schedule"),
    _field("coverage", pa.float64(), "exposure ÷ scheduled seconds", null=True),
    _MODEL,
]

HOURLY = _schema(
    "counts_hourly",
    "camera_id, movement, hour_start_at",
    [_CAMERA, _MOVEMENT, _DATE, _SITE, *_HOUR],
)
HOURLY_PUBLISHED = _schema(
    "hourly_truck_counts",
    "camera_id, movement, hour_start_at, as_of",
    [_CAMERA, _MOVEMENT, _DATE, _AS_OF, _SITE, *_HOUR],
)

MODEL_CHANGES = _schema(
    "model_changes",
    "camera_id, movement, old_model_id, new_model_id, first_date, as_of",
    [
        _CAMERA,
        _MOVEMENT,
        _field("old_model_id", pa.string(), "model that counted these days before"),
        _field("new_model_id", pa.string(), "model that counted them anew"),
        _field("first_date", MIDNIGHT, "first day counted by both"),
        _field("last_date", MIDNIGHT, "last day counted by both"),
        _AS_OF,
        _field("days", pa.int64(), "days counted by both"),
        _field("factor", pa.float64(), "new counts ÷ old counts over those days", null=True),
        _field("factor_lo", pa.float64(), "lower end of its 95% interval", null=True),
        _field("factor_hi", pa.float64(), "upper end of its 95% interval", null=True),
    ],
)

FEATURES = _schema(
    "features",
    "site, session",
    [
        _SITE,
        _field("session", MIDNIGHT, "session of the site's exchange, as naive midnight"),
        _MOVEMENT,
        _field("ticker", pa.string(), "from the user's mapping file", null=True),
        _field("date", MIDNIGHT, "last counted session day known at the open", null=True),
        _field("level", pa.float64(), "trucks at the site on that day", null=True),
        _field("level_lo", pa.float64(), "lower end of the 95% interval", null=True),
        _field("level_hi", pa.float64(), "upper end of the 95% interval", null=True),
        _field("mean_5", pa.float64(), "mean of the last 5 session days", null=True),
        _field("mean_5_lo", pa.float64(), "lower end of its interval", null=True),
        _field("mean_5_hi", pa.float64(), "upper end of its interval", null=True),
        _field("mean_20", pa.float64(), "mean of the last 20 session days", null=True),
        _field("mean_20_lo", pa.float64(), "lower end of its interval", null=True),
        _field("mean_20_hi", pa.float64(), "upper end of its interval", null=True),
        _field("change_year", pa.float64(), "mean_5 ÷ that of 52 weeks before − 1", null=True),
        _field(
            "change_weekday", pa.float64(), "level ÷ same weekday of 4 weeks before − 1", null=True
        ),
        _field("robust_z", pa.float64(), "level against the 60 session days before", null=True),
        _field("adjusted_level", pa.float64(), "level less its day-of-week effect", null=True),
        _field(
            "night_share",
            pa.float64(),
            "share of that day's trucks 22:00-06:00, at the cameras that film then",
            null=True,
        ),
        _field("coverage", pa.float64(), "mean coverage of the site's cameras", null=True),
        _field("cameras", pa.int64(), "cameras added up"),
        _field("staleness_days", pa.int64(), "calendar days from date to session", null=True),
        _field("quality", pa.string(), "worst quality among the cameras that day"),
        _field("model_id", pa.string(), "models that counted that day", null=True),
        _field("label_set_id", pa.string(), "label sets those learned from", null=True),
        _field("as_of", INSTANT, "last publication used"),
        _field("tradable_from", INSTANT, "open of the session"),
    ],
)

TABLES: tuple[pa.Schema, ...] = (
    CLIPS,
    FRAMES,
    ANNOTATIONS,
    GOLD,
    LABELS,
    AUDIT,
    SCORES,
    PASSAGES,
    DAILY,
    HOURLY_PUBLISHED,
    MODEL_CHANGES,
    FEATURES,
)
"""The tables a user meets, in the order in which footage becomes a count."""


def title(schema: pa.Schema) -> str:
    """Return the table's name."""
    return str((schema.metadata or {})[b"title"].decode())


def dictionary() -> str:
    """Return the data dictionary as Markdown: per table its key, then a row per column."""
    parts: list[str] = []
    for schema in TABLES:
        key = (schema.metadata or {})[b"key"].decode()
        parts += [f"#### `{title(schema)}`: key {key}", "", "| column | type | meaning |"]
        parts.append("| --- | --- | --- |")
        parts += [f"| `{f.name}` | {_type(f)} | {_meaning(f)} |" for f in schema]
        parts.append("")
    return "\n".join(parts)


def _type(field: pa.Field) -> str:
    kind = "spans" if field.type == SPANS else str(field.type)
    return kind + (", may be null" if field.nullable else "")


def _meaning(field: pa.Field) -> str:
    return str((field.metadata or {})[b"description"].decode())
