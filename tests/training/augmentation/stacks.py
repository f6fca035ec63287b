"""Stacks to change, and the layer called as training calls it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.training.augmentation.augment import Augment
from shiva_cmb.training.augmentation.settings import AugmentationSettings, Change

MM = (1.0, 1.0, 1.0)


def only(**changes: Change) -> AugmentationSettings:
    return AugmentationSettings(**changes)  # type: ignore[arg-type]


def changed(
    stack: NDArray[np.float32],
    settings: AugmentationSettings,
    *,
    spacing_mm: Sequence[float] = MM,
    seed: int = 0,
    **options: Any,
) -> NDArray[np.float32]:
    layer = Augment(settings, stack.shape[-1] - 2, spacing_mm, seed, **options)
    return np.array(layer(stack, training=True))


def noisy_stack(
    batch: int, shape: Sequence[int] = (12, 12, 12), channels: int = 1, seed: int = 0
) -> NDArray[np.float32]:
    """Image evenly in [0, 1], brain and label at random: no two places are alike."""
    rng = np.random.default_rng(seed)
    image = rng.random((batch, *shape, channels))
    brain = rng.random((batch, *shape, 1)) < 0.7
    label = rng.integers(0, 3, (batch, *shape, 1))
    return np.concatenate([image, brain, label], axis=-1).astype(np.float32)


def same_sample(count: int, **options: Any) -> NDArray[np.float32]:
    """One sample, many times."""
    return np.repeat(noisy_stack(1, **options), count, axis=0)


def ball_stack(size: int, radius: float, centre: Sequence[float], batch: int = 1) -> NDArray[np.float32]:
    """A bright ball with a soft edge, labelled, in a brain that fills everything."""
    index = np.indices((size, size, size))
    distance = np.sqrt(sum((i - c) ** 2 for i, c in zip(index, centre, strict=True)))
    image = np.clip(radius - distance + 0.5, 0.0, 1.0)
    stack = np.stack([image, np.ones_like(image), image >= 0.5], axis=-1).astype(np.float32)
    return np.repeat(stack[None], batch, axis=0)
