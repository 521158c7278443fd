"""The only place that writes: Parquet, JSON and bytes, whole or not at all.

Every write goes to a temporary file in the target's folder, is flushed to the disk, and then
replaces the target in one step, so a reader (or a kill at any instant) sees the old file or the new
one. :class:`Workspace` knows where everything lies under the root.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, NotFoundError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_text(name: str) -> bool:
    """Tell whether a name holds neither control characters nor bytes that are no UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def is_name(name: str) -> bool:
    """Tell whether ``name`` may become a file name (letters, digits, ``.``, ``_``, ``-``)."""
    return bool(_NAME.fullmatch(name)) and ".." not in name


def checked_name(name: str, what: str) -> str:
    """Return ``name`` if :func:`is_name`.

    Raises:
        InputError: it may not.
    """
    if not is_name(name):
        raise InputError(
            f"bad {what} name {name!r}.", "Use letters, digits, '.', '_' and '-' (at most 100)."
        )
    return name


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush it and put it in ``path``'s place.

    Raises:
        StoreError: the disk is full, or the folder cannot be written.
    """
    temporary: Path | None = None
    try:
        temporary = part_of(path)
        yield temporary
        settle(temporary, path)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}.", "Free space or fix permissions."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Make an empty temporary file beside ``path``, hidden and named after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    return Path(name)


def parts(folder: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Return what :func:`part_of` made and nobody settled, each with the path it was meant for."""
    found = sorted(folder.glob(f".*{suffix}.*.part"))
    return [(part, folder / part.name[1:].rsplit(".", 2)[0]) for part in found]


def settle(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file and put it in ``path``'s place."""
    _flush(temporary)
    temporary.chmod(0o644)
    temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``: one process or thread at a time. A kill releases it.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}.", "Free space or fix permissions."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, keys sorted, so equal values give equal bytes."""
    write_bytes(path, json_text(value).encode())


def json_text(value: object) -> str:
    """Return what :func:`write_json` writes."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n"


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file.

    Raises:
        NotFoundError: there is none.
        StoreError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}.") from None
    except ValueError as error:
        raise StoreError(f"{path} is not JSON ({error}).", "Restore or remove it.") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object, such as a model's card.

    Raises:
        NotFoundError: there is none.
        StoreError: it is not JSON, or holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise StoreError(f"{path} holds no JSON object.", "Restore or remove it.")
    return found


def write_table(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write ``table`` as Parquet after fitting it to ``schema`` (order and types of columns).

    Raises:
        StoreError: columns are missing, do not fit, or hold nulls where none may be.
    """
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(
            fitted(table, schema, path), temporary, compression="zstd", write_page_checksum=True
        )


def fitted(table: pa.Table, schema: pa.Schema, path: Path | str = "table") -> pa.Table:
    """Return ``table`` with exactly the columns of ``schema``.

    Raises:
        StoreError: it cannot be done without losing or inventing something.
    """
    import pyarrow as pa

    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise StoreError(f"{path}: column(s) missing: {', '.join(missing)}.")
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise StoreError(f"{path}: column {field.name} may not hold nulls.")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise StoreError(f"{path}: a column does not fit its schema: {error}.") from error


