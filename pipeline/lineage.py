"""Where a published count comes from: Parquet cell → vintage → counts → scores → model → votes.

Every file on the way is named with a BLAKE2b digest of its bytes, so two people can tell whether
they look at the same thing. A publication notes the digests of what it was made from; where a file
has changed since, or is gone, the tree says so instead of passing the new file off as the source.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import accounts, audits, schemas, store, vintages
from pipeline.digests import digest_of
from pipeline.errors import NotFoundError
from pipeline.vintages import DAILY

if TYPE_CHECKING:
    from pipeline.store import Workspace

Row = dict[str, Any]
Noted = dict[str, str | None]

MADE_FROM = b"made_from"
"""Key in a vintage's Parquet metadata: JSON ``{"camera/day/model": {"counts": digest, …}}``."""

SCHEDULE = "schedule"
"""Key under which a publication notes the scheduled minutes of a camera-day."""

_CHANGED = "changed since publication"


@dataclass(frozen=True)
class Link:
    """One thing in the tree, and what it was made from.

    ``digest`` is None where the file is missing. ``state`` is ``"as published"``, ``"changed since
    publication"``, ``"missing"``, or empty where nothing was noted to compare with.
    """

    kind: str
    name: str
    digest: str | None = None
    said: str = ""
    state: str = ""
    made_from: list[Link] = field(default_factory=list)

    def as_json(self) -> Row:
        """Return the tree as nested dictionaries."""
        own = {k: getattr(self, k) for k in ("kind", "name", "digest", "said", "state")}
        return {**own, "made_from": [link.as_json() for link in self.made_from]}

    def as_text(self) -> str:
        """Return the tree as indented lines, digests cut to 12 characters."""
        return "\n".join(self._lines("", ""))

    def _lines(self, first: str, rest: str) -> Iterator[str]:
        parts = [self.kind, self.name, self.said, self.state and f"[{self.state}]"]
        digest = (self.digest or "")[:12]
        yield first + "  ".join(part for part in (*parts, digest) if part)
        for i, link in enumerate(self.made_from):
            last = i == len(self.made_from) - 1
            yield from link._lines(
                rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
            )


def noted_view(movement: str) -> str:
    """Return the key under which a publication notes the view of a movement."""
    return f"view of {movement}"


def made_from(ws: Workspace, camera: str, day: dt.date, model_id: str) -> Noted:
    """Return the digests that a publication notes of a camera-day, besides those of its counts.

    ``scores`` is that of the note beside the scores, which digests all that they were made from:
    the scores themselves are far larger and a function of it.
    """
    told = accounts.read(ws, camera, day, model_id)
    aimed: Noted = {}
    if "aim" in told:
        views = accounts.views_of(told["aim"])
        aimed = {noted_view(movement): view for movement, view in views.items()}
        aimed[SCHEDULE] = accounts.schedule_of(told["aim"])
    return {
        **aimed,
        "clips": told.get("clips", digest_of(ws.clips(camera, day))),
        "passages": digest_of(ws.passages(camera, day, model_id)),
        "scores": digest_of(ws.scores(camera, day, model_id).with_suffix(".json")),
        "card": digest_of(ws.model(model_id) / "card.json"),
    }


def notes(ws: Workspace, known: Iterable[dt.datetime]) -> dict[tuple[str, dt.date], Noted]:
    """Return what the last publication of each camera-day noted, with its ``model``."""
    found: dict[tuple[str, dt.date], Noted] = {}
    for instant in known:
        for key, noted in _noted(DAILY.vintage(ws, instant)).items():
            camera, day, model = key.split("/")
            found[camera, dt.date.fromisoformat(day)] = {**noted, "model": model}
    return found


def counted_anew(ws: Workspace, camera: str, day: dt.date, model_id: str) -> bool:
    """Tell whether a camera-day's counts are no longer those its last publication was made from."""
    key = f"{camera}/{day}/{model_id}"
    noted = (_noted(DAILY.vintage(ws, at)).get(key) for at in reversed(vintages.instants(ws)))
    last: Noted = next(filter(None, noted), {})
    files = {
        "counts": ws.counts(camera, day, model_id),
        "hours": ws.counts_hourly(camera, day, model_id),
    }
    return any(_state(path, digest_of(path), last.get(k)) == _CHANGED for k, path in files.items())


def lineage(ws: Workspace, camera: str, day: dt.date) -> Link:
    """Trace the published counts of a camera's day back to the votes behind them.

    Raises:
        NotFoundError: that camera-day was never published.
    """
    rows = _latest_rows(ws, camera, day)
    root = Link("table", _name(ws, ws.daily_counts), digest_of(ws.daily_counts), f"{camera} {day}")
    for as_of, model_id in sorted({(row["as_of"], row["model_id"]) for row in rows}):
        own = [row for row in rows if (row["as_of"], row["model_id"]) == (as_of, model_id)]
        root.made_from.append(_vintage(ws, camera, day, as_of, model_id, own))
    return root


