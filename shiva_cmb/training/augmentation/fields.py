"""Products with one small matrix per axis: smooth random fields, blur, thick slices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray


def along_axes(data: Any, matrices: Sequence[Any]) -> Any:
    """Multiply along each axis of space.

    Args:
        data: (batch, planes, x, y, z).
        matrices: per axis (new size, old size), or one for each sample (batch, new size, old size).

    Returns:
        (batch, planes, ...) with the new sizes.
    """
    first, second, third = (m if len(m.shape) == 3 else m[None] for m in map(ops.convert_to_tensor, matrices))
    planes, x, y, z = data.shape[1:]
    data = ops.matmul(first[:, None], ops.reshape(data, (-1, planes, x, y * z)))
    x = first.shape[1]
    data = ops.matmul(second[:, None], ops.reshape(data, (-1, planes * x, y, z)))
    y = second.shape[1]
    data = ops.matmul(ops.reshape(data, (-1, planes * x * y, z)), ops.swapaxes(third, 1, 2))
    return ops.reshape(data, (-1, planes, x, y, third.shape[1]))


def spline_matrices(
    shape: Sequence[int], spacing_mm: Sequence[float], smoothness_mm: float
) -> list[NDArray[np.float32]]:
    """From normal random numbers at knots to a smooth field: cubic B-splines.

    Rows have length 1, so that knots of standard deviation 1 give a field of standard deviation 1 everywhere.

    Args:
        shape: voxels per axis.
        spacing_mm: their size.
        smoothness_mm: distance of the knots.

    Returns:
        Per axis (voxels, knots).
    """
    matrices = []
    for size, spacing in zip(shape, spacing_mm, strict=True):
        step = max(smoothness_mm / spacing, 1.0)
        knots = int((size - 1) / step) + 4
        distance = np.abs(np.arange(size)[:, None] / step + 1.0 - np.arange(knots))
        near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
        far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
        weights = np.where(distance < 1.0, near, far)
        matrices.append((weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32))
    return matrices


def blur_matrix(size: int, sigma_voxels: Any) -> Any:
    """A Gaussian blur along one axis, which keeps constants at the borders too.

    Args:
        size: voxels.
        sigma_voxels: per sample (batch,); 0 changes nothing.

    Returns:
        float32 (batch, size, size).
    """
    index = ops.arange(size, dtype="float32")
    sigma = ops.maximum(sigma_voxels, 1e-3)[:, None, None]  # below any distance: the identity
    weights = ops.exp(-0.5 * ((index[:, None] - index[None]) / sigma) ** 2)
    return weights / ops.sum(weights, axis=2, keepdims=True)


def slab_matrix(size: int, thickness_voxels: Any, start: Any, interpolated: Any) -> Any:
    """Average over slabs of voxels along one axis, brought back to the voxels.

    Args:
        size: voxels.
        thickness_voxels: of the slabs per sample (batch,); thinner than a voxel is taken as one voxel.
        start: how far into a slab the first voxel lies (batch,), as a fraction of the slab.
        interpolated: bool (batch,): linearly between the slabs' middles, or each slab repeated.

    Returns:
        float32 (batch, size, size). Where slabs are repeated, the image's mean is kept.
    """
    index = ops.arange(size, dtype="float32")
    thickness_voxels = ops.maximum(thickness_voxels, 1.01)  # no slab without a voxel, rounding included
    place = (index + 0.5) / thickness_voxels[:, None] + start[:, None]  # in slabs
    slab = ops.floor(place)
    after = place - 0.5
    lower = ops.where(interpolated[:, None], ops.floor(after), slab)
    part = ops.where(interpolated[:, None], after - ops.floor(after), 0.0)[:, :, None]
    first, last = slab[:, :1], slab[:, -1:]

    def mean_of(which: Any) -> Any:
        which = ops.clip(which, first, last)[:, :, None]
        whole = ops.cast(ops.equal(which, slab[:, None]), "float32")
        # Voxels on a border between slabs count in both by their parts, so that slabs lie where they should.
        begin, end = (place + side * 0.5 / thickness_voxels[:, None] for side in (-1.0, 1.0))
        parts = ops.minimum(end[:, None], which + 1.0) - ops.maximum(begin[:, None], which)
        weights = ops.where(interpolated[:, None, None], ops.maximum(parts, 0.0), whole)
        return weights / ops.sum(weights, axis=2, keepdims=True)

    return (1.0 - part) * mean_of(lower) + part * mean_of(lower + 1.0)
