"""One camera-day at a time: clips → scores → passages → counts, each a file of its own.

A day's files are a function of its inputs (clips, registry entry, model card, the counts of earlier
days for the hour-of-week profile), so counting a day twice changes nothing. Days are counted in
order, because each may lean on those before it and on none after it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import (
    accounts,
    aim,
    audits,
    cores,
    exposure,
    localtime,
    schemas,
    stays,
    store,
)
from pipeline.digests import digest_of
from pipeline.domain import Camera, Span
from pipeline.errors import FootageError, InputError, NotFoundError
from pipeline.progress import track

if TYPE_CHECKING:
    from pipeline.cameras import Registry
    from pipeline.counting import (
        Classifier,
        DayCount,
        Dwell,
        HourCount,
        MovementCount,
        Passage,
        Profile,
        ZoneScores,
    )
    from pipeline.store import Workspace

Row = dict[str, Any]

LOOKS = 1.0
"""Looks at a vehicle that a network's frames of it are worth: they err together (README)."""

_EARLIEST = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class CameraDay:
    """A camera (as aimed on that day) and one of its local days."""

    camera: Camera
    day: dt.date


def camera_days(
    ws: Workspace,
    registry: Registry,
    camera_ids: Iterable[str] = (),
    first: dt.date | None = None,
    last: dt.date | None = None,
) -> list[CameraDay]:
    """Return the camera-days asked for, by camera and then by day.

    Where no range is given it runs from the camera's first to its last day with clips: a day in
    between without any is a dark day, and belongs. Days that have not begun at the camera do not,
    unless there are clips of them or of later ones.

    Raises:
        NotFoundError: an unknown camera, or no clips and no range to go by.
        InputError: a range of days that no camera can have filmed.
    """
    if first is not None and first < _EARLIEST:
        raise InputError(f"no camera filmed on {first}.", f"Give days from {_EARLIEST} on.")
    found: list[CameraDay] = []
    ahead = False
    for camera_id in registry.chosen(camera_ids):
        ingested = ws.days("clips", camera_id)
        start = first or (ingested[0] if ingested else None)
        end = last or (ingested[-1] if ingested else None)
        if start is None or end is None:
            continue
        today = localtime.local_day(_now(), registry.camera(camera_id).timezone)
        newest = max([today, *ingested[-1:]])
        ahead = ahead or start > newest
        days = localtime.days_between(start, min(end, newest))
        found += [CameraDay(registry.camera(camera_id, day), day) for day in days]
    if ahead and not found:
        raise InputError(f"{first} has not begun yet.", "Give days that have.")
    if not found:
        wanted = ", ".join(camera_ids) or "any camera"
        raise NotFoundError(f"no clips of {wanted} in {ws.root}.", "Run truck-counter ingest.")
    return found


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def model_in_use(ws: Workspace, model_id: str | None = None) -> str:
    """Return ``model_id``, or what ``models/current`` names.

    Raises:
        NotFoundError: there is no such model, or none at all.
    """
    if model_id is None:
        if not ws.current_model.is_file():
            raise NotFoundError(f"no model in {ws.root / 'models'}.", "Run truck-counter train.")
        model_id = ws.current_model.read_text(encoding="utf-8", errors="replace").strip()
    if not (ws.model(model_id) / "card.json").is_file():
        remedy = f"There is: {', '.join(ws.trained()) or 'none'}."
        raise NotFoundError(f"no such model {model_id!r}.", remedy)
    return model_id


def is_in_use(ws: Workspace, model_id: str) -> bool:
    """Tell whether ``models/current`` names the model."""
    return ws.current_model.is_file() and model_in_use(ws) == model_id


def clip_rows(ws: Workspace, camera_id: str, day: dt.date) -> list[Row]:
    """Return the clips that touch a camera's local day; none for a dark day."""
    path = ws.clips(camera_id, day)
    return store.read_table(path, schemas.CLIPS).to_pylist() if path.is_file() else []


