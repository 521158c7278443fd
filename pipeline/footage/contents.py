"""What footage files hold, by a hash of their bytes; a file is read again only once it has changed.

A camera's month is a terabyte, and a scheduled ingest comes every hour. So each hash is kept
(``clips/<camera>/verified/files.json``) beside the file's size and the instants at which its bytes
and its place on the disk last changed. No copying tool sets the second, so what is put in a file's
place is read, however old it says that it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import store
from pipeline.digests import file_digest
from pipeline.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    from pipeline.store import Workspace


class Contents:
    """The hashes of one camera's files, by ``uri``; threads may ask at once."""

    def __init__(self, ws: Workspace, camera_id: str) -> None:
        """Take up what is kept; a damaged file is nothing."""
        folder = ws.root / "clips" / store.checked_name(camera_id, "camera") / "verified"
        self._path = folder / "files.json"
        self._known: dict[str, list[int | str]] = {}
        with contextlib.suppress(NotFoundError, StoreError):
            self._known = store.read_object(self._path)
        self._before = dict(self._known)

    def of(self, path: Path, uri: str) -> str:
        """Return a file's hash, reading the file where it is not as it was.

        Raises:
            OSError: it cannot be read.
        """
        found = path.stat()  # before reading: what changes meanwhile is read again next time
        as_it_is: list[int | str] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        known = self._known.get(uri)
        if not (isinstance(known, list) and known[:-1] == as_it_is):
            known = self._known[uri] = [*as_it_is, file_digest(path)]
        return str(known[-1])

    def is_still(self, path: Path, uri: str, digest: str) -> bool:
        """Tell whether a file holds what it held, reading it only if size or age say otherwise.

        A workspace that moved to another disk is not read for this; `of` will, once.

        Raises:
            OSError: it cannot be read.
        """
        found, known = path.stat(), self._known.get(uri)
        if not isinstance(known, list):  # of a time before these were kept
            return True
        if known[:2] == [found.st_size, found.st_mtime_ns]:
            return str(known[-1]) == digest
        return file_digest(path) == digest

    def keep(self, uris: Collection[str]) -> None:
        """Keep what is known of these files; the others are gone."""
        kept = {uri: known for uri, known in self._known.items() if uri in uris}
        if kept != self._before:
            store.write_json(self._path, kept)
