"""From a probability map to lesions: threshold, label, filter, measure."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.imaging.volume import Grid, Volume
from shiva_cmb.lesions import shape
from shiva_cmb.lesions.criteria import DropReason, LesionCriteria
from shiva_cmb.lesions.neighbours import neighbours
from shiva_cmb.lesions.table import Lesion, LesionTable


@dataclass(frozen=True, eq=False)
class FoundLesions:
    """Lesions, and where they are."""

    table: LesionTable
    """One row per lesion, most probable first (then larger, then first in the array)."""
    labels: Volume
    """Label k marks row k - 1 of the table, 0 is none; int16, or int32 above 32767 lesions."""
    dropped: dict[str, int]
    """How many components are no lesions, by the first reason that applies (`DropReason`)."""


@dataclass(frozen=True, eq=False)
class _Components:
    """Connected voxels above the threshold, sorted by component; arrays have one entry per component."""

    grid: Grid
    labels: NDArray[np.int32]
    """Component numbers from 1, shape of the grid."""
    voxels: NDArray[np.intp]
    """Indices of all voxels, shape (voxels, 3), grouped by component."""
    starts: NDArray[np.intp]
    """First row of each component in `voxels`."""
    sizes: NDArray[np.intp]
    """Number of voxels."""

    def values(self, data: NDArray[Any]) -> NDArray[Any]:
        """The values of an array at the voxels, grouped by component."""
        return data[tuple(self.voxels.T)]

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum per component of values per voxel, shape (components, ...)."""
        return np.add.reduceat(values.astype(np.float64), self.starts, axis=0)


def find_lesions(
    probability: Volume,
    criteria: LesionCriteria | None = None,
    *,
    image: Volume | None = None,
    brain: NDArray[np.bool_] | None = None,
    agreement: Volume | None = None,
    folds: int | None = None,
) -> FoundLesions:
    """Threshold, label and measure.

    Args:
        probability: map in [0, 1], shape (x, y, z), any affine.
        criteria: see `LesionCriteria`; the defaults if left out.
        image: intensities on the same grid, for the contrast.
        brain: mask of the same shape; lesions that lie too far outside are dropped.
        agreement: number of folds above their threshold in each voxel, on the same grid.
        folds: number of folds behind `agreement`.

    Returns:
        One row per lesion, centroids in world millimetres (RAS) and voxels; their labels; what was dropped.

    Raises:
        ImageError: if the map leaves [0, 1], or another volume is not on its grid.
        UsageError: if `agreement` counts more than `folds`.
    """
    criteria = criteria or LesionCriteria()
    _check(probability, image, brain, agreement)
    brain = None if brain is None else brain.astype(bool, copy=False)
    components = _label(probability, criteria)
    dropped = dict.fromkeys(get_args(DropReason), 0)
    if not len(components.sizes):
        return FoundLesions(LesionTable(), probability.with_data(components.labels.astype(np.int16)), dropped)

    probabilities = components.values(probability.data)
    peaks = np.maximum.reduceat(probabilities, components.starts)
    keep = np.ones(len(peaks), bool)
    for reason, fails in _failures(components, peaks, brain, criteria).items():
        dropped[reason] = int((keep & fails).sum())
        keep &= ~fails

    order = np.lexsort((-components.sizes, -peaks))
    order = order[keep[order]]
    renumber = np.zeros(len(peaks) + 1, np.int16 if len(order) < 2**15 else np.int32)
    renumber[order + 1] = np.arange(1, len(order) + 1)
    agreeing: list[int | None] = [None] * len(order)
    if agreement is not None:
        most = np.maximum.reduceat(components.values(agreement.data), components.starts)[order]
        agreeing = [int(value) for value in np.rint(most)]
        if folds is not None and any(value is not None and value > folds for value in agreeing):
            raise UsageError(f"the agreement map counts {max(most)} folds, but there are {folds}")
    means = components.total(probabilities) / components.sizes
    lesions = _measure(components, order, image, brain)
    table = tuple(
        Lesion(
            **lesion,
            mean_probability=float(means[row]),
            max_probability=float(peaks[row]),
            folds_agreeing=count,
            folds=None if agreement is None else folds,
        )
        for lesion, row, count in zip(lesions, order, agreeing, strict=True)
    )
    return FoundLesions(LesionTable(table), probability.with_data(renumber[components.labels]), dropped)


def require_probabilities(data: NDArray[Any]) -> None:
    """Refuse a map that would give wrong lesions without a word; a little overshoot is forgiven.

    Raises:
        ImageError: if a value lies outside [0, 1] or is not a number.
    """
    low, high = float(data.min()), float(data.max())
    if not (low >= -1e-3 and high <= 1.0 + 1e-3):  # also catches NaN
        raise ImageError(f"expected probabilities in [0, 1], got values from {low:g} to {high:g}")


