"""Mirror images and turns by 90 degrees: voxels change places, no value changes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from keras import ops

from shiva_cmb.training.augmentation.draws import Draws, where_drawn
from shiva_cmb.training.augmentation.settings import Flip, Turn


def turnable_axes(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Axes of space that may be swapped: the most that agree in voxels and spacing, or none."""
    alike = [
        tuple(
            other
            for other in range(3)
            if (shape[other], spacing_mm[other]) == (shape[axis], spacing_mm[axis])
        )
        for axis in range(3)
    ]
    most = max(alike, key=len)
    return most if len(most) > 1 else ()


def reorient(planes: Any, draws: Draws, turn: Turn, flip: Flip, turnable: Sequence[int]) -> Any:
    """Turn, then mirror.

    Every turn that keeps the turnable axes among themselves is as likely as any other, none included.

    Args:
        planes: (batch, planes, x, y, z).
        draws: random numbers.
        turn: how often samples are turned.
        flip: how often axes are mirrored, and which.
        turnable: see `turnable_axes`.
    """
    mirrored = {axis: draws.chance(flip.probability) for axis in flip.axes if flip.probability}
    if turn.probability and turnable:
        planes, turned = _turn(planes, draws, turn.probability, turnable)
        for axis, signs in turned.items():
            mirrored[axis] = ops.logical_xor(mirrored[axis], signs) if axis in mirrored else signs
    for axis, drawn in mirrored.items():
        planes = where_drawn(drawn, partial(ops.flip, axis=axis + 2), planes)
    return planes


def _turn(
    planes: Any, draws: Draws, probability: float, turnable: Sequence[int]
) -> tuple[Any, dict[int, Any]]:
    """Swap axes, and say which are to be mirrored afterwards to make it a turn."""
    drawn = draws.chance(probability)
    odd = ops.zeros_like(drawn)
    for later in range(len(turnable) - 1, 0, -1):  # Fisher and Yates
        chosen = ops.floor(draws.uniform(0.0, later + 1.0))
        for earlier in range(later):
            swapped = ops.logical_and(drawn, ops.equal(chosen, earlier))
            swap = partial(ops.swapaxes, axis1=turnable[earlier] + 2, axis2=turnable[later] + 2)
            planes = where_drawn(swapped, swap, planes)
            odd = ops.logical_xor(odd, swapped)
    mirrored = {}
    for axis in turnable[1:]:
        mirrored[axis] = ops.logical_and(drawn, draws.chance(0.5))
        odd = ops.logical_xor(odd, mirrored[axis])
    mirrored[turnable[0]] = odd  # a swap is a mirror image, and so is a flip: together they are even
    return planes, mirrored
