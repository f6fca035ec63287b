"""The SHIVA 3-D U-Net as a functional Keras model."""

from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.blocks import conv_level, output, upsample_to
from shiva_cmb.networks.family import ShivaUNet


def shiva_unet(
    settings: ShivaUNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `ShivaUNet` for what is published and what is inferred.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    skips, bottom = _encode(settings, inputs)
    features = _decode(settings, skips, bottom)
    if settings.head_filters:
        widths = [settings.head_filters] * settings.convs
        features = conv_level(features, widths, "head", activation=settings.activation)
    return keras.Model(inputs, output(features, training=training), name="shiva_unet")


def _encode(settings: ShivaUNet, inputs: Any) -> tuple[list[Any], Any]:
    """The features of each level that is decoded later, and those at the bottom."""
    skips: list[Any] = []
    features = inputs
    for level, width in enumerate(settings.filters):
        name = f"enc{level}"
        features = conv_level(
            features,
            [width] * settings.convs,
            name,
            activation=settings.activation,
            residual=settings.residual,
        )
        if level == settings.levels - 1 and not settings.pool_deepest:
            return skips, features
        skips.append(features)
        # "same" rounds odd sizes up and pads with minus infinity, at the far end only.
        features = layers.MaxPooling3D(2, padding="same", name=f"{name}_pool")(features)
        rate = settings.dropout if level else settings.dropout_first
        features = layers.SpatialDropout3D(rate, name=f"{name}_drop")(features)
    return skips, features


def _decode(settings: ShivaUNet, skips: list[Any], bottom: Any) -> Any:
    """Back to the full resolution, taking up the features of each level."""
    features = bottom
    for level in reversed(range(len(skips))):
        name = f"dec{level}"
        skip = skips[level]
        upsampled = upsample_to(features, skip, name)
        features = layers.Concatenate(name=f"{name}_concat")([upsampled, skip])
        width = settings.filters[level]
        first = features.shape[-1] if settings.wide_decoder else width
        features = conv_level(
            features,
            [first] * (settings.convs - 1) + [width],
            name,
            activation=settings.activation,
            residual=settings.residual,
        )
        features = layers.SpatialDropout3D(settings.dropout, name=f"{name}_drop")(features)
    return features
