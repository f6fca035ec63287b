"""New bleeds in training: in the image and in the label that the loss sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from shiva_cmb.training.augmentation.augment import Augment
from shiva_cmb.training.augmentation.settings import Implant
from shiva_cmb.training.fitting.loss_spec import parse_loss
from shiva_cmb.training.fitting.losses import stacked_loss
from shiva_cmb.training.fitting.model import training_model
from tests.training.augmentation.stacks import MM, changed, only

ALWAYS = only(implant=Implant(1.0, bleeds=(1, 2), diameter_mm=(2.5, 4.0)))
SIZE = 16


def brains(batch: int, channels: int = 1) -> NDArray[np.float32]:
    stack = np.zeros((batch, SIZE, SIZE, SIZE, channels + 2), np.float32)
    noise = np.random.default_rng(0).standard_normal((batch, SIZE, SIZE, SIZE, channels))
    stack[..., :-2] = 0.6 + 0.01 * noise
    stack[..., -2] = 1.0
    return stack


def test_bleeds_appear_in_the_first_channel_and_in_the_label() -> None:
    stack = brains(6, channels=2)
    result = changed(stack, ALWAYS)
    np.testing.assert_array_equal(result[..., 1:3], stack[..., 1:3])
    marked = result[..., 3] == 1
    assert marked.any(axis=(1, 2, 3)).mean() > 0.8
    assert (result[..., 0][marked] < 0.7 * 0.66).all()
    assert (result[..., 0][~marked] > 0.3).all()


def test_samples_get_bleeds_as_often_as_asked_for() -> None:
    some = only(implant=Implant(0.4, bleeds=(1, 1)))
    differs = (changed(brains(120), some) != brains(120)).any(axis=(1, 2, 3, 4))
    assert differs.mean() == pytest.approx(0.4, abs=0.12)


def test_other_intensity_scales_give_the_same() -> None:
    stack = brains(2)
    scaled = stack.copy()
    scaled[..., 0] = scaled[..., 0] * 6.0 - 3.0
    one, other = changed(stack, ALWAYS), changed(scaled, ALWAYS, value_range=(-3.0, 3.0))
    np.testing.assert_allclose(one[..., 0] * 6.0 - 3.0, other[..., 0], atol=1e-4)
    np.testing.assert_array_equal(one[..., 2], other[..., 2])


def test_the_compiled_model_hands_the_new_label_to_the_loss() -> None:
    image = keras.Input((SIZE, SIZE, SIZE, 1))
    dots = keras.layers.Conv3D(1, 1, kernel_initializer="ones")
    model = training_model(keras.Model(image, dots(image)), Augment(ALWAYS, 1, MM, seed=0))
    stack = brains(2)
    output = np.asarray(tf.function(lambda batch: model(batch, training=True))(stack))
    expected = changed(stack, ALWAYS)
    np.testing.assert_array_equal(output[..., 1], expected[..., 2])
    assert (output[..., 1] == 1).any()
    np.testing.assert_allclose(output[..., 0], expected[..., 0], atol=1e-4)
    loss = stacked_loss(parse_loss("ce"))
    without = np.concatenate([output[..., :1], stack[..., 2:]], axis=-1)
    assert np.all(np.asarray(loss(None, output)) > np.asarray(loss(None, without)))