def too_small(volumes_mm3: NDArray[np.floating], min_volume_mm3: float) -> NDArray[np.bool_]:
    """Which volumes are below the minimum. One of exactly the minimum is not, however the affine rounds."""
    return volumes_mm3 < min_volume_mm3 * (1 - 1e-5)


def too_far_outside(
    outside: NDArray[np.number], sizes: NDArray[np.integer], criteria: LesionCriteria
) -> NDArray[np.bool_]:
    """Which components have too many of their voxels outside the brain."""
    return np.asarray(outside > criteria.max_outside_fraction * sizes)


def _check(
    probability: Volume, image: Volume | None, brain: NDArray[np.bool_] | None, agreement: Volume | None
) -> None:
    """Refuse what would give wrong lesions without a word."""
    require_probabilities(probability.data)
    for name, volume in (("image", image), ("agreement map", agreement)):
        if volume is not None and not volume.grid.matches(probability.grid):
            raise ImageError(
                f"the {name} ({volume.shape}) is not on the grid of the probability map"
                f" ({probability.shape}): resample one to the other first"
            )
    if brain is not None and brain.shape != probability.shape:
        raise ImageError(f"expected a brain mask of shape {probability.shape}, got {brain.shape}")


def _label(probability: Volume, criteria: LesionCriteria) -> _Components:
    """Connected components of the voxels strictly above the threshold."""
    above = probability.data > criteria.threshold
    labels = np.zeros(above.shape, np.int32)
    box = _bounding_box(above)
    scipy.ndimage.label(above[box], neighbours(criteria.connectivity), output=labels[box])
    voxels = np.argwhere(above)
    numbers = labels[above]
    voxels = voxels[np.argsort(numbers, kind="stable")]
    sizes = np.bincount(numbers)[1:] if len(numbers) else np.zeros(0, np.intp)
    starts = np.cumsum(sizes) - sizes
    return _Components(probability.grid, labels, voxels, starts, sizes)


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Where a mask is not empty: labelling only there spares the background."""
    box = []
    for axis in range(3):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(hits[0]), int(hits[-1]) + 1) if hits.size else slice(0, 0))
    return tuple(box)


def _failures(
    components: _Components,
    peaks: NDArray[np.floating],
    brain: NDArray[np.bool_] | None,
    criteria: LesionCriteria,
) -> dict[DropReason, NDArray[np.bool_]]:
    """Which components fail for which reason, each shape (components,)."""
    volumes = components.sizes * components.grid.voxel_volume_mm3
    failures: dict[DropReason, NDArray[np.bool_]] = {"small": too_small(volumes, criteria.min_volume_mm3)}
    if criteria.peak_threshold is not None:
        failures["low peak"] = ~(peaks > criteria.peak_threshold)
    if brain is not None:
        outside = components.total(~components.values(brain))
        failures["outside the brain"] = too_far_outside(outside, components.sizes, criteria)
    return failures


def _measure(
    components: _Components,
    order: NDArray[np.intp],
    image: Volume | None,
    brain: NDArray[np.bool_] | None,
) -> list[dict[str, Any]]:
    """Place, size and shape of the components named by `order` (from 0), the values of `Lesion` by name."""
    grid = components.grid
    centroids = components.total(components.voxels) / components.sizes[:, None]
    world = grid.to_world(centroids)
    elongations = shape.elongations(components.voxels, components.sizes, grid.affine)
    boxes = scipy.ndimage.find_objects(components.labels)
    lesions = []
    for number, row in enumerate(order, start=1):
        box = boxes[row]
        volume_mm3 = float(components.sizes[row] * grid.voxel_volume_mm3)
        diameter_mm = shape.equivalent_diameter_mm(volume_mm3)
        lesions.append(
            {
                "lesion": number,
                **dict(zip(("x_mm", "y_mm", "z_mm"), world[row].tolist(), strict=True)),
                **dict(zip("ijk", centroids[row].tolist(), strict=True)),
                "n_voxels": int(components.sizes[row]),
                "volume_mm3": volume_mm3,
                "equivalent_diameter_mm": diameter_mm,
                "max_diameter_mm": shape.max_diameter_mm(components.labels[box] == row + 1, grid.affine),
                "size_flag": shape.size_flag(diameter_mm),
                "elongation": float(elongations[row]),
                "contrast": None if image is None else _contrast(components, row, box, image, brain),
            }
        )
    return lesions


def _contrast(
    components: _Components,
    row: int,
    box: shape.Box,
    image: Volume,
    brain: NDArray[np.bool_] | None,
) -> float | None:
    """Contrast of one component against brain that is in no component."""
    around = shape.shell_box(box, image.shape, image.spacing_mm)
    labels = components.labels[around]
    usable = labels == 0 if brain is None else (labels == 0) & brain[around]
    return shape.contrast(image.data[around], labels == row + 1, usable, image.spacing_mm)