def covered_spans(rows: Iterable[Row]) -> tuple[Span, ...]:
    """Return what the clips truly saw, in POSIX seconds, each instant once."""
    return exposure.union(
        (row["started_at"].timestamp() + s["start_s"], row["started_at"].timestamp() + s["end_s"])
        for row in rows
        if row["status"] != "quarantined"
        for s in row["covered"]
    )


def infer_days(
    ws: Workspace, registry: Registry, days: Sequence[CameraDay], model_id: str
) -> list[Path]:
    """Score each camera-day that has clips, on as many processes as help; return the files.

    Raises:
        FootageError: clips that passed ingest are gone or cannot be decoded any more; all days but
            those are scored.
    """
    lost = _score(ws, days, model_id)
    _tell_of(lost, len(days))
    with_clips = [d for d in days if ws.clips(d.camera.id, d.day).is_file()]
    return [ws.scores(d.camera.id, d.day, model_id) for d in with_clips]


def _score(
    ws: Workspace, days: Sequence[CameraDay], model_id: str
) -> dict[tuple[str, dt.date], str]:
    """Score what is not scored yet; return, by camera and day, why some cannot be."""
    from pipeline.learning.infer import is_scored

    with_clips = [d for d in days if ws.clips(d.camera.id, d.day).is_file()]
    wanting = [d for d in with_clips if not is_scored(ws, d.camera, d.day, model_id)]
    done = cores.each(partial(_infer_day, ws, model_id), wanting, "infer")
    return {(wanting[i].camera.id, wanting[i].day): why for i, why in done if why}


def _infer_day(ws: Workspace, model_id: str, camera_day: CameraDay) -> str:
    """Score a camera-day; return why it cannot be, nothing where it is."""
    from pipeline.learning.infer import infer_day

    try:
        infer_day(ws, camera_day.camera, camera_day.day, model_id, threads=1)
    except FootageError as error:
        return str(error)
    return ""


def _tell_of(lost: Mapping[tuple[str, dt.date], str], days: int) -> None:
    """Raise what cannot be scored as one error."""
    if lost:
        camera_id, day = min(lost)
        raise FootageError(
            f"{len(lost)} of {days} camera-day(s) cannot be scored, such as {camera_id} {day}: "
            f"{lost[camera_id, day]}",
            "The others are done; bring its footage back, leave it out (--from, --to), or have "
            "what is gone forgotten (ingest --forget).",
        )


def count_days(
    ws: Workspace, registry: Registry, days: Sequence[CameraDay], model_id: str
) -> list[Row]:
    """Count each camera-day, scoring first where scores are missing; return the daily rows.

    Raises:
        FootageError: as :func:`infer_days`; all days but those are counted.
    """
    lost = _score(ws, days, model_id)
    in_order = sorted(days, key=lambda d: (d.camera.id, d.day))
    countable = [d for d in in_order if (d.camera.id, d.day) not in lost]
    rows = [row for d in track(countable, "count") for row in count_day(ws, d, model_id)]
    _tell_of(lost, len(days))
    return rows


def count_day(ws: Workspace, camera_day: CameraDay, model_id: str) -> list[Row]:
    """Count one scored camera-day; write its passages, daily and hourly rows and arithmetic."""
    from pipeline import counting

    camera, day = camera_day.camera, camera_day.day
    card = store.read_object(ws.model(model_id) / "card.json")
    clips = clip_rows(ws, camera.id, day)
    zones = zone_scores(ws, camera, day, model_id)
    hours = localtime.hour_spans(day, camera.timezone)
    dwell, classifier = _stays(ws, camera, day, card)
    if dwell:
        zones = [stays.two_valued(one, classifier) for one in zones]
    result = counting.count_day(
        zones=zones,
        covered=covered_spans(clips),
        scheduled=localtime.scheduled_spans(camera, day),
        hours=hours,
        classifier=classifier,
        params=counting.CountParams(looks=LOOKS, dwell=dwell),
        profile=_profile(ws, camera, day, model_id),
        hour_of_week=[_hour_of_week(start, camera.timezone) for start, _ in hours],
    )
    result = audits.debiased(ws, camera, day, model_id, result)
    if any(aim.CHANGED in clip["reason"] for clip in clips):
        result = replace(
            result, movements=tuple(replace(m, quality=aim.CHANGED) for m in result.movements)
        )
    return _write(ws, camera_day, card, clips, result)


