"""``features/features.parquet``: a row per site and session, from what was known at its open.

The row of a session uses publications with ``as_of`` before the session opens and nothing else, so
publishing more later never changes it. Nor does aiming a camera anew: publications tell its view
and its schedule, since November 2026. Rows run from the first session after the site's first
publication to the first one after its last; that last row is still open, until its session is.

``level`` is what was counted; what compares it with earlier days takes those on the level's basis
(:meth:`sitedays.KnownSite.on_basis_of`).

Days that were sessions of the site's exchange make the series (a Saturday is not compared with a
Friday); counts of other days serve the calendar adjustment only.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import accounts, lineage, localtime, schemas, sheets, store, vintages
from pipeline.errors import ConfigError, InputError, NotFoundError
from pipeline.exchanges import sessions
from pipeline.progress import note
from pipeline.sitedays import Floats, KnownSite, Row, SiteTotals
from pipeline.vintages import DAILY, HOURLY, MODEL_CHANGES

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.cameras import Registry
    from pipeline.domain import Camera
    from pipeline.store import Workspace

YEAR_DAYS = 364  # a year that keeps the weekday
Z_DAYS, Z_LEAST = 60, 20
STL_DAYS, STL_LEAST, STL_ROUNDS = 182, 28, 3


@dataclass(frozen=True)
class Site:
    """A site, the movement counted for it, its cameras' clocks and the calendar it is traded on."""

    name: str
    movement: str
    timezones: dict[str, str]
    exchange: str

    def hour_of(self, row: Row) -> int:
        """Return the local hour of an hourly row, on its camera's clock (or the site's first)."""
        first = next(iter(self.timezones.values()))
        zone = localtime.zone_info(self.timezones.get(row["camera_id"], first))
        return int(row["hour_start_at"].astimezone(zone).hour)


def write_features(
    ws: Workspace, registry: Registry, movement: str | None = None, tickers: Path | None = None
) -> tuple[Path, int]:
    """Write ``features/features.parquet`` (``schemas.FEATURES``); return it and its rows.

    Args:
        ws: the workspace.
        registry: says which site has which exchange and movements.
        movement: which to count; None takes ``out`` where a site has it, else its only or first.
        tickers: CSV with ``site,ticker``: what the ``ticker`` column holds.

    Raises:
        NotFoundError: nothing is published, or no site has an exchange.
        InputError: the ticker file is missing, or names an unknown site.
    """
    rows = feature_rows(ws, registry, movement)
    named = _tickers(tickers, registry) if tickers else {}
    table = store.table_of(
        [{**row, "ticker": named.get(row["site"]) or None} for row in rows], schemas.FEATURES
    )
    path = ws.features
    if not store.same_rows(path, table, schemas.FEATURES):
        store.write_table(path, table, schemas.FEATURES)
    return path, table.num_rows


def feature_rows(ws: Workspace, registry: Registry, movement: str | None = None) -> list[Row]:
    """Return the rows of every site, by site and then session; see :func:`write_features`."""
    known = vintages.instants(ws)
    if not known:
        raise NotFoundError(f"nothing is published in {ws.root}.", "Run truck-counter publish.")
    sites = list(_sites(registry, movement))
    if not sites:
        raise NotFoundError(
            "no site has an exchange, so there are no sessions.",
            'Give its cameras one in cameras.toml, e.g. exchange = "XNYS".',
        )
    told = [
        _Told(
            _read(DAILY, ws, i),
            _read(HOURLY, ws, i),
            _read(MODEL_CHANGES, ws, i),
            lineage.notes(ws, [i]),
        )
        for i in known
    ]
    published = {site for one in told for site in one.daily["site"].unique().to_pylist()}
    for name in sorted(published - {entry.site for entry in registry.entries}):
        note(f"site {name} left out: it is published, but no entry of cameras.toml is at it")
    rows = [row for site in sites for row in _site_rows(site, registry, known, told)]
    if not rows:
        wanted = ", ".join(f"{site.name} ({site.movement})" for site in sites)
        raise NotFoundError(
            f"nothing published has the site and movement of any of these: {wanted}.",
            "Give another --movement, or count after renaming a site.",
        )
    return rows


