"""Where images come from: a folder, a BIDS tree, one file, a list of paths, or a table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shiva_cmb.errors import DataError
from shiva_cmb.evaluation.pairing.naming import NIFTI_ENDING, Item
from shiva_cmb.tables import is_missing, read_table

CASE_COLUMNS = ("case", "participant_id")
"""Columns that name a case; `session_id` is added to the second, as in BIDS."""


@dataclass(frozen=True)
class Source:
    """The images of one side."""

    path: Path
    """What the user named."""
    items: tuple[Item, ...]
    """Its images, in a fixed order."""
    without_file: tuple[str, ...] = ()
    """Cases of a table whose cell is empty."""
    is_one_file: bool = False
    """Whether the user named an image itself."""


def read_source(
    path: str | Path, what: str, columns: Sequence[str], probability: str | None = None
) -> Source:
    """Find the images.

    Args:
        path: a folder (searched with all its folders for `.nii` and `.nii.gz`; hidden files are left out), an
            image, a text file with one path per line, or a table with a header.
        what: what messages call it, for example `truth`.
        columns: columns of a table that may hold the path, the best first.
        probability: column of a table that may hold a probability map besides.

    Raises:
        DataError: if it does not exist, holds no image, or names a file that does not exist.
    """
    path = Path(path)
    if path.is_dir():
        return Source(path, _in_folder(path, what))
    if not path.is_file():
        raise DataError(f"the {what} {path} does not exist: name a folder, an image, a list or a table")
    if is_nifti(path):
        return Source(path, (Item(path),), is_one_file=True)
    first = _first_line(path, what)
    if is_nifti(first):
        return Source(path, _in_list(path, what))
    return _in_table(path, what, columns, probability)


def without_folder(source: Source, other: Source) -> Source:
    """The source without what lies in the other's folder, if that is a folder within its own."""
    outer, inner = source.path.resolve(), other.path.resolve()
    if not other.path.is_dir() or outer not in inner.parents:
        return source
    below = inner.relative_to(outer).parts
    return replace(source, items=tuple(i for i in source.items if i.folders[: len(below)] != below))


def is_nifti(path: str | Path) -> bool:
    """Whether a name ends as a NIfTI file's does, in upper or lower case."""
    return bool(NIFTI_ENDING.search(str(path)))


def existing_file(cell: str, table: Path, line: int, what: str) -> Path:
    """A path in a table or list, relative to its folder.

    A link whose file is not there counts: some data sets hold links to files that are fetched when wanted
    (git-annex), and without one of them the other cases can still be judged.

    Raises:
        DataError: if it does not exist.
    """
    path = table.parent / Path(cell).expanduser()
    if not path.is_file() and not path.is_symlink():
        raise DataError(f"{table}, line {line}: the {what} {path} does not exist")
    return path


def case_of_row(row: dict[str, str]) -> str:
    """The case that a row names; empty if it does not."""
    name = next((row[column] for column in CASE_COLUMNS if not is_missing(row.get(column))), "")
    session = row.get("session_id")
    if name and session is not None and not is_missing(session) and "ses-" not in name:
        session = session if session.startswith("ses-") else f"ses-{session}"
        return f"{name}_{session}"
    return name


def _in_folder(root: Path, what: str) -> tuple[Item, ...]:
    items, seen = [], set()

    def fail(error: OSError) -> None:
        raise DataError(f"cannot read the {what} folder {error.filename}: {error.strerror}") from error

    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        here = Path(folder)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = here.relative_to(root).parts
        for name in sorted(files):
            if is_nifti(name) and not name.startswith("."):
                items.append(Item(here / name, inner))
    if not items:
        raise DataError(f"the {what} folder {root} holds no .nii or .nii.gz file")
    return tuple(items)


def _first_line(path: Path, what: str) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = (line.strip() for line in file)
            return next((line for line in lines if line and not line.startswith("#")), "")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the {what} {path} as a list or table ({error}); images must end in .nii or .nii.gz"
        ) from error


def _in_list(path: Path, what: str) -> tuple[Item, ...]:
    paths = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip() and not line.strip().startswith("#"):
            paths.append(existing_file(line.strip(), path, number, what))
    return _below_common_folder(paths)


def _below_common_folder(paths: Sequence[Path]) -> tuple[Item, ...]:
    parents = [Path(os.path.abspath(path)).parent for path in paths]  # noqa: PTH100  (resolve would follow links)
    root = os.path.commonpath(parents)
    return tuple(
        Item(path, parent.relative_to(root).parts) for path, parent in zip(paths, parents, strict=True)
    )


def _in_table(path: Path, what: str, columns: Sequence[str], probability: str | None) -> Source:
    table = read_table(path, what=f"{what} table")
    lower = {column.lower(): column for column in table.columns}
    column = next((lower[name] for name in columns if name in lower), None)
    second = lower.get(probability) if probability else None
    only_map = second if column is None else None
    column, second = (second, None) if column is None else (column, second)
    if column is None:
        header = ", ".join(table.columns) or "none"
        raise DataError(f"{path}: expected a column {' or '.join(columns)} with the paths, got: {header}")
    items, paths, without = [], [], []
    for line, row in table.rows:
        name = case_of_row({key: row[written] for key, written in lower.items()})
        if is_missing(row[column]):
            if not name:
                raise DataError(f"{path}, line {line}: there is neither a path nor a case")
            without.append(name)
            continue
        paths.append(existing_file(row[column], path, line, what))
        cells = {key: cell for key, cell in row.items() if key not in (column, second)}
        a_map = row[second] if second else ""
        probability_map = None if is_missing(a_map) else existing_file(a_map, path, line, "probability map")
        if column == only_map:
            probability_map = paths[-1]
        items.append(Item(paths[-1], (), name or None, cells, path, line, probability_map))
    if not paths:
        raise DataError(f"{path}: there is no path below the header")
    folders = [item.folders for item in _below_common_folder(paths)]
    found = [replace(item, folders=inner) for item, inner in zip(items, folders, strict=True)]
    return Source(path, tuple(found), tuple(without))
