"""From counts to publications: what differs from the latest published value becomes a vintage.

Takes ``counts/`` and ``counts_hourly/`` of one model (``schemas.COUNTS``, ``HOURLY``), adds
``as_of``, ``tradable_from`` and ``revision_reason``, and appends one file per publication. Nothing
published is ever rewritten. The order of writing (hours, days, folded tables) lets a kill at any
instant leave a state that :mod:`pipeline.vintages` reads as either before or after the publication.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import accounts, localtime, schemas, store, vintages
from pipeline.cameras import Registry
from pipeline.daily import model_in_use
from pipeline.digests import digest, digest_of
from pipeline.errors import ConfigError, InputError, NotFoundError, StoreError
from pipeline.exchanges import tradable_from
from pipeline.lineage import MADE_FROM, Noted, made_from, notes
from pipeline.progress import note, track
from pipeline.splice import model_changes
from pipeline.vintages import (
    BESIDE,
    DAILY,
    HOURLY,
    MODEL_CHANGES,
    Series,
    read_daily_counts,
    read_hourly_counts,
    read_model_changes,
    revisions,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.store import Workspace

__all__ = [
    "Publication",
    "publish",
    "read_daily_counts",
    "read_hourly_counts",
    "read_model_changes",
    "revisions",
    "tradable_from",
]

Row = dict[str, Any]

_CLOCK_SLACK = dt.timedelta(seconds=1)


@dataclass(frozen=True)
class Publication:
    """What one call published; ``path`` is None (and ``rows`` 0) where no row differed.

    ``as_of`` is then the last publication's, or None where there was never one.
    """

    as_of: dt.datetime | None
    rows: int
    path: Path | None


@dataclass(frozen=True)
class Counted:
    """Rows of one model that may be new, their camera-days, and the digests of their files."""

    daily: pa.Table
    hourly: pa.Table
    days: pa.Table
    digests: dict[tuple[str, dt.date], Noted]


def publish(
    ws: Workspace,
    registry: Registry,
    as_of: dt.datetime | None = None,
    model_id: str | None = None,
    reason: str = "",
) -> Publication:
    """Append a vintage of every row that is new or differs from the latest published one.

    Args:
        ws: the workspace.
        registry: its cameras; counts of other cameras are left alone.
        as_of: instant of publication (aware): None is now. An earlier one replays history: only
            camera-days that were over by then are published, and no instant may precede the last
            publication. Readers who ask for a time between the two get the replayed rows.
        model_id: whose counts; None is the model in use.
        reason: remark appended to each row's worked-out ``revision_reason``.

    Raises:
        InputError: ``as_of`` is in the future or not after the last publication.
        NotFoundError: no such model, or it has counted nothing.
        StoreError: a table cannot be read or written; what was published before stays readable.
    """
    model_id = model_in_use(ws, model_id)
    _next_instant(as_of, ())  # what is wrong is told before the first file is made
    if next(_counted_days(ws, registry, model_id), None) is None:
        raise NotFoundError(
            f"model {model_id!r} has counted nothing in {ws.root}.", "Run truck-counter count."
        )
    with vintages.publishing(ws):
        known = vintages.instants(ws)
        instant = _next_instant(as_of, known)
        _sweep(ws, known)
        counted = _collect(ws, registry, model_id, instant, notes(ws, known))
        daily = _differing(ws, DAILY, known, counted.daily, counted.days)
        hourly = _differing(ws, HOURLY, known, counted.hourly, counted.days)
        if new := bool(daily.num_rows or hourly.num_rows):
            if as_of is None:  # reading took a while, and nobody could read it before
                instant = _next_instant(None, known)
            _append(ws, registry, instant, daily, hourly, reason, counted.digests)
            known = [*known, instant]
        _refresh(ws, known)
    if not new:
        return Publication(known[-1] if known else None, 0, None)
    return Publication(instant, daily.num_rows, DAILY.vintage(ws, instant))


def _next_instant(as_of: dt.datetime | None, known: Sequence[dt.datetime]) -> dt.datetime:
    """Choose or check the instant of publication: after every earlier one, never in the future."""
    now = dt.datetime.now(dt.UTC)
    instant = now if as_of is None else vintages.as_instant(as_of)
    if instant > now:
        raise InputError(f"as-of {instant.isoformat()} is in the future.", "Leave it out for now.")
    if known and instant <= known[-1]:
        last = known[-1]
        if as_of is None and last - instant < _CLOCK_SLACK:
            return last + dt.timedelta(microseconds=1)
        if as_of is None:
            raise InputError(
                f"the last publication, {last.isoformat()}, lies in the future of this machine.",
                "Put its clock right.",
            )
        raise InputError(
            f"as-of {instant.isoformat()} is not after the last publication, {last.isoformat()}.",
            "Published history is never rewritten: give a later instant, or leave it out.",
        )
    return instant


def _sweep(ws: Workspace, known: Sequence[dt.datetime]) -> None:
    """Remove what killed publications left: temporary files, and what never got its daily rows."""
    for series in (DAILY, *BESIDE):
        features, folder = ws.vintages.parent, ws.vintages.parent / series.folder
        left = [*folder.glob(".*.part"), *features.glob(f".{series.latest}.*.part")]
        if series is not DAILY:
            committed = {series.vintage(ws, instant) for instant in known}
            left += [path for path in folder.glob("*.parquet") if path not in committed]
        for path in left:
            path.unlink(missing_ok=True)


def _collect(
    ws: Workspace,
    registry: Registry,
    model_id: str,
    by: dt.datetime,
    noted: dict[tuple[str, dt.date], Noted],
) -> Counted:
    """Read the counts of ``model_id`` whose local day was over ``by`` that instant.

    Days whose files are byte for byte what their last publication was made from are passed over,
    those of which a counting that was killed, or is not done, has written one file of two, and
    those that a model used again counted before their zones were set or all footage was there.
    """
    import pyarrow as pa

    found = list(_counted_days(ws, registry, model_id))
    closed = [(camera_id, day) for camera_id, day, over in found if over <= by]
    if len(closed) < len(found):
        still = len(found) - len(closed)
        note(f"{still} camera-day(s) left out: not over by {by.isoformat()}")
    daily, hourly = [schemas.COUNTS.empty_table()], [schemas.HOURLY.empty_table()]
    digests: dict[tuple[str, dt.date], Noted] = {}
    for camera_id, day in track(closed, "publish: read counts"):
        days_path = ws.counts(camera_id, day, model_id)
        hours_path = ws.counts_hourly(camera_id, day, model_id)
        days_file = days_path.read_bytes()
        hours_file = hours_path.read_bytes() if hours_path.is_file() else b""
        now: Noted = {"counts": digest(days_file), "hours": digest(hours_file), "model": model_id}
        before = noted.get((camera_id, day), {})
        if now.items() <= before.items():
            continue
        of_day = store.table_from(days_file, schemas.COUNTS, days_path)
        hours = schemas.HOURLY.empty_table()
        if hours_file:
            hours = store.table_from(hours_file, schemas.HOURLY, hours_path)
            if not _add_up(of_day, hours):
                note(f"{camera_id} {day} left out: its hours are not its day's; count it again")
                continue
        if why := _unfit(ws, registry, camera_id, day, model_id, before.get("clips")):
            note(f"{camera_id} {day} left out: {why}; count it again")
            continue
        digests[camera_id, day] = now
        daily.append(of_day)
        hourly.append(hours)
    return Counted(
        _without_nan(pa.concat_tables(daily)),
        _without_nan(pa.concat_tables(hourly)),
        _days(digests),
        digests,
    )


def _unfit(
    ws: Workspace,
    registry: Registry,
    camera_id: str,
    day: dt.date,
    model_id: str,
    published_from: str | None,
) -> str:
    """Say why a count is not to be published as it is; nothing where it is.

    ``published_from`` is the digest of the clips table behind what is published of that day.
    """
    try:
        account = accounts.read(ws, camera_id, day, model_id)
    except StoreError as error:
        return str(error)
    aim = accounts.aim_of(registry.camera(camera_id, day))
    if accounts.views_of(account.get("aim", aim)) != accounts.views_of(aim):
        return "it was counted in other zones"
    now = digest_of(ws.clips(camera_id, day))
    if now and published_from == now != account.get("clips", now):
        return "what is published knows more of its footage"
    return ""


def _add_up(daily: pa.Table, hourly: pa.Table) -> bool:
    """Tell whether hours are those of the day: each movement's sum is its count, null with null.

    Hours outside the schedule, which have no coverage, are no part of it.
    """
    import pyarrow.compute as pc

    sums: dict[str, float | None] = {}
    scheduled = hourly.filter(pc.is_valid(hourly["coverage"]))
    for row in scheduled.select(["movement", "truck_count"]).to_pylist():
        before, count = sums.get(row["movement"], 0.0), row["truck_count"]
        sums[row["movement"]] = None if before is None or count is None else before + count
    for row in daily.select(["movement", "truck_count"]).to_pylist():
        total, count = sums.get(row["movement"]), row["truck_count"]
        if (total is None) != (count is None):
            return False
        if total is not None and count is not None and abs(total - count) > 1e-3:
            return False
    return True


def _days(keys: Iterable[tuple[str, dt.date]]) -> pa.Table:
    import pyarrow as pa

    keys = list(keys)
    midnights = [dt.datetime.combine(day, dt.time()) for _, day in keys]
    cameras = pa.array([camera for camera, _ in keys], pa.string())
    return pa.table({"camera_id": cameras, "date": pa.array(midnights, schemas.MIDNIGHT)})


def _counted_days(
    ws: Workspace, registry: Registry, model_id: str
) -> Iterator[tuple[str, dt.date, dt.datetime]]:
    """Yield each camera-day that ``model_id`` has counted, and the instant at which it was over."""
    for camera_id in registry.ids:
        own = Registry(tuple(registry.entries_of(camera_id)))
        for day in ws.days("counts", camera_id):
            if ws.counts(camera_id, day, model_id).is_file():
                zone = own.camera(camera_id, day).timezone
                yield camera_id, day, localtime.day_bounds(day, zone)[1]


def _without_nan(table: pa.Table) -> pa.Table:
    """Turn NaN into null where a column may be null, so that nothing differs from itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for i, field in enumerate(table.schema):
        if field.nullable and pa.types.is_floating(field.type):
            column = table.column(i)
            null = pa.scalar(None, field.type)
            table = table.set_column(i, field, pc.if_else(pc.is_nan(column), null, column))
    return table


