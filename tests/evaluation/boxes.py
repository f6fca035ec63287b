"""Small lesions with sizes and places that can be checked by hand."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels
from shiva_cmb.imaging.volume import Grid

Box = tuple[slice | int, slice | int, slice | int]


def grid(
    shape: tuple[int, int, int] = (20, 16, 12), spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Grid:
    """A grid whose axes are the world's."""
    return Grid(shape, np.diag([*spacing, 1.0]))


def bar(first: int, last: int, y: int = 5, z: int = 5) -> Box:
    """Voxels `first` to `last`, both included, in one row along x: the centroid is half-way between."""
    return slice(first, last + 1), y, z


def dot(x: int, y: int = 5, z: int = 5) -> Box:
    """One voxel."""
    return bar(x, x, y, z)


def lesions(*boxes: Box, on: Grid | None = None) -> LesionSet:
    """One lesion per box, in that order."""
    on = on or grid()
    labels = np.zeros(on.shape, np.int16)
    for number, box in enumerate(boxes, start=1):
        labels[box] = number
    return lesions_of_labels(labels, on)


def scattered(rng: np.random.Generator, shape: tuple[int, int, int], count: int) -> NDArray[np.int16]:
    """Labels of up to `count` lesions in loose voxels: many touch, and many tie."""
    labels = rng.integers(1, count + 1, shape) if count else np.zeros(shape)
    return (labels * (rng.random(shape) < 0.3)).astype(np.int16)
