"""Cases on the model grid, kept on disk so that large sets do not fill the memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy import rough_brain_mask
from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.labels import label_to_model_grid
from shiva_cmb.errors import DataError, Note, warn_user
from shiva_cmb.imaging import (
    Preprocessing,
    Volume,
    align_mask,
    binary_mask,
    check_image,
    read_volume,
    to_model_grid,
)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case on the model grid. The arrays are read from disk when they are used."""

    name: str
    image: NDArray[np.float32]
    """Scaled intensities, shape of the grid."""
    label: NDArray[np.uint8]
    """1 in bleeds, shape of the grid."""
    bleeds: NDArray[np.intp]
    """A voxel in the middle of each bleed, shape (n, 3)."""
    brain_box: NDArray[np.intp]
    """First and last voxel of the brain along each axis, shape (2, 3)."""


def prepare_case(
    case: Case,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    mask_input: bool = False,
    note: Note = warn_user,
) -> PreparedCase:
    """Read one case, bring it to the model grid as `predict` would, and store it in `folder`.

    Args:
        case: its files.
        preprocessing: how it is brought there.
        folder: an empty one.
        mask_input: whether everything outside the brain mask is set to zero.
        note: told what was repaired, guessed or left out.

    Raises:
        ImageError: if the image or the mask cannot be used.
        DataError: if the label cannot be used.
    """
    image = check_image(read_volume(case.image, note=note), str(case.image), note)
    brain = _brain(case, image, note)
    prepared = to_model_grid(image, brain, preprocessing, note)
    native_label = read_volume(case.label, note=note)
    if not native_label.grid.matches(image.grid):
        note(f"the label {case.label} is on another grid than its image: it is placed by world coordinates")
    label = label_to_model_grid(native_label, prepared.image.grid, str(case.label), note=note)

    data, mask, centres = prepared.image.data.astype(np.float32, copy=False), label.mask, label.centres
    inside = prepared.brain if prepared.brain is not None else np.ones(preprocessing.shape, bool)
    if mask_input:
        data, mask = data * inside, mask * inside
        kept = mask[tuple(centres.T)] > 0
        if not kept.all():
            note(f"{np.sum(~kept)} bleeds of {case.label} lie outside the brain mask and are left out")
        centres = centres[kept]
    np.save(folder / "image.npy", data)
    np.save(folder / "label.npy", mask)
    return PreparedCase(
        name=case.name,
        image=np.load(folder / "image.npy", mmap_mode="r"),
        label=np.load(folder / "label.npy", mmap_mode="r"),
        bleeds=centres,
        brain_box=_box(inside),
    )


def _brain(case: Case, image: Volume, note: Note) -> NDArray[np.bool_]:
    if case.mask is None:
        note(f"{case.image}: no brain mask is listed; the brain was estimated roughly")
        return rough_brain_mask(image)
    mask = align_mask(read_volume(case.mask, note=note), image.grid, str(case.mask), note)
    return binary_mask(mask, str(case.mask))


def _box(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and last index along each axis, shape (2, 3)."""
    extents = []
    for axis in range(3):
        filled = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        if not filled.size:
            raise DataError("the brain mask is empty on the model grid")
        extents.append((filled[0], filled[-1]))
    return np.array(extents, np.intp).T