def _differing(
    ws: Workspace,
    series: Series,
    known: Sequence[dt.datetime],
    rows: pa.Table,
    days: pa.Table,
) -> pa.Table:
    """Return the rows that are new or differ from the latest published ones, in order of the key.

    Beside each column ``x`` stands what was published as ``was_x``; ``was_published`` is null where
    nothing was, and ``withdrawn`` is true of what is no longer counted.
    """
    import pyarrow as pa

    published = vintages.latest(ws, series, known)
    key = list(series.key)
    compared = [name for name in rows.column_names if name not in key]
    gone = _withdrawn(series, published, rows, days)
    rows = pa.concat_tables(
        table.append_column("withdrawn", pa.repeat(table is gone, table.num_rows))
        for table in (rows, gone)
    )
    old = published.select([*key, *compared])
    old = old.rename_columns([*key, *(f"was_{name}" for name in compared)])
    old = old.append_column("was_published", pa.array([True] * old.num_rows, pa.bool_()))
    joined = rows.join(old, keys=key, join_type="left outer", use_threads=False)
    return joined.filter(_differs(joined, compared)).sort_by([(k, "ascending") for k in key])


def _differs(joined: pa.Table, compared: Sequence[str]) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    differs = pc.is_null(joined["was_published"])
    for name in compared:
        now, was = joined[name], joined[f"was_{name}"]
        one_null = pc.xor(pc.is_null(now), pc.is_null(was))
        differs = pc.or_(differs, pc.or_(one_null, pc.fill_null(pc.not_equal(now, was), False)))
    return differs


