"""Cases in memory: the image equals the label, so that what is cut out of one can be seen in the other."""

from collections.abc import Sequence

import numpy as np

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.evaluation.lesion_set import lesions_of_mask
from shiva_cmb.imaging import Grid

GRID = (20, 24, 22)


def make_case(
    name: str = "case",
    lesions: Sequence[tuple[tuple[int, int, int], tuple[int, int, int]]] = (),
    ignored: Sequence[tuple[int, int, int]] = (),
    grid: tuple[int, int, int] = GRID,
) -> PreparedCase:
    """Boxes of lesions, each a corner and a size, and voxels that count neither way."""
    label = np.zeros(grid, np.uint8)
    for corner, size in lesions:
        label[tuple(slice(start, start + n) for start, n in zip(corner, size, strict=True))] = 1
    for voxel in ignored:
        label[voxel] = 2
    return PreparedCase(
        name=name,
        patient=name,
        image=label.astype(np.float32)[..., None],
        brain=np.ones(grid, np.uint8),
        label=label,
        lesions=lesions_of_mask(label == 1, Grid(grid, np.eye(4))),
        brain_box=np.array([[2, 2, 2], [n - 3 for n in grid]]),
        fingerprint=name,
    )
