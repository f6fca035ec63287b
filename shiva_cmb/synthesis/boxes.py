"""The part of an array that lies around a point in the world."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging import Grid

Box = tuple[slice, slice, slice]


def box_around(grid: Grid, point_mm: NDArray[np.floating], reach_mm: float) -> Box:
    """Voxels that reach to within a distance of a point, as far as the grid has them; empty if it has none.

    Args:
        grid: any voxels, sheared ones included.
        point_mm: world millimetres, shape (3,).
        reach_mm: half the box's width.
    """
    # how many voxels a millimetre is across the planes of each array axis
    per_mm = np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)
    middle = grid.to_voxel(point_mm)
    low = np.clip(np.floor(middle - reach_mm * per_mm + 0.5), 0, grid.shape).astype(int)
    high = np.clip(np.ceil(middle + reach_mm * per_mm + 0.5), low, grid.shape).astype(int)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def world_points(grid: Grid, box: Box) -> NDArray[np.float64]:
    """World millimetres of the voxels of a box, shape (x, y, z, 3)."""
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1)
    return grid.to_world(index)
