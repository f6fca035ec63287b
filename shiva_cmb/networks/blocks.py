"""Pieces that architectures share. Built-in layers only, so that a saved model loads in plain Keras."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from keras import initializers, layers, regularizers

NORM_MOMENTUM = 0.9
"""Of the running statistics: Keras' 0.99 takes some 500 steps to forget its start, and spoils short runs."""

NORM_EPSILON = 1e-5
"""Added to variances in the networks that come from PyTorch, as there."""

LEAK = 0.01
"""Slope of the leaky ReLU below zero."""

FIRST_PRELU = 0.25
"""Slope of an untrained PReLU below zero, as in PyTorch."""


def conv_level(
    features: Any,
    widths: Sequence[int],
    name: str,
    *,
    activation: str,
    residual: bool = False,
    l2: float = 0.0,
) -> Any:
    """A chain of 3x3x3 convolutions, each with batch normalisation and an activation.

    Args:
        features: shape (batch, x, y, z, channels).
        widths: filters of each convolution.
        name: prefix of the layers' names.
        activation: a Keras activation.
        residual: adds `features` before the last activation, by a 1x1x1 convolution if the width differs.
        l2: of the squared weights of each convolution.

    Returns:
        Shape (batch, x, y, z, widths[-1]).
    """
    shortcut = features
    for index, width in enumerate(widths):
        features = layers.Conv3D(
            width,
            3,
            padding="same",
            use_bias=False,
            kernel_regularizer=_penalty(l2),
            name=f"{name}_conv{index}",
        )(features)
        features = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_norm{index}")(features)
        if residual and index == len(widths) - 1:
            features = _add(shortcut, features, name)
        features = layers.Activation(activation, name=f"{name}_act{index}")(features)
    return features


@dataclass(frozen=True)
class Style:
    """What comes with each convolution of a network."""

    norm: Literal["batch", "instance", "none"] = "batch"
    """Instance normalisation has neither scale nor offset unless `scale_instance`."""
    activation: Literal["relu", "leaky_relu", "prelu", "none"] = "relu"
    """PReLU has one slope for all channels."""
    bias: bool = True
    """Whether the convolution has a bias."""
    l2: float = 0.0
    """Of the squared weights of the convolution."""
    scale_instance: bool = False
    """Gives instance normalisation a learned scale and offset per channel."""

    def convolve(self, features: Any, width: int, name: str, *, kernel: int = 3, stride: int = 1) -> Any:
        """Convolution, normalisation, activation.

        With a stride, sizes are made even first and halved then: shape (batch, ceil(x / 2), ..., width).
        """
        if stride > 1:
            features = make_even(features, name)
        features = layers.Conv3D(
            width,
            kernel,
            strides=stride,
            padding="same",
            use_bias=self.bias,
            kernel_regularizer=_penalty(self.l2),
            name=f"{name}_conv",
        )(features)
        return self.finish(features, name)

    def enlarge(self, features: Any, width: int, target: Any, name: str, *, kernel: int) -> Any:
        """Transposed convolution to twice the size, cropped to that of `target`; normalised, activated."""
        features = layers.Conv3DTranspose(
            width,
            kernel,
            strides=2,
            padding="same",
            use_bias=self.bias,
            kernel_regularizer=_penalty(self.l2),
            name=f"{name}_up",
        )(features)
        return self.finish(crop_to(features, target, name), name)

    def finish(self, features: Any, name: str) -> Any:
        """Normalisation and activation alone."""
        return self.activate(self.normalise(features, name), name)

    def normalise(self, features: Any, name: str) -> Any:
        """Normalisation alone."""
        if self.norm == "batch":
            norm = layers.BatchNormalization(
                momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON, name=f"{name}_norm"
            )
        elif self.norm == "instance":
            scaled = self.scale_instance
            norm = layers.GroupNormalization(
                -1, epsilon=NORM_EPSILON, scale=scaled, center=scaled, name=f"{name}_norm"
            )
        else:
            return features
        return norm(features)

    def activate(self, features: Any, name: str) -> Any:
        """Activation alone."""
        if self.activation == "none":
            return features
        layer: Any
        if self.activation == "leaky_relu":
            layer = layers.LeakyReLU(negative_slope=LEAK, name=f"{name}_act")
        elif self.activation == "prelu":
            slope = initializers.Constant(FIRST_PRELU)
            layer = layers.PReLU(slope, shared_axes=[1, 2, 3, 4], name=f"{name}_act")
        else:
            layer = layers.Activation(self.activation, name=f"{name}_act")
        return layer(features)


def upsample_to(features: Any, target: Any, name: str) -> Any:
    """Double the resolution (nearest), and cut the far end where `target` has an odd size.

    Cropping then concatenating is safe; padding right before a convolution is not: TensorFlow's graph
    optimiser (2.21, oneDNN) merges the two into a wrong result, seen only in compiled and exported models.
    """
    return crop_to(layers.UpSampling3D(2, name=f"{name}_up")(features), target, name)


def crop_to(features: Any, target: Any, name: str) -> Any:
    """Cut the far end to the size of `target`."""
    surplus = [have - want for have, want in zip(features.shape[1:4], target.shape[1:4], strict=True)]
    if any(surplus):
        cropping = tuple((0, n) for n in surplus)
        features = layers.Cropping3D(cropping, name=f"{name}_crop")(features)
    return features


def make_even(features: Any, name: str) -> Any:
    """Repeat the last plane along each axis of odd size.

    Convolutions with a stride and "same" padding start one voxel earlier at odd sizes than at even ones, so
    a network trained on even patches would see whole volumes shifted. Repeating by concatenation, and not by
    a padding layer, keeps TensorFlow's graph optimiser from merging it with the convolution.
    """
    for axis in range(3):
        size = features.shape[1 + axis]
        if size % 2:
            cropping = tuple((size - 1, 0) if other == axis else (0, 0) for other in range(3))
            last = layers.Cropping3D(cropping, name=f"{name}_last{axis}")(features)
            features = layers.Concatenate(1 + axis, name=f"{name}_even{axis}")([features, last])
    return features


def output(features: Any, name: str = "probability", *, training: bool) -> Any:
    """The last layer: a 1x1x1 convolution, and a sigmoid unless it is for training, which takes logits.

    Always float32, whatever the precision policy: NIfTI has no float16.
    """
    activation = "linear" if training else "sigmoid"
    return layers.Conv3D(1, 1, activation=activation, dtype="float32", name=name)(features)


def _penalty(l2: float) -> regularizers.Regularizer | None:
    return regularizers.L2(l2) if l2 else None


def _add(shortcut: Any, features: Any, name: str) -> Any:
    if shortcut.shape[-1] != features.shape[-1]:
        width = features.shape[-1]
        shortcut = layers.Conv3D(width, 1, use_bias=False, name=f"{name}_project")(shortcut)
        shortcut = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_project_norm")(shortcut)
    return layers.Add(name=f"{name}_add")([shortcut, features])
