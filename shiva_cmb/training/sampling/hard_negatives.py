"""Where the current network fires without reason, so that it sees such places more often."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.errors import DataError
from shiva_cmb.files import replacing, write_json
from shiva_cmb.lesions.neighbours import neighbours


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """False positives of a network on the training cases, by case, the strongest first."""

    case: NDArray[np.intp]
    """Index of the case, shape (n,)."""
    voxel: NDArray[np.intp]
    """Where the probability is highest, shape (n, 3)."""
    peak: NDArray[np.float64]
    """That probability, shape (n,)."""

    def __len__(self) -> int:
        return len(self.case)


NO_HARD_NEGATIVES = HardNegatives(np.zeros(0, np.intp), np.zeros((0, 3), np.intp), np.zeros(0))
"""None."""


def mine(
    cases: Sequence[PreparedCase],
    probability_of: Callable[[PreparedCase], NDArray[np.floating]],
    threshold: float,
    most_per_case: int,
) -> HardNegatives:
    """Find components of high probability that touch no lesion and no voxel that counts neither way.

    Args:
        cases: to look at, one after the other.
        probability_of: the network's probabilities for a case, shape of its grid.
        threshold: probability from which a voxel belongs to a component (26-connected).
        most_per_case: so many are kept of each case, the strongest.
    """
    found = [_false_positives(case, probability_of(case), threshold)[:most_per_case] for case in cases]
    rows = [(index, *voxel, peak) for index, own in enumerate(found) for voxel, peak in own]
    table = np.array(rows, np.float64).reshape(-1, 5)
    return HardNegatives(table[:, 0].astype(np.intp), table[:, 1:4].astype(np.intp), table[:, 4])


def _false_positives(
    case: PreparedCase, probability: NDArray[np.floating], threshold: float
) -> list[tuple[tuple[int, ...], float]]:
    """Voxel and peak of each, the strongest first, equal ones as they lie in the array."""
    structure = neighbours(26)
    components, count = scipy.ndimage.label(probability >= threshold, structure)
    near_label = scipy.ndimage.binary_dilation(np.asarray(case.label) > 0, structure)
    touching = set(np.unique(components[near_label]).tolist())
    free = [number for number in range(1, count + 1) if number not in touching]
    voxels = scipy.ndimage.maximum_position(probability, components, free) if free else []
    places = [(tuple(int(i) for i in voxel), float(probability[voxel])) for voxel in voxels]
    return sorted(places, key=lambda place: (-place[1], place[0]))


def write_hard_negatives(found: HardNegatives, cases: Sequence[PreparedCase], path: Path) -> None:
    """Keep them as JSON, by the names of the cases, for a run that is resumed.

    Raises:
        OutputError: if the file cannot be written.
    """
    rows = [
        {"case": cases[case].name, "voxel": voxel, "peak": float(peak)}
        for case, voxel, peak in zip(found.case, found.voxel, found.peak, strict=True)
    ]
    with replacing() as pending:
        write_json({"hard_negatives": rows}, pending.path(path))


def read_hard_negatives(path: Path, cases: Sequence[PreparedCase]) -> HardNegatives:
    """What `write_hard_negatives` wrote.

    Raises:
        DataError: if it cannot be read, or names a case that is not among `cases`.
    """
    index = {case.name: number for number, case in enumerate(cases)}
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["hard_negatives"]
        case = np.array([index[row["case"]] for row in rows], np.intp)
        voxel = np.array([row["voxel"] for row in rows], np.intp).reshape(-1, 3)
        peak = np.array([row["peak"] for row in rows], np.float64)
    except KeyError as error:
        raise DataError(f"{path}: {error} is missing there or no case of this fold: remove it") from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read the mined false positives {path}: {error}; remove it") from error
    return HardNegatives(case, voxel, peak)
