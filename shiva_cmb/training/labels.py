"""Labels on the model grid, without losing a single bleed."""

import heapq
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.errors import DataError, Note, warn_user
from shiva_cmb.imaging.volume import Grid, Volume

SUBVOXEL = 0.25
"""Native voxels are divided until their parts are at most this fraction of a model voxel wide."""


@dataclass(frozen=True, eq=False)
class ModelLabel:
    """Where the bleeds are on the model grid."""

    mask: NDArray[np.uint8]
    """1 in bleeds, shape of the grid."""
    centres: NDArray[np.intp]
    """A voxel in the middle of each native bleed that lies on the grid, shape (n, 3)."""


def label_to_model_grid(label: Volume, grid: Grid, name: str, *, note: Note = warn_user) -> ModelLabel:
    """Bring a native label to the model grid by world coordinates, one bleed at a time.

    Interpolating a mask and cutting it at one half shrinks, breaks or loses bleeds of a few voxels. So each
    26-connected component is put on the grid by itself and keeps its volume: as many voxels as that needs,
    in one piece, the fullest first, and never fewer than one.

    Args:
        label: above 0.5 in bleeds, any grid.
        grid: the model grid.
        name: of the label, for messages.
        note: told when bleeds lie outside the grid.

    Raises:
        DataError: if the label is not finite, or if it has bleeds and none of them lies on the grid.
    """
    if not np.isfinite(label.data).all():
        raise DataError(f"the label {name} holds NaN or infinite values: write 0 where there is no bleed")
    mask = np.zeros(grid.shape, np.uint8)
    components, count = ndimage.label(label.data > 0.5, structure=np.ones((3, 3, 3)))
    centres = []
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        corner = np.array([edge.start for edge in box])
        voxels = np.argwhere(components[box] == number) + corner
        chosen = _fullest_voxels(voxels, label.grid, grid)
        if len(chosen):
            mask[tuple(chosen.T)] = 1
            middle = np.square(chosen - chosen.mean(axis=0)).sum(axis=1).argmin()
            centres.append(chosen[middle])
    if count and not centres:
        raise DataError(f"no bleed of {name} lies in the image's brain: does it belong to this image?")
    if count > len(centres):
        note(
            f"{count - len(centres)} of {count} bleeds of {name} lie outside the model grid and are left out"
        )
    return ModelLabel(mask, np.array(centres, np.intp).reshape(-1, 3))


def _fullest_voxels(voxels: NDArray[np.intp], native: Grid, grid: Grid) -> NDArray[np.intp]:
    """The voxels of `grid` that the native `voxels` fill most: as many as the volume needs, shape (n, 3)."""
    # How far one native step goes on the model grid, along its fastest axis.
    steps = np.abs(np.linalg.inv(grid.affine)[:3, :3] @ native.affine[:3, :3]).max(axis=0)
    parts = np.ceil(steps / SUBVOXEL).astype(int)
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in parts]
    within = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(1, -1, 3)
    world = native.to_world((voxels[:, None] + within).reshape(-1, 3))
    places = np.rint(grid.to_voxel(world)).astype(np.intp)
    places = places[np.all((places >= 0) & (places < grid.shape), axis=1)]
    if not len(places):
        return places
    cells, filled = np.unique(places, axis=0, return_counts=True)
    part_mm3 = native.voxel_volume_mm3 / np.prod(parts)
    wanted = max(1, round(len(places) * part_mm3 / grid.voxel_volume_mm3))
    return _grow_from_fullest(cells, filled, wanted)


def _grow_from_fullest(cells: NDArray[np.intp], filled: NDArray[np.intp], wanted: int) -> NDArray[np.intp]:
    """At most `wanted` of the `cells`, the fullest first, each touching one before: so it stays one piece."""
    middle = np.average(cells, axis=0, weights=filled)
    away = np.square(cells - middle).sum(axis=1).round(6)
    # Lowest first: the fullest, among equals the one nearest to the middle, and always the same one.
    rank = {
        (int(x), int(y), int(z)): (-int(count), float(distance))
        for (x, y, z), count, distance in zip(cells, filled, away, strict=True)
    }
    start = min(rank, key=lambda cell: (rank[cell], cell))
    border, seen = [(rank[start], start)], {start}
    chosen: list[tuple[int, int, int]] = []
    while border and len(chosen) < wanted:
        cell = heapq.heappop(border)[1]
        chosen.append(cell)
        for step in itertools.product((-1, 0, 1), repeat=3):
            neighbour = (cell[0] + step[0], cell[1] + step[1], cell[2] + step[2])
            if neighbour in rank and neighbour not in seen:
                seen.add(neighbour)
                heapq.heappush(border, (rank[neighbour], neighbour))
    return np.array(chosen, np.intp)