def table_of(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Build a table of ``schema`` from a list of row dictionaries (possibly empty)."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=schema)


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read one Parquet file; with ``schema``, exactly its columns.

    Raises:
        NotFoundError: there is no such file.
        StoreError: it is damaged or of another shape.
    """
    if not path.is_file():
        raise NotFoundError(f"no such table: {path}.")
    return _parsed(path, schema, path)


def table_from(content: bytes, schema: pa.Schema | None, path: Path) -> pa.Table:
    """Read a table from the bytes of the file ``path``; see :func:`read_table`."""
    import pyarrow as pa

    return _parsed(pa.BufferReader(content), schema, path)


def _parsed(source: Any, schema: pa.Schema | None, path: Path) -> pa.Table:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
        table = file.read()
        table.validate(full=True)  # text that is none would fail at some later row
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Make it anew.") from error
    return table if schema is None else fitted(table, schema, path)


def metadata_of(path: Path) -> dict[bytes, bytes]:
    """Return what a table's file says of itself, without reading its rows.

    Raises:
        StoreError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return dict(pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Make it anew.") from error


def same_rows(path: Path, table: pa.Table, schema: pa.Schema) -> bool:
    """Tell whether ``path`` already holds just the rows of ``table``; a damaged one does not."""
    if not path.is_file():
        return False
    try:
        held = read_table(path, schema)
    except StoreError:
        return False
    return bool(held.equals(fitted(table, schema, path)))


@dataclass(frozen=True)
class Workspace:
    """Where everything lies under ``root``. Making one touches no disk."""

    root: Path

    def borrowed(self, root: Path, *folders: str) -> Workspace:
        """Return a workspace at ``root`` that sees this one's registry and these folders.

        Whatever else is made there is its own.
        """
        root.mkdir(parents=True, exist_ok=True)
        for name in ("cameras.toml", *folders):
            source, link = self.root / name, root / name
            if source.exists() and not link.is_symlink():
                link.symlink_to(source.resolve())
        return Workspace(root)

    @property
    def cameras_toml(self) -> Path:
        """The registry."""
        return self.root / "cameras.toml"

    def reference(self, camera: str, valid_from: dt.date) -> Path:
        """Reference picture of a registry entry: what the camera saw when it was aimed."""
        return self.root / "cameras" / checked_name(camera, "camera") / f"{valid_from}.jpg"

    def clips(self, camera: str, day: dt.date) -> Path:
        """Clips that touch a camera's local day."""
        return self.root / "clips" / checked_name(camera, "camera") / f"{day}.parquet"

    def campaign_frames(self, campaign: str) -> Path:
        """Folder of a campaign's frames: ``frames.parquet`` and the crops."""
        return self.root / "frames" / checked_name(campaign, "campaign")

    def campaign_labels(self, campaign: str) -> Path:
        """Folder of a campaign's ``annotations.parquet`` and ``labels.parquet``."""
        return self.root / "labels" / checked_name(campaign, "campaign")

    def model(self, model_id: str) -> Path:
        """Folder of a model: weights and card."""
        return self.root / "models" / checked_name(model_id, "model")

    def trained(self) -> list[str]:
        """Return the ids of all models whose training has ended, in order."""
        return sorted(path.parent.name for path in self.root.glob("models/*/card.json"))

    @property
    def current_model(self) -> Path:
        """File that names the model in use."""
        return self.root / "models" / "current"

    def scores(self, camera: str, day: dt.date, model_id: str) -> Path:
        """Scores of a camera-day by a model."""
        return self._by_day("scores", camera, day, model_id)

    def passages(self, camera: str, day: dt.date, model_id: str) -> Path:
        """Passages of a camera-day by a model."""
        return self._by_day("passages", camera, day, model_id)

    def counts(self, camera: str, day: dt.date, model_id: str) -> Path:
        """Daily counts of a camera-day by a model, before publication."""
        return self._by_day("counts", camera, day, model_id)

    def counts_hourly(self, camera: str, day: dt.date, model_id: str) -> Path:
        """Hourly counts of a camera-day by a model, before publication."""
        return self._by_day("counts_hourly", camera, day, model_id)

    def _by_day(self, table: str, camera: str, day: dt.date, model_id: str) -> Path:
        folder = self.root / table / checked_name(camera, "camera") / str(day)
        return folder / f"{checked_name(model_id, 'model')}.parquet"

    @property
    def vintages(self) -> Path:
        """Folder of immutable publications."""
        return self.root / "features" / "vintages"

    @property
    def daily_counts(self) -> Path:
        """The latest value per camera, movement and day."""
        return self.root / "features" / "daily_truck_counts.parquet"

    @property
    def hourly_counts(self) -> Path:
        """The latest value per camera, movement and local hour."""
        return self.root / "features" / "hourly_truck_counts.parquet"

    @property
    def features(self) -> Path:
        """Features of sites and sessions for a forecasting model."""
        return self.root / "features" / "features.parquet"

    @property
    def reports(self) -> Path:
        """Folder of reports."""
        return self.root / "reports"

    def days(self, table: str, camera: str) -> list[dt.date]:
        """Return the days for which ``table`` (``clips``, ``scores``, …) holds this camera."""
        folder = self.root / table / camera
        stems = (p.name.removesuffix(".parquet") for p in folder.glob("????-??-??*"))
        return sorted({dt.date.fromisoformat(s) for s in stems if _is_day(s)})


def _is_day(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True
