"""A small workspace with published counts, gaps and footage, for the pages that show one.

Two cameras, three days, filmed 10:00-10:02 local time in four clips of 30 s. ``north``: on the 3rd
all are there; on the 4th the second is missing and the third broke off after 10 s; on the 5th
nothing was filmed. ``south``: on the 3rd the second is set aside. Names are hostile on purpose.
"""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import cameras, schemas, store, vintages

Row = dict[str, Any]

HOSTILE = 'dc <script>alert(1)</script> & "co"'
DAYS = [dt.date(2026, 3, d) for d in (3, 4, 5)]
MODEL = "m-0001"
AS_OF = dt.datetime(2026, 3, 6, 6, 0, tzinfo=dt.UTC)
ZONE = [[0.25, 0.4], [0.75, 0.4], [0.75, 0.9], [0.25, 0.9]]


def start_of(day: dt.date, camera: str = "north") -> dt.datetime:
    """10:00 at the camera: 16:00 UTC in Chicago, 09:00 UTC in Berlin (both winter time)."""
    return dt.datetime(day.year, day.month, day.day, 16 if camera == "north" else 9, tzinfo=dt.UTC)


def clip_row(camera: str, day: dt.date, number: int, **changes: Any) -> Row:
    started = start_of(day, camera) + dt.timedelta(seconds=30 * number)
    row = {
        "camera_id": camera,
        "clip_id": f"{started:%Y-%m-%dT%H%M%SZ}",
        "uri": f"footage/{camera}/{started:%Y-%m-%dT%H%M%SZ}.mp4",
        "started_at": started,
        "duration_s": 30.0,
        "frames_expected": 60,
        "frames_read": 60,
        "width_px": 320,
        "height_px": 180,
        "codec": "h264",
        "status": "ok",
        "reason": "",
        "timebase": "container",
        "content_hash": "ab",
        "covered": [{"start_s": 0.0, "end_s": 30.0}],
    }
    return {**row, **changes}


