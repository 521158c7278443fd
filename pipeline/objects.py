"""Object stores by URL: ``s3://bucket/folder``, ``gs://…``, ``abfs://…``, ``file:///folder``.

Credentials are the store's own environment (``AWS_ACCESS_KEY_ID`` and the like), read by pyarrow,
never part of an address. Another server that speaks S3 is named by ``AWS_ENDPOINT_URL`` or behind a
question mark: ``s3://bucket/folder?scheme=http&endpoint_override=127.0.0.1:9000``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import glob
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipeline import store
from pipeline.errors import InputError, StoreAwayError

_STORES = ("s3", "gs", "gcs", "abfs", "abfss")
_OPTIONS = ("region", "scheme", "endpoint_override", "allow_bucket_creation", "project_id")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_TRIES = 3
_CONNECT_S = 10.0
_WRITABLE = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")  # RFC 3986
_CHUNK_BYTES = 1 << 22


def is_url(place: str | Path) -> bool:
    """Tell whether ``place`` is an address rather than a folder."""
    return isinstance(place, str) and "://" in place


def is_stored(place: str) -> bool:
    """Tell whether ``place`` is an address in an object store (``file://`` is on this disk).

    >>> is_stored("s3://bucket/gate/*.mp4"), is_stored("rtsp://gate/stream")
    (True, False)
    """
    scheme, mark, _ = place.partition("://")
    return bool(mark) and scheme in _STORES


def check(url: str) -> None:
    """Refuse what is no object store's address, without repeating a secret in it.

    Raises:
        InputError: an unknown kind of store, an unknown option, or credentials within the address.
    """
    scheme, _, rest = url.partition("://")
    if not (is_stored(url) or scheme == "file"):
        raise InputError(f"{scheme}:// is no object store.", "Use s3://…, gs://… or abfs://….")
    address, _, options = rest.partition("?")
    authority = address.split("/", 1)[0]
    unknown = [key for key, _ in parse_qsl(options, keep_blank_values=True) if key not in _OPTIONS]
    if ":" in authority or "@" in options or ("@" in authority and not scheme.startswith("abfs")):
        raise InputError(
            "an object store's address holds credentials.",
            "Leave them out: they belong in the environment (AWS_ACCESS_KEY_ID and the like).",
        )
    if unknown:
        raise InputError(
            f"unknown option {unknown[0]!r} of an object store's address.",
            f"Known: {', '.join(_OPTIONS)}.",
        )


def split(pattern: str) -> tuple[str, list[str]]:
    """Split an address with wildcards into its folder's address and the path parts behind it.

    Wildcards are ``*``, ``**`` (any folders) and ``[…]``; a question mark begins the options.

    Raises:
        InputError: as :func:`check`; a wildcard in the bucket's name, no file is named, or signs
            that an address cannot hold.

    >>> split("s3://bucket/gate/*/*.mp4?region=eu-west-1")
    ('s3://bucket/gate?region=eu-west-1', ['*', '*.mp4'])
    """
    check(pattern)
    address, mark, options = pattern.partition("?")
    parts = address.split("/")
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    if fixed < 3 or not parts[-1] or not {"", ".", ".."}.isdisjoint(parts[3:]):
        raise InputError(f"{pattern} names no files.", "Write s3://bucket/folder/*.mp4.")
    if not _WRITABLE.fullmatch("/".join(parts[2:fixed])):
        raise InputError(
            f"{pattern} holds signs that no address can.", "Write them as %20 and the like."
        )
    return "/".join(parts[:fixed]) + mark + options, parts[fixed:]


def matching(remote: Any, folder: str, parts: list[str]) -> dict[str, Any]:  # noqa: ANN401
    """Return what :func:`listed` does, of files whose path from there matches ``parts``."""
    return {
        name: info
        for name, info in listed(remote, folder).items()
        if _matches(name.split("/"), parts)
    }


def _matches(path: list[str], pattern: list[str]) -> bool:
    """Match as a shell does: ``*`` within a name, ``**`` over folders, neither what is hidden."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        deeper = len(path) > 1 and not path[0].startswith(".") and _matches(path[1:], pattern)
        return deeper or _matches(path, pattern[1:] or ["*"])
    if not path or (path[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])


@contextlib.contextmanager
def reached(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the store at ``url`` (a ``pyarrow.fs.FileSystem``) and the path within it.

    What the store answers meanwhile is told in one line.

    Raises:
        InputError: no such kind of store, or an address that cannot be read.
        StoreAwayError: it cannot be reached, read or written.
    """
    import pyarrow as pa

    check(url)
    try:
        yield _opened(url)
    except pa.ArrowInvalid as error:
        raise InputError(f"{url}: {error}.", "Mend the address.") from error
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise away(url, error) from error


def _opened(url: str) -> tuple[Any, str]:
    from pyarrow import fs

    address, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS)), None)
    if endpoint and address.startswith("s3:"):  # as Amazon's own tools know it
        try:
            server = urlsplit(endpoint)
        except ValueError:
            server = urlsplit("")
        if server.scheme not in ("http", "https") or not server.hostname:
            raise InputError("AWS_ENDPOINT_URL is no address.", "Give http(s)://host:port.")
        options = {"scheme": server.scheme, "endpoint_override": server.netloc} | options
    remote, base = fs.FileSystem.from_uri(f"{address}?{urlencode(options)}")
    if isinstance(remote, fs.S3FileSystem):  # one that is silent is waited for a minute and a half
        remote = fs.S3FileSystem(
            region=remote.region,
            scheme=options.get("scheme"),
            endpoint_override=options.get("endpoint_override"),
            allow_bucket_creation=options.get("allow_bucket_creation") == "true",
            connect_timeout=_CONNECT_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        )
    return remote, base.rstrip("/")


def away(url: str, error: Exception) -> StoreAwayError:
    """Return one line for what a store answers."""
    return StoreAwayError(
        f"{url} cannot be used: {error}.", "Check its address, your network and credentials."
    )


def listed(
    remote: Any,  # noqa: ANN401 - pyarrow ships no types
    folder: str,
    *,
    recursive: bool = True,
) -> dict[str, Any]:
    """Return the files below a folder (none: it is not there), by their path from there.

    Values are ``pyarrow.fs.FileInfo``: size in bytes, ``mtime`` aware.
    """
    from pyarrow import fs

    try:  # a bucket that is not there is told of, a folder is not: a store has none
        found = remote.get_file_info(fs.FileSelector(folder, recursive=recursive))
    except FileNotFoundError:
        return {}
    files = (info for info in found if info.type == fs.FileType.File)
    return {info.path[len(folder) + 1 :]: info for info in files}


def put(remote: Any, path: Path, target: str) -> None:  # noqa: ANN401 - pyarrow ships no types
    """Write one object; on a disk, where half a file can be seen, by way of another name."""
    from pyarrow import fs

    local = isinstance(remote, fs.LocalFileSystem)
    if local:  # object stores have no folders
        remote.create_dir(target.rpartition("/")[0], recursive=True)
    folder, _, name = target.rpartition("/")
    aside = f"{folder}/.{name}.part" if local else target
    content = path.read_bytes()  # before: a stream closed half way leaves half an object
    with remote.open_output_stream(aside) as stream:
        stream.write(content)
    if local:
        remote.move(aside, target)


def get(
    remote: Any,  # noqa: ANN401 - as above
    source: str,
    size: int,
    path: Path,
    modified_at: dt.datetime | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Copy one object of ``size`` bytes to ``path``, whole or not at all.

    The copy is as old as the object where ``modified_at`` says, else new.

    Raises:
        StoreAwayError: it cannot be read, or ends early (so it does once ``stop`` is set).
        StoreError: ``path`` cannot be written.
    """
    with store.replacing(path) as temporary:
        with temporary.open("wb") as out:
            for chunk in _chunks(remote, source):
                if stop is not None and stop.is_set():
                    break
                out.write(chunk)
            if (read := out.tell()) != size:
                raise StoreAwayError(f"{source} ended after {read} of {size} bytes.", "Try again.")
        if modified_at is not None:
            os.utime(temporary, (modified_at.timestamp(),) * 2)


def _chunks(remote: Any, source: str) -> Iterator[bytes]:  # noqa: ANN401 - as above
    try:
        with remote.open_input_stream(source) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:  # else it would be told as this disk's
        raise away(source, error) from error
