"""BLAKE2b digests (32 hex digits) of bytes and files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(content: bytes) -> str:
    """Return the digest of these bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of what a file holds, read piece by piece.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_of(path: Path) -> str | None:
    """Return the digest of what a file holds; None where there is none."""
    return file_digest(path) if path.is_file() else None
