"""Values a network cannot use: repaired and said where that is safe, refused where it is not."""

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging.volume import Volume

LARGEST_REPAIRED_FRACTION = 0.01


def check_image(volume: Volume, name: str, note: Note = warn_user) -> Volume:
    """Repair a few NaN or infinite voxels; refuse images without content.

    Each such voxel takes the value of the nearest finite one (in mm): a fixed fill would look like a bleed
    inside the brain.

    Args:
        volume: any image.
        name: the file, for messages.
        note: is told how many voxels were repaired.

    Raises:
        ImageError: if the values are not real numbers, there are none, over 1 % of the voxels are
            not finite, or all have the same value.
    """
    data = volume.data
    if data.dtype.kind not in "iufb":
        raise ImageError(
            f"{name}: values of type {data.dtype}; expected one real number per voxel, as in a SWI"
        )
    if data.size == 0:
        raise ImageError(f"{name}: the image has the shape {data.shape} and no voxels; expected a head scan")
    if data.dtype.kind == "f":
        bad = ~np.isfinite(data)
        count = int(np.count_nonzero(bad))
        if count > LARGEST_REPAIRED_FRACTION * data.size:
            raise ImageError(
                f"{name}: {100 * count / data.size:.1f} % of the voxels are NaN or infinite, at most "
                f"{100 * LARGEST_REPAIRED_FRACTION:g} % can be repaired: set background to 0, mend the rest"
            )
        if count:
            volume = volume.with_data(_from_nearest(data, bad, volume.spacing_mm))
            voxels = "1 voxel that was" if count == 1 else f"{count} voxels that were"
            note(f"{name}: {voxels} NaN or infinite took the value of the nearest valid one")
    low, high = float(volume.data.min()), float(volume.data.max())
    if low == high:
        what = "is empty (all voxels are 0)" if low == 0 else f"is constant (all voxels are {low:g})"
        raise ImageError(f"{name}: the image {what}; expected a head scan")
    return volume


def _from_nearest(
    data: NDArray[Any], bad: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[Any]:
    # One finite voxel beyond the box of the bad ones is enough: nothing further out can be nearer.
    box = tuple(
        slice(max(0, s.start - 1), s.stop + 1) for s in scipy.ndimage.find_objects(bad.astype(np.int8))[0]
    )
    nearest = scipy.ndimage.distance_transform_edt(
        bad[box], sampling=spacing_mm, return_distances=False, return_indices=True
    )
    repaired = data.copy()
    part = repaired[box]
    part[bad[box]] = part[tuple(axis[bad[box]] for axis in nearest)]
    return repaired
