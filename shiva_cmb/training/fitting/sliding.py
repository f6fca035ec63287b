"""A whole volume through a network that sees less of it at a time: overlapping windows, and their mean."""

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError

Shape = tuple[int, int, int]

Predict = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Takes windows (n, x, y, z, channels), n always the same; gives one value per voxel, (n, x, y, z)."""

LEAST_WEIGHT = 1e-12
"""Of a voxel far from the middle of a window: one that a single window covers still has a mean."""


def window_starts(size: int, window: int, overlap: float) -> tuple[int, ...]:
    """Where windows begin along one axis, spread evenly: the first at 0, the last flush with the end.

    Args:
        size: voxels of the image.
        window: voxels of a window, at most `size`.
        overlap: least share of a window that it has in common with the next, 0 to below 1; a step is at least
            one voxel.

    Returns:
        Rising, none twice; each voxel is in at least one window.

    Raises:
        UsageError: if the window does not fit, or the overlap is out of range.
    """
    if not 1 <= window <= size:
        raise UsageError(f"expected a window of 1 to {size} voxels, the size of the image, got {window}")
    if not 0 <= overlap < 1:
        raise UsageError(f"expected an overlap of windows of 0 to below 1, got {overlap}")
    step = max(1, int(window * (1.0 - overlap)))
    steps = math.ceil((size - window) / step)
    return tuple((size - window) * index // steps for index in range(steps + 1)) if steps else (0,)


def gaussian_weights(window: Shape, sigma_fraction: float = 0.125) -> NDArray[np.float32]:
    """How much each voxel of a window counts: 1 in the middle, less where the network sees less around.

    Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based biomedical image
    segmentation", has the same standard deviation.

    Args:
        window: its voxels along each axis.
        sigma_fraction: standard deviation relative to the window.

    Returns:
        Shape `window`, above 0 everywhere.
    """
    weights = np.ones(window)
    for axis, size in enumerate(window):
        squares = ((np.arange(size) - (size - 1) / 2.0) / (sigma_fraction * size)) ** 2
        falling = np.exp(-0.5 * (squares - squares.min()))
        weights *= falling.reshape([-1 if other == axis else 1 for other in range(3)])
    return np.maximum(weights, LEAST_WEIGHT).astype(np.float32)


def slide(
    predict: Predict,
    image: NDArray[np.float32],
    window: Shape,
    *,
    overlap: float = 0.5,
    batch_size: int = 1,
) -> NDArray[np.float32]:
    """Predict every voxel of an image, most from several windows.

    Args:
        predict: see `Predict`. The last batch is filled up, so that no other shape has to be compiled.
        image: shape (x, y, z, channels).
        window: voxels that `predict` takes along each axis.
        overlap: see `window_starts`.
        batch_size: windows at a time.

    Returns:
        The mean of what the windows say, weighted by `gaussian_weights`, shape (x, y, z).

    Raises:
        UsageError: see `window_starts`.
    """
    sizes = image.shape[:3]
    along = (window_starts(*pair, overlap) for pair in zip(sizes, window, strict=True))
    places = [
        tuple(slice(first, first + n) for first, n in zip(corner, window, strict=True))
        for corner in itertools.product(*along)
    ]
    weights = gaussian_weights(window)
    total, weight = np.zeros(sizes, np.float32), np.zeros(sizes, np.float32)
    for first in range(0, len(places), batch_size):
        part = places[first : first + batch_size]
        batch = np.zeros((batch_size, *window, image.shape[3]), np.float32)
        for row, place in enumerate(part):
            batch[row] = image[place]
        for place, values in zip(part, predict(batch), strict=False):  # what fills up is left out
            total[place] += weights * values
            weight[place] += weights
    return total / weight
