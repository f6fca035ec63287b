"""The anatomy network as a functional Keras model."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.blocks import NORM_EPSILON

FOLD = 8
"""Voxels of 2 mm that are channels of one of 4 mm."""


def head_unet(
    widths: Sequence[int], window: tuple[int, int, int], classes: int, *, training: bool = False
) -> keras.Model:
    """Assemble a U-Net whose every convolution works at half the resolution of image and result.

    Image and result are folded: eight neighbouring voxels are channels of one, by their owner. So the widest
    arrays, which take most of the time, are never made. Each channel is normalised by itself, as batches are
    of one image, of any contrast.

    Args:
        widths: filters at each level, the finest (twice the image's voxel size) first.
        window: x, y, z of the image; multiples of 2 ** len(widths).
        classes: how many.
        training: gives logits.

    Returns:
        Maps (batch, x / 2, y / 2, z / 2, 8), from 0 to 1, to probabilities or logits of shape
        (batch, x / 2, y / 2, z / 2, 8, classes), float32.
    """
    x, y, z = (n // 2 for n in window)
    folded = keras.Input(shape=(x, y, z, FOLD), name="image")
    features = folded
    skips = []
    for level, width in enumerate(widths):
        if level:
            skips.append(features)
            features = layers.MaxPooling3D(2, name=f"enc{level}_pool")(features)
        features = _block(_block(features, width, f"enc{level}a"), width, f"enc{level}b")
    for level in reversed(range(len(skips))):
        features = layers.UpSampling3D(2, name=f"dec{level}_up")(features)
        features = layers.Concatenate(name=f"dec{level}_concat")([features, skips[level]])
        width = widths[level]
        features = _block(_block(features, width, f"dec{level}a"), width, f"dec{level}b")
    features = layers.Conv3D(FOLD * classes, 1, name="classes")(features)
    # TensorFlow's softmax takes five axes at most
    features = layers.Reshape((x * y * z, FOLD, classes), name="flat")(features)
    kind = "linear" if training else "softmax"
    features = layers.Activation(kind, dtype="float32", name="probability")(features)
    result = layers.Reshape((x, y, z, FOLD, classes), dtype="float32", name="folded")(features)
    return keras.Model(folded, result, name="head_unet")


def _block(features: Any, width: int, name: str) -> Any:
    features = layers.Conv3D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(features)
    features = layers.GroupNormalization(-1, epsilon=NORM_EPSILON, name=f"{name}_norm")(features)
    return layers.Activation("relu", name=f"{name}_act")(features)
