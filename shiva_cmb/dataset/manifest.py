"""Lists of cases as they are written: tables and JSON, before their files are looked for.

A table (CSV, TSV, semicolons) has one row per case. Its columns, in upper or lower case: `image`, or one
`image_<channel>` for every channel; `label`; and if wanted `mask`, `patient`, `case` and `training_only`
(yes, no, true, false, 1, 0). Every other column is free, such as the site or the field strength.

A JSON says the same and what the values of the labels mean::

    {"channels": ["swi", "t1"], "lesion_values": [1, 2], "ignore_values": [3],
     "cases": [{"case": "01", "patient": "P1", "images": {"swi": "a.nii", "t1": "b.nii"}, "label": "c.nii",
                "mask": "m.nii", "training_only": false, "site": "Bonn"}]}
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.tables import as_text, is_missing, read_table

COLUMNS = ("image", "label", "mask", "patient", "case", "training_only")
"""Columns with a meaning; there may be `image_<channel>` in place of `image`."""
ONE_CHANNEL = "image"
"""Name of the only channel where none is given."""

_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_TOO_SIMILAR = 0.8
"""A free column whose name is this close to one with a meaning is a slip: `patients` would group nothing."""


@dataclass(frozen=True)
class Entry:
    """One case as it is written; empty texts for what is not given."""

    where: str
    """What messages call it: `line 3` of a table, `case 2` of a JSON."""
    images: Mapping[str, str]
    """Channel to file, in the order of the channels."""
    label: str = ""
    """File."""
    mask: str = ""
    """File."""
    patient: str = ""
    """Any text."""
    case: str = ""
    """Its name."""
    training_only: bool = False
    """See `Case`."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The free columns."""


@dataclass(frozen=True)
class Manifest:
    """A list as it is written."""

    path: Path
    """Its file."""
    channels: tuple[str, ...]
    """At least one."""
    entries: tuple[Entry, ...]
    """May be empty."""
    values: LabelValues = field(default_factory=LabelValues)
    """What the labels mean."""


def read_manifest(path: Path) -> Manifest:
    """Read a table or, if the name ends in `.json`, a JSON.

    Raises:
        DataError: if it cannot be read, or something is missing, unknown or of the wrong kind.
    """
    return _from_json(path) if path.suffix.lower() == ".json" else _from_table(path)


def _from_table(path: Path) -> Manifest:
    table = read_table(path, what="list of cases")
    lower = [column.lower() for column in table.columns]
    images = [column for column in lower if column == "image" or column.startswith("image_")]
    for column, found in (("image", images), ("label", "label" in lower)):
        if not found:
            names = ", ".join(table.columns) or "none"
            raise DataError(f"{path}: the column {column!r} is missing; the header names: {names}")
    if len(set(lower)) < len(lower):
        raise DataError(f"{path}: a column is named twice in the header: {', '.join(table.columns)}")
    if "image" in images and len(images) > 1:
        raise DataError(f"{path}: 'image' and {images[-1]!r}: name every channel image_<channel>")
    free = {name: as_is for name, as_is in zip(lower, table.columns, strict=True) if name not in COLUMNS}
    free = {name: as_is for name, as_is in free.items() if name not in images}
    for name in free:
        _refuse_slip(name, str(path))
    channels = {column: column.removeprefix("image_") for column in images}
    entries = []
    for line, cells in table.rows:
        row = {
            name: "" if is_missing(cell) else cell for name, cell in zip(lower, cells.values(), strict=True)
        }
        entries.append(
            Entry(
                where=f"line {line}",
                images={channel: row[column] for column, channel in channels.items()},
                training_only=_yes_no(row.get("training_only", ""), f"{path}, line {line}"),
                columns={as_is: cells[as_is] for as_is in free.values()},
                **{name: row.get(name, "") for name in ("label", "mask", "patient", "case")},
            )
        )
    return Manifest(path, tuple(channels.values()), tuple(entries))


def _yes_no(cell: str, where: str) -> bool:
    if cell and cell.lower() not in _YES_NO:
        raise DataError(f"{where}: expected yes or no in 'training_only', got {cell!r}")
    return _YES_NO.get(cell.lower(), False)


def _refuse_slip(column: str, where: str) -> None:
    close = difflib.get_close_matches(column.lower(), COLUMNS, n=1, cutoff=_TOO_SIMILAR)
    if close:
        raise DataError(f"{where}: unknown column {column!r}; if {close[0]!r} is meant, call it so")


def _from_json(path: Path) -> Manifest:
    from shiva_cmb.dataset.json_files import read_json
    from shiva_cmb.dataset.manifest_json import ManifestJson

    content = read_json(path, ManifestJson, "list of cases")
    channels = tuple(content.channels or (content.cases[0].images if content.cases else ()) or (ONE_CHANNEL,))
    try:
        values = LabelValues(tuple(content.lesion_values), tuple(content.ignore_values))
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error
    entries = []
    for number, case in enumerate(content.cases, start=1):
        where = f"case {number}"
        images = case.images or ({channels[0]: case.image} if len(channels) == 1 and case.image else {})
        if set(images) != set(channels):
            given = ", ".join(case.images) or ("one image without a channel" if case.image else "none")
            raise DataError(
                f"{path}, {where}: expected images of the channels {', '.join(channels)}, got {given}"
            )
        free = case.model_extra or {}
        for name in free:
            _refuse_slip(name, f"{path}, {where}")
        entries.append(
            Entry(
                where=where,
                images={channel: images[channel] for channel in channels},
                label=case.label,
                mask=case.mask or "",
                patient=_text(case.patient),
                case=_text(case.case),
                training_only=case.training_only,
                columns={name: as_text(value) for name, value in free.items()},
            )
        )
    return Manifest(path, channels, tuple(entries), values)


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)
