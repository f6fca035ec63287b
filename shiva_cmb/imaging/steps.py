"""Spatial steps that can be undone: reorient, change the voxel size, crop and pad.

Each step is bound to the grid it starts from, keeps oblique rotations in the affine, and turns a result
back to exactly that grid. Orders of interpolation are those of `interpolation.Order`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging.interpolation import (
    Order,
    Outside,
    apply_along_axes,
    interpolation_matrix,
    pick_along_axes,
    smoothing_matrix,
)
from shiva_cmb.imaging.volume import Grid, Volume

SAME_SPACING = 1e-3
"""Voxel sizes that differ by less (relative) are left alone: the affine keeps the exact size."""

Triple = tuple[float, float, float]


class SpatialStep(Protocol):
    """What every step offers."""

    @property
    def source(self) -> Grid:
        """The grid the step starts from."""

    @property
    def target(self) -> Grid:
        """The grid the step leads to."""

    def apply(self, volume: Volume, order: Order) -> Volume:
        """From `source` to `target`."""

    def invert(self, volume: Volume, order: Order) -> Volume:
        """From `target` back to `source`."""

    def as_dict(self) -> dict[str, Any]:
        """For provenance: plain numbers, lists and strings."""


@dataclass(frozen=True, eq=False)
class Reorient:
    """Flip and permute axes to the closest of `RAS`. Values are moved, never interpolated."""

    source: Grid
    """The grid of the image as it is stored."""

    @property
    def target(self) -> Grid:
        """The same voxels, axes towards right, anterior, superior."""
        orientation = self._orientation()
        shape = [0, 0, 0]
        for axis, (to, _) in enumerate(orientation):
            shape[int(to)] = self.source.shape[axis]
        affine = self.source.affine @ inv_ornt_aff(orientation, self.source.shape)
        return Grid((shape[0], shape[1], shape[2]), affine)

    def apply(self, volume: Volume, order: Order = 1) -> Volume:
        """Flip and permute; `order` plays no part."""
        require_grid(volume, self.source)
        return Volume(apply_orientation(volume.data, self._orientation()), self.target.affine)

    def invert(self, volume: Volume, order: Order = 1) -> Volume:
        """Back to the stored axes; `order` plays no part."""
        require_grid(volume, self.target)
        back = ornt_transform(axcodes2ornt("RAS"), io_orientation(self.source.affine))
        return Volume(apply_orientation(volume.data, back), self.source.affine)

    def as_dict(self) -> dict[str, Any]:
        """For provenance."""
        return {"step": "reorient", "from": self.source.orientation, "to": self.target.orientation}

    def _orientation(self) -> NDArray[np.float64]:
        return np.asarray(ornt_transform(io_orientation(self.source.affine), axcodes2ornt("RAS")))


@dataclass(frozen=True, eq=False)
class Resample:
    """Another voxel size along the same axes. Make it with `to_spacing` or `conform`."""

    source: Grid
    """The grid before."""
    shape: tuple[int, int, int]
    """Number of voxels after."""
    spacing_mm: Triple
    """Voxel size after; the source's own where an axis is left alone."""
    first_voxel: Triple
    """Where the first new voxel's centre lies, in source voxels."""
    smooth: bool = True
    """Whether `apply` smooths along axes that get coarser, against aliasing. `invert` never smooths: at a
    native voxel the probability is that of the map there; an average would push small lesions under the
    threshold."""
    outside: Outside = "edge"
    """What lies beyond the first and last voxel centre."""

    @classmethod
    def to_spacing(cls, source: Grid, spacing_mm: Triple) -> "Resample":
        """All of the field of view at another voxel size, about the same centre."""
        shape, spacing, first = [], [], []
        for n, old, new in zip(source.shape, source.spacing_mm, spacing_mm, strict=True):
            if abs(new / old - 1) < SAME_SPACING:
                new, count = old, n
            else:
                count = max(2, int(np.ceil(n * old / new - SAME_SPACING)))
            shape.append(count)
            spacing.append(float(new))
            first.append((n - 1) / 2 - (count - 1) / 2 * new / old)
        return cls(source, _triple(shape), _triple(spacing), _triple(first))

    @classmethod
    def conform(cls, source: Grid, shape: tuple[int, int, int], spacing_mm: Triple) -> "Resample":
        """The grid of `nibabel.processing.conform`: a fixed shape, voxels (n - 1) // 2 of both coinciding."""
        first = [
            (n - 1) // 2 - (count - 1) // 2 * new / old
            for n, old, count, new in zip(source.shape, source.spacing_mm, shape, spacing_mm, strict=True)
        ]
        return cls(source, shape, spacing_mm, _triple(first), smooth=False, outside="zero")

    @property
    def target(self) -> Grid:
        """The grid after."""
        scale = np.diag([*self._ratio(), 1.0])
        scale[:3, 3] = self.first_voxel
        return Grid(self.shape, self.source.affine @ scale)

    def apply(self, volume: Volume, order: Order) -> Volume:
        """To the new voxel size; a cubic spline's overshoot is cut at the image's own range."""
        require_grid(volume, self.source)
        ratio = self._ratio()
        matrices: list[NDArray[np.float32] | None] = []
        for axis, (n, count) in enumerate(zip(self.source.shape, self.shape, strict=True)):
            positions = self.first_voxel[axis] + ratio[axis] * np.arange(count)
            if self._untouched(axis):
                matrices.append(None)
                continue
            matrix = interpolation_matrix(n, positions, order, self.outside)
            if self.smooth and order > 0 and ratio[axis] > 1 + SAME_SPACING:
                matrix = matrix @ smoothing_matrix(n, ratio[axis])
            matrices.append(matrix)
        return Volume(_through(volume.data, matrices, order), self.target.affine)

    def invert(self, volume: Volume, order: Order) -> Volume:
        """Back to the source's voxels, without smoothing."""
        require_grid(volume, self.target)
        ratio = self._ratio()
        matrices = [
            None
            if self._untouched(axis)
            else interpolation_matrix(
                count, (np.arange(n) - self.first_voxel[axis]) / ratio[axis], order, self.outside
            )
            for axis, (n, count) in enumerate(zip(self.source.shape, self.shape, strict=True))
        ]
        return Volume(_through(volume.data, matrices, order), self.source.affine)

    def as_dict(self) -> dict[str, Any]:
        """For provenance."""
        return {
            "step": "resample",
            "from_shape": list(self.source.shape),
            "from_spacing_mm": list(self.source.spacing_mm),
            "to_shape": list(self.shape),
            "to_spacing_mm": list(self.spacing_mm),
            "first_voxel": list(self.first_voxel),
            "smooth": self.smooth,
            "outside": self.outside,
        }

    def _ratio(self) -> NDArray[np.float64]:
        return np.array(self.spacing_mm) / np.array(self.source.spacing_mm)

    def _untouched(self, axis: int) -> bool:
        same_size = self.shape[axis] == self.source.shape[axis]
        same_place = abs(self.first_voxel[axis]) < 1e-6 and abs(self._ratio()[axis] - 1) < 1e-9
        return same_size and same_place


