"""The list of training cases: a CSV with one row per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shiva_cmb.errors import DataError
from shiva_cmb.tables import read_table

COLUMNS = ("image", "label", "mask", "patient")


@dataclass(frozen=True)
class Case:
    """One image and what is known about it."""

    name: str
    """Short and unique among the cases; kept in the bundle."""
    image: Path
    """NIfTI, native space."""
    label: Path
    """NIfTI, above 0.5 in bleeds and all zero where there is none; in the same scanner space as the image."""
    mask: Path | None
    """Brain mask; without it the brain is estimated."""
    patient: str
    """Images of one patient are never split between training and validation."""


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """Read the list.

    Args:
        path: a CSV with a header: columns `image` and `label`, and if wanted `mask` and `patient`. Commas,
            semicolons or tabs. Relative paths count from the CSV's folder. An empty mask means there is none;
            without `patient`, every row is a patient of its own.

    Raises:
        DataError: if the list is missing or empty, a column or a file is missing, a column is unknown, or an
            image comes twice; the message names the line.
    """
    path = Path(path)
    table = read_table(
        path, what="list of cases", lower_case=True, required=("image", "label"), known=COLUMNS
    )
    rows = table.rows
    if not rows:
        raise DataError(f"{path}: there is no case below the header")
    images = [_file(path, line, row, "image") for line, row in rows]
    labels = [_file(path, line, row, "label") for line, row in rows]
    masks = [_file(path, line, row, "mask") if row.get("mask") else None for line, row in rows]
    first_line: dict[Path, int] = {}
    for (line, _), image in zip(rows, images, strict=True):
        if image.resolve() in first_line:
            raise DataError(f"{path}, line {line}: {image} is on line {first_line[image.resolve()]} already")
        first_line[image.resolve()] = line
    names = _short_names(images)
    patients = [row.get("patient") or f"line {line}" for line, row in rows]
    if any(row.get("patient") for _, row in rows):
        for line, row in rows:
            if not row.get("patient"):
                raise DataError(
                    f"{path}, line {line}: the patient is missing; fill it in for all rows or for none"
                )
    return tuple(Case(*fields) for fields in zip(names, images, labels, masks, patients, strict=True))


def _file(path: Path, line: int, row: dict[str, str], column: str) -> Path:
    if not row[column]:
        hint = "; a scan without bleeds needs an all-zero label" if column == "label" else ""
        raise DataError(f"{path}, line {line}: the {column} is missing{hint}")
    file = path.parent / row[column]
    if not file.is_file():
        raise DataError(f"{path}, line {line}: the {column} {file} does not exist")
    return file


def _short_names(images: Sequence[Path]) -> list[str]:
    """File names without extension, with as many parent folders as it takes to tell them apart."""
    bare = [
        image.absolute().with_name(image.name.removesuffix(".gz").removesuffix(".nii")) for image in images
    ]
    longest = max(len(path.parts) for path in bare)
    for depth in range(1, longest):
        names = ["/".join(path.parts[-depth:]) for path in bare]
        if len(set(names)) == len(names):
            return names
    return [str(image) for image in images]
