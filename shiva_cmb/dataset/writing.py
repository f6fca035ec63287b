"""Lists of cases written as tables or JSON."""

import csv
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.dataset.manifest import COLUMNS, ONE_CHANNEL
from shiva_cmb.errors import OutputError, UsageError
from shiva_cmb.files import replacing, require_writable_folder, write_json

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Of the tables, by the ending of the name."""


def require_list_name(path: Path, *, overwrite: bool) -> None:
    """Say early that a list of cases could not be written there.

    Raises:
        UsageError: if the name ends neither as a table nor as a JSON.
        OutputError: if it is there and may not be replaced, or the folder is missing or not writable.
    """
    if path.suffix.lower() not in (*DELIMITERS, ".json"):
        raise UsageError(f"{path}: expected a name that ends in .csv, .tsv or .json")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputError(f"{path} exists already: name another file, or add --force to replace a list")
    require_writable_folder(path.absolute().parent)


def write_dataset(dataset: Dataset, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a list of cases that `read_dataset` reads, with paths relative to its folder.

    Args:
        dataset: what to write.
        path: ends in `.csv`, `.tsv` or `.json`.
        overwrite: replace a file that is there.

    Raises:
        UsageError: see `require_list_name`; or the labels have values that a table cannot explain.
        OutputError: see `require_list_name`; or it cannot be written.
    """
    path = Path(path)
    require_list_name(path, overwrite=overwrite)
    is_json = path.suffix.lower() == ".json"
    if not is_json and dataset.values != LabelValues():
        raise UsageError(
            f"{path}: the labels have lesion values {dataset.values.lesion} and ignored values"
            f" {dataset.values.ignore}, which only a .json can say"
        )
    dataset = replace(dataset, cases=tuple(_without_clashes(case, dataset) for case in dataset.cases))
    with replacing() as pending:
        (_write_json if is_json else _write_table)(dataset, pending.path(path), path)


def _without_clashes(case: Case, dataset: Dataset) -> Case:
    """Free columns must not look like those with a meaning."""
    taken = {*COLUMNS, "images", *(f"image_{channel}" for channel in dataset.channels)}
    columns = {f"{name}_" if name.lower() in taken else name: cell for name, cell in case.columns.items()}
    return replace(case, columns=columns)


def _write_table(dataset: Dataset, temporary: Path, final: Path) -> None:
    rows = [_row(case, dataset, final.parent) for case in dataset.cases]
    free = dict.fromkeys(name for case in dataset.cases for name in case.columns)
    optional = [column for column in ("patient", "mask", "training_only") if any(row[column] for row in rows)]
    images = [name for name in rows[0] if name.startswith("image")]
    columns = ["case", *optional[:1], *images, "label", *optional[1:], *free]
    if "patient" not in optional:
        columns = ["case", *images, "label", *optional, *free]
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=DELIMITERS[final.suffix.lower()], lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([row.get(column, "") for column in columns] for row in rows)


def _row(case: Case, dataset: Dataset, folder: Path) -> dict[str, str]:
    one = dataset.channels == (ONE_CHANNEL,)
    names = ["image"] if one else [f"image_{channel}" for channel in dataset.channels]
    return {
        **case.columns,
        "case": case.name,
        "patient": case.patient if dataset.patients_listed else "",
        **{name: _relative(image, folder) for name, image in zip(names, case.images, strict=True)},
        "label": _relative(case.label, folder),
        "mask": "" if case.mask is None else _relative(case.mask, folder),
        "training_only": "yes" if case.training_only else "",
    }


def _write_json(dataset: Dataset, temporary: Path, final: Path) -> None:
    content: dict[str, Any] = {"channels": dataset.channels}
    if dataset.values.lesion:
        content["lesion_values"] = dataset.values.lesion
    if dataset.values.ignore:
        content["ignore_values"] = dataset.values.ignore
    content["cases"] = [_json_case(case, dataset, final.parent) for case in dataset.cases]
    write_json(content, temporary)


def _json_case(case: Case, dataset: Dataset, folder: Path) -> Mapping[str, Any]:
    images = (_relative(image, folder) for image in case.images)
    entry: dict[str, Any] = {"case": case.name}
    if dataset.patients_listed:
        entry["patient"] = case.patient
    entry |= {"images": dict(zip(dataset.channels, images, strict=True))}
    entry["label"] = _relative(case.label, folder)
    if case.mask is not None:
        entry["mask"] = _relative(case.mask, folder)
    if case.training_only:
        entry["training_only"] = True
    return entry | dict(case.columns)


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file.absolute(), folder.absolute())).as_posix()
    except ValueError:  # another drive of Windows
        return str(file.absolute())
