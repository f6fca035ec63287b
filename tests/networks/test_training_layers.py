"""Layers for training must compute what the built-in ones do, and leave nothing of themselves behind."""

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from shiva_cmb.networks import ShivaUNet, build_network
from shiva_cmb.networks.shiva_unet import shiva_unet
from shiva_cmb.networks.training_layers import BatchNormalization, swish
from tests.networks.one_function import image_of

ODD = (7, 9, 5)
SETTINGS = ShivaUNet(
    first_filters=3, levels=2, convs=1, residual=True, dropout=0.0, dropout_first=0.0, pool_deepest=False
)
THIN: dict[str, dict[str, Any]] = {
    "shiva_unet": {"first_filters": 2, "levels": 2, "residual": True},
    "plain_unet": {"filters": [2, 3], "l2": 0.5},
    "attention_unet": {"filters": [2, 3]},
    "stem_unet": {"filters": [2, 3], "full_filters": 2},
}


@pytest.fixture(scope="module")
def stock() -> keras.Model:
    """The network of built-in layers, with weights unlike those of the start."""
    keras.utils.set_random_seed(0)
    model = shiva_unet(SETTINGS, (*ODD, 1), training=True)
    rng = np.random.default_rng(1)
    model.set_weights([w * rng.uniform(0.8, 1.2) + rng.uniform(-0.05, 0.05) for w in model.get_weights()])
    return model


def for_training(stock: keras.Model, precision: str = "float32") -> keras.Model:
    """The network for training, with the weights of the other."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = build_network("shiva_unet", SETTINGS.as_arguments(), (*ODD, 1), training=True)
    finally:
        keras.config.set_dtype_policy(before)
    model.set_weights(stock.get_weights())
    return model


def three_steps(model: keras.Model) -> tuple[list[NDArray[Any]], ...]:
    """Compiled; the outputs, gradients and running statistics of each. The weights stay."""

    @tf.function(reduce_retracing=True)
    def step(image: Any, wish: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            outputs = model(image, training=True)
            loss = tf.reduce_sum(wish * outputs)
        return outputs, tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    before = model.get_weights()
    outputs, slopes, running = [], [], []
    for count in (2, 2, 1):  # the last batch may be smaller
        image = image_of(ODD, count) * 3
        wish = np.random.default_rng(count).standard_normal((*image.shape[:4], 1), np.float32)
        output, slope = step(image, wish)
        outputs.append(np.asarray(output))
        slopes.append(_flat(slope))
        running.append(_flat(model.non_trainable_weights))
    model.set_weights(before)
    return outputs, slopes, running


def _flat(tensors: Any) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(np.asarray(tensor, np.float64)) for tensor in tensors])


def test_steps_are_those_of_built_in_layers(stock: keras.Model) -> None:
    expected = three_steps(stock)
    for precision, tolerance in (("float32", 1e-5), ("mixed_bfloat16", 0.05)):
        for kind, other in zip(expected, three_steps(for_training(stock, precision)), strict=True):
            for one, two in zip(kind, other, strict=True):
                assert np.linalg.norm(two - one) < tolerance * np.linalg.norm(one)


@pytest.mark.parametrize(("dtype", "policy"), [("float32", "float32"), ("bfloat16", "mixed_bfloat16")])
def test_each_layer_is_the_built_in_one(dtype: str, policy: str) -> None:
    """Element by element. A mean far from zero is what a careless variance gets wrong."""
    rng = np.random.default_rng(0)
    image = keras.ops.cast(rng.normal(5, 2, (2, *ODD, 3)), dtype)
    wish = keras.ops.cast(rng.standard_normal((2, *ODD, 3)), dtype)
    norms = [
        kind(momentum=0.9, epsilon=1e-5, dtype=policy, name="norm")
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    found: list[list[Any]] = []
    for norm, activation in zip(norms, (keras.activations.silu, swish), strict=True):
        norm.build(image.shape)
        norm.set_weights(np.float32([[0.5, 1, 2], [-1, 0, 1], [0, 1, 2], [1, 2, 3]]))
        with tf.GradientTape() as tape:
            tape.watch(image)
            normed = norm(image, training=True)
            outputs = activation(normed)
        slopes = tape.gradient(outputs, [image, norm.gamma.value, norm.beta.value], wish)
        assert outputs.dtype == slopes[0].dtype == dtype
        found.append([outputs, *slopes, *norm.get_weights()])
    tolerance = 1e-5 if dtype == "float32" else 0.02
    for expected, other in zip(*found, strict=True):
        one, two = (np.asarray(keras.ops.cast(tensor, "float32")) for tensor in (expected, other))
        np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance * np.abs(one).max())
    np.testing.assert_allclose(found[1][-2], found[0][-2], rtol=1e-5)  # running statistics are float32
    np.testing.assert_allclose(found[1][-1], found[0][-1], rtol=1e-5)


def test_weights_go_by_name_both_ways(stock: keras.Model) -> None:
    fast = for_training(stock)
    finished = build_network("shiva_unet", SETTINGS.as_arguments(), (*ODD, 1))
    image = image_of(ODD)
    for source, target in ((fast, finished), (finished, fast)):
        source.set_weights([weight * 0.9 for weight in source.get_weights()])
        names = [layer.name for layer in source.layers if layer.weights]
        assert names == [layer.name for layer in target.layers if layer.weights]
        for name in names:
            old, new = source.get_layer(name), target.get_layer(name)
            assert type(old).__name__ == type(new).__name__
            assert [weight.name for weight in old.weights] == [weight.name for weight in new.weights]
            new.set_weights(old.get_weights())
        logits = np.asarray(fast(image), np.float64)
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), np.asarray(finished(image)), atol=1e-6)


def test_frozen_layers_take_the_running_statistics_and_leave_them(stock: keras.Model) -> None:
    fast = for_training(stock)
    fast.trainable = False
    image = image_of(ODD)
    expected = np.asarray(stock(image, training=False))
    np.testing.assert_allclose(np.asarray(fast(image, training=True)), expected, rtol=1e-5, atol=1e-6)
    for before, after in zip(stock.get_weights(), fast.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", THIN)
def test_only_networks_for_training_have_other_layers(name: str) -> None:
    stock, fast = (build_network(name, THIN[name], (8, 8, 8, 1), training=way) for way in (False, True))
    assert all(type(layer).__module__.startswith("keras.") for layer in stock.layers)
    norms = [layer.name for layer in stock.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert [layer.name for layer in fast.layers if isinstance(layer, BatchNormalization)] == norms
    swishes = sum(getattr(layer, "activation", None) is keras.activations.silu for layer in stock.layers)
    assert sum(getattr(layer, "activation", None) is swish for layer in fast.layers) == swishes
    assert (swishes > 0) == (name == "shiva_unet")
    assert len(fast.losses) == len(stock.losses)


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_other_engines_keep_the_built_in_layers() -> None:
    code = (
        "from shiva_cmb.networks import build_network\n"
        "model = build_network('shiva_unet', {'first_filters': 2, 'levels': 1}, (4, 4, 4, 1), training=1)\n"
        "assert all(type(layer).__module__.startswith('keras.') for layer in model.layers)\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
