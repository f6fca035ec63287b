"""The table of lesions: one row each, to and from tab-separated text."""

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from shiva_cmb.errors import DataError
from shiva_cmb.tables import MISSING, read_table, write_tsv

SizeFlag = Literal["<2 mm", "2-10 mm", ">10 mm"]
"""Below, within and above the 2 to 10 mm that define a microbleed."""


@dataclass(frozen=True)
class Lesion:
    """One lesion. Lengths in mm, world coordinates in RAS."""

    lesion: int
    """Number in the label map, from 1: most probable first."""
    x_mm: float
    """World position of the centroid, to the right."""
    y_mm: float
    """World position of the centroid, to the front."""
    z_mm: float
    """World position of the centroid, upwards."""
    i: float
    """Centroid in voxels along the first array axis, from 0."""
    j: float
    """Centroid in voxels along the second array axis."""
    k: float
    """Centroid in voxels along the third array axis."""
    n_voxels: int
    """Number of voxels."""
    volume_mm3: float
    """Their volume."""
    equivalent_diameter_mm: float
    """Diameter of the ball of that volume."""
    max_diameter_mm: float
    """Largest distance between two points of its surface (centres of exposed voxel faces)."""
    mean_probability: float
    """Mean over its voxels."""
    max_probability: float
    """Highest of its voxels."""
    folds_agreeing: int | None
    """Most folds that are above the threshold in one of its voxels."""
    folds: int | None
    """Out of how many folds. Its own column: spreadsheets turn `3/5` into a date."""
    size_flag: SizeFlag
    """Size class by the equivalent diameter."""
    elongation: float
    """Second against longest principal axis: 1 is round, 0 a line (IBSI)."""
    contrast: float | None
    """Signal lost against the surroundings, 0 to 1; None without an image."""
    region: str | None = None
    """`lobar`, `deep` or `infratentorial`, or a name from the user's atlas; None where it is not known."""
    side: str | None = None
    """`left`, `right` or `midline`; None where it is not known."""


_READERS = {"int": int, "float": float, "int | None": int, "float | None": float}
_COLUMNS = {f.name: getattr(f.type, "__name__", str(f.type)) for f in fields(Lesion)}
_REQUIRED = tuple(f.name for f in fields(Lesion) if f.default is NO_DEFAULT)
"""Tables of earlier versions have no regions."""


@dataclass(frozen=True)
class LesionTable:
    """Lesions in the order of their labels."""

    lesions: tuple[Lesion, ...] = ()
    """Row k - 1 describes label k."""

    def __len__(self) -> int:
        return len(self.lesions)

    def __iter__(self) -> Iterator[Lesion]:
        return iter(self.lesions)

    def __getitem__(self, row: int) -> Lesion:
        return self.lesions[row]

    def as_records(self) -> list[dict[str, int | float | str | None]]:
        """The rows as plain dictionaries, ready for JSON."""
        return [asdict(lesion) for lesion in self.lesions]

    def write_tsv(self, path: str | Path) -> None:
        """Write a header line and one line per lesion, six significant digits.

        Raises:
            OSError: if the file cannot be written (`files.replacing` turns that into an OutputError).
        """
        write_tsv(path, tuple(_COLUMNS), self.as_records())

    @classmethod
    def read_tsv(cls, path: str | Path) -> "LesionTable":
        """Read what `write_tsv` wrote; columns that others added are ignored.

        Raises:
            DataError: if the file is missing, lacks a column, or holds a value that does not fit.
        """
        table = read_table(path, what="lesion table", delimiter="\t")
        absent = [name for name in _REQUIRED if name not in table.columns]
        if absent:
            raise DataError(f"{path}: not a lesion table, it has no column {', '.join(absent)}")
        return cls(tuple(_as_lesion(row, path, line) for line, row in table.rows))


def _as_lesion(row: dict[str, str], path: str | Path, line: int) -> Lesion:
    """One row, its cells turned into the types of `Lesion`."""
    values: dict[str, int | float | str | None] = {}
    for name, kind in _COLUMNS.items():
        cell = row.get(name, MISSING)
        try:
            optional = kind.endswith("None") and cell in ("", MISSING)
            values[name] = None if optional else _READERS.get(kind, str)(cell)
        except ValueError as error:
            raise DataError(
                f"{path}, line {line}: expected a number in column {name}, got {cell!r}"
            ) from error
    return Lesion(**values)  # type: ignore[arg-type]
