"""What false positives on generated scans were: which drawn mimic lies where they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import DataError
from shiva_cmb.imaging import Volume, read_volume
from shiva_cmb.tables import as_number, read_table

WITHIN_MM = 3.0
"""A false positive belongs to the nearest mimic up to this far from its middle."""
NO_MIMIC = "none"
"""The kind of false positives that have no mimic near."""


@dataclass(frozen=True)
class MimicCounts:
    """How often a kind of mimic was there, and how often it was taken for a bleed."""

    kind: str
    """As the generator calls it; `NO_MIMIC` for false positives beside all of them."""
    drawn: int
    """How many there were in all scans."""
    false_positives: int
    """How many false positives belong to them."""


def nearest_mimics(
    points_mm: ArrayLike,
    mimics: Sequence[Mapping[str, str]],
    marks: Volume | None = None,
    *,
    within_mm: float = WITHIN_MM,
) -> tuple[str, ...]:
    """The kind of the nearest mimic of each point.

    Args:
        points_mm: world points (n, 3), the centroids of false positives.
        mimics: rows of the scan's table of mimics: `kind`, `x_mm`, `y_mm`, `z_mm`, `diameter_mm`.
        marks: where they are, by the number of their row (from 1). Without it distances are those to the
            point and half the width in the table, which is little of a long vessel.
        within_mm: distance up to which a mimic counts.

    Returns:
        One kind per point; `NO_MIMIC` where there is none.
    """
    points = np.asarray(points_mm, np.float64).reshape(-1, 3)
    kinds = np.array([row["kind"] for row in mimics] + [NO_MIMIC])
    places, widths, owners = _of_map(marks) if marks is not None else _of_table(mimics)
    found = np.full(len(points), len(kinds) - 1)
    for number, point in enumerate(points):
        distances = np.linalg.norm(places - point, axis=1) - widths / 2
        if len(distances) and distances.min() <= within_mm:
            found[number] = owners[distances.argmin()]
    return tuple(str(kind) for kind in kinds[found])


def count_mimics(lesions: Path, scans: Path) -> tuple[MimicCounts, ...]:
    """What the false positives of an evaluation were, over all of its scans.

    Args:
        lesions: `lesions.tsv` of the evaluation.
        scans: folder of the scans, with NAME_mimics.tsv, and NAME_mimics.nii.gz if it was written.

    Returns:
        One entry per kind, most false positives first; `NO_MIMIC` last.

    Raises:
        DataError: if a scan has no table of mimics.
    """
    drawn: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    false: dict[str, list[list[float]]] = {}
    for _, row in read_table(lesions, what="table of lesions", required=("case", "status")).rows:
        if row["status"] == "FP":
            point = [as_number(row[name]) for name in ("x_mm", "y_mm", "z_mm")]
            false.setdefault(row["case"], []).append([value for value in point if value is not None])
    for path in sorted(scans.glob("*_mimics.tsv")):
        case = path.name.removesuffix("_mimics.tsv")
        rows = [row for _, row in read_table(path, what="table of mimics", required=("kind",)).rows]
        drawn.update(row["kind"] for row in rows)
        if case in false:
            marks = scans / f"{case}_mimics.nii.gz"
            volume = read_volume(marks) if marks.is_file() else None
            taken.update(nearest_mimics(false.pop(case), rows, volume))
    if false:
        raise DataError(f"{scans} has no table of mimics of the case {min(false)}: {min(false)}_mimics.tsv")
    kinds = sorted(drawn, key=lambda kind: (-taken[kind], kind))
    counts = [MimicCounts(kind, drawn[kind], taken[kind]) for kind in kinds]
    return (*counts, MimicCounts(NO_MIMIC, 0, taken[NO_MIMIC]))


_Places = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]


def _of_map(marks: Volume) -> _Places:
    """World points of all marked voxels, their widths (0) and the rows they belong to."""
    voxels = np.argwhere(marks.data)
    owners = marks.data[tuple(voxels.T)].astype(np.intp) - 1
    return marks.grid.to_world(voxels).reshape(-1, 3), np.zeros(len(voxels)), owners


def _of_table(mimics: Sequence[Mapping[str, str]]) -> _Places:
    numbers = [[as_number(row[name]) for name in ("x_mm", "y_mm", "z_mm", "diameter_mm")] for row in mimics]
    values = np.array(numbers, np.float64).reshape(-1, 4)
    return values[:, :3], values[:, 3], np.arange(len(values))
