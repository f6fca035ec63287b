"""Masks and further channels brought onto the grid of the image they belong to."""

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging.volume import Grid, Volume

MASK_THRESHOLD = 0.5
"""As in SHiVAi: 0/1 and 0/255 masks, probabilities and label maps all mean brain above this."""


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
    aligned = resample_to_grid(Volume(data, mask.affine), image)
    if not (aligned > MASK_THRESHOLD).any():
        raise ImageError(f"{name}: the mask does not overlap the image: is it of this scan and in its space?")
    return aligned


def align_image(image: Volume, grid: Grid, name: str, note: Note = warn_user) -> Volume:
    """Bring an image onto another one's grid, by world coordinates.

    Args:
        image: finite values.
        grid: the grid wanted.
        name: the image's file, for messages.
        note: is told when the image had to be resampled.

    Returns:
        The image itself where the grids match (within 0.01 mm), else linearly interpolated float32.

    Raises:
        ImageError: if the two do not overlap.
    """
    if image.grid.matches(grid):
        return image
    note(f"{name}: the image lies on another grid than the first one; it was resampled to that grid")
    aligned = resample_to_grid(image, grid)
    if not aligned.any():
        raise ImageError(f"{name}: the image does not overlap the first one: is it of this scan?")
    return Volume(aligned, grid.affine)


def resample_to_grid(source: Volume, target: Grid) -> NDArray[np.float32]:
    """Linear interpolation in world space; computed only in the box of `target` where `source` is not 0.

    Returns:
        Shape of `target`; 0 outside the field of view of `source`.
    """
    result = np.zeros(target.shape, dtype=np.float32)
    content = scipy.ndimage.find_objects((source.data != 0).astype(np.int8))
    if not content:
        return result
    corners = np.array(np.meshgrid(*[(s.start - 1, s.stop) for s in content[0]])).reshape(3, -1).T
    reach = target.to_voxel(source.grid.to_world(corners))
    low = np.maximum(np.floor(reach.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(reach.max(axis=0)).astype(int) + 1, target.shape)
    if (high <= low).any():
        return result
    matrix = np.linalg.inv(source.affine) @ target.affine
    part = scipy.ndimage.affine_transform(
        source.data.astype(np.float32, copy=False),
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
