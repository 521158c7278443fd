"""The exceptions people meet, as one tree.

Every error a user can cause derives from :class:`TruckCounterError`. Its text is one line that
names the offending value and the remedy; the command line prints it and exits with code 2.
Anything else that escapes is a bug and keeps its traceback.

::

    TruckCounterError
    ├── ConfigError      cameras.toml or a setting is wrong
    ├── InputError       an argument or a file handed to a command is wrong
    │   └── NotFoundError    it names a camera, campaign, model, day or file that is not there
    ├── FootageError     a clip cannot be decoded or trusted
    ├── ModelError       a model folder is incomplete, foreign or does not fit the request
    └── StoreError       a table cannot be written or read (disk full, permissions, schema)
        └── StoreAwayError   an object store cannot be used now; trying again may help
"""

from __future__ import annotations


class TruckCounterError(Exception):
    """Base of every error meant for people.

    >>> raise TruckCounterError("no such day: 2026-13-01.", "Write it as YYYY-MM-DD.")
    Traceback (most recent call last):
    ...
    pipeline.errors.TruckCounterError: no such day: 2026-13-01. Write it as YYYY-MM-DD.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        """Join what is wrong (naming the value) and the remedy into one line."""
        super().__init__(" ".join(f"{what} {remedy}".split()))


class ConfigError(TruckCounterError):
    """``cameras.toml`` or a setting is wrong."""


class InputError(TruckCounterError):
    """An argument or an input file is wrong."""


class NotFoundError(InputError):
    """An argument names something that does not exist."""


class FootageError(TruckCounterError):
    """A clip cannot be decoded or trusted."""


class ModelError(TruckCounterError):
    """A model folder is incomplete, foreign, or does not fit the request."""


class StoreError(TruckCounterError):
    """A table cannot be written or read."""


class StoreAwayError(StoreError):
    """An object store cannot be reached, read or written now; trying again may help."""
