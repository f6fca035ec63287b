"""What the networks are trained to lower, on `keras.ops`."""

from collections.abc import Callable
from typing import Any

from keras import ops

DICE_SMOOTHING = 1.0
"""Voxels added above and below: makes 1 - Dice fall to 0 for an empty prediction of an empty reference."""


def bleed_loss(positive_weight: float) -> Callable[[Any, Any], Any]:
    """Weighted cross-entropy plus soft Dice loss.

    Each sample counts by itself. Pooling the batch would hide that most patches hold no bleed at all, and
    Keras' own Dice loss says 1 for these even if the prediction is perfect.

    Args:
        positive_weight: how much more voxels of bleeds count in the cross-entropy.

    Returns:
        A function of the reference (0 or 1) and the probabilities, both (batch, x, y, z, 1): the loss of each
        sample, shape (batch,).
    """

    def loss(reference: Any, probability: Any) -> Any:
        reference = ops.cast(reference, probability.dtype)
        return weighted_cross_entropy(reference, probability, positive_weight) + soft_dice_loss(
            reference, probability
        )

    return loss


def weighted_cross_entropy(reference: Any, probability: Any, positive_weight: float) -> Any:
    """Mean over the voxels of each sample, shape (batch,)."""
    entropy = ops.binary_crossentropy(reference, probability)
    weight = 1.0 + (positive_weight - 1.0) * reference
    return ops.mean(weight * entropy, axis=(1, 2, 3, 4))


def soft_dice_loss(reference: Any, probability: Any) -> Any:
    """1 - Dice of each sample, shape (batch,): 0 where a bleed-free sample is predicted to be one."""
    axes = (1, 2, 3, 4)
    overlap = ops.sum(reference * probability, axis=axes)
    total = ops.sum(reference, axis=axes) + ops.sum(probability, axis=axes)
    return 1.0 - (2.0 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)
