"""The network as it is trained: changes of the images, the network, and what the loss needs, in one model."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from shiva_cmb.networks import NetworkSettings, build_network
from shiva_cmb.training.fitting.settings import FittingSettings
from shiva_cmb.training.sampling.places import EXTRA_PLANES

FIRST_PROBABILITY = 0.01
"""What an untrained network answers, as in Lin et al. 2017, "Focal loss for dense object detection". From
0.5, short runs spend their steps on learning that bleeds are rare (120 steps on generated heads found none);
at the true rarity, under 0.001, some runs never started to fire."""

POLICIES = {"f32": "float32", "bf16": "mixed_bfloat16", "f16": "mixed_float16"}

Shape = tuple[int, int, int]


def training_network(
    settings: NetworkSettings, shape: Shape, channels: int, fitting: FittingSettings
) -> keras.Model:
    """An untrained network that gives logits.

    Args:
        settings: the architecture.
        shape: voxels it sees at a time.
        channels: of the image.
        fitting: for its precision.
    """
    with _policy(POLICIES[fitting.precision]):
        network = build_network(
            settings.architecture, settings.as_arguments(), (*shape, channels), training=True
        )
    start_from_rarity(network)
    return network


def training_model(network: keras.Model, augment: keras.layers.Layer) -> keras.Model:
    """Put the changes of the images before a network and the label behind it.

    The label goes through the model, since it is turned and bent together with the image.

    Returns:
        Takes (batch, x, y, z, channels + 2): image, brain mask, label. Gives (batch, x, y, z, outputs + 1):
        logits, then the label as the network's image has it.
    """
    _, *shape, channels = network.input_shape
    stack = keras.Input((*shape, channels + EXTRA_PLANES), name="stack")
    changed = augment(stack)
    logits = ops.cast(network(changed[..., :channels]), "float32")
    return keras.Model(stack, ops.concatenate([logits, changed[..., -1:]], axis=-1), name="training")


def whole_network(settings: NetworkSettings, shape: Shape, trained: keras.Model) -> keras.Model:
    """The network for prediction, for the whole model grid and in float32, with the weights of another.

    Args:
        settings: the architecture.
        shape: of the model grid.
        trained: of the same architecture, for patches of any size.
    """
    channels = trained.input_shape[-1]
    with _policy("float32"):
        whole = build_network(settings.architecture, settings.as_arguments(), (*shape, channels))
    # By name: what was added for training alone is left behind, and crops differ with the size.
    for layer in (layer for layer in whole.layers if layer.weights):
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    return whole


def start_from_rarity(network: keras.Model) -> None:
    """Set the outputs' biases so that the untrained network gives about `FIRST_PROBABILITY` everywhere."""
    for layer in network.layers:
        # An output that ends in a plain activation has its bias in the layer called `logits`.
        if layer.weights and (layer.name.startswith("probability") or layer.name == "logits"):
            kernel, bias = layer.get_weights()
            first = np.full_like(bias, np.log(FIRST_PROBABILITY / (1.0 - FIRST_PROBABILITY)))
            layer.set_weights([kernel, first])


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Build layers of some precision, and leave the process as it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
