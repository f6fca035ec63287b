"""Specks of a label map: slips of its segmentation that a simulation would show as dots."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

SPECK_VOXELS = 60
"""Smaller pieces of a tissue are taken for slips."""


def without_specks(
    labels: NDArray[np.int16], tissues: NDArray[np.uint8], speckled: Sequence[int]
) -> NDArray[np.int16]:
    """Labels in which small pieces of some tissues have the label of the nearest voxel that is in none.

    Label maps of whole heads hold thousands of pieces of a few voxels of air, bone, vessel and the like;
    each voxel of air would make a void and a field like a bleed's.

    Args:
        labels: shape (x, y, z).
        tissues: what each label is, same shape.
        speckled: the tissues whose small pieces are taken out.

    Returns:
        A new array, or the same one if it has no specks.
    """
    specks = np.zeros(labels.shape, bool)
    boxes = ndimage.find_objects(tissues + np.uint8(1))
    for tissue, box in enumerate(boxes):
        if box is None or tissue not in speckled:
            continue
        pieces, count = ndimage.label(tissues[box] == tissue)
        small = np.bincount(pieces.ravel(), minlength=count + 1) < SPECK_VOXELS
        small[0] = False
        specks[box] |= small[pieces]
    # the nearest voxel that is no speck always touches one
    around = np.argwhere(ndimage.binary_dilation(specks) & ~specks)
    if not len(around):
        return labels
    _, nearest = cKDTree(around).query(np.argwhere(specks))
    cleaned = labels.copy()
    cleaned[specks] = labels[tuple(around[nearest].T)]
    return cleaned
