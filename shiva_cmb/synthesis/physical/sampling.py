"""Matrices that take values from one row of voxels to another, and smooth random fields made with them."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def overlaps(starts: NDArray[np.floating], width: float, count: int, step: float) -> Matrix:
    """Average over intervals of a row of voxels.

    Args:
        starts: where each interval starts, in mm; the row starts at 0.
        width: of the intervals, mm.
        count: voxels of the row.
        step: their size, mm.

    Returns:
        Shape (len(starts), count); rows sum to 1, or less where the interval leaves the row.
    """
    left = np.arange(count) * step
    begin = np.maximum(starts[:, None], left[None])
    end = np.minimum(starts[:, None] + width, left[None] + step)
    return (np.clip(end - begin, 0, None) / width).astype(np.float32)


def gaussian_refinement(count: int, sigma: float) -> Matrix:
    """Blur by a Gaussian (sigma in voxels) and double the resolution: shape (2 count, count)."""
    place = (np.arange(2 * count) - 0.5) / 2
    weight = np.exp(-0.5 * ((place[:, None] - np.arange(count)[None]) / sigma) ** 2)
    weight[weight < 1e-3] = 0
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def cubic_refinement(count: int) -> Matrix:
    """Double the resolution by Catmull-Rom interpolation: shape (2 count, count)."""
    place = (np.arange(2 * count) - 0.5) / 2
    matrix = np.zeros((2 * count, count + 4))
    for row, at in enumerate(place):
        first = int(np.floor(at))
        t = at - first
        matrix[row, first + 1 : first + 5] = (
            (-t + 2 * t**2 - t**3) / 2,
            (2 - 5 * t**2 + 3 * t**3) / 2,
            (t + 4 * t**2 - 3 * t**3) / 2,
            (t**3 - t**2) / 2,
        )
    matrix[:, 2] += matrix[:, 0] + matrix[:, 1]  # beyond the ends the last value goes on
    matrix[:, -3] += matrix[:, -1] + matrix[:, -2]
    return matrix[:, 2:-2].astype(np.float32)


def along_axes(data: NDArray[np.float32], x: Matrix, y: Matrix, z: Matrix) -> NDArray[np.float32]:
    """Apply one matrix along each axis of an array (x, y, z)."""
    data = (x @ data.reshape(data.shape[0], -1)).reshape(x.shape[0], *data.shape[1:])
    return np.matmul(y, data) @ z.T


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], knot: float, sigma: float
) -> NDArray[np.float32]:
    """A smooth random field of the given standard deviation; `knot` is its grain in voxels."""
    counts = [int(np.ceil(n / knot)) + 3 for n in shape]
    values = rng.standard_normal(counts).astype(np.float32)
    matrices = []
    for n, count in zip(shape, counts, strict=True):
        place = 1 + np.arange(n) / knot
        weight = np.exp(-2.0 * (place[:, None] - np.arange(count)[None]) ** 2)
        # rows of unit length keep the variance that of the knots
        matrices.append((weight / np.linalg.norm(weight, axis=1, keepdims=True)).astype(np.float32))
    return np.float32(sigma) * along_axes(values, *matrices)
