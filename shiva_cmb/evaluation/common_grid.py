"""Truth and prediction on one grid, without losing or breaking a lesion."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError
from shiva_cmb.evaluation.lesion_set import LesionSet
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.lesions.regrid import lesion_on_grid

ROUNDING = 1e-3
"""What affines may add to a place in voxels."""


def missing_margins(truth: LesionSet, grid: Grid) -> NDArray[np.intp]:
    """How many voxels `grid` lacks before and behind each axis to hold all truth lesions, shape (3, 2)."""
    if not len(truth):
        return np.zeros((3, 2), np.intp)
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
    places = grid.to_voxel(truth.grid.to_world((truth.places[:, None] + corners).reshape(-1, 3)))
    # half a voxel beyond the outermost centre still belongs to the outermost voxel
    before = np.maximum(0, np.ceil(-0.5 - places.min(axis=0) - ROUNDING))
    behind = np.maximum(0, np.ceil(places.max(axis=0) - np.array(grid.shape) + 0.5 - ROUNDING))
    return np.stack([before, behind], axis=-1).astype(np.intp)


def enlarged(image: Volume, margins: NDArray[np.intp]) -> Volume:
    """An image with that many voxels more, of value 0, before and behind each axis, shape (3, 2)."""
    return Volume(np.pad(image.data, margins), enlarged_grid(image.grid, margins).affine)


def enlarged_grid(grid: Grid, margins: NDArray[np.intp]) -> Grid:
    """A grid with that many voxels more before and behind each axis, shape (3, 2)."""
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(-margins[:, 0])
    x, y, z = (int(n) for n in np.array(grid.shape) + margins.sum(axis=1))
    return Grid((x, y, z), affine)


def on_enlarged(lesions: LesionSet, margins: NDArray[np.intp], grid: Grid) -> LesionSet:
    """The lesions on their own grid after it was enlarged to `grid`."""
    flat = np.ravel_multi_index(tuple((lesions.places + margins[:, 0]).T), grid.shape)
    return LesionSet(grid, flat, lesions.starts, lesions.names, lesions.scores)


def moved_to(truth: LesionSet, grid: Grid) -> LesionSet:
    """Every lesion on another grid that has room for it.

    Where voxels are larger, two lesions may want the same one: the smaller has it, and one that would have
    none left takes the nearest free one, so that no lesion is lost.
    """
    own: dict[int, NDArray[np.intp]] = {}
    taken = np.zeros(0, np.intp)
    for k in np.argsort(truth.sizes, kind="stable"):
        places = lesion_on_grid(truth.indices(k), truth.grid, grid)
        flat = np.ravel_multi_index(tuple(places.T), grid.shape)
        free = np.setdiff1d(flat, taken)
        own[int(k)] = free if len(free) else _nearest_free(places, taken, grid)
        taken = np.union1d(taken, own[int(k)])
    order = [own[k] for k in range(len(truth))]
    voxels = np.concatenate([np.zeros(0, np.intp), *order])
    starts = np.concatenate([[0], np.cumsum([len(part) for part in order])]).astype(np.intp)
    return LesionSet(grid, voxels, starts, truth.names)


def _nearest_free(places: NDArray[np.intp], taken: NDArray[np.intp], grid: Grid) -> NDArray[np.intp]:
    """A voxel next to the middle of `places` that is not taken, as one flat index.

    Raises:
        ImageError: if all are taken.
    """
    middle = np.rint(places.mean(axis=0)).astype(np.intp)
    for reach in range(1, max(grid.shape)):
        around = np.argwhere(np.ones((2 * reach + 1,) * 3)) - reach
        around = around[np.argsort(np.square(around @ grid.affine[:3, :3].T).sum(axis=1), kind="stable")]
        around = around + middle
        around = around[np.all((around >= 0) & (around < grid.shape), axis=1)]
        flat = np.ravel_multi_index(tuple(around.T), grid.shape)
        free = flat[~np.isin(flat, taken)]
        if len(free):
            return free[:1]
    raise ImageError(f"the truth has more lesions than the prediction's grid {grid.shape} has voxels for")