_NOTHING: Row = {
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


def _withdrawn(series: Series, published: pa.Table, rows: pa.Table, days: pa.Table) -> pa.Table:
    """Return null rows for what was published of these days and is no longer counted.

    A movement that was renamed would otherwise stay in the table and be added to its successor.
    What was null, as the coverage of hours outside the schedule, stays so.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    key = list(series.key)
    gone = published.join(days, keys=["camera_id", "date"], join_type="left semi")
    gone = gone.join(rows.select(key), keys=key, join_type="left anti")
    gone = gone.select(rows.column_names)
    for i, field in enumerate(gone.schema):
        if field.name in _NOTHING:
            value = pa.scalar(_NOTHING[field.name], field.type)
            column = pc.if_else(pc.is_valid(gone.column(i)), value, gone.column(i))
            gone = gone.set_column(i, field, column)
    return gone.cast(rows.schema)


def _append(
    ws: Workspace,
    registry: Registry,
    instant: dt.datetime,
    daily: pa.Table,
    hourly: pa.Table,
    reason: str,
    digests: dict[tuple[str, dt.date], Noted],
) -> None:
    """Write one publication: its hours first, and last its days, which make it count."""
    import pyarrow as pa

    if hourly.num_rows:
        as_of = pa.repeat(pa.scalar(instant, schemas.INSTANT), hourly.num_rows)
        table = hourly.append_column("as_of", as_of)
        store.write_table(HOURLY.vintage(ws, instant), table, HOURLY.schema)
    if changes := [{**row, "as_of": instant} for row in model_changes(daily)]:
        table = store.table_of(changes, MODEL_CHANGES.schema)
        store.write_table(MODEL_CHANGES.vintage(ws, instant), table, MODEL_CHANGES.schema)
    days = [
        {
            **row,
            "as_of": instant,
            "tradable_from": _first_open(_exchange(registry, row), instant),
            "revision_reason": _reason(ws, row) + (f": {reason}" if reason else ""),
        }
        for row in daily.to_pylist()
    ]
    columns = {name: [row[name] for row in days] for name in DAILY.schema.names}
    made = json.dumps(_made_from(ws, digests)).encode()
    schema = DAILY.schema.with_metadata({**(DAILY.schema.metadata or {}), MADE_FROM: made})
    store.write_table(DAILY.vintage(ws, instant), pa.table(columns, schema=schema), schema)


def _made_from(ws: Workspace, digests: dict[tuple[str, dt.date], Noted]) -> dict[str, Noted]:
    """Note what each camera-day was made from, for :mod:`pipeline.lineage` and the next call."""
    made: dict[str, Noted] = {}
    for (camera, day), own in sorted(digests.items()):
        model = str(own["model"])
        made[f"{camera}/{day}/{model}"] = {**own, **made_from(ws, camera, day, model)}
    return made


def _exchange(registry: Registry, row: Row) -> str | None:
    return registry.camera(row["camera_id"], row["date"].date()).exchange


@lru_cache(maxsize=64)
def _first_open(exchange: str | None, instant: dt.datetime) -> dt.datetime | None:
    """Return ``tradable_from``; one camera's calendar must not keep the others' counts back."""
    try:
        return tradable_from(exchange, instant)
    except ConfigError as error:
        note(f"no tradable_from: {error}")
        return None


def _reason(ws: Workspace, row: Row) -> str:
    """Say in a few words why a row differs from the one before (columns ``was_…``)."""
    if row["was_published"] is None:
        return "first"
    reasons: list[str] = []
    if row["withdrawn"]:
        reasons.append("withdrawn")
    elif row["label_set_id"] != row["was_label_set_id"]:
        campaigns = _campaigns(ws, row["model_id"])
        same = campaigns == _campaigns(ws, row["was_model_id"])
        reasons.append("corrected labels" if campaigns and same else "new labels")
    elif row["model_id"] != row["was_model_id"]:
        reasons.append("new model")
    if row["exposure_s"] > row["was_exposure_s"]:
        reasons.append("more footage")
    elif row["exposure_s"] < row["was_exposure_s"] and not reasons:
        reasons.append("less footage")
    if row["method"].endswith("+audit") and not row["was_method"].endswith("+audit"):
        reasons.append("audit windows")
    return ", ".join(reasons) or "recount"


def _campaigns(ws: Workspace, model_id: str) -> list[str]:
    """Return the campaigns whose labels a model learned from; none where its card tells none."""
    path = ws.model(model_id) / "card.json"
    return sorted(store.read_object(path).get("campaigns") or ()) if path.is_file() else []


def _refresh(ws: Workspace, known: Sequence[dt.datetime]) -> None:
    """Bring the folded tables up to the last vintage, where they are behind."""
    import pyarrow as pa

    for series in (DAILY, *BESIDE):
        if not known or vintages.holds(ws, series) == series.vintage(ws, known[-1]).stem:
            continue
        table = vintages.latest(ws, series, known[:-1])
        last = series.vintage(ws, known[-1])
        if last.is_file():
            table = pa.concat_tables([table, store.read_table(last, series.schema)])
        if table.num_rows or series is not MODEL_CHANGES:
            vintages.write_latest(ws, series, vintages.newest(table, series.key), known[-1])
