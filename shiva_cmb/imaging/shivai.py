"""The spatial preprocessing of the SHiVAi pipeline, for models that were trained behind it."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import Note, warn_user
from shiva_cmb.imaging.chain import SpatialChain, brain_profiles, note_cut_brain
from shiva_cmb.imaging.steps import CropPad, Reorient, Resample
from shiva_cmb.imaging.volume import Grid, Volume

CONFORMED_SHAPE = (256, 256, 256)
ROOM_ABOVE_BRAIN = 5


def shivai_chain(
    image: Grid,
    brain: NDArray[np.bool_] | None,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    note: Note = warn_user,
) -> SpatialChain:
    """Conform to 256^3 as nibabel does, then crop about the brain's centre of mass, as SHiVAi 0.5.9 does.

    Conforming: closest canonical orientation, cubic spline, no smoothing, 0 outside, values cut at the
    image's range (nothing is interpolated where the voxel size is right). Cropping: the ceiling of the
    centre of mass of the mask (nearest voxel on the conformed grid), minus half the shape; moved up where the
    mask's top would be cut, 5 voxels of room then. Without a mask, about half the conformed shape.

    Left out on purpose, because they are defects of the original: the qform in place of the sform; a rebuilt
    affine where axes are not orthogonal, which loses the place of the head; the error where the mask ends
    less than 5 voxels under the top of the volume; padding that erases real slices after an upward move.
    Defacing, mask cleaning and registration to a T1 are not part of it either.

    Args:
        image: the image's grid.
        brain: on that grid, or None.
        shape: the model's input shape.
        spacing_mm: the model's voxel size.
        note: is told how much of the brain is cut, if any.

    Raises:
        ImageError: if `brain` is empty or has another shape.
    """
    reorient = Reorient(image)
    conform = Resample.conform(reorient.target, CONFORMED_SHAPE, spacing_mm)
    half = np.array(shape) // 2
    if brain is None:
        start = np.ceil(np.array(CONFORMED_SHAPE) / 2).astype(int) - half
    else:
        brain_profiles(brain, reorient)  # refuses an empty or ill-shaped mask
        conformed = SpatialChain((reorient, conform)).apply(Volume(brain, image.affine), order=0).data
        start = _start(conformed, half, shape)
    x, y, z = (int(first) for first in start)
    chain = SpatialChain((reorient, conform, CropPad(conform.target, (x, y, z), shape)))
    if brain is not None:
        note_cut_brain(brain, chain, note)
    return chain


def _start(brain: NDArray[np.bool_], half: NDArray[np.int_], shape: tuple[int, int, int]) -> NDArray[np.int_]:
    """First voxel of the crop on the conformed grid."""
    counts = [brain.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    total = counts[0].sum()
    if total == 0:  # all of the mask lies outside the conformed field of view
        return np.array(brain.shape) // 2 - half
    centre = [np.arange(len(count)) @ count / total for count in counts]
    start = np.ceil(centre).astype(int) - half
    top = int(np.flatnonzero(counts[2])[-1])
    end = start[2] + shape[2]
    if end <= top:
        start[2] += top - end + ROOM_ABOVE_BRAIN
    return start
