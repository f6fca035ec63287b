"""One lesion on another grid, neither lost nor broken."""

import heapq
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging.volume import Grid

SUBVOXEL = 0.25
"""Voxels are divided until their parts are at most this fraction of a voxel of the other grid wide."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The voxels of a grid that a lesion of another grid reaches into."""

    places: NDArray[np.intp]
    """In ascending order, shape (m, 3); m is 0 if no part of the lesion lies on the grid."""
    filled: NDArray[np.intp]
    """How much of the lesion lies in each, in parts of a native voxel, shape (m,)."""
    wanted: int
    """Number of voxels that have the lesion's volume, at least 1."""

    def only(self, keep: NDArray[np.bool_]) -> "Cells":
        """Some of the voxels."""
        return Cells(self.places[keep], self.filled[keep], self.wanted)


def lesion_on_grid(voxels: NDArray[np.intp], native: Grid, grid: Grid) -> NDArray[np.intp]:
    """Put one lesion on another grid: as many voxels as its volume needs, in one piece, the fullest first.

    Interpolating a mask and cutting it at one half shrinks, breaks or loses lesions of a few voxels. This
    keeps every lesion that lies on the grid, with its volume, and with at least one voxel.

    Args:
        voxels: of the lesion on its own grid, shape (n, 3).
        native: that grid.
        grid: the grid wanted.

    Returns:
        Voxels of `grid`, shape (m, 3); m is 0 if no part of the lesion lies on it.
    """
    cells = cells_of_lesion(voxels, native, grid)
    return grow_from_fullest(cells) if len(cells.places) else cells.places


def cells_of_lesion(voxels: NDArray[np.intp], native: Grid, grid: Grid) -> Cells:
    """Which voxels of another grid a lesion reaches into, and how far.

    Args:
        voxels: of the lesion on its own grid, shape (n, 3).
        native: that grid.
        grid: the other one.
    """
    # How far one native step goes on the other grid, along its fastest axis.
    steps = np.abs(np.linalg.inv(grid.affine)[:3, :3] @ native.affine[:3, :3]).max(axis=0)
    parts = np.ceil(steps / SUBVOXEL).astype(int)
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in parts]
    within = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(1, -1, 3)
    world = native.to_world((voxels[:, None] + within).reshape(-1, 3))
    places = np.rint(grid.to_voxel(world)).astype(np.intp)
    places = places[np.all((places >= 0) & (places < grid.shape), axis=1)]
    cells, filled = np.unique(places, axis=0, return_counts=True)
    part_mm3 = native.voxel_volume_mm3 / np.prod(parts)
    return Cells(cells, filled, max(1, round(len(places) * part_mm3 / grid.voxel_volume_mm3)))


def grow_from_fullest(lesion: Cells) -> NDArray[np.intp]:
    """At most `wanted` of the cells, the fullest first, each touching one before: so it stays one piece."""
    cells, filled = lesion.places, lesion.filled
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
    while border and len(chosen) < lesion.wanted:
        cell = heapq.heappop(border)[1]
        chosen.append(cell)
        for step in itertools.product((-1, 0, 1), repeat=3):
            neighbour = (cell[0] + step[0], cell[1] + step[1], cell[2] + step[2])
            if neighbour in rank and neighbour not in seen:
                seen.add(neighbour)
                heapq.heappush(border, (rank[neighbour], neighbour))
    return np.array(chosen, np.intp)
