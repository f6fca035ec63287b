"""Values a network cannot use: repaired and said where that is safe, refused where it is not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging.volume import Grid, Volume

LARGEST_REPAIRED_FRACTION = 0.01
MASK_THRESHOLD = 0.5
"""As in SHiVAi: 0/1 and 0/255 masks, probabilities and label maps all mean brain above this."""


def check_image(volume: Volume, name: str, note: Note = warn_user) -> Volume:
    """Repair a few NaN or infinite voxels; refuse images without content.

    Each such voxel takes the value of the nearest finite one (in mm): a fixed fill would look like a bleed
    inside the brain.

    Args:
        volume: any image.
        name: the file, for messages.
        note: is told how many voxels were repaired.

    Raises:
        ImageError: if over 1 % of the voxels are not finite, or all have the same value.
    """
    data = volume.data
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
    low, high = volume.data.min(), volume.data.max()
    if low == high:
        what = "is empty (all voxels are 0)" if low == 0 else f"is constant (all voxels are {low:g})"
        raise ImageError(f"{name}: the image {what}; expected a head scan")
    return volume


def _from_nearest(
    data: NDArray[Any], bad: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[Any]:
    # One finite voxel beyond the box of the bad ones is enough: nothing further out can be nearer.
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in ndimage.find_objects(bad.astype(np.int8))[0])
    nearest = ndimage.distance_transform_edt(
        bad[box], sampling=spacing_mm, return_distances=False, return_indices=True
    )
    repaired = data.copy()
    part = repaired[box]
    part[bad[box]] = part[tuple(axis[bad[box]] for axis in nearest)]
    return repaired


def align_mask(mask: Volume, image: Grid, name: str, note: Note = warn_user) -> NDArray[np.float32]:
    """Bring a mask onto an image's grid, by world coordinates.

    Args:
        mask: any mask; values that are not finite count as 0.
        image: the grid wanted.
        name: the mask's file, for messages.
        note: is told when the mask had to be resampled.

    Returns:
        The mask's own values where the grids match (within 0.01 mm). Otherwise values in [0, 1], linearly
        interpolated; a mask with other values (labels, 0/255) is first made 0/1 by `binary_mask`'s rule. 0
        outside the mask's field of view. Shape of `image`.

    Raises:
        ImageError: if the mask is empty or does not overlap the image.
    """
    data = np.asarray(mask.data, dtype=np.float32)
    if not np.isfinite(data).all():
        data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    _require_brain(data > MASK_THRESHOLD, data, name)
    if mask.grid.matches(image):
        return data
    note(f"{name}: the mask lies on another grid than the image; it was resampled to the image's grid")
    if data.max() > 1 or data.min() < 0:
        data = (data > MASK_THRESHOLD).astype(np.float32)
    aligned = _resample_linear(Volume(data, mask.affine), image)
    if not (aligned > MASK_THRESHOLD).any():
        raise ImageError(f"{name}: the mask does not overlap the image: is it of this scan and in its space?")
    return aligned


def _resample_linear(source: Volume, target: Grid) -> NDArray[np.float32]:
    """Linear interpolation in world space, computed in the box of `target` where `source` is not 0 only."""
    result = np.zeros(target.shape, dtype=np.float32)
    inside = ndimage.find_objects((source.data > 0).astype(np.int8))[0]
    corners = np.array(np.meshgrid(*[(s.start - 1, s.stop) for s in inside])).reshape(3, -1).T
    reach = target.to_voxel(source.grid.to_world(corners))
    low = np.maximum(np.floor(reach.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(reach.max(axis=0)).astype(int) + 1, target.shape)
    if (high <= low).any():
        return result
    matrix = np.linalg.inv(source.affine) @ target.affine
    part = ndimage.affine_transform(
        source.data,
        matrix[:3, :3],
        offset=matrix[:3, :3] @ low + matrix[:3, 3],
        output_shape=tuple(high - low),
        order=1,
        mode="grid-constant",  # fades to 0 beyond the last voxel, where "constant" would cut half a voxel
    )
    result[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = part
    return result


def binary_mask(array: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Brain where the value is above 0.5 (0/1 and 0/255 masks, probabilities, label maps).

    Raises:
        ImageError: if nothing is above 0.5.
    """
    brain = array > MASK_THRESHOLD
    _require_brain(brain, array, name)
    return brain


def _require_brain(brain: NDArray[np.bool_], values: NDArray[Any], name: str) -> None:
    if not brain.any():
        raise ImageError(
            f"{name}: the mask is empty (largest value {values.max():.3g}, brain is above {MASK_THRESHOLD}): "
            "check the file, or leave the mask out"
        )