def _latest_rows(ws: Workspace, camera: str, day: dt.date) -> list[Row]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = vintages.latest(ws, DAILY, vintages.instants(ws))
    midnight = pa.scalar(dt.datetime.combine(day, dt.time()), schemas.MIDNIGHT)
    chosen = pc.and_(pc.equal(table["camera_id"], camera), pc.equal(table["date"], midnight))
    rows: list[Row] = table.filter(chosen).to_pylist()
    if not rows:
        raise NotFoundError(
            f"nothing is published for {camera} on {day}.", "Run truck-counter publish."
        )
    return rows


def _vintage(
    ws: Workspace, camera: str, day: dt.date, as_of: dt.datetime, model_id: str, rows: list[Row]
) -> Link:
    path = DAILY.vintage(ws, as_of)
    noted = _noted(path).get(f"{camera}/{day}/{model_id}", {})
    said = f"as of {as_of.isoformat()} ({rows[0]['revision_reason']})"
    link = Link("vintage", _name(ws, path), digest_of(path), said)
    counts = _file(ws, "counts", ws.counts(camera, day, model_id), noted)
    counts.made_from.append(_file(ws, "passages", ws.passages(camera, day, model_id), noted))
    counts.made_from.append(_scores(ws, camera, day, model_id, noted))
    if any(row["method"].endswith("+audit") for row in rows):
        counts.made_from.extend(_file(ws, "audit", table, {}) for table in audits.tables(ws))
    for row in rows:
        link.made_from.append(Link("cell", f"{row['movement']}: {_count(row)}", said=row["method"]))
    link.made_from.append(counts)
    return link


def _count(row: Row) -> str:
    if row["truck_count"] is None:
        return f"no count ({row['quality']})"
    interval = f"{row['truck_count_lo']:.1f} to {row['truck_count_hi']:.1f}"
    return f"{row['truck_count']:.1f} trucks, {interval}, coverage {row['coverage']:.1%}"


def _noted(vintage: Path) -> dict[str, Noted]:
    metadata = store.metadata_of(vintage) if vintage.is_file() else {}
    noted: dict[str, Noted] = json.loads(metadata.get(MADE_FROM, b"{}"))
    return noted


def _scores(ws: Workspace, camera: str, day: dt.date, model_id: str, noted: Noted) -> Link:
    path = ws.scores(camera, day, model_id)
    now = digest_of(path.with_suffix(".json"))
    state = _state(path, now, noted.get("scores"))
    link = Link("scores", _name(ws, path), digest_of(path), _rows(path), state)
    clips = _file(ws, "clips", ws.clips(camera, day), noted)
    if clips.digest is not None:
        for row in store.read_table(ws.clips(camera, day), schemas.CLIPS).to_pylist():
            clips.made_from.append(Link("clip", row["uri"], row["content_hash"], row["status"]))
    link.made_from.extend([clips, _model(ws, model_id, noted)])
    return link


def _model(ws: Workspace, model_id: str, noted: Noted) -> Link:
    folder = ws.model(model_id)
    link = _file(ws, "card", folder / "card.json", noted)
    link.made_from.append(_file(ws, "weights", folder / "model.safetensors", {}))
    if link.digest is not None:
        link.made_from.append(_label_set(ws, store.read_object(folder / "card.json")))
    return link


def _label_set(ws: Workspace, card: Row) -> Link:
    """Return the labels the model learned from; ``card["campaigns"]`` names their campaigns.

    It maps a campaign to the digest its ``labels.parquet`` had at training.
    """
    told = card.get("labels", {})
    said = f"{told.get('n', '?')} labels, {told.get('truck', '?')} of them trucks"
    link = Link("label set", str(card.get("label_set_id", "unknown")), said=said)
    campaigns = card.get("campaigns") or {}
    for name in sorted(campaigns):
        folder = ws.campaign_labels(name)
        noted = campaigns[name] if isinstance(campaigns, dict) else None
        labels = _file(ws, "labels", folder / "labels.parquet", {"labels": noted})
        labels.made_from.append(_votes(ws, folder / "annotations.parquet"))
        if (folder / "adjudications.parquet").is_file():
            labels.made_from.append(_votes(ws, folder / "adjudications.parquet"))
        if (folder / "gold.parquet").is_file():
            labels.made_from.append(_file(ws, "votes on gold", folder / "gold.parquet", {}))
        link.made_from.append(labels)
    return link


def _votes(ws: Workspace, path: Path) -> Link:
    link = _file(ws, "votes", path, {})
    if link.digest is None:
        return link
    workers = store.read_table(path, schemas.ANNOTATIONS)["worker"].to_pylist()
    said = f"{len(workers)} annotations by {len(set(workers))} workers"
    return Link("votes", link.name, link.digest, said)


def _file(ws: Workspace, kind: str, path: Path, noted: Noted) -> Link:
    digest = digest_of(path)
    return Link(kind, _name(ws, path), digest, _rows(path), _state(path, digest, noted.get(kind)))


def _state(path: Path, now: str | None, then: str | None) -> str:
    if not path.is_file():
        return "missing"
    if then is None:
        return ""
    return "as published" if now == then else _CHANGED


def _rows(path: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet" or not path.is_file():
        return ""
    try:
        return f"{pq.read_metadata(path).num_rows} rows"
    except (pa.ArrowException, OSError):
        return "damaged"


def _name(ws: Workspace, path: Path) -> str:
    return path.relative_to(ws.root).as_posix()
