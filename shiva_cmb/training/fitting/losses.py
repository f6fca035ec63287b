"""What the networks are trained to lower, on `keras.ops`.

Losses take logits, not probabilities: cross-entropies are exact then, and the surest error still has a slope.

Each sample counts by itself: pooling the batch would hide that most patches hold no bleed at all. Keras' own
Dice and Tversky losses say 1 for these even if the prediction is perfect; here that costs nothing.

References are 0 or 1, and `labels.IGNORED` or any other value from 1.5 where nobody knows: such voxels count
neither way in any loss. A sample that is ignored altogether costs 0. All sums are in float32, whatever comes
in.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from shiva_cmb.training.fitting.loss_spec import LossSettings, LossTerm

DICE_SMOOTHING = 1.0
"""Voxels added above and below: makes 1 - Dice fall to 0 for an empty prediction of an empty reference."""

TVERSKY_SMOOTHING = 1.0
"""The same for the Tversky index, whose denominator is half that of Dice."""

POWER_OFFSET = 1e-6
"""Keeps the slope of the focal Tversky loss finite where the loss is 0."""

LEAST = 1e-7
"""Below this, an error counts as this in the focal factor, whose slope may be infinite at 0."""

LESION_REACH = 4
"""Voxels to each side in which the size of a bleed is counted: all of one that is 9 voxels wide."""

COARSER = 0.5
"""Weight of each output of deep supervision relative to the next finer one."""

Loss = Callable[[Any, Any], Any]
"""Takes the reference and the logits, both (batch, x, y, z, 1): the loss of each sample, float32 (batch,)."""


def training_loss(settings: LossSettings) -> Loss:
    """The weighted sum of losses that `settings` describes.

    Returns:
        A loss that also takes several channels of logits, finest first (deep supervision): each is compared
        with the same reference, and counts half as much as the one before; weights sum to 1.
    """
    judge = _weighted_sum(settings)

    def loss(reference: Any, logits: Any) -> Any:
        weights = [COARSER**index for index in range(logits.shape[-1])]
        judged = (judge(reference, logits[..., index : index + 1]) for index in range(len(weights)))
        return sum(weight * one for weight, one in zip(weights, judged, strict=True)) / sum(weights)

    return loss


def stacked_loss(settings: LossSettings) -> Loss:
    """`training_loss` for a model whose output ends in the reference, which it has augmented itself.

    Returns:
        Takes anything, which is ignored, and the output (batch, x, y, z, logits + 1).
    """
    loss = training_loss(settings)

    def stacked(_: Any, output: Any) -> Any:
        return loss(output[..., -1:], output[..., :-1])

    return stacked


def judged_loss(settings: LossSettings) -> Loss:
    """What epochs are compared by: the loss of the finest output alone.

    A metric, so that neither penalties on weights nor the outputs of deep supervision, which Keras' own
    `val_loss` has in it, choose the best epoch. Its function is called `data_loss`: `val_data_loss` in logs.

    Returns:
        Takes the same as `stacked_loss`.
    """
    judge = _weighted_sum(settings)

    def data_loss(_: Any, output: Any) -> Any:
        return judge(output[..., -1:], output[..., :1])

    return data_loss


def _weighted_sum(settings: LossSettings) -> Loss:
    losses = [(term.weight, _single(term)) for term in settings.terms]

    def judge(reference: Any, logits: Any) -> Any:
        return sum(weight * loss(reference, logits) for weight, loss in losses)

    return judge


def _single(term: LossTerm) -> Loss:
    numbers = term.named
    if term.kind == "dice":
        return soft_dice_loss
    if term.kind == "bce":
        return cross_entropy
    if term.kind == "dicece":
        return lambda reference, logits: soft_dice_loss(reference, logits) + cross_entropy(reference, logits)
    functions: dict[str, Callable[..., Any]] = {
        "ce": weighted_cross_entropy,
        "lesion_ce": lesion_cross_entropy,
        "tversky": tversky_loss,
        "focal_tversky": focal_tversky_loss,
        "focal": focal_loss,
    }
    function = functions[term.kind]
    return lambda reference, logits: function(reference, logits, **numbers)


def cross_entropy(reference: Any, logits: Any) -> Any:
    """Mean binary cross-entropy over the voxels of each sample, shape (batch,)."""
    return weighted_cross_entropy(reference, logits, 1.0)


def weighted_cross_entropy(
    reference: Any, logits: Any, positive_weight: float, negative_weight: float = 1.0
) -> Any:
    """Mean over the voxels of each sample, shape (batch,); the mean is not divided by the weights.

    Args:
        reference: 0, 1 or ignored.
        logits: of 1.
        positive_weight: of voxels that are 1.
        negative_weight: of voxels that are 0.
    """
    target, valid, logits = _prepared(reference, logits)
    weight = negative_weight + (positive_weight - negative_weight) * target
    return _mean(weight * _entropy(target, logits), valid)


def lesion_cross_entropy(reference: Any, logits: Any, lesion_weight: float) -> Any:
    """Cross-entropy in which every bleed counts alike, shape (batch,); the mean is over all voxels.

    A bleed of 6 mm has thirty times the voxels of one of 2 mm, and hides it in any sum over voxels. Here a
    voxel of a bleed is weighted by the inverse of the bleed's size, after Shirokikh et al. 2020, "Universal
    loss reweighting to balance lesion size inequality in 3D medical image segmentation". The size is counted
    in a cube about the voxel, so bleeds side by side share one weight.

    Args:
        reference: 0, 1 or ignored.
        logits: of 1.
        lesion_weight: as how many voxels of background a bleed counts.
    """
    target, valid, logits = _prepared(reference, logits)
    weight = 1.0 - target + lesion_weight * target / ops.maximum(_size_around(target), 1.0)
    return _mean(weight * _entropy(target, logits), valid)


def _size_around(target: Any) -> Any:
    """Voxels of bleeds in the cube about each voxel, axis by axis."""
    width = 2 * LESION_REACH + 1
    total = target
    for axis in (1, 2, 3):
        pads = [(LESION_REACH, LESION_REACH) if a == axis else (0, 0) for a in range(5)]
        window = tuple(width if a == axis else 1 for a in (1, 2, 3))
        total = width * ops.average_pool(ops.pad(total, pads), window, strides=1, padding="valid")
    return total


def focal_loss(reference: Any, logits: Any, alpha: float, gamma: float) -> Any:
    """Lin et al. 2017, "Focal loss for dense object detection": mean over the voxels, shape (batch,).

    Args:
        reference: 0, 1 or ignored.
        logits: of 1.
        alpha: weight of voxels that are 1; the others have 1 - alpha.
        gamma: power of the error that the cross-entropy is multiplied by.
    """
    target, valid, logits = _prepared(reference, logits)
    error = ops.maximum(target * ops.sigmoid(-logits) + (1.0 - target) * ops.sigmoid(logits), LEAST)
    weight = (1.0 - alpha) + (2.0 * alpha - 1.0) * target
    return _mean(weight * ops.power(error, gamma) * _entropy(target, logits), valid)


def soft_dice_loss(reference: Any, logits: Any) -> Any:
    """1 - Dice of each sample, shape (batch,): 0 where a bleed-free sample is predicted to be one."""
    return tversky_loss(reference, logits, 0.5, 0.5, smoothing=DICE_SMOOTHING / 2.0)


def tversky_loss(
    reference: Any,
    logits: Any,
    false_positives: float,
    false_negatives: float,
    smoothing: float = TVERSKY_SMOOTHING,
) -> Any:
    """Salehi et al. 2017, "Tversky loss function for image segmentation": 1 - index, shape (batch,).

    Args:
        reference: 0, 1 or ignored.
        logits: of 1.
        false_positives: how much the sum of invented probability counts (alpha).
        false_negatives: how much the sum of missed probability counts (beta).
        smoothing: voxels added above and below.
    """
    target, valid, logits = _prepared(reference, logits)
    probability = ops.sigmoid(logits)
    found = _sum(target * probability * valid)
    invented = _sum((1.0 - target) * probability * valid)
    missed = _sum(target * (1.0 - probability) * valid)
    # As wrong / (right + wrong), not as 1 - index: close to 0 for a perfect prediction, and never below.
    wrong = false_positives * invented + false_negatives * missed
    return wrong / (found + wrong + smoothing)


def focal_tversky_loss(
    reference: Any, logits: Any, false_positives: float, false_negatives: float, gamma: float
) -> Any:
    """The Tversky loss to the power of 1 / gamma, shape (batch,).

    Abraham and Khan 2019, "A novel focal Tversky loss function with improved attention U-Net". Bent a little
    near 0, where the power has an infinite slope: 0 and 1 stay what they are.
    """
    loss = tversky_loss(reference, logits, false_positives, false_negatives)
    power = 1.0 / gamma
    lowest = POWER_OFFSET**power
    return (ops.power(loss + POWER_OFFSET, power) - lowest) / ((1.0 + POWER_OFFSET) ** power - lowest)


def _prepared(reference: Any, logits: Any) -> tuple[Any, Any, Any]:
    """The reference with 0 for ignored voxels, 1 where it counts, the logits: all float32."""
    # it comes in one array with the logits, whose slope would else be followed into what is made of it
    reference = ops.stop_gradient(ops.cast(reference, "float32"))
    known = reference < 1.5
    target = ops.where(known, reference, ops.zeros_like(reference))
    return target, ops.cast(known, "float32"), ops.cast(logits, "float32")


def _entropy(target: Any, logits: Any) -> Any:
    """Binary cross-entropy of each voxel, exact at any logit."""
    return ops.binary_crossentropy(target, logits, from_logits=True)


def _sum(values: Any) -> Any:
    return ops.sum(values, axis=(1, 2, 3, 4))


def _mean(values: Any, valid: Any) -> Any:
    """Over the voxels that count; 0 if there are none."""
    return _sum(values * valid) / ops.maximum(_sum(valid), 1.0)
