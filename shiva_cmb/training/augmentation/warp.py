"""Affine and elastic changes of space: one displacement, one resampling of image, brain and label."""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from shiva_cmb.dataset.labels import IGNORED
from shiva_cmb.training.augmentation.draws import Draws, change_drawn, per_sample
from shiva_cmb.training.augmentation.fields import along_axes, spline_matrices
from shiva_cmb.training.augmentation.settings import Affine, Elastic

LESION = 1
"""Value of lesions in the label."""

LEAST_LEFT = 0.15
"""A peak of an interpolated lesion that is at least so high stays a lesion.

A lesion of one voxel can fall between all the voxels it is sampled at. Nearest neighbours lose 4 % of those
under the affine changes of `heavy` (11 % up to 20 degrees and 15 %); with their peaks kept, under 1 %.
Lesions from 3 voxels on are not lost, and keep their volume within 2 %. Interpolation cut at 0.5 loses 70 %
of single voxels and a fifth of the volume at 10 voxels."""


class Warp:
    """Random changes of space for volumes of one size.

    Args:
        affine: rotation, scale and shear.
        elastic: smooth displacement.
        shape: voxels along x, y, z; at least 2.
        spacing_mm: voxel size.
    """

    def __init__(
        self, affine: Affine, elastic: Elastic, shape: Sequence[int], spacing_mm: Sequence[float]
    ) -> None:
        self._affine, self._elastic = affine, elastic
        self._shape, self._spacing_mm = tuple(shape), tuple(spacing_mm)
        self._splines = spline_matrices(shape, spacing_mm, elastic.smoothness_mm)

    def __call__(self, planes: Any, draws: Draws) -> Any:
        """Change the samples that draw one of the two.

        Args:
            planes: (batch, channels + 2, x, y, z): image channels, brain, label.
            draws: random numbers.
        """
        bent = draws.chance(self._elastic.probability)
        moved = draws.chance(self._affine.probability)
        matrices = self._matrices(draws, moved)
        knots = draws.normal(3, *(spline.shape[1] for spline in self._splines))
        size_mm = ops.where(bent, draws.uniform(0.0, self._elastic.displacement_mm), 0.0)

        def warped(planes: Any, matrices: Any, knots: Any, size_mm: Any) -> Any:
            return resample(planes, self._places(matrices, knots, size_mm))

        return change_drawn(ops.logical_or(bent, moved), warped, planes, matrices, knots, size_mm)

    def _matrices(self, draws: Draws, moved: Any) -> Any:
        """(batch, row, column): from an offset to the middle to where its value comes from, in voxels; the
        identity for samples that are not moved."""
        how = self._affine
        turn = math.radians(how.rotation_degrees)
        angles = draws.uniform(-turn, turn, 3)
        scales = 1.0 + draws.uniform(-how.scale_fraction, how.scale_fraction, 3)
        shears = draws.uniform(-how.shear_fraction, how.shear_fraction, 3, 3)
        cosine, sine = ops.cos(angles), ops.sin(angles)
        product = [[scales[:, j] if i == j else shears[:, i, j] for j in range(3)] for i in range(3)]
        for axis in range(3):  # about each axis in turn, in millimetres
            a, b = (axis + 1) % 3, (axis + 2) % 3
            c, s = cosine[:, axis], sine[:, axis]
            product[a], product[b] = (
                [c * product[a][j] - s * product[b][j] for j in range(3)],
                [s * product[a][j] + c * product[b][j] for j in range(3)],
            )
        spacing = self._spacing_mm
        rows = [
            [ops.where(moved, product[i][j] * (spacing[j] / spacing[i]), float(i == j)) for j in range(3)]
            for i in range(3)
        ]
        return ops.stack([ops.stack(row, axis=1) for row in rows], axis=1)

    def _places(self, matrices: Any, knots: Any, size_mm: Any) -> list[Any]:
        """Where the value of each voxel comes from, in voxels: three of (batch, x, y, z)."""
        offsets = []
        for axis, size in enumerate(self._shape):
            line = ops.arange(size, dtype="float32") - (size - 1) / 2
            offsets.append(ops.reshape(line, [-1 if axis == other else 1 for other in range(3)]))
        bend = along_axes(knots, self._splines) * per_sample(size_mm)
        places = []
        for i, size in enumerate(self._shape):
            terms = [ops.reshape(matrices[:, i, j], (-1, 1, 1, 1)) * offsets[j] for j in range(3)]
            moved = terms[0] + terms[1] + terms[2] + (size - 1) / 2
            places.append(moved + bend[:, i] * (1.0 / self._spacing_mm[i]))
        return places


