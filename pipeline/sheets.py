"""CSV files that people hand over (votes, labels, counts, tickers), read and checked alike."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import InputError, NotFoundError


def read_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each row's cells by column, without spaces around them, and where it stands.

    Columns may be named in capitals; further ones are left out, and optional ones that are not
    there are empty.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no CSV, lacks a column or has it twice, or a row has too many fields.
    """
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}.", f"Give a CSV with {','.join(columns)}.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            header = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = header
            _check_header(path, header, columns, optional)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if any(more := row.get(None) or ()):  # no more than stray commas at the end
                    raise InputError(
                        f"{where}: more fields than the first line names ({', '.join(more)}).",
                        'Put what holds a comma in quotes: "a,b".',
                    )
                yield {c: (row.get(c) or "").strip() for c in (*columns, *optional)}, where
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no UTF-8 CSV ({error}).", "Save it as one.") from None


def _check_header(
    path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]
) -> None:
    for column in (*columns, *optional):
        if header.count(column) > 1:
            raise InputError(f"{path} has the column {column!r} twice.", "Keep one of the two.")
        if column in columns and column not in header:
            raise InputError(
                f"{path} has no column {column!r} (it has: {', '.join(header)}).",
                f"Its first line must name the columns: {','.join(columns)}.",
            )
