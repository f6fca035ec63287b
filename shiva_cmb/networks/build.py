"""From the name in a bundle's descriptor to a Keras model."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from shiva_cmb.errors import ModelError
from shiva_cmb.networks.architectures import (
    UNETR,
    AttentionUNet,
    MonaiUNet,
    PlainUNet,
    ResidualUNet,
    SegResNet,
    StemUNet,
)
from shiva_cmb.networks.family import ShivaUNet
from shiva_cmb.networks.settings import NetworkSettings

if TYPE_CHECKING:
    import keras

_SETTINGS: tuple[type[NetworkSettings], ...] = (
    ShivaUNet,
    PlainUNet,
    ResidualUNet,
    MonaiUNet,
    SegResNet,
    AttentionUNet,
    UNETR,
    StemUNet,
)
ARCHITECTURES = MappingProxyType({settings.architecture: settings for settings in _SETTINGS})
"""The settings of each architecture by its name."""


def build_network(
    name: str,
    arguments: Mapping[str, Any],
    input_shape: tuple[int, int, int, int],
    *,
    training: bool = False,
) -> "keras.Model":
    """An untrained network.

    Args:
        name: the architecture, one of `ARCHITECTURES`.
        arguments: its settings; those left out keep their defaults, the published ones.
        input_shape: voxels along x, y, z, and channels, without the batch. Odd sizes are fine.
        training: gives logits instead of probabilities, which the losses need to be exact, and adds the
            outputs of deep supervision, if the settings ask for any, as further channels.

    Returns:
        A functional model of built-in Keras layers: float32 (batch, x, y, z, channels) to probabilities,
        float32 (batch, x, y, z, 1); in training to logits, float32 (batch, x, y, z, 1 + n) with n outputs of
        deep supervision, finest first. It has no trained weights and is not compiled. Layers with weights
        have the same names in both. The one for training is not to be saved as a model: TensorFlow's has
        some layers of `training_layers`.

    Raises:
        ModelError: if the name or an argument is unknown, or the input shape is not four positive numbers.
    """
    if name not in ARCHITECTURES:
        raise ModelError(f"unknown architecture {name!r}: the known ones are {', '.join(ARCHITECTURES)}")
    if len(input_shape) != 4 or any(int(n) != n or n < 1 for n in input_shape):
        raise ModelError(
            f"expected an input shape of 4 positive numbers (x, y, z, channels), got {input_shape}"
        )
    settings = ARCHITECTURES[name].from_arguments(arguments)
    # A module per architecture, with a function of the same name: imported here, since it imports Keras.
    build = getattr(import_module(f"shiva_cmb.networks.{name}"), name)
    network = build(settings, input_shape, training=training)
    return _faster(network) if training else network


def _faster(network: "keras.Model") -> "keras.Model":
    """The same network for training, in TensorFlow with layers that are not built in."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return network
    from shiva_cmb.networks.training_layers import with_training_layers

    return with_training_layers(network)
