"""UNETR as a functional Keras model."""

from typing import Any

import keras
from keras import initializers, layers

from shiva_cmb.networks.architectures import UNETR
from shiva_cmb.networks.blocks import NORM_EPSILON, Style, output

PATCH = 16
"""Voxels along each edge of a patch: four doublings lead back to the full resolution."""

POSITION_SPREAD = 0.02
"""Standard deviation of untrained positions, as in the vision transformer."""

STYLE = Style("instance", "leaky_relu", bias=False)
LINEAR = Style("instance", "none", bias=False)


def unetr(settings: UNETR, input_shape: tuple[int, int, int, int], *, training: bool = False) -> keras.Model:
    """Assemble the network: see `UNETR`.

    Args:
        settings: widths and depths.
        input_shape: x, y, z, channels.
        training: gives logits.

    Returns:
        Maps float32 (batch, x, y, z, channels) to probabilities or logits, float32 (batch, x, y, z, 1).
    """
    inputs = keras.Input(shape=input_shape, name="image")
    taps, last = _transform(settings, inputs)
    width = settings.first_filters
    skips = [_block(inputs, width, "enc0")]
    for level, tap in enumerate(taps, start=1):
        features = _double(tap, width * 2**level, f"enc{level}_double")
        for step in range(3 - level):
            name = f"enc{level}_{step}"
            features = _block(_double(features, width * 2**level, f"{name}_double"), width * 2**level, name)
        skips.append(features)
    features = last
    for level in reversed(range(4)):
        name = f"dec{level}"
        features = _double(features, width * 2**level, f"{name}_double")
        if level == 0:
            features = _crop_both_ends(features, inputs, name)
        features = layers.Concatenate(name=f"{name}_concat")([features, skips[level]])
        features = _block(features, width * 2**level, name)
    return keras.Model(inputs, output(features, training=training), name="unetr")


def _transform(settings: UNETR, inputs: Any) -> tuple[list[Any], Any]:
    """What the tapped blocks say, finest decoder level first, and the last one: (batch, x/16, y/16, z/16, n).

    "same" padding shares what is missing to whole patches between both ends: see `_crop_both_ends`.
    """
    features = layers.Conv3D(
        settings.hidden, PATCH, strides=PATCH, padding="same", use_bias=False, name="patches"
    )(inputs)
    grid = features.shape[1:]
    features = layers.Reshape((-1, settings.hidden), name="tokens")(features)
    features = layers.EinsumDense(
        # Multiplies by one number per channel and adds one per patch and channel: the learned positions.
        "btc,c->btc",
        output_shape=features.shape[1:],
        bias_axes="tc",
        kernel_initializer="ones",
        bias_initializer=initializers.RandomNormal(stddev=POSITION_SPREAD),
        name="positions",
    )(features)
    taps = []
    for index in range(settings.layers):
        features = _attend(settings, features, f"block{index}")
        if index in settings.taps:
            taps.append(layers.Reshape(grid, name=f"tap{index}")(features))
    features = layers.LayerNormalization(epsilon=NORM_EPSILON, name="last_norm")(features)
    return taps, layers.Reshape(grid, name="last")(features)


def _attend(settings: UNETR, features: Any, name: str) -> Any:
    """A transformer block: self-attention, then two dense layers, each normalised first and added."""
    normed = layers.LayerNormalization(epsilon=NORM_EPSILON, name=f"{name}_norm0")(features)
    attention = layers.MultiHeadAttention(
        settings.heads, settings.hidden // settings.heads, name=f"{name}_attention"
    )
    features = layers.Add(name=f"{name}_add0")([features, attention(normed, normed)])
    normed = layers.LayerNormalization(epsilon=NORM_EPSILON, name=f"{name}_norm1")(features)
    dense = layers.Dense(settings.mlp, activation="gelu", name=f"{name}_dense0")(normed)
    dense = layers.Dense(settings.hidden, name=f"{name}_dense1")(dense)
    return layers.Add(name=f"{name}_add1")([features, dense])


def _block(features: Any, width: int, name: str) -> Any:
    """Two convolutions with a shortcut around them, projected where the width differs."""
    shortcut = features
    if features.shape[-1] != width:
        shortcut = LINEAR.convolve(features, width, f"{name}_project", kernel=1)
    features = STYLE.convolve(features, width, f"{name}_conv0")
    features = LINEAR.convolve(features, width, f"{name}_conv1")
    features = layers.Add(name=f"{name}_add")([shortcut, features])
    return STYLE.activate(features, name)


def _double(features: Any, width: int, name: str) -> Any:
    """Transposed convolution to exactly twice the size."""
    return layers.Conv3DTranspose(width, 2, strides=2, padding="same", use_bias=False, name=name)(features)


def _crop_both_ends(features: Any, target: Any, name: str) -> Any:
    """Cut what the patches reached beyond the image: half of it before, the rest behind."""
    surplus = [have - want for have, want in zip(features.shape[1:4], target.shape[1:4], strict=True)]
    if any(surplus):
        cropping = tuple((n // 2, n - n // 2) for n in surplus)
        features = layers.Cropping3D(cropping, name=f"{name}_crop")(features)
    return features
