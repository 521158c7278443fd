"""What was known when: reading publications, each an immutable file named after its instant.

::

    features/vintages/<as_of>.parquet          rows of schemas.DAILY that were new at as_of
    features/vintages_hourly/<as_of>.parquet   their hours (schemas.HOURLY_PUBLISHED)
    features/vintages_models/<as_of>.parquet   splice factors, where a model changed (MODEL_CHANGES)
    features/daily_truck_counts.parquet        the newest row per key, folded from the vintages
    features/hourly_truck_counts.parquet       likewise
    features/model_changes.parquet             likewise

The daily vintage is what makes a publication exist: the others without it were cut short by a kill
and are not read. The folded tables carry the name of the last vintage they hold, so a table that a
kill left behind is seen to be old, and the vintages answer in its place.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import localtime, objects, schemas, store
from pipeline.errors import InputError, NotFoundError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pipeline.store import Workspace

_NAME = "%Y-%m-%dT%H%M%S.%fZ"
_VINTAGE = b"vintage"


@dataclass(frozen=True)
class Series:
    """One published table: its columns, its key without ``as_of``, and where it lies."""

    schema: pa.Schema
    key: tuple[str, ...]
    folder: str
    latest: str

    def vintage(self, ws: Workspace, as_of: dt.datetime) -> Path:
        """Return the file of the publication at ``as_of``."""
        return ws.vintages.parent / self.folder / f"{as_of.strftime(_NAME)}.parquet"

    def latest_path(self, ws: Workspace) -> Path:
        """Return the file that holds the newest row per key."""
        return ws.vintages.parent / self.latest


DAILY = Series(
    schemas.DAILY, ("camera_id", "movement", "date"), "vintages", "daily_truck_counts.parquet"
)
HOURLY = Series(
    schemas.HOURLY_PUBLISHED,
    ("camera_id", "movement", "hour_start_at"),
    "vintages_hourly",
    "hourly_truck_counts.parquet",
)
MODEL_CHANGES = Series(
    schemas.MODEL_CHANGES,
    ("camera_id", "movement", "old_model_id", "new_model_id", "first_date"),
    "vintages_models",
    "model_changes.parquet",
)

BESIDE = (HOURLY, MODEL_CHANGES)
"""What a publication writes before the daily vintage that makes it exist."""


def instants(ws: Workspace) -> list[dt.datetime]:
    """Return every publication's ``as_of``, oldest first.

    Raises:
        StoreError: a file in the folder is not named after an instant.
    """
    found: list[dt.datetime] = []
    for path in ws.vintages.glob("[!.]*.parquet"):
        try:
            found.append(dt.datetime.strptime(path.stem, _NAME).replace(tzinfo=dt.UTC))
        except ValueError:
            raise StoreError(
                f"{path} is not named after an instant of publication.",
                "Move it out of that folder.",
            ) from None
    return sorted(found)


def publishing(ws: Workspace) -> contextlib.AbstractContextManager[None]:
    """Hold the right to publish: one process or thread at a time. A kill releases it."""
    return store.alone(_lock_path(ws))


def _lock_path(ws: Workspace) -> Path:
    return ws.vintages.parent / ".publish.lock"


def _settled(ws: Workspace, as_of: dt.datetime) -> list[dt.datetime]:
    """Return the publications up to ``as_of``, after which no earlier one can appear.

    A publisher takes its instant and then needs a moment to write. A reader who asks for a time
    after the last publication waits for it, or would get less than the same question gets later.
    """
    known = instants(ws)
    if not known or as_of > known[-1]:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            handle = os.open(_lock_path(ws), os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH)
                known = instants(ws)
            finally:
                os.close(handle)
    return [instant for instant in known if instant <= as_of]


def newest(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return the row with the latest ``as_of`` per ``key``, in order of the key."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [(name, "ascending") for name in (*key, "as_of")]
    table = table.take(pc.sort_indices(table, sort_keys=columns)).combine_chunks()
    rows = table.num_rows
    same_as_next = np.ones(max(rows - 1, 0), dtype=bool)
    for name in key:
        column = table.column(name)
        equal = pc.equal(column.slice(0, max(rows - 1, 0)), column.slice(1))
        same_as_next &= equal.to_numpy()
    return table.filter(pa.array(np.append(~same_as_next, True)[:rows]))


def folded(ws: Workspace, series: Series, known: Sequence[dt.datetime]) -> pa.Table:
    """Fold the publications at ``known`` into the newest row per key."""
    import pyarrow as pa

    paths = [series.vintage(ws, instant) for instant in known]
    if series is not DAILY:
        paths = [path for path in paths if path.is_file()]  # only the days differed
    tables = [store.read_table(path, series.schema) for path in paths]
    return newest(pa.concat_tables([series.schema.empty_table(), *tables]), series.key)


def latest(ws: Workspace, series: Series, known: Sequence[dt.datetime]) -> pa.Table:
    """Return the newest row per key of all that is ``known``.

    It comes from the folded table where that is up to date, else from the vintages.
    """
    if known and holds(ws, series) == series.vintage(ws, known[-1]).stem:
        with contextlib.suppress(StoreError, NotFoundError):  # damaged or gone: made from vintages
            return store.read_table(series.latest_path(ws), series.schema)
    return folded(ws, series, known)


def holds(ws: Workspace, series: Series) -> str | None:
    """Return the name of the last vintage in the folded table; None where it is of no use."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(series.latest_path(ws)).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return None
    return str(metadata[_VINTAGE].decode()) if _VINTAGE in metadata else None


def write_latest(ws: Workspace, series: Series, table: pa.Table, as_of: dt.datetime) -> None:
    """Write the folded table, marked with the last vintage it holds."""
    mark = {_VINTAGE: series.vintage(ws, as_of).stem.encode()}
    schema = series.schema.with_metadata({**(series.schema.metadata or {}), **mark})
    store.write_table(series.latest_path(ws), table, schema)


