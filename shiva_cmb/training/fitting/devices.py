"""Several devices for one network, and the same result every time."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from shiva_cmb.errors import UsageError


@contextmanager
def sharing_devices(replicas: int) -> Iterator[None]:
    """Build a model that shares its batches among several devices: GPUs, else parts of the processor.

    Raises:
        UsageError: if there are too few, or this is not TensorFlow.
    """
    if replicas == 1:
        yield
        return
    require_replicas(replicas)
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        _divide_processor(replicas)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < replicas:
        raise UsageError(f"replicas: expected at most {len(devices)}, the devices there are, got {replicas}")
    names = [device.name for device in devices[:replicas]]
    with tf.distribute.MirroredStrategy(names).scope():
        yield


def require_replicas(replicas: int) -> None:
    """Check that batches can be shared.

    Raises:
        UsageError: if there are too few GPUs, or this is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise UsageError("replicas: only TensorFlow shares batches among devices")
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    if 0 < gpus < replicas:  # without any, the processor is divided
        raise UsageError(f"replicas: expected at most {gpus}, the GPUs there are, got {replicas}")


def _divide_processor(parts: int) -> None:
    """Make several devices out of the processor, which is enough to try it."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            processor, [tf.config.LogicalDeviceConfiguration() for _ in range(parts)]
        )
    except RuntimeError:  # TensorFlow works already: it has as many as it has
        return


def require_precision(precision: str) -> None:
    """Check that the networks can be trained in a precision.

    Raises:
        UsageError: if not.
    """
    if precision != "f16" or keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise UsageError("precision: f16 needs a GPU, TensorFlow cannot pool it on a processor: take bf16")


def make_deterministic() -> None:
    """Ask TensorFlow for the same result every time; JAX gives it anyway."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
