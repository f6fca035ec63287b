"""What the importers share."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.errors import DataError, Note


def json_of(source: Path, what: str) -> Path:
    """The JSON itself, or `dataset.json` of a folder.

    Raises:
        DataError: if there is none.
    """
    path = source / "dataset.json" if source.is_dir() else source
    if not path.is_file():
        raise DataError(f"{path} does not exist: name the folder or the JSON of {what}")
    return path


def require_folder(source: Path, what: str) -> None:
    """Refuse what is no folder.

    Raises:
        DataError: if it is none.
    """
    if not source.is_dir():
        raise DataError(f"{source} is not a folder: name that of {what}")


def say_left_out(names: Sequence[str], why: str, note: Note) -> None:
    """One line on cases that are left out; nothing if there are none."""
    if len(names) == 1:
        note(f"1 case is left out ({why}): {names[0]!r}")
    elif names:
        note(f"{len(names)} cases are left out ({why}), for example {names[0]!r}")


def values_of(labels: Iterable[tuple[str, int | list[int]]]) -> LabelValues:
    """What the label names of nnU-Net and the Decathlon mean; plain 0 and 1 need no saying."""
    numbers = [(name, {value} if isinstance(value, int) else set(value)) for name, value in labels]
    ignore = set().union(*(own for name, own in numbers if name.lower() == "ignore"))
    lesion = set().union(*(own for _, own in numbers)) - ignore - {0}
    if lesion <= {1} and not ignore:
        return LabelValues()
    return LabelValues(tuple(sorted(lesion)), tuple(sorted(ignore)))


def dataset_of(
    source: Path,
    channels: Sequence[str],
    cases: Sequence[Case],
    *,
    values: LabelValues | None = None,
    patients_listed: bool = True,
) -> Dataset:
    """The dataset, by name of the case.

    Raises:
        DataError: if there is no case.
    """
    if not cases:
        raise DataError(f"{source}: no case with a label was found")
    ordered = tuple(sorted(cases, key=lambda case: case.name))
    return Dataset(source, tuple(channels), ordered, values or LabelValues(), patients_listed)
