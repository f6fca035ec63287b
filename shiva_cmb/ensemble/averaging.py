"""How the folds' probabilities become one map, with the spread between them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

AveragingName = Literal["predict_one_file", "shiva_predict", "shiva_predict_multi"]

SMALLEST_KEPT = 0.001
"""SHiVAi sets smaller probabilities to zero."""


@dataclass(frozen=True)
class Averaging:
    """When the brain mask and the small-value cut are applied."""

    mask_input: bool
    """The image is multiplied by the mask before the network sees it."""
    cut: Literal["never", "each fold", "mean"]
    """Where probabilities under `SMALLEST_KEPT` become zero."""
    mask_output: Literal["each fold", "mean"]
    """Each fold's map is multiplied by the mask's own values, or the mean by the mask made binary."""


AVERAGING: dict[AveragingName, Averaging] = {
    "predict_one_file": Averaging(mask_input=True, cut="never", mask_output="each fold"),
    "shiva_predict": Averaging(mask_input=True, cut="mean", mask_output="each fold"),
    "shiva_predict_multi": Averaging(mask_input=False, cut="each fold", mask_output="mean"),
}
"""The three variants in use, by the name of the published script that has them. All weigh folds equally."""


@dataclass(frozen=True, eq=False)
class EnsembleMaps:
    """What the folds say together. Arrays of shape (x, y, z)."""

    mean: NDArray[np.float32]
    """Mean probability."""
    deviation: NDArray[np.float32]
    """Standard deviation between the folds (of the population: 0 for one fold)."""
    agreement: NDArray[np.uint8]
    """How many folds are above the threshold."""
    n_folds: int
    """How many folds there were."""


def average_folds(
    outputs: Iterable[NDArray[np.float32]],
    mask: NDArray[np.float32] | None,
    averaging: Averaging,
    threshold: float,
) -> EnsembleMaps:
    """Combine the folds one by one, holding no more than one of them.

    Args:
        outputs: each fold's probabilities, shape (x, y, z). The arrays are left as they are.
        mask: brain mask with its own values, shape (x, y, z), or None.
        averaging: where mask and cut are applied.
        threshold: a fold agrees where its probability is strictly above this.

    Returns:
        Mean, standard deviation and agreement.

    Raises:
        ValueError: if there is no fold.
    """
    n_folds = 0
    for fold in outputs:
        if averaging.cut == "each fold":
            fold = np.where(fold < SMALLEST_KEPT, np.float32(0), fold)
        if mask is not None and averaging.mask_output == "each fold":
            fold = fold * mask
        n_folds += 1
        if n_folds == 1:
            mean = np.array(fold, dtype=np.float32)
            squares = np.zeros_like(mean)
            agreement = (fold > threshold).astype(np.uint8)
            continue
        # Welford's update: the plain sum of squares loses its digits where all folds are nearly equal
        delta = fold - mean
        mean += delta / np.float32(n_folds)
        squares += delta * (fold - mean)
        agreement += fold > threshold
    if n_folds == 0:
        raise ValueError("expected at least one fold, got none")
    if averaging.cut == "mean":
        mean[mean < SMALLEST_KEPT] = 0
    if mask is not None and averaging.mask_output == "mean":
        inside = mask.astype(bool)
        mean *= inside
        squares *= inside
        agreement *= inside
    return EnsembleMaps(mean, np.sqrt(squares / np.float32(n_folds)), agreement, n_folds)
