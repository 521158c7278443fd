"""Published tables in an object store: ``s3://bucket/workspace``, ``gs://…``, ``file://…``.

The store holds the same ``features`` folder as a workspace. Vintages never change, so pushing
copies only those that are not there, in the order in which publication writes them: whoever reads
in between sees a state before or after, as on a disk. Credentials are the store's own environment
(``AWS_ACCESS_KEY_ID`` and the like), read by pyarrow.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import vintages
from pipeline.errors import InputError, StoreError
from pipeline.vintages import BESIDE, DAILY

if TYPE_CHECKING:
    from pipeline.store import Workspace


def is_url(root: str | Path) -> bool:
    """Tell whether ``root`` names an object store rather than a folder."""
    return isinstance(root, str) and "://" in root


@contextlib.contextmanager
def fetched(url: str) -> Iterator[Path]:
    """Yield a temporary workspace that holds a copy of what is published at ``url``.

    Raises:
        InputError: no such kind of store.
        StoreError: it cannot be reached or read.
    """
    from pyarrow import fs

    with tempfile.TemporaryDirectory(prefix="truck-counter-") as folder:
        with _telling(url):
            remote, base = fs.FileSystem.from_uri(url)
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
    """Copy what is published to ``url``; return how many vintages were new there.

    Raises:
        NotFoundError: nothing is published in the workspace.
        InputError: no such kind of store.
        StoreError: it cannot be reached or written, or holds a vintage this workspace does not:
            two histories must not be mixed.
    """
    from pyarrow import fs

    vintages.check_published(ws)  # before the lock makes a folder of a mistyped root
    with _telling(url), vintages.publishing(ws):
        remote, base = fs.FileSystem.from_uri(url)
        there = _stored(remote, f"{base}/features/{DAILY.folder}")
        new = [i for i in vintages.instants(ws) if DAILY.vintage(ws, i).name not in there]
        foreign = there - {DAILY.vintage(ws, i).name for i in vintages.instants(ws)}
        if foreign:
            raise StoreError(
                f"{url} holds {min(foreign)}, which this workspace does not.",
                "Push to an empty place, or publish where that one was made.",
            )
        ordered = (*BESIDE, DAILY)
        paths = [series.vintage(ws, i) for i in new for series in ordered]
        for path in (*paths, *(series.latest_path(ws) for series in ordered)):
            if path.is_file():
                _put(remote, path, f"{base}/{path.relative_to(ws.root).as_posix()}")
    return len(new)


def _stored(remote: Any, folder: str) -> set[str]:  # noqa: ANN401 - pyarrow ships no types
    from pyarrow import fs

    selector = fs.FileSelector(folder, allow_not_found=True)
    return {f.base_name for f in remote.get_file_info(selector) if f.extension == "parquet"}


def _put(remote: Any, path: Path, target: str) -> None:  # noqa: ANN401 - pyarrow ships no types
    """Write one object; on a disk, where half a file can be seen, by way of another name."""
    from pyarrow import fs

    local = isinstance(remote, fs.LocalFileSystem)
    if local:  # object stores have no folders
        remote.create_dir(target.rpartition("/")[0], recursive=True)
    aside = f"{target}.part" if local else target
    with remote.open_output_stream(aside) as stream:
        stream.write(path.read_bytes())
    if local:
        remote.move(aside, target)


@contextlib.contextmanager
def _telling(url: str) -> Iterator[None]:
    """Turn what a store answers into one line that names it."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowInvalid as error:
        raise InputError(f"{url}: {error}.", "Use s3://…, gs://… or a folder.") from error
    except OSError as error:
        raise StoreError(
            f"{url} cannot be used: {error}.", "Check its address, your network and credentials."
        ) from error