def passages_of(camera: str, day: dt.date, n: int) -> list[Row]:
    """The k-th truck is in the zone from 3 s after the k-th eight seconds began, for 2 s."""
    rows = []
    for k in range(n):
        entered = start_of(day, camera) + dt.timedelta(seconds=8 * k + 3)
        clip = clip_row(camera, day, int((8 * k + 4) // 30))
        rows.append(
            {
                "camera_id": camera,
                "zone": "exit",
                "entered_at": entered,
                "exited_at": entered + dt.timedelta(seconds=2),
                "peak_p_truck": 0.99 - 0.01 * k,
                "trucks": 1.25 if k == 1 else 1.0,
                "flag": "merged" if k == 1 else "",
                "model_id": MODEL,
                "clip_id": clip["clip_id"],
                "offset_s": (8 * k + 4) % 30 + 0.0,
            }
        )
    return rows


def scores_of(passages: list[Row], camera: str, day: dt.date) -> list[Row]:
    """Two samples a second over the two minutes: 0.95 inside a passage, 0.02 outside."""
    inside = [(p["entered_at"], p["exited_at"]) for p in passages]
    rows = []
    for i in range(240):
        at = start_of(day, camera) + dt.timedelta(seconds=i / 2)
        rows.append(
            {
                "camera_id": camera,
                "zone": "exit",
                "captured_at": at,
                "p_truck": 0.95 if any(a <= at <= b for a, b in inside) else 0.02,
                "model_id": MODEL,
                "clip_id": clip_row(camera, day, i // 60)["clip_id"],
                "offset_s": (i % 60) / 2,
            }
        )
    return rows


def count_row(camera: str, day: dt.date, **changes: Any) -> Row:
    row = {
        "camera_id": camera,
        "movement": "out",
        "date": dt.datetime.combine(day, dt.time()),
        "as_of": AS_OF,
        "site": HOSTILE if camera == "south" else "dc-14",
        "truck_count": 12.25,
        "truck_count_lo": 11.0,
        "truck_count_hi": 14.0,
        "method": "events",
        "passages_seen": 12,
        "exposure_s": 120.0,
        "coverage": 1.0,
        "frames_scored": 240,
        "prevalence": 0.2,
        "quality": "ok",
        "model_id": MODEL,
        "label_set_id": "ls-1",
        "tradable_from": dt.datetime(2026, 3, 6, 14, 30, tzinfo=dt.UTC),
        "revision_reason": "",
    }
    return {**row, **changes}


NOTHING = {
    "truck_count": None,
    "truck_count_lo": None,
    "truck_count_hi": None,
    "method": "none",
    "passages_seen": 0,
    "exposure_s": 0.0,
    "coverage": 0.0,
    "frames_scored": 0,
    "prevalence": None,
    "quality": "insufficient",
}


def count_rows() -> list[Row]:
    """Counts sum to 12.25 + 9.5 + 6 = 27.75, lower ends to 24.5, upper ends to 33."""
    filled = {"passages_seen": 5, "exposure_s": 70.0, "coverage": 70 / 120, "quality": "estimated"}
    part = {"passages_seen": 6, "exposure_s": 90.0, "coverage": 0.75}
    return [
        count_row("north", DAYS[0]),
        count_row(
            "north",
            DAYS[1],
            truck_count=9.5,
            truck_count_lo=8.0,
            truck_count_hi=12.0,
            **filled,
        ),
        count_row("north", DAYS[2], **NOTHING),
        count_row(
            "south",
            DAYS[0],
            truck_count=6.0,
            truck_count_lo=5.5,
            truck_count_hi=7.0,
            **part,
        ),
    ]


def clip_rows() -> dict[tuple[str, dt.date], list[Row]]:
    broken = {
        "duration_s": 10.0,
        "frames_read": 20,
        "status": "partial",
        "reason": "the file ends early",
        "covered": [{"start_s": 0.0, "end_s": 10.0}],
    }
    aside = {
        "duration_s": 0.0,
        "frames_read": 0,
        "status": "quarantined",
        "reason": "nothing in it <decodes>",
        "covered": [],
    }
    return {
        ("north", DAYS[0]): [clip_row("north", DAYS[0], n) for n in range(4)],
        ("north", DAYS[1]): [
            clip_row("north", DAYS[1], 0),
            clip_row("north", DAYS[1], 2, **broken),
            clip_row("north", DAYS[1], 3),
        ],
        ("south", DAYS[0]): [
            clip_row("south", DAYS[0], 0),
            clip_row("south", DAYS[0], 1, **aside),
            clip_row("south", DAYS[0], 2),
            clip_row("south", DAYS[0], 3),
        ],
    }


def encode_clip(path: Path, seconds: float = 30.0, fps: int = 2) -> None:
    """A grey road; at 3-5 s of every eight a lighter box stands on the zone."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for i in range(round(seconds * fps)):
            rgb = np.full((180, 320, 3), 90, dtype=np.uint8)
            rgb[:60] = (150, 170, 190)
            if 3.0 <= (i / fps) % 8 <= 5.0:
                rgb[70:150, 110:210] = (220, 210, 190)
                rgb[90:150, 210:235] = (180, 40, 30)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def registry_of() -> cameras.Registry:
    shared = {
        "schedule": [["10:00", "10:02"]],
        "sample_hz": 2.0,
        "source": "footage/x/*.mp4",
        "zones": [{"name": "exit", "movement": "out", "polygon": ZONE}],
    }
    north = {"id": "north", "site": "dc-14", "timezone": "America/Chicago", **shared}
    south = {"id": "south", "site": HOSTILE, "timezone": "Europe/Berlin", **shared}
    return cameras.parse({"camera": [north, south]})


def publish(ws: store.Workspace, rows: list[Row], as_of: dt.datetime = AS_OF) -> None:
    table = store.table_of([{**row, "as_of": as_of} for row in rows], schemas.DAILY)
    store.write_table(vintages.DAILY.vintage(ws, as_of), table, schemas.DAILY)


def write_labels(ws: store.Workspace) -> None:
    labels = [
        {
            "frame_id": f"f{i}",
            "label": (None if i == 9 else "truck" if i < 4 else "no_truck"),
            "p_truck": 0.5,
            "n_annotations": 3,
            "agreement": None if i == 9 else 0.9,
            "method": "dawid_skene",
        }
        for i in range(10)
    ]
    folder = ws.campaign_labels("first")
    table = store.table_of(labels, schemas.LABELS)
    store.write_table(folder / "labels.parquet", table, schemas.LABELS)
    vote = {
        "frame_id": "f0",
        "worker": "ann",
        "label": "truck",
        "annotated_at": None,
        "seconds_spent": None,
        "source": "simulated",
    }
    votes = store.table_of([vote], schemas.ANNOTATIONS)
    store.write_table(folder / "annotations.parquet", votes, schemas.ANNOTATIONS)
    worker = {"n_annotations": 10, "cant_tell_share": 0.1, "sensitivity": 0.9, "specificity": 0.8}
    told = {
        "label_set_id": "ls-1",
        "alpha": 0.71,
        "workers": [
            {"worker": "ann", "skill": 0.85, **worker},
            {"worker": "<bob>", "skill": 0.5, **worker},
        ],
        "flagged": [{"worker": "<bob>", "flag": "coin"}],
    }
    store.write_json(folder / "quality.json", told)


def write_card(ws: store.Workspace, model_id: str = MODEL) -> None:
    card = {
        "model_id": model_id,
        "arch": "residual",
        "label_set_id": "ls-1",
        "threshold": 0.5,
        "prevalence": 0.21,
        "held_out": {"tp": 48, "fn": 2, "fp": 1, "tn": 199},
        "metrics": {"auc": {"value": 0.991, "lo": 0.98, "hi": 0.997}},
    }
    store.write_json(ws.model(model_id) / "card.json", card)


def write_day(ws: store.Workspace, camera: str, day: dt.date, passages: list[Row]) -> None:
    """Write what counting leaves behind: passages, scores and the arithmetic."""
    table = store.table_of(passages, schemas.PASSAGES)
    store.write_table(ws.passages(camera, day, MODEL), table, schemas.PASSAGES)
    scores = store.table_of(scores_of(passages, camera, day), schemas.SCORES)
    store.write_table(ws.scores(camera, day, MODEL), scores, schemas.SCORES)
    lines = [["passages seen", len(passages)], ["merged runs", 0.25], ["truck_count", 12.25]]
    arithmetic = ws.counts(camera, day, MODEL).with_suffix(".json")
    store.write_json(arithmetic, {"arithmetic": {"out": lines}})


@pytest.fixture(scope="session")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One encoded clip of 30 s; every clip of the fixture holds the same pictures."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encode_clip(path)
    return path.read_bytes()


def build(root: Path, clip_bytes: bytes) -> SimpleNamespace:
    """Write the workspace described above under ``root``."""
    ws = store.Workspace(root)
    for (camera, day), rows in clip_rows().items():
        table = store.table_of(rows, schemas.CLIPS)
        store.write_table(ws.clips(camera, day), table, schemas.CLIPS)
        for row in rows:
            store.write_bytes(ws.root / row["uri"], clip_bytes)
        passages = passages_of(camera, day, {"north": 12, "south": 3}[camera])
        if day == DAYS[1]:
            held = {r["clip_id"]: r["duration_s"] for r in rows}
            passages = [p for p in passages if p["offset_s"] < held.get(p["clip_id"], 0.0)]
        write_day(ws, camera, day, passages)
    write_card(ws)
    write_labels(ws)
    publish(ws, count_rows())
    return SimpleNamespace(
        ws=ws,
        registry=registry_of(),
        days=DAYS,
        model=MODEL,
        hostile=HOSTILE,
        as_of=AS_OF,
        nothing=NOTHING,
        publish=publish,
        count_row=count_row,
        count_rows=count_rows,
        clip_row=clip_row,
        start_of=start_of,
        write_card=write_card,
        write_day=write_day,
    )


@pytest.fixture
def shown(tmp_path: Path, clip_bytes: bytes) -> SimpleNamespace:
    """The workspace described above (``ws``, ``registry``), and what it was made with."""
    return build(tmp_path / "ws", clip_bytes)