def zone_scores(ws: Workspace, camera: Camera, day: dt.date, model_id: str) -> list[ZoneScores]:
    """Return a day's scores by zone, in order of time; empty ones where nothing was scored."""
    import numpy as np
    import pyarrow.compute as pc

    from pipeline.counting import ZoneScores

    path = ws.scores(camera.id, day, model_id)
    table = store.read_table(path, schemas.SCORES) if path.is_file() else None
    found: list[ZoneScores] = []
    for zone in camera.zones:
        at_s, p_truck = np.empty(0), np.empty(0)
        if table is not None:
            rows = table.filter(pc.equal(table["zone"], zone.name)).sort_by("captured_at")
            at_s = rows["captured_at"].cast("int64").to_numpy() / 1e6
            p_truck = rows["p_truck"].to_numpy().astype(np.float64)
        found.append(ZoneScores(zone.name, zone.movement, at_s, p_truck))
    return found


def _stays(
    ws: Workspace, camera: Camera, day: dt.date, card: Row
) -> tuple[dict[str, Dwell], Classifier]:
    """Return the stays of a camera too sparse to show them, and the classifier to count by."""

    def read(one: dt.date) -> stays.Day:
        covered = covered_spans(clip_rows(ws, camera.id, one))
        return zone_scores(ws, camera, one, card["model_id"]), covered

    days = [one for one in ws.days("scores", camera.id) if one <= day]
    return stays.learned(camera, days, read, _classifier(card), LOOKS)


def _classifier(card: Row) -> Classifier:
    from pipeline.counting import Calibrated, Classifier
    from pipeline.learning.calibration import Calibration

    held_out, fitted = card["held_out"], Calibration.of_card(card)
    (log_t_var, covariance), (_, offset_var) = fitted.covariance
    return Classifier(
        prevalence=card["prevalence"],
        threshold=card["threshold"],
        calibrated=Calibrated(fitted.offset, log_t_var, covariance, offset_var),
        **{key: held_out[key] for key in ("tp", "fn", "fp", "tn")},
    )


def _profile(ws: Workspace, camera: Camera, day: dt.date, model_id: str) -> Profile | None:
    """Learn the hour-of-week profile from this camera's earlier days, and from those only.

    Aimed anew, it sees another road.
    """
    from pipeline.counting import PastHour, learn_profile

    past: list[PastHour] = []
    for earlier in ws.days("counts_hourly", camera.id):
        path = ws.counts_hourly(camera.id, earlier, model_id)
        if not camera.valid_from <= earlier < day or not path.is_file():
            continue
        for row in store.read_table(path, schemas.HOURLY).to_pylist():
            if row["truck_count"] is not None and row["exposure_s"] > 0:
                hour = _hour_of_week(row["hour_start_at"].timestamp(), camera.timezone)
                seen = row["truck_count"] * min(row["coverage"] or 0.0, 1.0)
                past.append(PastHour(row["movement"], hour, row["exposure_s"], seen))
    return learn_profile(past) if past else None


def _hour_of_week(posix_s: float, timezone: str) -> int:
    local = _instant(posix_s).astimezone(localtime.zone_info(timezone))
    return 24 * local.weekday() + local.hour


