"""Networks whose every weight matters, and the check that all ways of running one give the same map."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shiva_cmb.ensemble.quiet_openvino import openvino
from shiva_cmb.networks import build_network

ODD = (13, 19, 11)


def trained_looking(name: str, arguments: Mapping[str, Any], shape: tuple[int, int, int]) -> keras.Model:
    """A network whose running statistics, scales and offsets are not at their start values."""
    keras.utils.set_random_seed(0)
    model = build_network(name, arguments, (*shape, 1))
    model.set_weights(_unlike_the_start(model))
    return model


def _unlike_the_start(model: keras.Model) -> list[NDArray[Any]]:
    rng = np.random.default_rng(1)
    return [w * rng.uniform(0.8, 1.2) + rng.uniform(-0.05, 0.05) for w in model.get_weights()]


def trained(name: str, arguments: Mapping[str, Any], shape: tuple[int, int, int]) -> keras.Model:
    """A network that has learned for a few steps to answer where the image is bright."""
    keras.utils.set_random_seed(0)
    image = image_of(shape)
    learning = build_network(name, arguments, (*shape, 1), training=True)
    learning.set_weights(_unlike_the_start(learning))
    target = np.repeat((image > 0.8).astype(np.float32), learning.output_shape[-1], axis=-1)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    learning.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    losses = [learning.train_on_batch(image, target) for _ in range(3)]
    assert losses[-1] < losses[0]
    network = build_network(name, arguments, (*shape, 1))
    for layer in (layer for layer in network.layers if layer.weights):
        layer.set_weights(learning.get_layer(layer.name).get_weights())
    return network


def image_of(shape: tuple[int, int, int], batch: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(2).random((batch, *shape, 1), dtype=np.float32)


def check_one_function(model: keras.Model, image: NDArray[np.float32], folder: Path, atol: float) -> None:
    """Eager equals exported (and so compiled) equals converted."""
    eager = np.asarray(model(image, training=False))
    assert eager.shape == (*image.shape[:4], 1)
    assert eager.dtype == np.float32
    assert eager.min() >= 0
    assert eager.max() <= 1
    assert eager.std() > 1e-4, "a constant map agrees with anything"

    model.export(folder / "saved", verbose=False)
    loaded = tf.saved_model.load(str(folder / "saved"))
    served = loaded.serve(image).numpy()
    np.testing.assert_allclose(served, eager, atol=atol)

    core = openvino.Core()
    converted = core.compile_model(
        core.read_model(folder / "saved"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    np.testing.assert_allclose(converted(image)[0], eager, atol=atol)
