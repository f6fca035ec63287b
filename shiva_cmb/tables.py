"""Tables as text: CSV, TSV and semicolon files with a header, read with their line numbers; TSV written."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiva_cmb.errors import DataError

MISSING = "n/a"
"""What BIDS writes for a value that is not there; pandas and R read it as such."""

_MISSING_WORDS = frozenset({"", "n/a", "na", "nan", "none", "null"})


@dataclass(frozen=True)
class Table:
    """A header and rows, all text."""

    path: Path
    """Where it was read from."""
    columns: tuple[str, ...]
    """Names in the header, without spaces around them."""
    rows: tuple[tuple[int, dict[str, str]], ...]
    """Line in the file (from 1) and cells by column, without spaces around them; empty lines are left out."""


def read_table(
    path: str | Path,
    *,
    what: str = "table",
    delimiter: str | None = None,
    lower_case: bool = False,
    required: Sequence[str] = (),
    known: Sequence[str] | None = None,
) -> Table:
    """Read a table with a header.

    Args:
        path: text in UTF-8, with or without a byte order mark.
        what: what messages call it.
        delimiter: between cells; if left out, whichever of comma, semicolon and tab the header has most of.
        lower_case: turn the names of the columns to lower case.
        required: columns that must be there.
        known: the only columns there may be; any if left out.

    Raises:
        DataError: if it cannot be read as text, two columns have one name, a required column is missing or
            an unknown one there, or a row has another number of cells than the header; it names the line.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = delimiter or max(",;\t", key=header.count)
            columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num + 1, [value.strip() for value in values]) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the {what} {path}: {error}") from error
    if lower_case:
        columns = [column.lower() for column in columns]
    _check_columns(path, columns, required, known)
    rows = []
    for line, values in lines:
        if not any(values):
            continue
        if len(values) != len(columns):
            raise DataError(f"{path}, line {line}: expected {len(columns)} values, got {len(values)}")
        rows.append((line, dict(zip(columns, values, strict=True))))
    return Table(path, tuple(columns), tuple(rows))


def write_tsv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with tabs between the cells: see `write_csv`."""
    _write(path, columns, rows, "\t")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a header line and one line per row: six significant digits, `n/a` for None and NaN.

    Args:
        path: written directly; use `files.replacing` around it.
        columns: the header; other keys of the rows are left out.
        rows: cells by column.

    Raises:
        OSError: if the file cannot be written (`files.replacing` turns that into an OutputError).
        KeyError: if a row lacks a column.
    """
    _write(path, columns, rows, ",")


def _write(
    path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], delimiter: str
) -> None:
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([as_text(row[column]) for column in columns])


def as_text(value: Any) -> str:
    """One cell of a table."""
    if value is None:
        return MISSING
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return MISSING if math.isnan(value) else f"{value:.6g}"
    return str(value)


def as_number(cell: str) -> float | None:
    """The number in a cell, None if there is none; `nan` is none."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return None if math.isnan(number) or "_" in cell else number  # Python would read 1_000 as a number


def is_missing(cell: str | None) -> bool:
    """Whether a cell says that there is no value: empty, n/a, NA, NaN, none, null."""
    return cell is None or cell.strip().lower() in _MISSING_WORDS


def _check_columns(
    path: Path, columns: Sequence[str], required: Sequence[str], known: Sequence[str] | None
) -> None:
    missing = [column for column in required if column not in columns]
    if missing:
        found = ", ".join(columns) or "none"
        raise DataError(f"{path}: the column {missing[0]!r} is missing; the header names: {found}")
    unknown = [column for column in columns if known is not None and column not in known]
    if unknown:
        raise DataError(f"{path}: unknown column {unknown[0]!r}; the known ones are {', '.join(known or ())}")
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}: a column is named twice in the header: {', '.join(columns)}")
