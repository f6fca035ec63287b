"""MONAI's residual U-Net as a functional Keras model."""

from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.architectures import MonaiUNet
from shiva_cmb.networks.blocks import Style

STYLE = Style("batch", "prelu")
LINEAR = Style("none", "none")


def monai_unet(
    settings: MonaiUNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `MonaiUNet`.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    bottom = len(settings.filters) - 1
    skips = [inputs]
    for level, width in enumerate(settings.filters[:-1]):
        skips.append(_unit(skips[-1], width, settings.residual_units, f"enc{level}", stride=2))
    features = _unit(skips[-1], settings.filters[-1], settings.residual_units, "bottom")
    for level in reversed(range(1, bottom)):
        name, width = f"dec{level}", settings.filters[level - 1]
        features = layers.Concatenate(name=f"{name}_concat")([skips[level + 1], features])
        features = STYLE.enlarge(features, width, skips[level], f"{name}_large", kernel=3)
        features = _unit(features, width, 1, name)
    features = layers.Concatenate(name="top_concat")([skips[1], features])
    features = STYLE.enlarge(features, 1, inputs, "top", kernel=3)
    # Always float32, whatever the precision policy: NIfTI has no float16.
    logits = layers.Conv3D(1, 3, padding="same", dtype="float32", name="logits")(features)
    logits = layers.Add(dtype="float32", name="top_add")([features, logits])
    if training:
        return keras.Model(inputs, logits, name="monai_unet")
    outputs = layers.Activation("sigmoid", dtype="float32", name="probability")(logits)
    return keras.Model(inputs, outputs, name="monai_unet")


def _unit(features: Any, width: int, convs: int, name: str, *, stride: int = 1) -> Any:
    """Convolutions with a shortcut around all of them: a convolution too where sizes or widths differ."""
    shortcut = features
    if stride > 1 or features.shape[-1] != width:
        kernel = 3 if stride > 1 else 1
        shortcut = LINEAR.convolve(features, width, f"{name}_project", kernel=kernel, stride=stride)
    for index in range(convs):
        step = stride if index == 0 else 1
        features = STYLE.convolve(features, width, f"{name}_{index}", stride=step)
    return layers.Add(name=f"{name}_add")([shortcut, features])
