"""Tiny Keras 2 models as older SHIVA tools saved them; needs the extra `legacy`."""

from pathlib import Path

import pytest


def save_mixed_precision(path: Path) -> None:
    """Mixed float16, swish, an odd size padded by a TensorFlow function, a float32 sigmoid at the end."""
    keras = pytest.importorskip("tf_keras")
    import tensorflow

    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        image = keras.Input((4, 4, 5, 1))
        x = keras.layers.Conv3D(2, 3, padding="same", activation="swish", name="conv")(image)
        x = tensorflow.compat.v1.pad(x, [[0, 0], [0, 0], [0, 0], [0, 1], [0, 0]])
        x = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(x)
        keras.Model(image, x).save(path)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def save_with_lambda(path: Path, trace: Path) -> None:
    """A model inside a model, whose `Lambda` layer writes to `trace` whenever its code runs."""
    keras = pytest.importorskip("tf_keras")
    written = str(trace)
    image = keras.Input((4, 4, 4, 1))
    x = keras.layers.Conv3D(1, 1, name="conv")(image)

    def spy(t, trace=written):  # type: ignore[no-untyped-def]  # the default is stored beside the bytecode
        open(trace, "a").close()  # noqa: PTH123  # bytecode from a file sees no imports
        return t

    spy.__name__ = "<lambda>"  # so that Keras stores the code and not the name
    x = keras.layers.Lambda(spy, name="spy")(x)
    inner = keras.Model(image, x, name="inner")
    keras.Sequential([keras.Input((4, 4, 4, 1)), inner], name="outer").save(path)
