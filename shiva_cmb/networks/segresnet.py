"""SegResNet as a functional Keras model."""

from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.architectures import SegResNet
from shiva_cmb.networks.blocks import NORM_EPSILON, Style, output, upsample_to

BARE = Style("none", "none", bias=False)


def segresnet(
    settings: SegResNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `SegResNet`.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    features = BARE.convolve(inputs, settings.first_filters, "first")
    features = layers.SpatialDropout3D(settings.dropout, name="first_drop")(features)
    skips = []
    for level, blocks in enumerate(settings.blocks_down):
        if level:
            width = settings.first_filters * 2**level
            features = BARE.convolve(features, width, f"down{level}", stride=2)
        for block in range(blocks):
            features = _block(features, settings.groups, f"enc{level}_{block}")
        skips.append(features)
    for level, blocks in zip(reversed(range(len(skips) - 1)), settings.blocks_up, strict=True):
        width = settings.first_filters * 2**level
        features = BARE.convolve(features, width, f"dec{level}", kernel=1)
        features = upsample_to(features, skips[level], f"dec{level}")
        # The border is averaged over fewer voxels, not over zeros.
        smooth = layers.AveragePooling3D(3, strides=1, padding="same", name=f"dec{level}_smooth")
        features = layers.Add(name=f"dec{level}_add")([smooth(features), skips[level]])
        for block in range(blocks):
            features = _block(features, settings.groups, f"dec{level}_{block}")
    features = _normalise(features, settings.groups, "last")
    return keras.Model(inputs, output(features, training=training), name="segresnet")


def _block(features: Any, groups: int, name: str) -> Any:
    """Twice normalisation, ReLU and convolution, and a shortcut around them."""
    shortcut, width = features, features.shape[-1]
    for index in range(2):
        features = _normalise(features, groups, f"{name}_{index}")
        features = BARE.convolve(features, width, f"{name}_{index}")
    return layers.Add(name=f"{name}_add")([shortcut, features])


def _normalise(features: Any, groups: int, name: str) -> Any:
    features = layers.GroupNormalization(groups, epsilon=NORM_EPSILON, name=f"{name}_norm")(features)
    return layers.Activation("relu", name=f"{name}_act")(features)