def _read(series: vintages.Series, ws: Workspace, instant: dt.datetime) -> pa.Table:
    path = series.vintage(ws, instant)
    return store.read_table(path, series.schema) if path.is_file() else series.schema.empty_table()


@dataclass(frozen=True)
class _Told:
    """One publication."""

    daily: pa.Table
    hourly: pa.Table
    changes: pa.Table
    notes: dict[tuple[str, dt.date], lineage.Noted]


def _sites(registry: Registry, movement: str | None) -> Iterator[Site]:
    """Yield all sites, also those that a camera has left: what it counted there stands."""
    by_site: dict[str, dict[str, Camera]] = {}
    for camera in sorted(registry.entries, key=lambda entry: entry.valid_from):
        by_site.setdefault(camera.site, {})[camera.id] = camera
    for name, newest in sorted(by_site.items()):
        cameras = list(newest.values())
        exchange = next((c.exchange for c in cameras if c.exchange), None)
        if exchange is None:
            note(f"site {name} left out: none of its cameras has an exchange")
            continue
        if other := sorted({c.exchange for c in cameras if c.exchange} - {exchange}):
            note(f"site {name} has the sessions of {exchange}; a camera has {', '.join(other)}")
        clocks = {camera.id: camera.timezone for camera in cameras}
        site = Site(name, movement or _movement(cameras), clocks, exchange)
        if none := [c.id for c in cameras if site.movement not in {z.movement for z in c.zones}]:
            note(f"site {name} counts {site.movement!r}, which {', '.join(none)} has no zone for")
        yield site


def _movement(cameras: Sequence[Camera]) -> str:
    found = {zone.movement for camera in cameras for zone in camera.zones}
    return next((m for m in ("out", "all") if m in found), min(found))


def _site_rows(
    site: Site, registry: Registry, known: Sequence[dt.datetime], told: Sequence[_Told]
) -> Iterator[Row]:
    """Replay the publications of one site and yield its row at each session's open."""
    own = [_of_site(one.daily, site) for one in told]
    cameras = {camera for table in own for camera in table["camera_id"].to_pylist()}
    # A camera-day may have been published for another site, before or since.
    daily = [_of_cameras(one.daily, site, cameras).to_pylist() for one in told]
    hourly = [_of_site(one.hourly, site) for one in told]
    changes = [_of_cameras(one.changes, site, cameras).to_pylist() for one in told]
    days = {(row["camera_id"], row["date"]) for rows in daily for row in rows if _is_of(site, row)}
    published = [
        i
        for i, rows in enumerate(daily)
        if hourly[i].num_rows or any((row["camera_id"], row["date"]) in days for row in rows)
    ]
    if not cameras:
        return
    dates = [row["date"].date() for rows in daily for row in rows]
    views = [_views(registry, site, *of) for of in zip(daily, told, strict=True)]
    state = KnownSite(cameras, min(dates), max(dates))
    calendar = sessions(site.exchange, min(dates), known[published[-1]].date())
    open_days = np.array([state.first + dt.timedelta(i) in calendar for i in _days(state)])
    taken = 0
    for session, opens_at in calendar.items():
        before = bisect_left(known, opens_at)
        for i in range(taken, before):
            _take(state, site, daily[i], views[i], hourly[i], changes[i])
        taken = max(taken, before)
        if state.as_of is not None:
            row = features(state, open_days)
            stale = None if row["date"] is None else (session - row["date"].date()).days
            yield {**_row(site, session, opens_at, state), **row, "staleness_days": stale}
        if before > published[-1]:
            return


