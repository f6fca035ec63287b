"""Intensity scaling: each scheme has a name that is stored with the model it was used for."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, UsageError

SHIVAI_CEILING = 1.3
"""SHiVAi cuts at 1.3 times the percentile and divides by it, so the percentile ends at 0.769."""


@dataclass(frozen=True)
class Scaling:
    """How image values become network input."""

    scheme: Literal["p99", "shivai", "zscore"] = "p99"
    """`p99`: minimum to 0, the brain's percentile to 1, cut there (READMEs of the SHIVA models). `shivai`:
    divided by the brain's percentile, cut at 1.3, divided by 1.3 (the SHiVAi pipeline). `zscore`: the brain's
    mean to 0 and its standard deviation to 1."""
    percentile: float = 99.0
    """Of the brain's voxels; not used by `zscore`."""

    def __post_init__(self) -> None:
        if self.scheme not in ("p99", "shivai", "zscore"):
            raise UsageError(f"unknown scaling {self.scheme!r}: expected p99, shivai or zscore")
        if not 0 < self.percentile <= 100:
            raise UsageError(f"expected a percentile above 0 and up to 100, got {self.percentile}")


def scale_intensity(
    data: NDArray[Any], brain: NDArray[np.bool_] | None, scaling: Scaling
) -> NDArray[np.float32]:
    """Scale a whole image by the values of its brain.

    Args:
        data: finite values, shape (x, y, z). Not changed. `shivai` also takes NaN, as 0.
        brain: same shape; None takes all voxels.
        scaling: see `Scaling`.

    Returns:
        float32 in [0, 1], or around 0 for `zscore`; everything outside the brain is scaled alike.

    Raises:
        ImageError: if the brain is empty, or its percentile or spread is 0 or not a number.
    """
    values = data[brain] if brain is not None else data.ravel()
    if values.size == 0:
        raise ImageError("the brain mask is empty: no voxel to take the intensity scale from")
    scaled = np.array(data, dtype=np.float32)
    if scaling.scheme == "zscore":
        mean, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        _require_spread(spread, "standard deviation")
        scaled -= np.float32(mean)
        scaled /= np.float32(spread)
        return scaled
    if scaling.scheme == "shivai":
        values = np.maximum(np.nan_to_num(values), 0)
        np.nan_to_num(scaled, copy=False)
        np.maximum(scaled, 0, out=scaled)
        top = float(np.percentile(values, scaling.percentile))
        _require_spread(top, f"{scaling.percentile:g}th percentile")
        scaled /= np.float32(top)
        np.minimum(scaled, np.float32(SHIVAI_CEILING), out=scaled)
        scaled /= np.float32(SHIVAI_CEILING)
        return scaled
    low = float(scaled.min())
    span = float(np.percentile(values, scaling.percentile)) - low
    _require_spread(span, f"{scaling.percentile:g}th percentile above the image's minimum")
    scaled -= np.float32(low)
    scaled /= np.float32(span)
    return np.clip(scaled, 0, 1, out=scaled)


def _require_spread(value: float, what: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise ImageError(
            f"the {what} of the brain's values is {value:g}, expected above 0: check the image and its mask"
        )
