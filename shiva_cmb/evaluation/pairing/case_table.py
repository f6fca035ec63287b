"""The case table: patient, further files and columns to group by, for every case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shiva_cmb.errors import DataError, Note
from shiva_cmb.evaluation.pairing.naming import Item
from shiva_cmb.evaluation.pairing.sources import CASE_COLUMNS, case_of_row, existing_file
from shiva_cmb.tables import is_missing, read_table

PATH_COLUMNS = ("image", "mask", "regions")
"""Columns that hold files of the case."""
_NOT_STRATA = frozenset(
    {*CASE_COLUMNS, *PATH_COLUMNS, "patient", "session_id", "truth", "prediction", "probability", "label"}
)


@dataclass(frozen=True)
class RowFacts:
    """What tables say about one case."""

    patient: str
    """Group for resampling."""
    paths: dict[str, Path] = field(default_factory=dict)
    """Files by the column's name."""
    columns: dict[str, str] = field(default_factory=dict)
    """Everything else, names as written."""


def facts_of_cases(
    names: Sequence[str], items: Mapping[str, Item], table: str | Path | None, note: Note
) -> dict[str, RowFacts]:
    """What the truth's own table and the case table say; the latter counts where both do.

    Args:
        names: of the cases.
        items: the truth of every case; a row of its table comes with it.
        table: the case table.
        note: is told which rows belong to no case, and which cases have no row.

    Raises:
        DataError: if the table cannot be used, two rows name one case, or a file does not exist.
    """
    rows = {} if table is None else _rows_of_cases(Path(table), names, items, note)
    facts = {}
    for name in names:
        item = items[name]
        columns, paths, patient = {}, {}, ""
        own = (item.table, item.line, item.columns) if item.table is not None else None
        for source, line, row in filter(None, (own, rows.get(name))):
            for column, cell in row.items():
                key = column.lower()
                if key == "patient" and not is_missing(cell):
                    patient = cell
                elif key in PATH_COLUMNS and not is_missing(cell):
                    paths[key] = existing_file(cell, source, line, key)
                elif key not in _NOT_STRATA:
                    columns[column] = cell
            participant = {column.lower(): cell for column, cell in row.items()}.get("participant_id")
            if not patient and not is_missing(participant):
                patient = participant or ""
        subject = item.entities.get("sub")
        facts[name] = RowFacts(patient or (f"sub-{subject}" if subject else name), paths, columns)
    return facts


def _rows_of_cases(
    path: Path, names: Sequence[str], items: Mapping[str, Item], note: Note
) -> dict[str, tuple[Path, int, dict[str, str]]]:
    """The row of every case that has one."""
    table = read_table(path, what="case table")
    lower = {column.lower(): column for column in table.columns}
    if not lower.keys() & set(CASE_COLUMNS):
        raise DataError(
            f"{path}: the column 'case' (or 'participant_id') is missing; the header names:"
            f" {', '.join(table.columns) or 'none'}"
        )
    found: dict[str, tuple[Path, int, dict[str, str]]] = {}
    exact: set[str] = set()
    strange = []
    by_key = _keys(names, items)
    for line, row in table.rows:
        case = case_of_row({name: row[written] for name, written in lower.items()})
        if not case:
            raise DataError(f"{path}, line {line}: the case is missing")
        matches = by_key.get(case) or by_key.get(f"sub-{case}") or ()
        if not matches:
            strange.append(case)
        for name in matches:
            is_exact = name == case
            if name in found and is_exact == (name in exact):
                first = found[name][1]
                raise DataError(f"{path}, line {line}: the case {name!r} is on line {first} already")
            if name not in exact:
                found[name] = (path, line, row)
            if is_exact:
                exact.add(name)
    if strange:
        note(f"{path}: {len(strange)} rows belong to no case, for example {strange[0]!r}")
    without = [name for name in names if name not in found]
    if without and len(without) < len(names):
        note(f"{path}: {len(without)} of {len(names)} cases have no row, for example {without[0]!r}")
    elif without:
        note(f"{path}: no row belongs to a case; the first case is {names[0]!r}")
    return found


def _keys(names: Sequence[str], items: Mapping[str, Item]) -> dict[str, list[str]]:
    """The cases that a table may mean by a name: the case's, its subject's (and session's), its last part."""
    keys: dict[str, list[str]] = {}
    for name in names:
        entities = items[name].entities
        means = {name, name.split("/")[-1]}
        if entities:
            means.add(f"sub-{entities['sub']}")
            if "ses" in entities:
                means.add(f"sub-{entities['sub']}_ses-{entities['ses']}")
        for key in means:
            keys.setdefault(key, []).append(name)
    return keys
