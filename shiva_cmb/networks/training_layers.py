"""The same network with layers that TensorFlow trains faster and in less memory.

Names, weights and what is computed stay those of the built-in layers, which take over where a trained network
is rebuilt for prediction: no model with these layers is ever saved.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import activations, layers, ops

FUSED_TYPES = ("float32", "bfloat16", "float16")
"""What TensorFlow's fused batch normalisation takes; it computes in float32."""


def with_training_layers(network: keras.Model) -> keras.Model:
    """Rebuild a functional model of built-in layers, with the layers of this file where they fit.

    Args:
        network: not compiled; its batch normalisations have scale and offset, and the channels come last.

    Returns:
        The same architecture with the same weights; layers have the names, and weights the order, of before.
    """
    faster = keras.models.clone_model(network, clone_function=_training_layer)
    faster.set_weights(network.get_weights())
    return faster


def _training_layer(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    if isinstance(layer, layers.BatchNormalization) and layer.compute_dtype in FUSED_TYPES:
        return BatchNormalization.from_config(config)
    copy = type(layer).from_config(config)
    if isinstance(copy, layers.Activation) and copy.activation is activations.silu:
        copy.activation = swish
    return copy


class BatchNormalization(layers.BatchNormalization):
    """Batch normalisation of volumes by one operation, which also takes and gives half precision.

    Keras' own makes float32 copies of its input and keeps several tensors of that size for the gradient.
    The class is called the same: where weights come from another model, layers are matched by their kind.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise by the batch, and update the running statistics; else do as Keras does.

        Args:
            inputs: (batch, x, y, z, channels).
            training: whether the batch's own statistics count, unless the layer is frozen.
            mask: Keras' own normalisation sees to it.
        """
        if not (training and self.trainable) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        _, x, y, z, channels = inputs.shape
        # The operation knows two axes of space: which voxel is where means nothing to it.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(inputs, (-1, x, y * z, channels)),
            scale=ops.convert_to_tensor(self.gamma),
            offset=ops.convert_to_tensor(self.beta),
            mean=tf.zeros((0,)),
            variance=tf.zeros((0,)),
            epsilon=self.epsilon,
            is_training=True,
        )
        # It tells the unbiased variance, though it divides by the biased one, which Keras keeps.
        count = ops.cast(ops.shape(inputs)[0], "float32") * float(x * y * z)
        variance = variance * ((count - 1.0) / count)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance)
        return tf.reshape(outputs, (-1, x, y, z, channels))

    def _follow(self, running: Any, now: Any) -> None:
        running.assign(running * self.momentum + now * (1.0 - self.momentum))


def _swish(x: Any) -> tuple[Any, Callable[..., Any]]:
    """x * sigmoid(x), which keeps only x for its gradient.

    The gradient is float32 inside: more exact than in half precision, and faster on processors.
    """

    def gradient(upstream: Any) -> Any:
        exact = ops.cast(x, "float32")
        gate = ops.sigmoid(exact)
        slope = gate * (1.0 + exact * (1.0 - gate))
        return ops.cast(ops.cast(upstream, "float32") * slope, x.dtype)

    return ops.silu(x), gradient


swish = ops.custom_gradient(_swish)
