"""Where lesions may lie: in the brain, and not in the midst of its fluid."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.anatomy.regions import FREESURFER, VENTRICLES, Place
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.imaging.alignment import resample_to_grid
from shiva_cmb.lesions import LesionCriteria
from shiva_cmb.lesions.neighbours import neighbours
from shiva_cmb.prediction.inputs import Subject
from shiva_cmb.prediction.regions import RegionMap

LARGEST_IN_FLUID_MM3 = 80.0
"""A larger finding (5.3 mm across) is not dropped for lying in fluid: on SWI, one in five black balls of
8 mm and more in tissue was taken for fluid itself; the calcifications that the rule is for are smaller."""


@dataclass(frozen=True, eq=False)
class Searched:
    """Where lesions may lie."""

    mask: NDArray[np.bool_]
    """On the image's grid."""
    by_network: bool
    """Whether the anatomy network had a say in it; else it is the user's mask."""

    def with_large(self, subject: Subject, probability: Volume, criteria: LesionCriteria) -> "Searched":
        """The same, with all of the brain that large findings fill at a threshold."""
        above = probability.data > criteria.threshold
        least = LARGEST_IN_FLUID_MM3 / probability.grid.voxel_volume_mm3
        if not self.by_network or np.count_nonzero(above) <= least:
            return self
        pieces, _ = ndimage.label(above, neighbours(criteria.connectivity))
        large = np.bincount(pieces.ravel()) > least
        large[0] = False
        return Searched(self.mask | (large[pieces] & subject.brain), True)


def where_to_search(subject: Subject, regions: RegionMap) -> Searched:
    """The user's mask wins, then the user's map of regions, then the anatomy network.

    Args:
        subject: with the user's mask, or with what the network found.
        regions: the user's map, or the network's where it was asked for one.

    Returns:
        With a mask of the user's: all of it, but for the midst of the fluid that the network sees in the
        brain, if it was asked for regions. Without: what the network holds for tissue and what is close to
        it, and what else of its brain the user's map of regions calls tissue.
    """
    network = subject.anatomy
    if network is None:
        if regions.anatomy is None:
            return Searched(subject.brain, False)
        fluid = regions.anatomy.brain & ~regions.anatomy.searched
        return Searched(subject.brain & ~fluid, True)
    if regions.anatomy is None and regions.volume is not None:
        tissue = _called_tissue(regions.volume, regions.names, subject.grid)
        return Searched(network.searched | (tissue & network.brain), True)
    return Searched(network.searched, True)


def _called_tissue(volume: Volume, names: Mapping[int, Place], grid: Grid) -> NDArray[np.bool_]:
    """What the user's map names as a region; FreeSurfer's ventricles have a name too, but are no tissue."""
    tissue = set(names) - (VENTRICLES if names == FREESURFER else frozenset())
    named = np.isin(np.rint(volume.data), sorted(tissue)).astype(np.float32)
    return resample_to_grid(volume.with_data(named), grid) >= 0.5
