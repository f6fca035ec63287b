"""Labels on the model grid, without losing a single bleed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.errors import DataError, Note, warn_user
from shiva_cmb.imaging.volume import Grid, Volume
from shiva_cmb.lesions.regrid import lesion_on_grid


@dataclass(frozen=True, eq=False)
class ModelLabel:
    """Where the bleeds are on the model grid."""

    mask: NDArray[np.uint8]
    """1 in bleeds, shape of the grid."""
    centres: NDArray[np.intp]
    """A voxel in the middle of each native bleed that lies on the grid, shape (n, 3)."""


def label_to_model_grid(label: Volume, grid: Grid, name: str, *, note: Note = warn_user) -> ModelLabel:
    """Bring a native label to the model grid by world coordinates, one bleed at a time.

    Each 26-connected component is put on the grid by itself and keeps its volume; see `lesion_on_grid`.

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
        chosen = lesion_on_grid(voxels, label.grid, grid)
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
