"""Region and side of every lesion of a label map."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from shiva_cmb.anatomy.regions import Place, place_of
from shiva_cmb.imaging import Volume

REACH_MM = 5.0
"""A lesion that lies in no known region takes the nearest one, if it is as near as this."""


def lesion_places(labels: Volume, regions: Volume, names: Mapping[int, Place]) -> tuple[Place | None, ...]:
    """Where the lesions are.

    Args:
        labels: lesion k has the value k, from 1 on; 0 is none.
        regions: a map of regions, on any grid in the same space.
        names: what its values mean.

    Returns:
        For each lesion the place in which most of its voxels lie; where none of them lies in a known one,
        that of the nearest voxel within `REACH_MM`; else None.
    """
    return tuple(
        None if box is None else _place(labels, number, box, regions, names)
        for number, box in enumerate(ndimage.find_objects(labels.data), start=1)
    )


def _place(
    labels: Volume,
    number: int,
    box: tuple[slice, slice, slice],
    regions: Volume,
    names: Mapping[int, Place],
) -> Place | None:
    voxels = np.argwhere(labels.data[box] == number) + [s.start for s in box]
    world_mm = labels.grid.to_world(voxels)
    at = np.rint(regions.grid.to_voxel(world_mm)).astype(np.intp)
    inside = np.all((at >= 0) & (at < regions.shape), axis=1)
    found = place_of(regions.data[tuple(at[inside].T)], names)
    return found or _nearest(world_mm, regions, names)


def _nearest(world_mm: NDArray[np.float64], regions: Volume, names: Mapping[int, Place]) -> Place | None:
    """The place of the known voxel that is nearest to any of some points."""
    low, high = world_mm.min(axis=0) - REACH_MM, world_mm.max(axis=0) + REACH_MM
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
    reach = regions.grid.to_voxel(corners)
    first = np.maximum(np.floor(reach.min(axis=0)).astype(int), 0)
    last = np.minimum(np.ceil(reach.max(axis=0)).astype(int) + 1, regions.shape)
    if (last <= first).any():
        return None
    around = regions.data[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    known = np.argwhere(np.isin(np.rint(around), list(names)))
    if not len(known):
        return None
    distance_mm, _ = cKDTree(world_mm).query(regions.grid.to_world(known + first))
    nearest = int(distance_mm.argmin())
    if distance_mm[nearest] > REACH_MM:
        return None
    return place_of(around[tuple(known[nearest])], names)
