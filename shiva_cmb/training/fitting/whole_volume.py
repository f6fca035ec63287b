"""How good a network is on whole validation volumes, lesion by lesion, while it is trained."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.labels import IGNORED
from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels, lesions_of_mask
from shiva_cmb.evaluation.metrics.curves import best_by_f1, operating_points
from shiva_cmb.evaluation.metrics.weighted import ratio
from shiva_cmb.evaluation.sweep import SweepSettings, sweep_case
from shiva_cmb.imaging import Volume

ProbabilityOf = Callable[[PreparedCase], NDArray[np.float32]]
"""Takes a case and gives its probabilities, shape (x, y, z)."""

VOLUME_FIGURES = (
    "val_lesion_f1",
    "val_lesion_sensitivity",
    "val_lesion_precision",
    "val_fp_per_scan",
    "val_dice",
    "val_threshold",
)
"""What `check_whole_volumes` gives."""

THRESHOLDS = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""Of which the best is taken each time: a network is not worse for being less sure of itself."""

USUAL = THRESHOLDS.index(0.5)
"""Where no threshold finds anything."""


def check_whole_volumes(cases: Sequence[PreparedCase], probability_of: ProbabilityOf) -> dict[str, float]:
    """Predict cases and measure what was found, pooled over all of them.

    A predicted lesion and a true one match if they share a voxel, one to one, as `evaluate` has it. A
    prediction that touches ignored voxels, and no true lesion, counts neither way.

    Args:
        cases: prepared ones, at least one.
        probability_of: predicts a whole case.

    Returns:
        `VOLUME_FIGURES` by name: F1, sensitivity, precision, false positives per scan and the Dice of all
        voxels, at the threshold with the highest F1, and that threshold. F1 and Dice, which choose the best
        epoch, are 0 where they are undefined: without any true and predicted lesion. Sensitivity and
        precision are NaN there.

    Raises:
        ImageError: if it gives something else than probabilities.
    """
    counts, voxels = [], []
    for case in cases:
        probability = probability_of(case)
        lesions, voxel_counts = judge_volume(case, probability)
        counts.append(lesions)
        voxels.append(voxel_counts)
    lesions = np.stack(counts)
    points = operating_points(lesions)
    best = best_by_f1(lesions) if np.nan_to_num(points.f1).max() > 0 else (USUAL, 0, 0)
    tp, fp, fn = np.sum(voxels, axis=0)[best[0]]
    figures = (points.f1[best], points.sensitivity[best], points.precision[best], points.fp_per_scan[best])
    f1, sensitivity, precision, fp_per_scan = (float(value) for value in figures)
    return {
        "val_lesion_f1": 0.0 if np.isnan(f1) else f1,
        "val_lesion_sensitivity": sensitivity,
        "val_lesion_precision": precision,
        "val_fp_per_scan": fp_per_scan,
        "val_dice": float(np.nan_to_num(ratio(2 * tp, 2 * tp + fp + fn))),
        "val_threshold": THRESHOLDS[best[0]],
    }


def judge_volume(
    case: PreparedCase, probability: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compare a map with a case's label at all `THRESHOLDS`.

    Args:
        case: its label, lesions and brain mask; predictions too far outside the brain do not count, as
            `find_lesions` has it.
        probability: shape (x, y, z).

    Returns:
        TP, FP and FN of lesions, shape (thresholds, 1, 1, 3), and of voxels, shape (thresholds, 3).

    Raises:
        ImageError: if the map leaves [0, 1].
    """
    label = case.label[...]
    truth, ignored = _truth(case.lesions, label == IGNORED)
    lesions = sweep_case(
        Volume(probability, truth.grid.affine),
        truth,
        ignored,
        SweepSettings(thresholds=THRESHOLDS, min_volumes_mm3=(0.0,)),
        brain=np.asarray(case.brain) > 0,
    )
    tp = _above(probability[label == 1])
    fp = _above(probability[label == 0])
    return lesions, np.stack([tp, fp, int((label == 1).sum()) - tp], axis=1)


def _truth(lesions: LesionSet, unknown: NDArray[np.bool_]) -> tuple[LesionSet, NDArray[np.bool_]]:
    """The true lesions and, as further ones, the ignored regions, and which are these."""
    if not unknown.any():
        return lesions, np.zeros(len(lesions), bool)
    labels, regions = lesions.labels(), lesions_of_mask(unknown, lesions.grid).labels()
    known = len(lesions)
    both = lesions_of_labels(np.where((labels == 0) & (regions > 0), regions + known, labels), lesions.grid)
    return both, both.names > known


def _above(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many lie above each threshold, shape (thresholds,)."""
    return np.array([int((values > threshold).sum()) for threshold in THRESHOLDS], np.int64)
