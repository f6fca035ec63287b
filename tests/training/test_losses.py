"""The loss must be right where there is nothing to find, which is nearly everywhere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.training.losses import bleed_loss, soft_dice_loss, weighted_cross_entropy

SHAPE = (2, 6, 6, 6, 1)


def batch() -> NDArray[np.float32]:
    """The first sample holds a bleed of 8 voxels, the second none."""
    reference = np.zeros(SHAPE, np.float32)
    reference[0, 2:4, 2:4, 2:4] = 1
    return reference


def test_perfect_predictions_cost_nothing_even_if_empty() -> None:
    loss = np.asarray(bleed_loss(3.0)(batch(), batch()))
    assert loss.shape == (2,)
    np.testing.assert_allclose(loss, 0, atol=1e-5)


def test_samples_do_not_share_their_dice() -> None:
    prediction = batch()
    prediction[1] = 0.5
    dice = np.asarray(soft_dice_loss(batch(), prediction))
    assert dice[0] == pytest.approx(0, abs=1e-6)
    assert dice[1] == pytest.approx(1 - 1 / 109)


def test_missing_everything_costs_nearly_one() -> None:
    dice = np.asarray(soft_dice_loss(batch(), np.zeros(SHAPE, np.float32)))
    np.testing.assert_allclose(dice, [1 - 1 / 9, 0], atol=1e-6)


def test_missed_voxels_cost_the_weight() -> None:
    missed, invented = np.zeros(SHAPE, np.float32) + 1e-3, np.zeros(SHAPE, np.float32) + 1e-3
    reference = np.zeros(SHAPE, np.float32)
    reference[:, 0, 0, 0] = 1
    invented[:, 0, 0, 0] = 1 - 1e-3
    for weight in (1.0, 3.0):
        cost = np.asarray(weighted_cross_entropy(reference, missed, weight))
        false_alarm = np.asarray(weighted_cross_entropy(reference * 0, invented, weight))
        background = -np.log(1 - 1e-3) * 215 / 216
        np.testing.assert_allclose((cost - background) / (false_alarm - background), weight, rtol=1e-2)


def test_integer_labels_are_taken() -> None:
    loss = np.asarray(bleed_loss(3.0)(batch().astype(np.uint8), batch()))
    np.testing.assert_allclose(loss, 0, atol=1e-5)
