"""The attention U-Net as a functional Keras model."""

from typing import Any

import keras
from keras import layers

from shiva_cmb.networks.architectures import AttentionUNet
from shiva_cmb.networks.blocks import Style, output

STYLE = Style("batch", "relu")
LINEAR = Style("batch", "none")
MERGE = Style("instance", "prelu")


def attention_unet(
    settings: AttentionUNet, input_shape: tuple[int, int, int, int], *, training: bool = False
) -> keras.Model:
    """Assemble the network: see `AttentionUNet`.

    Args:
        settings: widths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    skips = []
    features = inputs
    for level, width in enumerate(settings.filters):
        features = STYLE.convolve(features, width, f"enc{level}_0", stride=2 if level else 1)
        features = STYLE.convolve(features, width, f"enc{level}_1")
        skips.append(features)
    for level in reversed(range(len(skips) - 1)):
        name, width = f"dec{level}", settings.filters[level]
        below = STYLE.enlarge(features, width, skips[level], f"{name}_large", kernel=3)
        gated = _gate(skips[level], below, width // 2, name)
        features = layers.Concatenate(name=f"{name}_concat")([gated, below])
        features = MERGE.convolve(features, width, f"{name}_merge")
    return keras.Model(inputs, output(features, training=training), name="attention_unet")


def _gate(features: Any, below: Any, width: int, name: str) -> Any:
    """The features of a level, multiplied by 0 to 1 at each voxel: by what they and those below say there."""
    own = LINEAR.convolve(features, width, f"{name}_own", kernel=1)
    other = LINEAR.convolve(below, width, f"{name}_below", kernel=1)
    both = layers.Add(name=f"{name}_add")([own, other])
    both = layers.Activation("relu", name=f"{name}_add_act")(both)
    gate = LINEAR.convolve(both, 1, f"{name}_gate", kernel=1)
    gate = layers.Activation("sigmoid", name=f"{name}_gate_act")(gate)
    return layers.Multiply(name=f"{name}_gated")([features, gate])