def _write(
    ws: Workspace, camera_day: CameraDay, card: Row, clips: Sequence[Row], result: DayCount
) -> list[Row]:
    camera, day, model_id = camera_day.camera, camera_day.day, card["model_id"]
    key = {
        "camera_id": camera.id,
        "date": dt.datetime.combine(day, dt.time()),
        "site": camera.site,
        "model_id": model_id,
    }
    daily = [
        {**key, **_daily_row(m), "label_set_id": card["label_set_id"]} for m in result.movements
    ]
    hourly = [{**key, **_hourly_row(m, hour)} for m in result.movements for hour in m.hourly]
    passages = [
        {"camera_id": camera.id, "model_id": model_id, **_passage_row(passage, clips)}
        for m in result.movements
        for passage in sorted(m.passages, key=lambda p: (p.entered_s, p.zone))
    ]
    for path, rows, schema in (
        (ws.passages(camera.id, day, model_id), passages, schemas.PASSAGES),
        (ws.counts_hourly(camera.id, day, model_id), hourly, schemas.HOURLY),
        (ws.counts(camera.id, day, model_id), daily, schemas.COUNTS),
    ):
        table = store.table_of(rows, schema)
        if not store.same_rows(path, table, schema):
            store.write_table(path, table, schema)
    lines = {m.movement: m.arithmetic for m in result.movements}
    made_from = digest_of(ws.clips(camera.id, day))
    account = {"arithmetic": lines, "aim": accounts.aim_of(camera), "clips": made_from}
    store.write_json(ws.counts(camera.id, day, model_id).with_suffix(".json"), account)
    return daily


def _daily_row(count: MovementCount) -> Row:
    return {
        "movement": count.movement,
        "truck_count": count.truck_count,
        "truck_count_lo": count.lo,
        "truck_count_hi": count.hi,
        "method": count.method,
        "passages_seen": len(count.passages),
        "exposure_s": count.exposure_s,
        "coverage": count.coverage,
        "frames_scored": count.frames_scored,
        "prevalence": count.prevalence,
        "quality": count.quality,
    }


def _hourly_row(count: MovementCount, hour: HourCount) -> Row:
    return {
        "movement": count.movement,
        "hour_start_at": _instant(hour.start_s),
        "truck_count": hour.truck_count,
        "truck_count_lo": hour.lo,
        "truck_count_hi": hour.hi,
        "exposure_s": hour.exposure_s,
        "coverage": hour.exposure_s / hour.scheduled_s if hour.scheduled_s else None,
    }


def _passage_row(passage: Passage, clips: Sequence[Row]) -> Row:
    return {
        "zone": passage.zone,
        "entered_at": _instant(passage.entered_s),
        "exited_at": _instant(passage.exited_s),
        "peak_p_truck": passage.peak_p,
        "trucks": passage.trucks,
        "flag": ",".join(passage.flags),
        **_place((passage.entered_s + passage.exited_s) / 2, clips),
    }


def _instant(posix_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(posix_s, localtime.UTC)


def _place(middle_s: float, clips: Sequence[Row]) -> Row:
    """Return the clip and offset at which the instant ``middle_s`` can be seen."""
    for clip in clips:
        start = clip["started_at"].timestamp()
        if clip["status"] != "quarantined" and start <= middle_s < start + clip["duration_s"]:
            return {"clip_id": clip["clip_id"], "offset_s": middle_s - start}
    return {"clip_id": "", "offset_s": 0.0}


def as_text(rows: Iterable[Row]) -> str:
    """Word daily rows as a table for people."""
    lines = [
        f"{'camera':<16} {'movement':<10} {'day':<11} {'trucks':>8} {'95% interval':>18} coverage"
    ]
    for row in rows:
        count, interval = "none", ""
        if row["truck_count"] is not None:
            count = f"{row['truck_count']:.1f}"
            interval = f"{row['truck_count_lo']:.1f} to {row['truck_count_hi']:.1f}"
        lines.append(
            f"{row['camera_id']:<16} {row['movement']:<10} {row['date']:%Y-%m-%d}  {count:>8} "
            f"{interval:>18} {row['coverage']:>7.1%} {row['quality']}"
        )
    return "\n".join(lines)
