"""The residual U-Net with instance normalisation as a functional Keras model."""

from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.architectures import ResidualUNet
from shiva_cmb.networks.blocks import Style, crop_to, output


def residual_unet(
    settings: ResidualUNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `ResidualUNet` for what is published and what is inferred.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits, and adds those of deep supervision as further channels, finest first.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities, float32 (batch, x, y, z, 1), or to logits,
        float32 (batch, x, y, z, 1 + deep supervision).
    """
    style = Style("instance", "leaky_relu", bias=False, l2=settings.l2, scale_instance=True)
    inputs = keras.Input(shape=input_shape, name="image")
    skips = []
    features = inputs
    bottom = len(settings.filters) - 1
    for level, width in enumerate(settings.filters):
        convs = settings.encoder_convs if level < bottom else settings.bottom_convs
        features = _level(style, features, width, convs, f"enc{level}", stride=2 if level else 1)
        skips.append(features)
    judged = []
    for level in reversed(range(bottom)):
        name, width = f"dec{level}", settings.filters[level]
        upsampled = style.enlarge(features, width, skips[level], f"{name}_large", kernel=2)
        features = layers.Concatenate(name=f"{name}_concat")([skips[level], upsampled])
        features = _level(style, features, width, settings.decoder_convs, name)
        if training and 1 <= level <= settings.deep_supervision:
            judged.append(_judged(features, inputs, level))
    outputs = output(features, training=training)
    if judged:
        outputs = layers.Concatenate(dtype="float32", name="all_outputs")([outputs, *reversed(judged)])
    return keras.Model(inputs, outputs, name="residual_unet")


def _level(style: Style, features: Any, width: int, convs: int, name: str, *, stride: int = 1) -> Any:
    """Convolutions; a shortcut goes from the first one's output to before the last activation."""
    features = style.convolve(features, width, f"{name}_0", stride=stride)
    if convs == 1:
        return features
    shortcut = features
    for index in range(1, convs - 1):
        features = style.convolve(features, width, f"{name}_{index}")
    linear = Style(style.norm, "none", style.bias, style.l2, style.scale_instance)
    features = linear.convolve(features, width, f"{name}_{convs - 1}")
    features = layers.Add(name=f"{name}_add")([shortcut, features])
    return style.activate(features, name)


def _judged(features: Any, inputs: Any, level: int) -> Any:
    """The logits at a coarse level, voxels repeated to full resolution.

    Small lesions survive this way, while a reference that is made coarse would lose them.
    """
    name = f"probability_{level}"
    coarse = output(features, name, training=True)
    large = layers.UpSampling3D(2**level, dtype="float32", name=f"{name}_large")(coarse)
    return crop_to(large, inputs, name)
