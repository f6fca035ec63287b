"""Whether probabilities mean what they say: reliability and expected calibration error.

What is judged, voxels or predicted lesions, is sorted into ten equal bins of [0, 1] per case, and the bins of
the cases are added up. See `weighted` for `weights`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import ImageError
from shiva_cmb.evaluation.metrics.weighted import Measure, pooled, ratio

BINS = 10
"""Number of equal bins of [0, 1]; each holds its upper edge, the first 0 too."""

DEFINITIONS: dict[str, str] = {
    "expected_calibration_error_voxels": "Voxels above the lowest threshold of the sweep in ten equal bins of"
    " probability: mean over voxels of the absolute difference between the mean probability and the fraction"
    " of truth voxels of their bin.",
    "expected_calibration_error_lesions": "Predicted lesions in ten equal bins of their highest probability:"
    " mean over lesions of the absolute difference between the mean probability and the fraction of true"
    " positives of their bin.",
}
"""One sentence for every figure: `expected_calibration_error` of voxels and of lesions."""


class Reliability(NamedTuple):
    """One reliability curve; each (..., 10), NaN for empty bins."""

    probability: NDArray[np.float64]
    """Mean probability in the bin."""
    truth: NDArray[np.float64]
    """Fraction of truth in the bin."""
    n: NDArray[np.float64]
    """Number of voxels or lesions in the bin."""


def case_bins(probability: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Bins of one case, shape (10, 3): number, sum of probabilities, number that are truth.

    Args:
        probability: of the voxels or lesions to judge, shape (V,), in [0, 1].
        truth: whether each belongs to, or is, a truth lesion; shape (V,).

    Raises:
        ImageError: if the shapes differ, or a value is not a probability.
    """
    if probability.shape != truth.shape:
        raise ImageError(
            f"expected as many truth values as probabilities, got {truth.shape} and {probability.shape}"
        )
    bins = np.zeros((BINS, 3))
    if probability.size == 0:
        return bins
    low, high = float(probability.min()), float(probability.max())
    if not (low >= -1e-3 and high <= 1.0 + 1e-3):  # also catches NaN
        raise ImageError(f"expected probabilities in [0, 1], got values from {low:g} to {high:g}")
    inside = truth.astype(bool, copy=False)
    upper = probability > 1 / BINS  # few voxels: only these need a bin number
    rest = probability[~upper]
    bins[0] = len(rest), rest.sum(dtype=np.float64), np.count_nonzero(inside & ~upper)
    values = probability[upper]
    place = np.clip(np.ceil(values * BINS).astype(np.intp) - 1, 0, BINS - 1)
    bins[:, 0] += np.bincount(place, minlength=BINS)
    bins[:, 1] += np.bincount(place, values, BINS)
    bins[:, 2] += np.bincount(place, inside[upper], BINS)
    return bins


def expected_calibration_error(bins: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Expected calibration error over all bins of all cases; NaN if they are empty.

    Args:
        bins: of each case, shape (N, 10, 3) or (B, N, 10, 3).
        weights: how often each case is drawn.

    Returns:
        The error, and the number of cases.

    Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
    2015.
    """
    added = pooled(bins, weights, 2)
    gaps = np.abs(added.value[..., 1] - added.value[..., 2]).sum(axis=-1)
    return Measure(ratio(gaps, added.value[..., 0].sum(axis=-1)), added.n)


def reliability(bins: ArrayLike, weights: ArrayLike | None = None) -> Reliability:
    """Mean probability, fraction of truth and number of each bin, over all cases.

    Args:
        bins: of each case, shape (N, 10, 3) or (B, N, 10, 3).
        weights: how often each case is drawn.
    """
    n, probability, truth = np.moveaxis(pooled(bins, weights, 2).value, -1, 0)
    return Reliability(ratio(probability, n), ratio(truth, n), n)
