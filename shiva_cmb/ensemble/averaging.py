"""How the folds' probabilities become one map, with the spread between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import ModelError

AveragingName = Literal["predict_one_file", "shiva_predict", "shiva_predict_multi"]

SMALLEST_KEPT = 0.001
"""SHiVAi sets smaller probabilities to zero."""


ROUNDING = 1e-3
"""How far a probability may leave [0, 1] by low precision."""


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
    folds: Sequence[NDArray[np.float32]],
    mask: NDArray[np.float32] | None,
    averaging: Averaging,
    threshold: float,
) -> EnsembleMaps:
    """Combine the folds.

    Args:
        folds: each fold's probabilities, shape (x, y, z). The arrays are left as they are.
        mask: brain mask with its own values, shape (x, y, z), or None.
        averaging: where mask and cut are applied.
        threshold: a fold agrees where its probability is strictly above this.

    Returns:
        Mean, standard deviation and agreement.

    Raises:
        ValueError: if there is no fold.
        ModelError: if a fold gives something else than probabilities, by its number.
    """
    if not folds:
        raise ValueError("expected at least one fold, got none")
    shape = folds[0].shape
    mean, deviation = np.empty(shape, np.float32), np.empty(shape, np.float32)
    agreement = np.empty(shape, np.uint8)
    # plane by plane: what is worked on stays in the processor's cache, which is several times as fast
    for x in range(shape[0]):
        planes = np.stack([fold[x] for fold in folds])
        _require_probabilities(planes)
        if averaging.cut == "each fold":
            planes[planes < SMALLEST_KEPT] = 0
        if mask is not None and averaging.mask_output == "each fold":
            planes *= mask[x]
        np.mean(planes, axis=0, out=mean[x])
        np.std(planes, axis=0, out=deviation[x])
        np.sum(planes > threshold, axis=0, out=agreement[x])
    if averaging.cut == "mean":
        mean[mean < SMALLEST_KEPT] = 0
    if mask is not None and averaging.mask_output == "mean":
        inside = mask != 0
        for volume in (mean, deviation, agreement):
            volume *= inside
    return EnsembleMaps(mean, deviation, agreement, len(folds))


def _require_probabilities(planes: NDArray[np.float32]) -> None:
    """Refuse what broken weights or a network without its last sigmoid give; shape (folds, y, z)."""
    low, high = planes.min(), planes.max()
    if low >= -ROUNDING and high <= 1 + ROUNDING:  # false where there is a NaN
        return
    for number, plane in enumerate(planes):
        if not (plane.min() >= -ROUNDING and plane.max() <= 1 + ROUNDING):
            raise ModelError(
                f"fold {number} gives values from {plane.min():g} to {plane.max():g}, expected probabilities "
                "in [0, 1]: is the file damaged, or is the last layer no sigmoid?"
            )