def _views(registry: Registry, site: Site, daily: Sequence[Row], told: _Told) -> list[str]:
    """Return where and when each row's camera looked, as its publication noted it.

    What one did not note, as before November 2026, is taken by the registry of now.
    """

    def view(camera: str, day: dt.date) -> str:
        noted = told.notes.get((camera, day), {})
        where, when = noted.get(lineage.noted_view(site.movement)), noted.get(lineage.SCHEDULE)
        if None in (where, when) and camera in registry.ids:
            aim = accounts.aim_of(registry.camera(camera, day))
            where = accounts.views_of(aim).get(site.movement) if where is None else where
            when = accounts.schedule_of(aim) if when is None else when
        return f"{where or ''} {when or ''}"

    return [view(row["camera_id"], row["date"].date()) for row in daily]


def _days(state: KnownSite) -> range:
    return range(state.count.shape[1])


def _of_site(table: pa.Table, site: Site) -> pa.Table:
    import pyarrow.compute as pc

    own = pc.and_(pc.equal(table["site"], site.name), pc.equal(table["movement"], site.movement))
    return table.filter(own)


def _of_cameras(table: pa.Table, site: Site, cameras: set[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    own = pc.is_in(table["camera_id"], pa.array(sorted(cameras), pa.string()))
    return table.filter(pc.and_(own, pc.equal(table["movement"], site.movement)))


def _is_of(site: Site, row: Row) -> bool:
    return bool(row["site"] == site.name)


def _take(
    state: KnownSite,
    site: Site,
    daily: Sequence[Row],
    views: Sequence[str],
    hourly: pa.Table,
    changes: Sequence[Row],
) -> None:
    for row, view in zip(daily, views, strict=True):
        if _is_of(site, row) and not vintages.is_withdrawn(row):
            state.publish(row, view)
        else:
            state.withdraw(row)
    for row in changes:
        state.publish_change(row)
    columns = ["camera_id", "date", "hour_start_at", "truck_count", "coverage", "as_of"]
    for row in hourly.select(columns).to_pylist():
        state.publish_hour({**row, "local_hour": site.hour_of(row)})


def _row(site: Site, session: dt.date, opens_at: dt.datetime, state: KnownSite) -> Row:
    return {
        "site": site.name,
        "session": dt.datetime.combine(session, dt.time()),
        "movement": site.movement,
        "as_of": state.as_of,
        "tradable_from": opens_at,
    }


def features(state: KnownSite, open_days: NDArray[np.bool_]) -> Row:
    """Return what is known of a site; every figure is null where too little is known."""
    totals = state.totals()
    series = np.flatnonzero(open_days)
    counted = series[np.isfinite(totals.total[series])]
    if not len(counted):
        return {**dict.fromkeys(_FIGURES), "cameras": 0, "quality": "insufficient"}
    day = int(counted[-1])
    upto = series[series <= day]
    basis = state.on_basis_of(day)
    x = basis.total
    past = x[upto[:-1][-Z_DAYS:]]
    figures = {
        "level": totals.total[day],
        "level_lo": totals.lo[day],
        "level_hi": totals.hi[day],
        **_means(basis, upto, 5),
        **_means(basis, upto, 20),
        "change_year": _change_year(x, upto, day),
        "change_weekday": _ratio(
            x[day], _mean(x[[d for d in _weeks_before(day) if d >= 0 and open_days[d]]], 2)
        ),
        "robust_z": robust_z(past[np.isfinite(past)], x[day]),
        "adjusted_level": adjusted_level(x[: day + 1], open_days[: day + 1]),
        "night_share": state.night_share(day),
        "coverage": totals.coverage[day],
    }
    date = totals.first + dt.timedelta(day)
    return {
        **{name: float(v) if np.isfinite(v) else None for name, v in figures.items()},
        "date": dt.datetime.combine(date, dt.time()),
        "cameras": int(totals.cameras[day]),
        "quality": state.worst_quality(day),
        "model_id": state.made_by(day, "model_id"),
        "label_set_id": state.made_by(day, "label_set_id"),
    }


_FIGURES = tuple(f.name for f in schemas.FEATURES if f.nullable and f.name != "ticker")


def _means(totals: SiteTotals, upto: NDArray[np.int64], n: int) -> dict[str, float]:
    """Return the mean of the last ``n`` sessions; its ends are the means of the ends.

    One model counted all those days: its errors do not average out.
    """
    last = upto[-n:]
    ends = (("", totals.total), ("_lo", totals.lo), ("_hi", totals.hi))
    return {f"mean_{n}{end}": _mean(values[last], (n + 1) // 2) for end, values in ends}


def _mean(values: Floats, least: int) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) >= least else np.nan


def _ratio(now: float, then: float) -> float:
    return now / then - 1 if then > 0 else np.nan


def _weeks_before(day: int) -> list[int]:
    return [day - 7 * k for k in range(1, 5)]


def _change_year(x: Floats, upto: NDArray[np.int64], day: int) -> float:
    """Return the 5-session mean over that of a year (52 weeks) before, less one."""
    then = upto[upto <= day - YEAR_DAYS]
    return _ratio(_mean(x[upto[-5:]], 3), _mean(x[then[-5:]], 3))


def robust_z(past: Floats, now: float) -> float:
    """Return how many robust standard deviations ``now`` lies above the median of the past.

    The deviation is 1.4826 times the median absolute deviation, which is that of a normal sample.

    >>> round(robust_z(np.arange(21.0), 20.0), 3)      # median 10, MAD 5
    1.349
    """
    if len(past) < Z_LEAST:
        return np.nan
    middle = float(np.median(past))
    deviation = 1.4826 * float(np.median(np.abs(past - middle)))
    return (now - middle) / deviation if deviation > 0 else np.nan


def adjusted_level(x: Floats, open_days: NDArray[np.bool_]) -> float:
    """Return the last value less its day-of-week effect, by STL on the past half year.

    Holidays (weekdays without a session) and unknown days are filled with the median of the same
    weekday before the fit, so that a bank holiday does not bend the season. (Cleveland et al. 1990,
    *STL: A seasonal-trend decomposition procedure based on loess*, robust, period 7.)

    Args:
        x: ``float[n]`` daily totals up to the day that is adjusted, NaN where unknown.
        open_days: ``bool[n]``, which days were sessions.
    """
    begins = max(int(np.isfinite(x).argmax()), len(x) - STL_DAYS)
    x, usual = x[begins:].copy(), open_days[begins:]
    if len(x) < STL_LEAST:
        return np.nan
    weekday = np.arange(len(x)) % 7
    known_days = x[np.isfinite(x)]
    if len(known_days) < STL_LEAST // 2:
        return np.nan
    for k in range(7):
        same = weekday == k
        trading = same & usual if usual[same].any() else same
        known = trading & np.isfinite(x)
        # A weekday on which nobody ever films is no session, and must not bend the others.
        x[same & ~known] = np.median(x[known] if known.any() else known_days)
    try:
        from statsmodels.tsa.seasonal import STL  # type: ignore[import-untyped]
    except ImportError:  # a column that is there on one machine only would be worse
        raise ConfigError(
            "adjusted_level needs statsmodels, which is not installed.", "pip install statsmodels."
        ) from None

    seasonal = STL(x, period=7, robust=True).fit(outer_iter=STL_ROUNDS).seasonal
    return float(x[-1] - np.asarray(seasonal)[-1])


def _tickers(path: Path, registry: Registry) -> dict[str, str]:
    """Read the user's ``site,ticker`` file."""
    sites = {camera.site for camera in registry.entries}
    named: dict[str, str] = {}
    for row, _ in sheets.read_rows(path, ("site", "ticker")):
        site, ticker = row["site"], row["ticker"]
        if named.setdefault(site, ticker) != ticker:
            raise InputError(
                f"{path}: site {site!r} has {named[site]!r} and {ticker!r}.",
                "Give each site one ticker.",
            )
    unknown = sorted(set(named) - sites)
    if unknown:
        raise InputError(
            f"{path}: unknown site {unknown[0]!r}.",
            f"cameras.toml has: {', '.join(sorted(sites))}.",
        )
    return named
