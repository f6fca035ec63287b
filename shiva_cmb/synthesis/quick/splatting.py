"""What share of each voxel thin tubes fill: shapes in millimetres onto any grid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.shapes import Tube

SAMPLES_PER_VOXEL = 3.0
"""Samples of a tube along the shortest edge of a voxel."""
LEAST_ACROSS = 4
"""Samples of the thinnest tube's cross-section."""
CHUNK = 500_000
"""Samples that are placed at a time: what fits in a cache."""
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_GAP_MM = 1.0


def fill_tubes(
    tubes: Sequence[Tube], grid: Grid, b0_direction: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What tubes fill of each voxel, and how they lie to the main field.

    The tubes are cut into discs, and each disc into equal parts (points of a sunflower: Vogel 1979) that
    count where they lie: volume is kept whatever the voxel, and no tube is too thin.

    Args:
        tubes: the shapes.
        grid: any: thick, oblique, or smaller than the tubes.
        b0_direction: of the main field in world axes, shape (3,), of any length but 0.

    Returns:
        The filled share of each voxel, 0 to 1; and the same times the mean of `cos(theta)^2 - 1/3`, theta
        being the angle between tube and main field: a vein's field within is half its susceptibility times
        this. Both float32 of the grid's shape.
    """
    size = int(np.prod(grid.shape))
    volume, oriented = np.zeros(size, np.float32), np.zeros(size, np.float32)
    if tubes:
        field = np.asarray(b0_direction, dtype=np.float64)
        field = field / np.linalg.norm(field)
        step = min(grid.spacing_mm) / SAMPLES_PER_VOXEL
        discs = _discs(tubes, step)
        for first, end in _chunks(discs.parts):
            some = discs.some(first, end)
            index, disc = _voxels(some, grid)
            share = np.pi * some.radii_mm**2 * some.thickness_mm / some.parts / grid.voxel_volume_mm3
            lean = (some.tangents @ field) ** 2 - 1 / 3
            np.add.at(volume, index, share.astype(np.float32)[disc])
            np.add.at(oriented, index, (share * lean).astype(np.float32)[disc])
    over = np.flatnonzero(volume > 1)
    oriented[over] /= volume[over]
    volume[over] = 1
    return volume.reshape(grid.shape), oriented.reshape(grid.shape)


@dataclass(frozen=True, eq=False)
class _Discs:
    """Slices of tubes."""

    centres_mm: NDArray[np.float64]
    """In the world, shape (n, 3)."""
    tangents: NDArray[np.float64]
    """Of length 1, shape (n, 3)."""
    radii_mm: NDArray[np.float64]
    thickness_mm: NDArray[np.float64]
    parts: NDArray[np.intp]
    """Into how many equal parts each is cut."""

    def some(self, first: int, end: int) -> "_Discs":
        """A run of them."""
        return _Discs(*(getattr(self, field.name)[first:end] for field in fields(self)))


def _discs(tubes: Sequence[Tube], step: float) -> _Discs:
    """Tubes cut into discs about `step` mm thick, with parts about as wide."""
    points = np.concatenate([tube.points_mm for tube in tubes])
    radii = np.concatenate([tube.radii_mm for tube in tubes])
    counts = np.array([len(tube.points_mm) for tube in tubes])
    last = np.cumsum(counts) - 1
    pieces = np.diff(points, axis=0)
    lengths = np.linalg.norm(pieces, axis=1)
    tangents = pieces / np.maximum(lengths, 1e-12)[:, None]
    lengths[last[:-1]] = _GAP_MM  # between one tube and the next; any length will do
    place = np.concatenate([[0.0], np.cumsum(lengths)])
    start = place[last - counts + 1]
    whole = place[last] - start
    discs = np.maximum(np.ceil(whole / step), 1).astype(np.intp)
    tube = np.repeat(np.arange(len(tubes)), discs)
    number = np.arange(discs.sum()) - np.repeat(np.cumsum(discs) - discs, discs)
    thickness = (whole / discs)[tube]
    at = start[tube] + (number + 0.5) * thickness
    piece = np.clip(np.searchsorted(place, at, side="right") - 1, 0, len(pieces) - 1)
    along = (at - place[piece]) / np.maximum(lengths[piece], 1e-12)
    centres = points[piece] + along[:, None] * pieces[piece]
    # of the area, so that a taper keeps its volume
    area = radii[piece] ** 2 + along * (radii[piece + 1] ** 2 - radii[piece] ** 2)
    parts = np.maximum(np.ceil(np.pi * area * (1 / step) ** 2), LEAST_ACROSS).astype(np.intp)
    return _Discs(centres, tangents[piece], np.sqrt(area), thickness, parts)


def _chunks(parts: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Runs of discs with about `CHUNK` parts each."""
    total = np.cumsum(parts)
    cuts = np.searchsorted(total, np.arange(CHUNK, total[-1], CHUNK)) + 1
    edges = np.unique([0, *cuts, len(parts)])
    for first, end in pairwise(edges):
        yield int(first), int(end)


def _voxels(discs: _Discs, grid: Grid) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Flat voxel and disc of every part of the discs; what lies off the grid is left out."""
    axis = np.eye(3)[np.abs(discs.tangents).argmin(axis=1)]
    across = np.cross(discs.tangents, axis)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    other = np.cross(discs.tangents, across)
    turn = np.linalg.inv(grid.affine)[:3, :3].T
    middle = grid.to_voxel(discs.centres_mm) + 0.5
    across, other = (across * discs.radii_mm[:, None]) @ turn, (other * discs.radii_mm[:, None]) @ turn
    along = (discs.tangents * discs.thickness_mm[:, None]) @ turn
    disc = np.repeat(np.arange(len(discs.parts)), discs.parts)
    number = np.arange(len(disc)) - np.repeat(np.cumsum(discs.parts) - discs.parts, discs.parts)
    distance = np.sqrt((number + 0.5) / discs.parts[disc])
    # each disc is turned against the one before, and its parts lie at all depths of it: rows of parts would
    # fill some voxels too much and their neighbours too little
    angle = (number + 0.618 * disc) * GOLDEN_ANGLE
    u, v, w = distance * np.cos(angle), distance * np.sin(angle), number * np.sqrt(2) % 1 - 0.5
    flat = np.zeros(len(disc), np.intp)
    inside = np.ones(len(disc), bool)
    for a, n in enumerate(grid.shape):
        place = middle[disc, a] + u * across[disc, a] + v * other[disc, a] + w * along[disc, a]
        index = np.floor(place).astype(np.intp)
        inside &= (index >= 0) & (index < n)
        flat = flat * n + index
    return flat[inside], disc[inside]
