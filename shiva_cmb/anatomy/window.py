"""What the anatomy network sees: a window of 2 mm voxels about the head, scaled."""

import numpy as np
from numpy.typing import NDArray

SPACING_MM = 2.0
PERCENTILES = (1.0, 99.0)
"""Of the field of view: become 0 and 1."""


def scaled(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intensities from 0 to 1 by percentiles; 0 outside of the field of view.

    Args:
        values: finite, any shape.
        inside: where the image has values, of the same shape.

    Returns:
        Same shape; all 0 where the image is one value throughout.
    """
    if not inside.any():
        return np.zeros(values.shape, np.float32)
    low, high = np.percentile(values[inside][::3], PERCENTILES)  # every third voxel is enough
    if not high > low:
        return np.zeros(values.shape, np.float32)
    return np.where(inside, np.clip((values - low) / (high - low), 0, 1), 0).astype(np.float32)


def folded(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Eight neighbouring voxels as channels of one: (x, y, z) to (x / 2, y / 2, z / 2, 8)."""
    x, y, z = (n // 2 for n in values.shape)
    return values.reshape(x, 2, y, 2, z, 2).transpose(0, 2, 4, 1, 3, 5).reshape(x, y, z, 8)


def unfolded(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The way back, for any further axes: (x, y, z, 8, ...) to (2 x, 2 y, 2 z, ...)."""
    x, y, z, _, *rest = values.shape
    apart = values.reshape(x, y, z, 2, 2, 2, *rest)
    order = (0, 3, 1, 4, 2, 5, *range(6, 6 + len(rest)))
    return apart.transpose(order).reshape(2 * x, 2 * y, 2 * z, *rest)