@dataclass(frozen=True, eq=False)
class CropPad:
    """A window of fixed shape; what lies outside the source is 0, and so is what `invert` cannot know."""

    source: Grid
    """The grid before."""
    start: tuple[int, int, int]
    """The window's first voxel, in source voxels; negative where it begins outside."""
    shape: tuple[int, int, int]
    """The window's size in voxels."""

    @property
    def target(self) -> Grid:
        """The grid after."""
        affine = self.source.affine.copy()
        affine[:3, 3] = self.source.to_world(self.start)
        return Grid(self.shape, affine)

    def apply(self, volume: Volume, order: Order = 1) -> Volume:
        """Cut the window; `order` plays no part."""
        require_grid(volume, self.source)
        return Volume(_window(volume.data, self.start, self.shape), self.target.affine)

    def invert(self, volume: Volume, order: Order = 1) -> Volume:
        """Put the window back, 0 around it; `order` plays no part."""
        require_grid(volume, self.target)
        back = tuple(-first for first in self.start)
        return Volume(_window(volume.data, back, self.source.shape), self.source.affine)

    def as_dict(self) -> dict[str, Any]:
        """For provenance."""
        return {
            "step": "crop_pad",
            "from_shape": list(self.source.shape),
            "start": list(self.start),
            "to_shape": list(self.shape),
        }


def require_grid(volume: Volume, grid: Grid) -> None:
    """Steps only take what lies on the grid they were made for.

    Raises:
        ImageError: if shape or place differ.
    """
    if not volume.grid.matches(grid):
        raise ImageError(
            f"expected an image on the grid of shape {grid.shape}, orientation {grid.orientation}; "
            f"got one of shape {volume.shape}, orientation {volume.grid.orientation}, or lying elsewhere"
        )


def _window(data: NDArray[Any], start: Sequence[int], shape: Sequence[int]) -> NDArray[Any]:
    """`data[start:start + shape]`, 0 where that reaches outside; `data` itself if that is all of it."""
    if tuple(start) == (0, 0, 0) and tuple(shape) == data.shape:
        return data
    result = np.zeros(shape, dtype=data.dtype)
    source = tuple(
        slice(max(0, first), max(0, min(size, first + count)))
        for first, count, size in zip(start, shape, data.shape, strict=True)
    )
    place = tuple(
        slice(s.start - first, s.stop - first) if s.stop > s.start else slice(0, 0)
        for s, first in zip(source, start, strict=True)
    )
    if all(s.stop > s.start for s in source):
        result[place] = data[source]
    return result


def _through(
    data: NDArray[Any], matrices: Sequence[NDArray[np.float32] | None], order: Order
) -> NDArray[Any]:
    if all(matrix is None for matrix in matrices):
        return data
    if order == 0:
        return pick_along_axes(data, matrices)
    result = apply_along_axes(data, matrices)
    if order == 3:
        np.clip(result, data.min(), data.max(), out=result)
    return result


def _triple(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    x, y, z = values
    return x, y, z
