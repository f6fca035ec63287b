"""How well masks agree voxel by voxel and surface by surface, from the lesions' voxels alone."""

from collections.abc import Mapping

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.lesion_set import LesionSet, require_same_grid
from shiva_cmb.evaluation.metrics import weighted
from shiva_cmb.evaluation.metrics.weighted import Measure
from shiva_cmb.imaging.volume import Grid

DEFINITIONS = {
    "dice": "2 TP / (2 TP + FP + FN) over voxels; undefined where truth and prediction are both empty",
    "iou": "TP / (TP + FP + FN) over voxels; undefined where both are empty",
    "precision": "TP / (TP + FP) over voxels; undefined without predicted voxels",
    "sensitivity": "TP / (TP + FN) over voxels; undefined without true voxels",
    "specificity": "TN / (TN + FP) over the voxels judged; undefined if all of them are true",
    "accuracy": "(TP + TN) / voxels judged",
    "kappa": "Cohen's kappa over the voxels judged; undefined where chance agreement is complete",
    "truth_volume_mm3": "volume of the truth",
    "predicted_volume_mm3": "volume of the prediction",
    "volume_difference_mm3": "predicted less true volume",
    "absolute_volume_difference_mm3": "its absolute value",
    "hd95_mm": "larger of the 95th percentiles of the distances from either surface to the other; undefined"
    " where both are empty, infinite where one is",
    "assd_mm": "mean of the distances from all surface voxels of either mask to the other's nearest;"
    " undefined where both are empty, infinite where one is",
}
"""What `voxel_metrics` and `surface_distances` give, one sentence each."""

_UNDEFINED = float("nan")


def voxel_metrics(truth: LesionSet, prediction: LesionSet, region_voxels: int) -> dict[str, float]:
    """Agreement of two masks over the voxels of a region, see `DEFINITIONS`.

    Args:
        truth: what is there.
        prediction: what is judged, on the same grid.
        region_voxels: number of voxels judged (a brain mask's, or the whole image's); both masks lie inside.

    Returns:
        Fractions, volumes in mm3; NaN where undefined.

    Raises:
        ImageError: if the grids differ.
        UsageError: if the masks have more voxels than the region.
    """
    require_same_grid(truth.grid, prediction.grid)
    tp = len(np.intersect1d(truth.voxels, prediction.voxels, assume_unique=True))
    fp, fn = len(prediction.voxels) - tp, len(truth.voxels) - tp
    tn = int(region_voxels) - tp - fp - fn
    if tn < 0:
        raise UsageError(
            f"the region has {region_voxels} voxels, but truth and prediction have {tp + fp + fn}:"
            " leave out what lies outside first"
        )
    n = tp + fp + fn + tn
    # Cohen's kappa, (observed - chance) / (1 - chance), with numerator and denominator times n squared.
    chance = (tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)
    voxel_mm3 = truth.grid.voxel_volume_mm3
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "accuracy": _ratio(tp + tn, n),
        "kappa": _ratio(n * (tp + tn) - chance, n * n - chance),
        "truth_volume_mm3": (tp + fn) * voxel_mm3,
        "predicted_volume_mm3": (tp + fp) * voxel_mm3,
        "volume_difference_mm3": (fp - fn) * voxel_mm3,
        "absolute_volume_difference_mm3": abs(fp - fn) * voxel_mm3,
    }


def surface_distances(truth: LesionSet, prediction: LesionSet) -> dict[str, float]:
    """Distances between the surfaces of two masks in mm, `hd95_mm` and `assd_mm`, see `DEFINITIONS`.

    A mask's surface is those of its voxels with a face neighbour outside the mask or outside the image.
    Distances are between voxel centres in world mm. Only the masks' own voxels are visited.

    Returns:
        NaN if both masks are empty; infinity if one is, so that a median still counts the failure.

    Raises:
        ImageError: if the grids differ.
    """
    require_same_grid(truth.grid, prediction.grid)
    if not len(truth.voxels) or not len(prediction.voxels):
        both = not len(truth.voxels) and not len(prediction.voxels)
        return dict.fromkeys(("hd95_mm", "assd_mm"), _UNDEFINED if both else float("inf"))
    there, judged = (s.grid.to_world(_surface(s.voxels, s.grid)) for s in (truth, prediction))
    to_prediction = scipy.spatial.cKDTree(judged).query(there)[0]
    to_truth = scipy.spatial.cKDTree(there).query(judged)[0]
    return {
        "hd95_mm": float(max(np.percentile(to_prediction, 95), np.percentile(to_truth, 95))),
        "assd_mm": float((to_prediction.sum() + to_truth.sum()) / (len(to_prediction) + len(to_truth))),
    }


def matched_dice(
    pairs: NDArray[np.intp], overlaps: NDArray[np.int64], truth: LesionSet, prediction: LesionSet
) -> NDArray[np.float64]:
    """Dice of every matched pair of lesions, shape (m,); 0 for pairs that were matched by distance only.

    Args:
        pairs: truth index and prediction index of each pair, shape (m, 2), `Matching.pairs`.
        overlaps: shared voxels, shape (n_truth, n_prediction), `Matching.overlaps`.
        truth: what is there.
        prediction: what is judged, on the same grid.
    """
    true, found = pairs.T
    return np.asarray(2.0 * overlaps[true, found] / (truth.sizes[true] + prediction.sizes[found]))


def summary(
    values: Mapping[str, NDArray[np.floating]], weights: NDArray[np.integer] | None = None
) -> dict[str, Measure]:
    """Mean and median over cases, `<name>_mean` and `<name>_median` for every name.

    Args:
        values: one array per figure with the cases along the last axis, NaN where undefined for a case.
        weights: how often each case is drawn, shape (N,) or (B, N).

    Returns:
        Undefined cases are left out of both. An infinite distance counts in the median, and is left out of
        the mean, whose `n` says how many cases are left.
    """
    measures = {}
    for name, of_cases in values.items():
        x = np.asarray(of_cases, np.float64)
        finite = np.where(np.isinf(x), np.nan, x)
        measures[f"{name}_mean"] = weighted.mean(finite, weights)
        measures[f"{name}_median"] = weighted.quantile(x, weights, 0.5)
    return measures


def _ratio(part: float, whole: float) -> float:
    """A fraction, NaN of nothing."""
    return part / whole if whole else _UNDEFINED


def _surface(voxels: NDArray[np.intp], grid: Grid) -> NDArray[np.intp]:
    """Indices of the voxels with a face neighbour outside, shape (s, 3), from flat indices of a mask."""
    flat = np.sort(voxels)
    place = np.stack(np.unravel_index(flat, grid.shape), axis=1)
    exposed = np.zeros(len(flat), bool)
    strides = (grid.shape[1] * grid.shape[2], grid.shape[2], 1)
    for axis, stride in enumerate(strides):
        for step, border in ((-1, 0), (1, grid.shape[axis] - 1)):
            neighbour = flat + step * stride
            slot = np.minimum(np.searchsorted(flat, neighbour), len(flat) - 1)
            # At the border the flat neighbour belongs to another row of the image.
            exposed |= (place[:, axis] == border) | (flat[slot] != neighbour)
    return place[exposed]
