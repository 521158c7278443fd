"""What a workspace makes, in an object store: published tables, models, scores.

The store holds the same folders as a workspace. Vintages and models never change, so only those
that are not there are copied, in the order in which they were written: whoever reads in between
sees a state before or after, as on a disk. Scores go where there are none or older ones; in a store
they are as old as their push. Addresses and credentials: :mod:`pipeline.objects`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import objects, vintages
from pipeline.errors import NotFoundError, StoreError
from pipeline.progress import track
from pipeline.store import is_name
from pipeline.vintages import BESIDE, DAILY

if TYPE_CHECKING:
    from pipeline.store import Workspace

_CARD = "card.json"  # a model is there once its card is


@contextlib.contextmanager
def fetched(url: str) -> Iterator[Path]:
    """Yield a temporary workspace that holds a copy of what is published at ``url``.

    Raises:
        InputError: no such kind of store.
        StoreAwayError: it cannot be reached or read.
    """
    from pyarrow import fs

    with tempfile.TemporaryDirectory(prefix="truck-counter-") as folder:
        with objects.reached(url) as (remote, base):
            series = (DAILY, *BESIDE)
            for name in (*(s.latest for s in series), *(s.folder for s in series)):
                source, target = f"{base}/features/{name}", Path(folder) / "features" / name
                found = remote.get_file_info(source).type
                if found != fs.FileType.NotFound:
                    made = target if found == fs.FileType.Directory else target.parent
                    made.mkdir(parents=True, exist_ok=True)
                    fs.copy_files(source, str(target), source_filesystem=remote)
        yield Path(folder)


def push(ws: Workspace, url: str) -> int:
    """Copy what is published to ``url``, features included; return how many vintages were new.

    Raises:
        NotFoundError: nothing is published in the workspace.
        InputError: no such kind of store.
        StoreError: it holds a vintage this workspace does not: two histories must not be mixed.
        StoreAwayError: it cannot be reached or written.
    """
    vintages.check_published(ws)  # before the lock makes a folder of a mistyped root
    with objects.reached(url) as (remote, base), vintages.publishing(ws):
        held = objects.listed(remote, f"{base}/features/{DAILY.folder}")
        there = {name for name in held if name.endswith(".parquet")}
        new = [i for i in vintages.instants(ws) if DAILY.vintage(ws, i).name not in there]
        foreign = there - {DAILY.vintage(ws, i).name for i in vintages.instants(ws)}
        if foreign:
            raise StoreError(
                f"{url} holds {min(foreign)}, which this workspace does not.",
                "Push to an empty place, or publish where that one was made.",
            )
        ordered = (*BESIDE, DAILY)
        paths = [series.vintage(ws, i) for i in new for series in ordered]
        latest = [series.latest_path(ws) for series in ordered]
        for path in (*paths, *latest, ws.features):
            if path.is_file():
                _put(ws, remote, base, path)
    return len(new)


def push_models(ws: Workspace, url: str) -> list[str]:
    """Copy the models that are not at ``url``; return their ids.

    Raises:
        InputError, StoreAwayError: see :func:`push`.
    """
    with objects.reached(url) as (remote, base):
        there = _model_ids(objects.listed(remote, f"{base}/models"))
        new = [model_id for model_id in ws.trained() if model_id not in there]
        for model_id in track(new, "push models"):
            for path in _card_last(ws.model(model_id).glob("[!.]*")):
                if path.is_file():
                    _put(ws, remote, base, path)
    return new


def pull_models(ws: Workspace, url: str) -> list[str]:
    """Copy the models at ``url`` that are not here; return their ids. None becomes current.

    Raises:
        NotFoundError: there is no model.
        InputError, StoreAwayError: see :func:`push`.
        StoreError: they cannot be written.
    """
    with objects.reached(url) as (remote, base):
        found = objects.listed(remote, f"{base}/models")
        ids = _model_ids(found)
        if not ids:
            raise NotFoundError(f"no model at {url}.", "truck-counter push --what models, first.")
        new = sorted(ids - set(ws.trained()))
        for model_id in track(new, "pull models"):
            names = (Path(name) for name in found if Path(name).parts[0] == model_id)
            for name in _card_last(n for n in names if len(n.parts) == 2 and is_name(n.name)):
                info = found[name.as_posix()]
                objects.get(remote, info.path, info.size, ws.model(model_id) / name.name)
    return new


def _model_ids(found: Iterable[str]) -> set[str]:
    """Return the models whose cards are among the files below ``models``."""
    paths = [Path(name) for name in found]
    cards = [path.parts[0] for path in paths if path.parts[1:] == (_CARD,)]
    return set(filter(is_name, cards))


def _card_last(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.name == _CARD, path.name))


def push_scores(ws: Workspace, url: str, chosen: Chosen) -> int:
    """Copy scores, and the clips tables they were made from, that ``url`` lacks or has older.

    Returns:
        How many files were copied.

    Raises:
        NotFoundError: there are no scores of these camera-days.
        InputError, StoreAwayError: see :func:`push`.
    """
    here = [path for table in ("clips", "scores") for path in (ws.root / table).rglob("*.*")]
    names = chosen.names(path.relative_to(ws.root).as_posix() for path in here)
    if not names:
        raise NotFoundError(f"no such scores in {ws.root}.", "Run truck-counter count.")
    copied = 0
    with objects.reached(url) as (remote, base):
        there = _tables(remote, base)
        for name in track(names, "push scores"):
            path, info = ws.root / name, there.get(name)
            if info is None or (_written_at(path) > info.mtime and _differ(remote, info, path)):
                _put(ws, remote, base, path)
                copied += 1
    return copied


def pull_scores(ws: Workspace, url: str, chosen: Chosen) -> int:
    """Copy scores, and the clips tables they were made from, that are not here or are older.

    Returns:
        How many files were copied.

    Raises:
        NotFoundError: there are no scores of these camera-days.
        InputError, StoreAwayError: see :func:`push`.
        StoreError: they cannot be written.
    """
    copied = 0
    with objects.reached(url) as (remote, base):
        there = _tables(remote, base)
        names = chosen.names(there)
        if not names:
            raise NotFoundError(
                f"no such scores at {url}.", "truck-counter push --what scores, first."
            )
        for name in track(names, "pull scores"):
            path, info = ws.root / name, there[name]
            here = path.is_file()
            if not here or (info.mtime > _written_at(path) and _differ(remote, info, path)):
                objects.get(remote, info.path, info.size, path)
                copied += 1
    return copied


@dataclass(frozen=True)
class Chosen:
    """Which camera-days: of these cameras (none: all), from and to a local day (None: any)."""

    cameras: frozenset[str] = frozenset()
    first: dt.date | None = None
    last: dt.date | None = None

    def names(self, paths: Iterable[str]) -> list[str]:
        """Return the tables of camera-days with scores among ``paths``, in the order of writing.

        >>> there = ("clips/a/2026-03-01.parquet", "clips/a/2026-03-02.parquet")
        >>> Chosen().names([*there, "scores/a/2026-03-02/m.parquet"])
        ['clips/a/2026-03-02.parquet', 'scores/a/2026-03-02/m.parquet']
        """
        keyed = {path: key for path in paths if (key := _camera_day(path)) and self._has(*key)}
        scored = {key for path, key in keyed.items() if path.startswith("scores/")}
        in_order = sorted(keyed, key=lambda path: (keyed[path], path.endswith(".json"), path))
        return [path for path in in_order if keyed[path] in scored]

    def _has(self, camera: str, day: dt.date) -> bool:
        in_range = (self.first or day) <= day <= (self.last or day)
        return in_range and (not self.cameras or camera in self.cameras)


def _camera_day(path: str) -> tuple[str, dt.date] | None:
    """Return whose table of clips or scores lies at a path within a workspace, if one does."""
    table, *rest = path.split("/")
    if (table, len(rest)) not in (("clips", 2), ("scores", 3)) or not all(map(is_name, rest)):
        return None
    if not rest[-1].endswith((".parquet", ".json") if table == "scores" else ".parquet"):
        return None
    try:
        return rest[0], dt.date.fromisoformat(rest[1].removesuffix(".parquet"))
    except ValueError:
        return None


def _tables(remote: Any, base: str) -> dict[str, Any]:  # noqa: ANN401 - pyarrow ships no types
    return {
        f"{table}/{name}": info
        for table in ("clips", "scores")
        for name, info in objects.listed(remote, f"{base}/{table}").items()
    }


def _written_at(path: Path) -> dt.datetime:
    return dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)


def _differ(remote: Any, info: Any, path: Path) -> bool:  # noqa: ANN401 - as above
    """Tell whether an object and a file hold different bytes."""
    if info.size != path.stat().st_size:
        return True
    with remote.open_input_stream(info.path) as stream:
        return bool(stream.read() != path.read_bytes())


def _put(ws: Workspace, remote: Any, base: str, path: Path) -> None:  # noqa: ANN401 - as above
    objects.put(remote, path, f"{base}/{path.relative_to(ws.root).as_posix()}")
