"""Half the size on disk, and the same network everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import (
    EngineOptions,
    FoldFile,
    load_ensemble,
    open_bundle,
    verify_bundle,
    write_bundle,
)
from shiva_cmb.ensemble.bundle import Bundle, size_bytes
from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.ensemble.descriptor import InputPart, ShivaCmbPart
from shiva_cmb.ensemble.half_size import store_half_size
from shiva_cmb.ensemble.keras_engine import load_keras_model
from shiva_cmb.errors import ModelError
from tests.networks.one_function import image_of, trained_looking

SHAPE = (13, 19, 11)
ARGUMENTS = {"filters": [16, 24], "full_filters": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("whole")
    trained_looking("stem_unet", ARGUMENTS, SHAPE).save(folder / "fold.h5")
    part = ShivaCmbPart(input=InputPart(shape=SHAPE))
    return write_bundle(folder / "stem", [FoldFile(folder / "fold.h5", ("s1",), {"f1": 0.5})], part)


@pytest.fixture(scope="module")
def half(whole: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("half") / "stem"
    assert main(["model", "export", str(whole.folder), "-o", str(folder), "--format", "float16"]) == 0
    return open_bundle(folder)


def test_a_bundle_of_half_the_size_is_complete(whole: Bundle, half: Bundle, tmp_path: Path) -> None:
    verify_bundle(half)
    assert half.part.input == whole.part.input
    assert half.part.folds[0].validation_cases == ("s1",)
    with h5py.File(half.fold_paths[0]) as file:
        kinds: set[tuple[bool, str]] = set()
        file.visititems(
            lambda _, item: (
                kinds.add((item.ndim > 1, str(item.dtype))) if isinstance(item, h5py.Dataset) else None
            )
        )
    assert kinds == {(True, "float16"), (False, "float32")}
    assert size_bytes(half) < 0.75 * size_bytes(whole)  # the rest is the description of the layers
    again = store_half_size(whole.fold_paths[0], tmp_path / "again.h5")
    assert sha256_of(again) == sha256_of(half.fold_paths[0])


@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_engines_compute_in_float32(whole: Bundle, half: Bundle, engine: str) -> None:
    image = image_of(SHAPE, batch=1)[0]
    options = EngineOptions(engine=engine, precision="f32" if engine == "openvino" else "auto", gpu=-1)
    found = load_ensemble(half.folder, options=options).predict(image).mean
    before, after = (
        np.asarray(load_keras_model(bundle.fold_paths[0])(image[None]))[0, ..., 0] for bundle in (whole, half)
    )
    assert 0 < np.abs(before - after).max() < 1e-3
    np.testing.assert_allclose(found, after, atol=5e-6)


def test_plain_keras_loads_it(half: Bundle, tmp_path: Path) -> None:
    """Without this package, and all weights are float32."""
    code = (
        "import sys, keras; model = keras.models.load_model(sys.argv[1]);"
        "assert {str(w.dtype) for w in model.weights} == {'float32'}, model.weights;"
        "sys.exit(any(name.startswith('shiva_cmb') for name in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(half.fold_paths[0])]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)


def test_weights_beyond_float16_are_refused(tmp_path: Path) -> None:
    inputs = keras.Input((2, 2, 2, 1))
    conv = keras.layers.Conv3D(1, 1)
    model = keras.Model(inputs, conv(inputs))
    for kernel, offset in ((1e5, 1.0), (float("nan"), 1.0)):
        conv.set_weights([np.full((1, 1, 1, 1, 1), kernel), np.array([offset])])
        model.save(tmp_path / "large.h5")
        with pytest.raises(ModelError, match=r"large\.h5 has a weight beyond the range of float16"):
            store_half_size(tmp_path / "large.h5", tmp_path / "half.h5")
    conv.set_weights([np.ones((1, 1, 1, 1, 1)), np.array([1e5])])  # one number per channel may be any
    model.save(tmp_path / "large.h5")
    store_half_size(tmp_path / "large.h5", tmp_path / "half.h5")
    assert keras.models.load_model(tmp_path / "half.h5").get_weights()[1] == 1e5
