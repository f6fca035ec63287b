"""Pieces that architectures share. Built-in layers only, so that a saved model loads in plain Keras."""

from collections.abc import Sequence
from typing import Any

from keras import layers

NORM_MOMENTUM = 0.9
"""Of the running statistics: Keras' 0.99 takes some 500 steps to forget its start, and spoils short runs."""


def conv_level(
    features: Any, widths: Sequence[int], name: str, *, activation: str, residual: bool = False
) -> Any:
    """A chain of 3x3x3 convolutions, each normalised and activated.

    Args:
        features: shape (batch, x, y, z, channels).
        widths: filters of each convolution.
        name: prefix of the layers' names.
        activation: a Keras activation.
        residual: adds `features` before the last activation, by a 1x1x1 convolution if the width differs.

    Returns:
        Shape (batch, x, y, z, widths[-1]).
    """
    shortcut = features
    for index, width in enumerate(widths):
        features = layers.Conv3D(width, 3, padding="same", use_bias=False, name=f"{name}_conv{index}")(
            features
        )
        features = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_norm{index}")(features)
        if residual and index == len(widths) - 1:
            features = _add(shortcut, features, name)
        features = layers.Activation(activation, name=f"{name}_act{index}")(features)
    return features


def upsample_to(features: Any, target: Any, name: str) -> Any:
    """Double the resolution (nearest), and cut the far end where `target` has an odd size.

    Cropping then concatenating is safe; padding right before a convolution is not: TensorFlow's graph
    optimiser (2.21, oneDNN) merges the two into a wrong result, seen only in compiled and exported models.
    """
    features = layers.UpSampling3D(2, name=f"{name}_up")(features)
    surplus = [have - want for have, want in zip(features.shape[1:4], target.shape[1:4], strict=True)]
    if any(surplus):
        cropping = tuple((0, n) for n in surplus)
        features = layers.Cropping3D(cropping, name=f"{name}_crop")(features)
    return features


def _add(shortcut: Any, features: Any, name: str) -> Any:
    if shortcut.shape[-1] != features.shape[-1]:
        width = features.shape[-1]
        shortcut = layers.Conv3D(width, 1, use_bias=False, name=f"{name}_project")(shortcut)
        shortcut = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_project_norm")(shortcut)
    return layers.Add(name=f"{name}_add")([shortcut, features])
