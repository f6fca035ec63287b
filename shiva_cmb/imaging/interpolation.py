"""Interpolation along array axes as small matrices, one per axis, applied by matrix products.

Changing only the voxel size is separable, so a 448 x 448 x 160 image takes half a second where a general
3-D spline takes ten, and smoothing against aliasing costs nothing extra.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

Order = Literal[0, 1, 3]
"""0: nearest voxel (masks, labels); 1: linear (masks that fade); 3: cubic spline (images, probabilities)."""
Outside = Literal["edge", "zero"]
"""Beyond the first and last voxel centre: the edge value, or 0."""
TAIL = 1e-9
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def interpolation_matrix(
    size: int, positions: NDArray[np.float64], order: Order, outside: Outside
) -> NDArray[np.float32]:
    """Weights that take `size` samples to values at `positions` (in samples).

    Returns:
        Shape (len(positions), size). A position within 1e-6 of a sample gives it exactly.
    """
    inside = (positions >= -1e-6) & (positions <= size - 1 + 1e-6)
    clamped = np.clip(positions, 0, size - 1)
    whole = np.minimum(np.floor(clamped + 0.5), size - 1)  # halves up, as in scipy's order 0
    exact = np.abs(clamped - whole) < 1e-6
    if order == 0 or exact.all():
        weights = np.zeros((len(positions), size), dtype=np.float32)
        weights[np.arange(len(positions)), whole.astype(int)] = 1
    else:
        clamped[exact] = whole[exact]
        rows, columns = np.meshgrid(clamped, np.arange(size), indexing="ij")
        weights = scipy.ndimage.map_coordinates(np.eye(size), (rows, columns), order=order, mode="mirror")
        weights = _without_tails(weights)
    if outside == "zero":
        weights[~inside] = 0
    return weights


def smoothing_matrix(size: int, reduction: float) -> NDArray[np.float32]:
    """Gaussian smoothing before sampling `reduction` times more coarsely.

    The width makes a voxel's response as wide as the coarser voxel: FWHM^2 = reduction^2 - 1, in samples
    (Cardoso et al. 2015, "Scale factor point spread function matching", MICCAI).

    Args:
        size: number of samples.
        reduction: new spacing / old spacing, above 1.

    Returns:
        Shape (size, size), rows sum to 1.
    """
    sigma = np.sqrt(reduction**2 - 1) / FWHM_PER_SIGMA
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return _without_tails(weights / weights.sum(axis=1, keepdims=True))


def _without_tails(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Drop weights that float32 sums cannot see: as denormal numbers they slow the products 20 times."""
    return np.where(np.abs(weights) < TAIL, 0, weights).astype(np.float32)


def apply_along_axes(
    data: NDArray[Any], matrices: Sequence[NDArray[np.float32] | None]
) -> NDArray[np.float32]:
    """Multiply each axis by its matrix (None: leave it), the axes that shrink most first.

    Args:
        data: shape (x, y, z), any memory order.
        matrices: per axis, shape (new size, old size).

    Returns:
        float32, one new size per axis, in the memory order of `data`.
    """
    # Work on axes in the order in which they lie in memory, so that the products need no transposed copies.
    memory = sorted(range(3), key=lambda axis: -abs(data.strides[axis]))
    result = np.ascontiguousarray(data.transpose(memory), dtype=np.float32)
    todo = [(axis, m) for axis, source in enumerate(memory) if (m := matrices[source]) is not None]
    for axis, matrix in sorted(todo, key=lambda item: item[1].shape[0] / item[1].shape[1]):
        x, y, z = result.shape
        if axis == 0:
            result = (matrix @ result.reshape(x, y * z)).reshape(-1, y, z)
        elif axis == 1:
            result = np.matmul(matrix, result)
        else:
            result = (result.reshape(x * y, z) @ matrix.T).reshape(x, y, -1)
    return result.transpose(np.argsort(memory))


def pick_along_axes(data: NDArray[Any], matrices: Sequence[NDArray[np.float32] | None]) -> NDArray[Any]:
    """`apply_along_axes` for order 0: indexing, so any type and exact values; rows of zeros give 0."""
    for axis, matrix in enumerate(matrices):
        if matrix is not None:
            data = np.take(data, matrix.argmax(axis=1), axis=axis)
            empty = ~matrix.any(axis=1)
            if empty.any():
                data[(slice(None),) * axis + (empty,)] = 0
    return data