def read_daily_counts(
    root: str | Path,
    as_of: dt.datetime | str | None = None,
    camera: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Load daily truck counts as they stood at an instant: the same answer for ever.

    Args:
        root: the workspace: a folder, or the URL of an object store (:mod:`pipeline.mirror`).
        as_of: an instant with its offset (``datetime``, ``pandas.Timestamp``, ISO 8601 text); None
            is now. Publications after it are as if they did not exist; before the first one the
            frame is empty. An instant in the future gives what is known now.
        camera: one camera or several; None is all.

    Returns:
        The columns of ``schemas.DAILY``, a row per camera, movement and day, in that order;
        ``date`` is naive local midnight, ``as_of`` and ``tradable_from`` are UTC instants, and a
        count that could not be made is NaN.

    Raises:
        NotFoundError: nothing is published there, or no such camera.
        InputError: ``as_of`` has no offset.

    Example::

        read_daily_counts("data/demo", as_of="2026-03-09T06:00:00+00:00")
    """
    return _read(root, DAILY, as_of, camera)


def read_hourly_counts(
    root: str | Path,
    as_of: dt.datetime | str | None = None,
    camera: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Load counts by local hour (``schemas.HOURLY_PUBLISHED``); see :func:`read_daily_counts`."""
    return _read(root, HOURLY, as_of, camera)


def read_model_changes(
    root: str | Path,
    as_of: dt.datetime | str | None = None,
    camera: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Load splice factors (``schemas.MODEL_CHANGES``); see :func:`read_daily_counts`."""
    return _read(root, MODEL_CHANGES, as_of, camera)


def _read(
    root: str | Path,
    series: Series,
    as_of: dt.datetime | str | None,
    camera: str | Sequence[str] | None,
) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.compute as pc

    if objects.is_url(root):
        from pipeline import mirror

        with mirror.fetched(str(root)) as copied:
            if not instants(store.Workspace(copied)):
                raise NotFoundError(f"nothing is published at {root}.", "Run truck-counter push.")
            return _read(copied, series, as_of, camera)
    ws = store.Workspace(Path(root))
    known = instants(ws) if as_of is None else _settled(ws, as_instant(as_of))
    if not known:
        check_published(ws)
    table = latest(ws, series, known) if as_of is None else folded(ws, series, known)
    if camera is not None:
        wanted = [camera] if isinstance(camera, str) else list(camera)
        _check_cameras(ws, wanted)
        table = table.filter(pc.is_in(table["camera_id"], pa.array(wanted, pa.string())))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def check_published(ws: store.Workspace) -> None:
    """Refuse a workspace in which nothing is published.

    Raises:
        NotFoundError: so it is.
    """
    if not instants(ws):
        raise NotFoundError(
            f"nothing is published in {ws.vintages}.", "Run truck-counter publish, or check root."
        )


def _check_cameras(ws: Workspace, wanted: Sequence[str]) -> None:
    published = set(latest(ws, DAILY, instants(ws))["camera_id"].to_pylist())
    for camera in wanted:
        if camera not in published:
            raise NotFoundError(
                f"nothing is published for camera {camera!r}.",
                f"There is: {', '.join(sorted(published)) or 'none'}.",
            )


def as_instant(value: dt.datetime | str) -> dt.datetime:
    """Return an aware instant, or ISO 8601 text of one, in UTC.

    Raises:
        InputError: it has no offset, so it could be anyone's local time.
    """
    if isinstance(value, str):
        return localtime.parse_instant(value)
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise InputError(
            f"as_of {value!r} is not an instant.",
            "Give it an offset, e.g. 2026-03-29T06:00:00+00:00.",
        )
    return localtime.parse_instant(value.isoformat())


def still_counted(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the withdrawn rows of camera-days that have others: a movement was renamed.

    A withdrawn row says that nothing was seen, which is not true of the day. Where nothing else is
    left of a day it stays: the day has no count.
    """
    rows = list(rows)
    standing = {(r["camera_id"], r["date"]) for r in rows if not is_withdrawn(r)}
    return [r for r in rows if not (is_withdrawn(r) and (r["camera_id"], r["date"]) in standing)]


def is_withdrawn(row: dict[str, Any]) -> bool:
    """Tell whether a published row says that its movement is no longer counted on that day."""
    return row["truck_count"] is None and str(row["revision_reason"]).startswith("withdrawn")


def revisions(ws: Workspace, camera: str, day: dt.date) -> list[dict[str, Any]]:
    """Return every published row of a camera's day, by movement and then by ``as_of``.

    Each row has the columns of ``schemas.DAILY`` and ``change``: ``truck_count`` less that of the
    row before (null where either is).

    Raises:
        NotFoundError: that camera-day was never published.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    midnight = pa.scalar(dt.datetime.combine(day, dt.time()), schemas.MIDNIGHT)
    rows: list[dict[str, Any]] = []
    for instant in instants(ws):
        table = store.read_table(DAILY.vintage(ws, instant), DAILY.schema)
        that_day = pc.and_(pc.equal(table["camera_id"], camera), pc.equal(table["date"], midnight))
        rows += table.filter(that_day).to_pylist()
    if not rows:
        raise NotFoundError(f"nothing is published for {camera} on {day}.", "Publish that day.")
    rows.sort(key=lambda row: (row["movement"], row["as_of"]))
    before: dict[str, float | None] = {}
    for row in rows:
        was, now = before.get(row["movement"]), row["truck_count"]
        row["change"] = None if was is None or now is None else now - was
        before[row["movement"]] = now
    return rows
