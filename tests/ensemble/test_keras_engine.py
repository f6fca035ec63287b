from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shiva_cmb.ensemble import EngineOptions, load_ensemble
from shiva_cmb.ensemble.keras_engine import export_model, load_keras_model, main
from shiva_cmb.errors import ModelError
from tests.ensemble.legacy_models import save_with_lambda

SHAPE = (6, 8, 7)


def _legacy_unet(keras: Any) -> Any:
    """An odd size padded by a TensorFlow function after the upsampling, swish, pooling, batch norm."""
    import tensorflow

    image = keras.Input((*SHAPE, 1))
    skip = keras.layers.Conv3D(3, 3, padding="same", activation="swish")(image)
    skip = keras.layers.BatchNormalization()(skip)
    x = keras.layers.MaxPooling3D(2)(skip)
    x = keras.layers.Conv3D(4, 3, padding="same", activation="swish")(x)
    x = keras.layers.UpSampling3D(2)(x)
    x = tensorflow.compat.v1.pad(x, [[0, 0], [0, 0], [0, 0], [0, 1], [0, 0]])
    x = keras.layers.Concatenate()([skip, x])
    x = keras.layers.Conv3D(1, 1)(x)
    x = keras.layers.Activation("sigmoid", dtype="float32")(x)
    return keras.Model(image, x)


@pytest.fixture
def legacy_fold(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A mixed_float16 Keras 2 file, an image, and what the same weights give in float32."""
    keras = pytest.importorskip("tf_keras")
    keras.utils.set_random_seed(2)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        half = _legacy_unet(keras)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    half.save(tmp_path / "v1_fold.h5")
    full = _legacy_unet(keras)
    full.set_weights(half.get_weights())
    image = np.random.default_rng(0).random((1, *SHAPE, 1), dtype=np.float32)
    return tmp_path / "v1_fold.h5", image, full(image, training=False).numpy()


@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_a_half_precision_keras_2_file_runs_in_float32(
    legacy_fold: tuple[Path, np.ndarray, np.ndarray], engine: Any
) -> None:
    path, image, expected = legacy_fold
    ensemble = load_ensemble(
        path,
        shape=SHAPE,
        options=EngineOptions(engine=engine, precision="auto" if engine == "keras" else "f32"),
    )
    maps = ensemble.predict(image[0], averaging="predict_one_file")
    np.testing.assert_allclose(maps.mean, expected[0, ..., 0], atol=1e-5)


def test_a_keras_2_archive_is_read_too(
    legacy_fold: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    keras = pytest.importorskip("tf_keras")
    _, image, _ = legacy_fold
    model = _legacy_unet(keras)
    model.save(tmp_path / "fold.keras")
    loaded = load_keras_model(tmp_path / "fold.keras")
    np.testing.assert_allclose(loaded(image, training=False), model(image, training=False), atol=1e-6)


def test_without_tf_keras_the_extra_is_named(
    legacy_fold: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "tf_keras" else real(name, *more)
    )
    with pytest.raises(ModelError, match=r"shiva-cmb\[legacy\]"):
        load_keras_model(legacy_fold[0])


def test_code_in_a_model_runs_only_when_it_is_trusted(tmp_path: Path) -> None:
    path, trace = tmp_path / "spy.h5", tmp_path / "ran"
    save_with_lambda(path, trace)
    trace.unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"spy\.h5.*spy"):
        load_ensemble(path, shape=(4, 4, 4))
    assert not trace.exists()
    ensemble = load_ensemble(path, shape=(4, 4, 4), options=EngineOptions(trust_model_code=True))
    assert trace.exists()
    assert ensemble.predict(np.zeros((4, 4, 4), np.float32)).mean.shape == (4, 4, 4)


def test_the_child_reports_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    assert main([str(tmp_path / "broken.h5"), str(tmp_path / "out")]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "broken.h5" in lines[0]


def test_onnx_agrees(tmp_path: Path, dot_folds: list[Path]) -> None:
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    export_model(dot_folds[0], tmp_path / "fold.onnx", "onnx")
    session = runtime.InferenceSession(tmp_path / "fold.onnx")
    model = load_keras_model(dot_folds[0])
    image = np.random.default_rng(0).random((1, *model.input_shape[1:]), dtype=np.float32)
    (got,) = session.run(None, {session.get_inputs()[0].name: image})
    np.testing.assert_allclose(got, model(image, training=False), atol=1e-5)


def test_trusting_a_model_once_is_not_trusting_it_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "spy.h5"
    save_with_lambda(path, tmp_path / "ran")
    load_ensemble(path, shape=(4, 4, 4), options=EngineOptions(trust_model_code=True))
    with pytest.raises(ModelError, match="spy"):
        load_ensemble(path, shape=(4, 4, 4))
