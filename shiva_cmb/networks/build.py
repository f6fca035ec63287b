"""From the name in a bundle's descriptor to a Keras model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiva_cmb.errors import ModelError
from shiva_cmb.networks.family import ShivaUNet

if TYPE_CHECKING:
    import keras


def build_network(
    name: str, arguments: Mapping[str, Any], input_shape: tuple[int, int, int, int]
) -> "keras.Model":
    """An untrained network.

    Args:
        name: the architecture; `shiva_unet` is the only one so far.
        arguments: settings of `ShivaUNet`; those left out keep their defaults.
        input_shape: voxels along x, y, z, and channels, without the batch. Odd sizes are fine.

    Returns:
        A functional model of built-in Keras layers: float32 (batch, x, y, z, channels) to probabilities,
        float32 (batch, x, y, z, 1). It has no trained weights and is not compiled.

    Raises:
        ModelError: if the name or an argument is unknown, or the input shape is not four positive numbers.
    """
    if name != "shiva_unet":
        raise ModelError(f"unknown architecture {name!r}: the known one is shiva_unet")
    if len(input_shape) != 4 or any(int(n) != n or n < 1 for n in input_shape):
        raise ModelError(
            f"expected an input shape of 4 positive numbers (x, y, z, channels), got {input_shape}"
        )
    settings = ShivaUNet.from_arguments(dict(arguments))

    from shiva_cmb.networks.shiva_unet import shiva_unet

    return shiva_unet(settings, input_shape)
