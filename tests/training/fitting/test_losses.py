"""The losses must be right where there is nothing to find, which is nearly everywhere."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from shiva_cmb.dataset.labels import IGNORED
from shiva_cmb.training.fitting.loss_spec import KINDS, parse_loss
from shiva_cmb.training.fitting.losses import (
    cross_entropy,
    focal_loss,
    focal_tversky_loss,
    judged_loss,
    soft_dice_loss,
    stacked_loss,
    training_loss,
    tversky_loss,
    weighted_cross_entropy,
)

SHAPE = (2, 6, 6, 6, 1)
EVERY = [*KINDS, "ce:5,0.1+focal_tversky:0.3,0.7,3", "2*dice+0.5*ce"]


def batch() -> NDArray[np.float32]:
    """The first sample holds a bleed of 8 voxels, the second none."""
    reference = np.zeros(SHAPE, np.float32)
    reference[0, 2:4, 2:4, 2:4] = 1
    return reference


def unsure(shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0.01, 0.99, shape).astype(np.float32)


def logit(probability: NDArray) -> NDArray[np.float32]:
    """As large as the surest networks give: 40 for a probability of 1."""
    with np.errstate(divide="ignore"):
        exact = np.log(probability) - np.log1p(-probability)
    return np.clip(exact, -40, 40).astype(np.float32)


def judge(spec: str, reference: NDArray, logits: Any) -> NDArray[np.float32]:
    loss = np.asarray(training_loss(parse_loss(spec))(reference, logits))
    assert loss.shape == reference.shape[:1]
    assert loss.dtype == np.float32
    return loss


def lost(spec: str, reference: NDArray, probability: NDArray) -> NDArray[np.float32]:
    return judge(spec, reference, logit(probability))


def slope(spec: str, reference: NDArray, probability: NDArray) -> NDArray[np.float32]:
    """By the logits."""
    variable = tf.constant(logit(probability))
    with tf.GradientTape() as tape:
        tape.watch(variable)
        loss = training_loss(parse_loss(spec))(reference, variable)
    return tape.gradient(loss, variable).numpy()


@pytest.mark.parametrize("spec", EVERY)
def test_perfect_predictions_cost_nothing_even_if_empty(spec: str) -> None:
    np.testing.assert_allclose(lost(spec, batch(), batch()), 0, atol=1e-5)
    assert np.isfinite(slope(spec, batch(), batch())).all()


@pytest.mark.parametrize("spec", EVERY)
def test_worse_predictions_cost_more(spec: str) -> None:
    costs = [lost(spec, batch(), (1 - share) * batch() + share * 0.5) for share in (0.0, 0.3, 0.6, 1.0)]
    assert (np.diff(costs, axis=0) > 0).all()


@pytest.mark.parametrize("spec", EVERY)
def test_samples_do_not_know_each_other(spec: str) -> None:
    both = lost(spec, batch(), unsure())
    alone = [lost(spec, batch()[i : i + 1], unsure()[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(both, alone, rtol=1e-5)


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("value", [IGNORED, 255])
def test_ignored_voxels_count_neither_way(spec: str, value: int) -> None:
    reference = batch().astype(np.uint8)
    reference[:, :, 3:] = value  # half of the bleed, half of the background
    cut = reference[:, :, :3]
    assert set(np.unique(cut)) == {0, 1}
    probability = unsure()
    np.testing.assert_allclose(
        lost(spec, reference, probability), lost(spec, cut, probability[:, :, :3]), rtol=1e-5
    )
    gradient = slope(spec, reference, probability)
    assert not gradient[:, :, 3:].any()
    assert gradient[:, :, :3].all()


@pytest.mark.parametrize("spec", EVERY)
def test_a_sample_that_is_ignored_costs_nothing(spec: str) -> None:
    reference = np.full(SHAPE, 255, np.uint8)
    reference[0] = 0
    loss = lost(spec, reference, unsure())
    assert loss[0] > 0
    assert loss[1] == pytest.approx(0, abs=1e-8)
    gradient = slope(spec, reference, unsure())
    assert np.isfinite(gradient).all()
    assert not gradient[1].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("spec", EVERY)
def test_half_precision_is_summed_in_float32(spec: str, dtype: str) -> None:
    """Sums of 10648 ones stop at 256 in bfloat16, and 65504 is the largest float16."""
    shape = (1, 22, 22, 22, 1)
    reference = (np.random.default_rng(1).random(shape) < 0.1).astype(np.uint8)
    half = keras.ops.cast(logit(unsure(shape)), dtype)
    exact = judge(spec, reference, np.asarray(keras.ops.cast(half, "float32")))
    np.testing.assert_allclose(judge(spec, reference, half), exact, rtol=1e-4)


# By hand, on 4 voxels: reference 1 1 0 0, probability 0.75 0.25 0.5 0.
# Found 1, missed 0.25 + 0.75 = 1, invented 0.5.
HAND = (1, 4, 1, 1, 1)
REFERENCE = np.array([1, 1, 0, 0], np.float32).reshape(HAND)
PROBABILITY = np.array([0.75, 0.25, 0.5, 0], np.float32).reshape(HAND)
L75, L25, L50 = -np.log(0.75), -np.log(0.25), -np.log(0.5)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("dice", 1 - (2 * 1 + 1) / (2 + 1.5 + 1)),
        ("tversky:0.3,0.7", 1 - (1 + 1) / (1 + 0.3 * 0.5 + 0.7 * 1 + 1)),
        ("focal_tversky:0.3,0.7,1", 0.85 / 2.85),
        ("focal_tversky:0.3,0.7,0.5", (0.85 / 2.85) ** 2),
        ("bce", (L75 + L25 + L50) / 4),
        ("ce:5", (5 * L75 + 5 * L25 + L50) / 4),
        ("ce:5,0.1", (5 * L75 + 5 * L25 + 0.1 * L50) / 4),
        ("lesion_ce:60", (30 * L75 + 30 * L25 + L50) / 4),
        ("focal:0.25,2", (0.25 * (0.25**2 * L75 + 0.75**2 * L25) + 0.75 * 0.5**2 * L50) / 4),
        ("dicece", (1 - 3 / 4.5) + (L75 + L25 + L50) / 4),
        ("dice+2*ce:5", (1 - 3 / 4.5) + 2 * (5 * L75 + 5 * L25 + L50) / 4),
    ],
)
def test_by_hand(spec: str, expected: float) -> None:
    assert lost(spec, REFERENCE, PROBABILITY)[0] == pytest.approx(expected, rel=1e-4)


def test_the_bent_root_stays_close_to_the_root() -> None:
    root = (0.85 / 2.85) ** (1 / 3)
    # Offset 1e-6: its cube root, 0.01, is taken off and the rest stretched to reach 1 again.
    bent = np.asarray(focal_tversky_loss(REFERENCE, logit(PROBABILITY), 0.3, 0.7, 3.0))[0]
    assert bent == pytest.approx((root - 0.01) / 0.99, rel=1e-4)


def test_losses_are_special_cases_of_each_other() -> None:
    reference, logits = batch(), logit(unsure())

    def same(one: object, other: object) -> None:
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5)

    same(soft_dice_loss(reference, logits), tversky_loss(reference, logits, 0.5, 0.5, 0.5))
    same(
        focal_tversky_loss(reference, logits, 0.3, 0.7, 1.0),
        tversky_loss(reference, logits, 0.3, 0.7),
    )
    same(cross_entropy(reference, logits), weighted_cross_entropy(reference, logits, 1.0))
    same(focal_loss(reference, logits, 0.5, 0.0), 0.5 * cross_entropy(reference, logits))


def test_equal_to_keras_where_keras_is_right() -> None:
    reference, probability = batch()[:1], unsure()[:1]
    expected = keras.losses.BinaryCrossentropy()(reference, probability)
    np.testing.assert_allclose(lost("bce", reference, probability), [float(expected)], rtol=1e-5)
    focal = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=0.25, gamma=2.0)
    expected = focal(reference, probability)
    np.testing.assert_allclose(lost("focal:0.25,2", reference, probability), [float(expected)], rtol=1e-5)


def test_samples_do_not_share_their_dice() -> None:
    prediction = batch()
    prediction[1] = 0.5
    dice = np.asarray(soft_dice_loss(batch(), logit(prediction)))
    assert dice[0] == pytest.approx(0, abs=1e-6)
    assert dice[1] == pytest.approx(1 - 1 / 109)


def test_missing_everything_costs_nearly_one() -> None:
    dice = np.asarray(soft_dice_loss(batch(), logit(np.zeros(SHAPE, np.float32))))
    np.testing.assert_allclose(dice, [1 - 1 / 9, 0], atol=1e-6)


def test_missed_voxels_cost_the_weight() -> None:
    missed, invented = np.zeros(SHAPE, np.float32) + 1e-3, np.zeros(SHAPE, np.float32) + 1e-3
    reference = np.zeros(SHAPE, np.float32)
    reference[:, 0, 0, 0] = 1
    invented[:, 0, 0, 0] = 1 - 1e-3
    for weight in (1.0, 3.0):
        cost = np.asarray(weighted_cross_entropy(reference, logit(missed), weight))
        false_alarm = np.asarray(weighted_cross_entropy(reference * 0, logit(invented), weight))
        background = -np.log(1 - 1e-3) * 215 / 216
        np.testing.assert_allclose((cost - background) / (false_alarm - background), weight, rtol=1e-2)


def test_deep_supervision_weighs_finer_outputs_more() -> None:
    outputs = np.concatenate([unsure(), batch(), 1 - unsure()], axis=-1)
    one, two, three = (lost("dicece", batch(), outputs[..., k : k + 1]) for k in range(3))
    expected = (one + two / 2 + three / 4) / 1.75
    np.testing.assert_allclose(lost("dicece", batch(), outputs), expected, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_surest_error_still_has_a_slope(outputs: int) -> None:
    """The sigmoid of 40 is 1 in float32: also that of the outputs of deep supervision."""
    reference = np.zeros((1, 2, 2, 2, 1), np.float32)
    gradient = slope("bce", reference, np.ones((1, 2, 2, 2, outputs), np.float32))
    np.testing.assert_allclose(gradient.sum(), 1, rtol=1e-5)
    assert (gradient > 0).all()
    assert judge("bce", reference, np.full((1, 2, 2, 2, outputs), 40.0)) == pytest.approx(40)


def test_the_reference_may_come_with_the_output() -> None:
    settings = parse_loss("dicece")
    reference = batch()
    reference[0, 0] = 2
    logits = logit(np.concatenate([unsure(), batch()], axis=-1))
    output = np.concatenate([logits, reference], axis=-1)
    dummy = np.zeros((2, 1, 1, 1, 1), np.float32)
    np.testing.assert_array_equal(
        np.asarray(stacked_loss(settings)(dummy, output)), judge("dicece", reference, logits)
    )
    np.testing.assert_array_equal(
        np.asarray(judged_loss(settings)(dummy, output)), judge("dicece", reference, logits[..., :1])
    )


def test_epochs_are_compared_without_penalties_and_coarse_outputs() -> None:
    """In what Keras reports, penalties are in the loss, and in the metric neither they nor coarse outputs."""
    inputs = keras.Input((2, 2, 2, 3))
    outputs = keras.layers.Conv3D(3, 1, kernel_regularizer=keras.regularizers.L2(0.5))(inputs)
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([np.eye(3).reshape(1, 1, 1, 3, 3), np.zeros(3)])
    settings = parse_loss("bce")
    model.compile(loss=stacked_loss(settings), metrics=[judged_loss(settings)], jit_compile=False)
    image = np.zeros((3, 2, 2, 2, 3), np.float32)
    image[..., 1] = 40.0  # the coarse output is all wrong
    dummy = np.zeros((3, 1, 1, 1, 1), np.float32)
    told = model.evaluate(image, dummy, batch_size=2, return_dict=True, verbose=0)
    assert told["data_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert told["loss"] == pytest.approx((np.log(2) + 0.5 * 40) / 1.5 + 0.5 * 3, rel=1e-5)


def test_a_small_bleed_counts_as_much_as_a_large_one() -> None:
    """Each in a corner of its own, beyond reach of the other."""
    reference = np.zeros((2, 16, 16, 16, 1), np.float32)
    reference[0, :2, :2, :2] = 1
    reference[1, :6, :5, :4] = 1
    nothing = np.zeros_like(reference)
    small, large = lost("lesion_ce:60", reference, nothing)
    assert small == pytest.approx(60 * 40 / 16**3, rel=1e-4)
    assert large == pytest.approx(small, rel=0.1)  # not all of it is in reach of its far voxels
