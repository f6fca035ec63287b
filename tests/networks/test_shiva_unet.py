"""Eager, compiled, exported, converted and reloaded networks must be one and the same function."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.networks import PUBLISHED, build_network
from tests.networks.one_function import ODD, check_one_function, image_of, trained, trained_looking

THIN = {"first_filters": 2, "growth": 1.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {"levels": 4},
    "residual": {"levels": 4, "residual": True},
    "compact": {
        "levels": 3,
        "growth": 2.0,
        "pool_deepest": False,
        "wide_decoder": False,
        "head_filters": 0,
        "activation": "relu",
    },
    "one level, one convolution": {"levels": 1, "convs": 1},
}


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS.keys())
def test_eager_equals_exported_equals_converted(arguments: dict[str, Any], tmp_path: Path) -> None:
    model = trained_looking("shiva_unet", {**THIN, **arguments}, ODD)
    check_one_function(model, image_of(ODD), tmp_path, atol=2e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_build_at_any_size(name: str) -> None:
    settings = PUBLISHED[name]
    arguments = {"levels": settings.levels, "residual": settings.residual, **THIN}
    model = trained_looking("shiva_unet", arguments, ODD)
    image = image_of(ODD, batch=1)
    np.testing.assert_allclose(model.predict(image, verbose=0), np.asarray(model(image)), atol=2e-6)


def test_a_trained_network_loads_from_h5_in_plain_keras(tmp_path: Path) -> None:
    model = trained("shiva_unet", {**THIN, "levels": 3, "residual": True}, ODD)
    image = image_of(ODD, batch=1)
    model.save(tmp_path / "fold_0.h5")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, keras, numpy\n"
        f"model = keras.models.load_model(r'{tmp_path / 'fold_0.h5'}')\n"
        f"image = numpy.load(r'{tmp_path / 'image.npy'}')\n"
        f"numpy.save(r'{tmp_path / 'map.npy'}', model.predict(image, verbose=0))\n"
        "sys.exit(any(name.startswith('shiva_cmb') for name in sys.modules))\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=tmp_path
    )
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), np.asarray(model(image)), atol=2e-6)


def test_layers_are_named_and_built_in() -> None:
    model = build_network("shiva_unet", {**THIN, "levels": 3, "residual": True}, (*ODD, 1))
    for layer in model.layers:
        assert type(layer).__module__.startswith("keras.")
        assert not isinstance(layer, keras.layers.Lambda | keras.layers.ZeroPadding3D)
        automatic = keras.src.utils.naming.to_snake_case(type(layer).__name__)
        assert not layer.name.startswith(automatic)


def test_head_stays_float32_under_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_network("shiva_unet", {**THIN, "levels": 2}, (8, 8, 8, 1))
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.asarray(model(image_of((8, 8, 8)))).dtype == np.float32


def test_batch_is_free_and_channels_are_taken() -> None:
    model = build_network("shiva_unet", {**THIN, "levels": 2}, (8, 9, 7, 3))
    assert model.input_shape == (None, 8, 9, 7, 3)
    assert model.output_shape == (None, 8, 9, 7, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_grid_eager_equals_compiled(name: str, tmp_path: Path) -> None:
    shape = (160, 214, 176)
    settings = PUBLISHED[name]
    arguments = {"levels": settings.levels, "residual": settings.residual, **THIN, "head_filters": 2}
    model = trained_looking("shiva_unet", arguments, shape)
    image = image_of(shape, batch=1)
    eager = np.asarray(model(image, training=False))
    assert eager.shape == (1, *shape, 1)
    np.testing.assert_allclose(model.predict(image, verbose=0), eager, atol=5e-6)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    served = loaded.serve(image).numpy()
    np.testing.assert_allclose(served, eager, atol=5e-6)
