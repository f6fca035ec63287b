"""Small things drawn on the fine grid: the share of each voxel that they fill."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.shapes import Ball, Tube

NARROWEST = 0.6
"""Radius in voxels of what is drawn for thinner tubes, at a share that keeps their cross-section."""
CHUNK = 40_000


@dataclass(frozen=True, eq=False)
class Filled:
    """Voxels and how much of each is filled."""

    index: NDArray[np.intp]
    """Into the flattened grid, each once."""
    share: NDArray[np.float32]
    """From 0 to 1."""


class Painter:
    """Draws on one grid; keeps one array of its size to collect in."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._step = grid.spacing_mm[0]
        self._share = np.zeros(int(np.prod(grid.shape)), np.float32)

    def tubes(self, tubes: Sequence[Tube]) -> Filled:
        """What all the tubes fill."""
        if not tubes:
            return self._collected([])
        points = np.concatenate([t.points_mm for t in tubes])
        radii = np.concatenate([t.radii_mm for t in tubes])
        return self._drawn(points, radii / self._step)

    def balls(self, balls: Sequence[Ball]) -> Filled:
        """What all the balls fill."""
        if not balls:
            return self._collected([])
        centres = np.concatenate([b.centres_mm for b in balls])
        return self._drawn(centres, np.concatenate([b.radii_mm for b in balls]) / self._step)

    def _drawn(self, points_mm: NDArray[np.floating], radii: NDArray[np.floating]) -> Filled:
        touched = []
        places = self.grid.to_voxel(points_mm)
        width = np.ceil(np.maximum(radii, NARROWEST) + 0.5).astype(int)
        for reach in np.unique(width):
            chosen = np.flatnonzero(width == reach)
            for first in range(0, len(chosen), CHUNK):
                part = chosen[first : first + CHUNK]
                touched += self._near(places[part], radii[part], int(reach))
        return self._collected(touched)

    def _near(
        self, places: NDArray[np.floating], radii: NDArray[np.floating], reach: int
    ) -> list[NDArray[np.intp]]:
        shape = np.array(self.grid.shape)
        radius = np.maximum(radii, NARROWEST)
        full = np.minimum(radii / NARROWEST, 1) ** 2
        base = np.rint(places).astype(np.intp)
        touched = []
        steps = range(-reach, reach + 1)
        for offset in np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T:
            voxel = base + offset
            distance = np.linalg.norm(voxel - places, axis=1)
            share = full * np.clip(radius - distance + 0.5, 0, 1)
            use = (share > 0) & np.all((voxel >= 0) & (voxel < shape), axis=1)
            if use.any():
                index = np.ravel_multi_index(tuple(voxel[use].T), self.grid.shape)
                np.maximum.at(self._share, index, share[use].astype(np.float32))
                touched.append(index)
        return touched

    def _collected(self, touched: list[NDArray[np.intp]]) -> Filled:
        if not touched:
            return Filled(np.zeros(0, np.intp), np.zeros(0, np.float32))
        index = np.unique(np.concatenate(touched))
        share = self._share[index]
        self._share[index] = 0
        return Filled(index, share)
