"""Several lesions on another grid, none lost, broken, or joined with another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging.volume import Grid
from shiva_cmb.lesions.regrid import Cells, cells_of_lesion, grow_from_fullest

_AROUND = np.argwhere(np.ones((3, 3, 3))) - 1
"""Steps to a voxel itself and its 26 neighbours."""
_MOST_TRIES = 8
"""So many places are tried for a lesion whose neighbours have to make room."""


@dataclass(frozen=True, eq=False)
class PlacedLesions:
    """Where lesions came to lie."""

    voxels: tuple[NDArray[np.intp], ...]
    """Of each lesion, shape (m, 3); m is 0 if no part of it lies on the grid. No voxel belongs to two."""
    touching: tuple[tuple[int, int], ...]
    """Pairs that touch although they did not on their own grid: they are too near for this one."""


def lesions_on_grid(lesions: Sequence[NDArray[np.intp]], native: Grid, grid: Grid) -> PlacedLesions:
    """Put lesions that do not touch on another grid so that they do not touch there either.

    Each is placed as `lesion_on_grid` does. Where two would share a voxel or become 26-neighbours, the
    smaller one takes its place first and the larger one gives the voxels of contact up, growing elsewhere if
    it has where to. Lesions more than two voxels of `grid` apart, along any of its axes, never meet. Of
    nearer ones, those for which no way is found keep at least a voxel each and touch.

    Args:
        lesions: voxels of each on their own grid, shape (n, 3).
        native: that grid.
        grid: the grid wanted.
    """
    cells = [cells_of_lesion(voxels, native, grid) for voxels in lesions]
    board = _Board(cells, grid)
    on_grid = [number for number, own in enumerate(cells) if len(own.places)]
    # the smallest has the least choice; the last key makes it one order, whatever that of the lesions
    on_grid.sort(key=lambda k: (cells[k].wanted, len(cells[k].places), tuple(cells[k].places[0])))
    homeless = [number for number in on_grid if not board.place_apart(number)]
    crowded = [number for number in homeless if not board.make_room(number)]
    for number in crowded:
        board.place_touching(number)
    return PlacedLesions(tuple(board.chosen), tuple(sorted(board.contacts(crowded))))


class _Board:
    """The grid, and which lesion has each voxel."""

    def __init__(self, cells: Sequence[Cells], grid: Grid) -> None:
        self.cells = cells
        self.shape = grid.shape
        self.owner: NDArray[np.int32] = np.zeros(tuple(n + 2 for n in grid.shape), np.int32)
        """Number of the lesion from 1, with a border of one voxel."""
        self.chosen = [np.zeros((0, 3), np.intp) for _ in cells]

    def place_apart(self, number: int, within: NDArray[np.bool_] | None = None) -> bool:
        """Place a lesion where it touches no other; False if there is no such voxel.

        Args:
            number: of the lesion.
            within: which of its cells may be used; all if left out.
        """
        own = self.cells[number]
        free: NDArray[np.bool_] = np.max(self._near(own.places), axis=1) == 0
        if within is not None:
            free &= within
        if not free.any():
            return False
        self._take(number, grow_from_fullest(own.only(free)))
        return True

    def make_room(self, number: int) -> bool:
        """Place a lesion that has no free voxel, if those around it can lie elsewhere and still be apart."""
        own = self.cells[number]
        for place in np.argsort(-own.filled, kind="stable")[:_MOST_TRIES]:
            only = np.arange(len(own.filled)) == place
            around = sorted({int(other) - 1 for other in self._near(own.places[place]).ravel() if other})
            before = [self.chosen[other] for other in around]
            for other in around:
                self._take(other, self.chosen[other][:0])
            if self.place_apart(number, only) and all(self.place_apart(other) for other in around):
                self._take(number, self.chosen[number][:0])
                return self.place_apart(number)  # with all the voxels that are free now
            for other in (number, *around):
                self._take(other, self.chosen[other][:0])
            for other, voxels in zip(around, before, strict=True):
                self._take(other, voxels)
        return False

    def place_touching(self, number: int) -> None:
        """Give a lesion one voxel of its own: the fullest that is free, else the nearest."""
        own = self.cells[number]
        free = self.owner[tuple((own.places + 1).T)] == 0
        if free.any():
            self._take(number, own.places[[np.argmax(np.where(free, own.filled, -1))]])
            return
        middle = np.average(own.places, axis=0, weights=own.filled)
        for places in _rings(own.places[own.filled.argmax()], self.shape):
            open_ones = places[self.owner[tuple((places + 1).T)] == 0]
            if len(open_ones):
                nearest = np.square(open_ones - middle).sum(axis=1).round(6).argmin()
                self._take(number, open_ones[[nearest]])
                return

    def contacts(self, numbers: Sequence[int]) -> set[tuple[int, int]]:
        """Pairs of these with whatever they touch."""
        found = set()
        for number in numbers:
            for other in np.unique(self._near(self.chosen[number])):
                if other and other != number + 1:
                    found.add((min(number, int(other) - 1), max(number, int(other) - 1)))
        return found

    def _near(self, places: NDArray[np.intp]) -> NDArray[np.int32]:
        """Owners, from 1, of voxels and their neighbours, shape (..., 27); 0 for none."""
        around = places[..., None, :] + _AROUND + 1
        owners: NDArray[np.int32] = self.owner[tuple(np.moveaxis(around, -1, 0))]
        return owners

    def _take(self, number: int, voxels: NDArray[np.intp]) -> None:
        self.owner[tuple((self.chosen[number] + 1).T)] = 0
        self.owner[tuple((voxels + 1).T)] = number + 1
        self.chosen[number] = voxels


def _rings(middle: NDArray[np.intp], shape: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Voxels of a grid around a voxel, in ever larger cubes."""
    for reach in range(1, max(shape)):
        steps = np.argwhere(np.ones((2 * reach + 1,) * 3)) - reach
        places = middle + steps[np.abs(steps).max(axis=1) == reach]
        yield places[np.all((places >= 0) & (places < shape), axis=1)]
