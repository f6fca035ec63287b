import json
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.ensemble import Bundle, EngineOptions, load_ensemble, open_bundle, verify_bundle
from shiva_cmb.ensemble.exporting import export_bundle
from shiva_cmb.errors import ModelError, OutputError
from tests.conftest import DOT_GRID


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory: pytest.TempPathFactory, dot_bundle: Bundle) -> Path:
    return export_bundle(dot_bundle, tmp_path_factory.mktemp("export") / "SWI-CMB", "savedmodel")


def test_a_saved_model_export_is_a_bundle_that_shivai_can_read(saved_models: Path) -> None:
    bundle = open_bundle(saved_models)
    verify_bundle(bundle)
    content = json.loads((saved_models / "model_info.json").read_text())
    assert content["target"] == "CMB"
    assert [entry["name"] for entry in content["files"]] == [
        "SWI-CMB/fold_0.tf_inference",
        "SWI-CMB/fold_1.tf_inference",
    ]
    assert all(entry["md5"] == entry["md5"].lower() for entry in content["files"])
    # the folder that holds SWI-CMB works as well, as SHiVAi's model folder does
    assert verify_bundle(open_bundle(saved_models / "model_info.json", saved_models.parent))


def test_plain_tensorflow_gives_the_same_map_by_serve_and_by_signature(
    saved_models: Path, dot_bundle: Bundle
) -> None:
    import tensorflow

    image = np.random.default_rng(1).random((*DOT_GRID, 1), dtype=np.float32)
    ours = load_ensemble(dot_bundle.folder, options=EngineOptions(precision="f32", engine="openvino"))
    expected = ours.predict(image, averaging="predict_one_file").mean
    by_serve, by_signature = [], []
    for path in open_bundle(saved_models).fold_paths:
        model = tensorflow.saved_model.load(str(path))
        by_serve.append(model.serve(image[None]).numpy())
        signature = model.signatures["serving_default"]
        (name,) = signature.structured_input_signature[1]
        (output,) = signature(**{name: tensorflow.constant(image[None])}).values()
        by_signature.append(output.numpy())
        assert signature.structured_input_signature[1][name].shape[0] is None
    np.testing.assert_allclose(np.mean(by_serve, axis=0)[0, ..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(np.mean(by_signature, axis=0)[0, ..., 0], expected, atol=1e-5)


def test_a_saved_model_export_predicts_like_its_source(saved_models: Path, dot_bundle: Bundle) -> None:
    image = np.random.default_rng(2).random(DOT_GRID, dtype=np.float32)
    options = EngineOptions(precision="f32", engine="openvino")
    a = load_ensemble(saved_models, options=options).predict(image)
    b = load_ensemble(dot_bundle.folder, options=options).predict(image)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-6)


def test_the_keras_engine_runs_saved_models_too(saved_models: Path, dot_bundle: Bundle) -> None:
    image = np.random.default_rng(3).random(DOT_GRID, dtype=np.float32)
    a = load_ensemble(saved_models, options=EngineOptions(engine="keras")).predict(image)
    b = load_ensemble(dot_bundle.folder, options=EngineOptions(precision="f32", engine="openvino"))
    np.testing.assert_allclose(a.mean, b.predict(image).mean, atol=1e-5)


def test_openvino_export_runs_in_plain_openvino(dot_bundle: Bundle, tmp_path: Path) -> None:
    from shiva_cmb.ensemble.quiet_openvino import openvino

    folder = export_bundle(dot_bundle, tmp_path / "ir", "openvino")
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["input"]["shape"] == list(DOT_GRID)
    compiled = openvino.Core().compile_model(folder / "fold_1.xml", "CPU")
    image = np.random.default_rng(0).random((1, *DOT_GRID, 1), dtype=np.float32)
    assert compiled(image)[0].shape == (1, *DOT_GRID, 1)


def test_onnx_is_not_written_from_saved_models(saved_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SavedModel"):
        export_bundle(open_bundle(saved_models), tmp_path / "onnx", "onnx")
    assert not (tmp_path / "onnx").exists()


def test_nothing_is_overwritten(dot_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep")
    with pytest.raises(OutputError, match="exists"):
        export_bundle(dot_bundle, tmp_path / "mine", "savedmodel")
    assert (tmp_path / "mine" / "file").read_text() == "keep"
