"""The U-Net behind a space-to-depth stem as a functional Keras model."""

from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.architectures import StemUNet
from shiva_cmb.networks.blocks import conv_level, crop_to, make_even, output, upsample_to


def stem_unet(
    settings: StemUNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `StemUNet`.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    fine = None
    features = inputs
    if settings.full_filters:
        fine = features = _full(settings, inputs, "full")
    features = space_to_depth(make_even(features, "stem"), "stem")
    features = _unet(settings, features)
    if fine is None:
        # Always float32, whatever the precision policy: NIfTI has no float16.
        logits = layers.Conv3D(8, 1, dtype="float32", name="logits")(features)
        outputs = crop_to(depth_to_space(logits, "top", dtype="float32"), inputs, "top")
        if not training:
            outputs = layers.Activation("sigmoid", dtype="float32", name="probability")(outputs)
        return keras.Model(inputs, outputs, name="stem_unet")
    features = layers.Conv3D(8 * settings.full_filters, 1, name="top_spread")(features)
    features = crop_to(depth_to_space(features, "top"), inputs, "top")
    features = layers.Concatenate(name="top_concat")([features, fine])
    features = _full(settings, features, "top")
    return keras.Model(inputs, output(features, training=training), name="stem_unet")


def space_to_depth(features: Any, name: str) -> Any:
    """Put each cube of 2 x 2 x 2 voxels into the channels of one.

    Args:
        features: (batch, x, y, z, channels), sizes even.
        name: prefix of the layers' names.

    Returns:
        (batch, x / 2, y / 2, z / 2, 8 * channels). Channel ((i * 2 + j) * 2 + k) * channels + c is channel c
        of the voxel i, j, k in its cube.
    """
    # Axis by axis: each exchanges neighbouring axes at most. All at once would take eight axes.
    x, y, z, channels = features.shape[1:]
    features = layers.Reshape((x, y // 2, 2, z // 2, 2 * channels), name=f"{name}_parts_y")(features)
    features = layers.Permute((1, 2, 4, 3, 5), name=f"{name}_exchange_y")(features)
    features = layers.Reshape((x // 2, 2, y // 2, z // 2, 4 * channels), name=f"{name}_parts_x")(features)
    features = layers.Permute((1, 3, 4, 2, 5), name=f"{name}_exchange_x")(features)
    return layers.Reshape((x // 2, y // 2, z // 2, 8 * channels), name=f"{name}_joined")(features)


def depth_to_space(features: Any, name: str, *, dtype: str | None = None) -> Any:
    """The inverse of `space_to_depth`.

    Args:
        features: (batch, x, y, z, 8 * channels).
        name: prefix of the layers' names.
        dtype: of the layers, if not that of the policy.

    Returns:
        (batch, 2 * x, 2 * y, 2 * z, channels).
    """
    x, y, z, channels = features.shape[1:]
    options = {} if dtype is None else {"dtype": dtype}
    features = layers.Reshape((x, y, z, 2, channels // 2), name=f"{name}_parts_x", **options)(features)
    features = layers.Permute((1, 4, 2, 3, 5), name=f"{name}_exchange_x", **options)(features)
    features = layers.Reshape((2 * x, y, z, 2, channels // 4), name=f"{name}_parts_y", **options)(features)
    features = layers.Permute((1, 2, 4, 3, 5), name=f"{name}_exchange_y", **options)(features)
    shape = (2 * x, 2 * y, 2 * z, channels // 8)
    return layers.Reshape(shape, name=f"{name}_joined", **options)(features)


def _full(settings: StemUNet, features: Any, name: str) -> Any:
    """A convolution at the full resolution. Normalising so few channels would take longer than it does."""
    features = layers.Conv3D(settings.full_filters, 3, padding="same", name=f"{name}_conv")(features)
    return layers.Activation(settings.activation, name=f"{name}_act")(features)


def _unet(settings: StemUNet, features: Any) -> Any:
    """The U-Net at half the resolution."""
    skips = []
    bottom = len(settings.filters) - 1
    for level, width in enumerate(settings.filters):
        features = _level(settings, features, width, f"enc{level}", settings.convs)
        if level < bottom:
            skips.append(features)
            # "same" rounds odd sizes up and pads with minus infinity, at the far end only.
            features = layers.MaxPooling3D(2, padding="same", name=f"enc{level}_pool")(features)
    for level in reversed(range(bottom)):
        features = _merge(settings, features, skips[level], f"dec{level}")
        features = _level(settings, features, settings.filters[level], f"dec{level}", settings.decoder_convs)
    return features


def _merge(settings: StemUNet, features: Any, skip: Any, name: str) -> Any:
    if settings.merge == "concat":
        return layers.Concatenate(name=f"{name}_concat")([upsample_to(features, skip, name), skip])
    # Before it is enlarged, where it costs an eighth.
    features = layers.Conv3D(skip.shape[-1], 1, name=f"{name}_narrow")(features)
    return layers.Add(name=f"{name}_sum")([upsample_to(features, skip, name), skip])


def _level(settings: StemUNet, features: Any, width: int, name: str, convs: int) -> Any:
    return conv_level(
        features, [width] * convs, name, activation=settings.activation, residual=settings.residual
    )
