"""An image array with its place in the scanner: the only thing that carries geometry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import aff2axcodes
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import ImageError


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: a shape and an affine, without values."""

    shape: tuple[int, int, int]
    """Number of voxels along each array axis."""
    affine: NDArray[np.float64]
    """4 x 4, voxel indices to world millimetres (RAS)."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        x, y, z = voxel_sizes(self.affine)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Where the array axes point, for example `RAS` or `LPS`."""
        return "".join(axis or "?" for axis in aff2axcodes(self.affine))

    def to_world(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """World millimetres (RAS) of voxel indices, shape (..., 3)."""
        return np.asarray(apply_affine(self.affine, voxels))

    def to_voxel(self, world_mm: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices of world millimetres (RAS), shape (..., 3)."""
        return np.asarray(apply_affine(np.linalg.inv(self.affine), world_mm))

    def matches(self, other: "Grid", tolerance_mm: float = 0.01) -> bool:
        """Whether both have the same shape and no corner lies further apart than `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        distance = np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=1)
        return bool(distance.max() <= tolerance_mm)


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image in scanner space. Immutable by convention: functions return new volumes."""

    data: NDArray[Any]
    """Values, shape (x, y, z)."""
    affine: NDArray[np.float64]
    """4 x 4, voxel indices to world millimetres (RAS)."""

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ImageError(f"expected a 3-D image, got an array of shape {self.data.shape}")
        if np.shape(self.affine) != (4, 4):
            raise ImageError(f"expected a 4 x 4 affine, got shape {np.shape(self.affine)}")
        object.__setattr__(self, "affine", np.array(self.affine, dtype=np.float64))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        return Grid(self.shape, self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        return self.grid.spacing_mm

    def with_data(self, data: NDArray[Any]) -> "Volume":
        """Other values on the same grid.

        Raises:
            ImageError: if the shape differs.
        """
        if data.shape != self.shape:
            raise ImageError(f"expected values of shape {self.shape}, got {data.shape}")
        return Volume(data, self.affine)