def resample(planes: Any, places: Sequence[Any]) -> Any:
    """Take values at other places: the image by linear interpolation, brain and label from the nearest voxel.

    Outside, the image repeats its border, and the label says that the voxel counts neither way. A lesion that
    is too small for any voxel to be nearest to it stays at the peak of its interpolation.

    Args:
        planes: (batch, channels + 2, x, y, z): image channels, brain, label.
        places: in voxels, three of (batch, x, y, z).
    """
    shape = planes.shape[2:]
    count = math.prod(shape)
    inside = [ops.clip(place, 0.0, size - 1.0) for place, size in zip(places, shape, strict=True)]
    sample = ops.reshape(ops.arange(ops.shape(planes)[0], dtype="int32") * count, (-1, 1, 1, 1))
    corners = _corners(inside, shape, sample)

    nearest = _flat([ops.cast(ops.floor(place + 0.5), "int32") for place in inside], shape, sample)
    image = [_between(planes[:, channel], corners) for channel in range(planes.shape[1] - 2)]
    brain, label = (ops.take(ops.reshape(planes[:, k], (-1,)), nearest) for k in (-2, -1))
    lesion = _between(ops.cast(ops.equal(planes[:, -1], LESION), "float32"), corners)
    label = ops.where(ops.logical_and(_is_peak(lesion), lesion >= LEAST_LEFT), LESION, label)
    for place, size in zip(places, shape, strict=True):
        outside = ops.logical_or(place < -0.5, place > size - 0.5)
        label = ops.where(outside, IGNORED, label)
    return ops.stack([*image, brain, label], axis=1)


def _flat(index: Sequence[Any], shape: Sequence[int], sample: Any) -> Any:
    """Place in the memory of (batch, x, y, z)."""
    return ((index[0] * shape[1]) + index[1]) * shape[2] + index[2] + sample


def _corners(inside: Sequence[Any], shape: Sequence[int], sample: Any) -> list[tuple[Any, Any]]:
    """The eight voxels around each place, and their weights."""
    low = [ops.clip(ops.floor(place), 0.0, size - 2.0) for place, size in zip(inside, shape, strict=True)]
    parts = [place - floor for place, floor in zip(inside, low, strict=True)]
    first = _flat([ops.cast(floor, "int32") for floor in low], shape, sample)
    steps = (shape[1] * shape[2], shape[2], 1)
    corners = []
    for number in range(8):
        ahead = [number >> axis & 1 for axis in range(3)]
        x, y, z = (part if on else 1.0 - part for part, on in zip(parts, ahead, strict=True))
        corners.append((first + sum(s for s, on in zip(steps, ahead, strict=True) if on), x * y * z))
    return corners


def _between(plane: Any, corners: Sequence[tuple[Any, Any]]) -> Any:
    flat = ops.reshape(plane, (-1,))
    total: Any = 0.0
    for place, weight in corners:
        total = total + ops.take(flat, place) * weight
    return total


def _is_peak(volume: Any) -> Any:
    """Whether no neighbour is higher."""
    highest = ops.max_pool(volume[..., None], 3, strides=1, padding="same", data_format="channels_last")
    return volume >= highest[..., 0]
