"""The plain U-Net as a functional Keras model."""

import keras
from keras import layers

from shiva_cmb.networks.architectures import PlainUNet
from shiva_cmb.networks.blocks import conv_level, output, upsample_to


def plain_unet(
    settings: PlainUNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `PlainUNet` for what is published and what is inferred.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    skips = []
    features = inputs
    bottom = len(settings.filters) - 1
    for level, width in enumerate(settings.filters):
        name, widths = f"enc{level}", [width] * settings.convs
        features = conv_level(features, widths, name, activation="elu", l2=settings.l2)
        if level < bottom:
            skips.append(features)
            # "same" rounds odd sizes up and pads with minus infinity, at the far end only.
            features = layers.MaxPooling3D(2, padding="same", name=f"{name}_pool")(features)
    for level in reversed(range(bottom)):
        name, widths = f"dec{level}", [settings.filters[level]] * settings.convs
        upsampled = upsample_to(features, skips[level], name)
        features = layers.Concatenate(name=f"{name}_concat")([upsampled, skips[level]])
        features = conv_level(features, widths, name, activation="elu", l2=settings.l2)
    return keras.Model(inputs, output(features, training=training), name="plain_unet")
