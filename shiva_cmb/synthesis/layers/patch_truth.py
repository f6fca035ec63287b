"""Where in a patch a bleed may be put, and which of its voxels show it: on `keras.ops`, for batches."""

import math
from typing import Any

import numpy as np
from keras import ops

from shiva_cmb.synthesis.bleeds.implant import DARK
from shiva_cmb.synthesis.visible import LEAST_CNR, LEAST_LOSS, LOSS, NOTHING, PART_OF_PEAK


def free_places(image: Any, brain: Any, label: Any, tried: Any) -> tuple[Any, Any, Any]:
    """The first place for each bleed that is in the brain, clear of others and not dark already.

    Args:
        image: (batch, x, y, z), 0 where there is no signal.
        brain: its mask, the same shape.
        label: 0 where nothing is known to be, the same shape.
        tried: from 0 to 1 along each axis (batch, n, places, 3).

    Returns:
        Voxels int32 (batch, n, 3); whether there is such a place, and the image's level there (batch, n).
    """
    shape = image.shape[1:]
    bleeds, places = tried.shape[1:3]
    last = np.array(shape) - 1
    voxels = ops.cast(ops.minimum(ops.floor(tried * np.float32(last + 1)), np.float32(last)), "int32")
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(27, 3)
    near = ops.clip(voxels[:, :, :, None] + around, 0, last)
    flat = (near[..., 0] * shape[1] + near[..., 1]) * shape[2] + near[..., 2]
    flat = ops.reshape(flat, (-1, bleeds * places * 27))
    values, inside, free = (
        ops.reshape(
            ops.take_along_axis(ops.reshape(data, (-1, math.prod(shape))), flat, axis=1),
            (-1, bleeds, places, 27),
        )
        for data in (image, brain, label)
    )
    levels = ops.mean(values, axis=3)
    usual = ops.sum(image * brain, axis=(1, 2, 3)) / ops.maximum(ops.sum(brain, axis=(1, 2, 3)), 1.0)
    clear = ops.all(ops.logical_and(inside > 0.5, ops.equal(free, NOTHING)), axis=3)
    fits = ops.logical_and(clear, levels > DARK * usual[:, None, None])
    first = ops.argmax(ops.cast(fits, "int32"), axis=2)[:, :, None]
    chosen = ops.take_along_axis(voxels, first[..., None], axis=2)[:, :, 0]
    return chosen, ops.any(fits, axis=2), ops.take_along_axis(levels, first, axis=2)[:, :, 0]


def noise_of(image: Any, brain: Any) -> Any:
    """Standard deviation of the noise (batch,), from neighbours in the brain, which hold some texture too.

    Roots of the differences keep edges from counting much: their mean is 0.822 roots of the deviation.
    """
    one, other = (slice(None, -1), slice(1, None))
    some = (slice(None), slice(None, None, 2), slice(None, None, 2))
    within = brain[some][..., one] * brain[some][..., other]
    steps = ops.sqrt(ops.abs(image[some][..., one] - image[some][..., other])) * within
    mean = ops.sum(steps, axis=(1, 2, 3)) / ops.maximum(ops.sum(within, axis=(1, 2, 3)), 1.0)
    return (mean / 0.822) ** 2 / math.sqrt(2.0)


def marks(own: Any, level_to_noise: Any) -> tuple[Any, Any]:
    """The voxels of each bleed that can be seen, and of each that cannot, by the rule of `visible`.

    Args:
        own: what the bleed takes of each voxel's signal (batch, n, *window).
        level_to_noise: signal over noise where it is (batch, n).

    Returns:
        Twice 0 or 1, float32 (batch, n, *window).
    """
    peak = ops.max(own, axis=(2, 3, 4), keepdims=True)
    level_to_noise = level_to_noise[:, :, None, None, None]
    visible = ops.logical_and(peak >= LEAST_LOSS, peak * level_to_noise >= LEAST_CNR)
    mask = own > ops.where(peak > LOSS, LOSS, PART_OF_PEAK * peak)
    seen = ops.logical_and(mask, visible)
    return ops.cast(seen, "float32"), ops.cast(ops.logical_and(mask, ops.logical_not(visible)), "float32")
