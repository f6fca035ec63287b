import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.ensemble import Bundle, EngineOptions, Ensemble, load_ensemble
from shiva_cmb.errors import ImageError, ModelError, UsageError
from tests.conftest import DOT_GRID, make_dot_finder

F32 = EngineOptions(precision="f32", engine="openvino")


def _image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(DOT_GRID, dtype=np.float32)


def _mean(ensemble: Ensemble, image: np.ndarray) -> np.ndarray:
    return ensemble.predict(image, averaging="predict_one_file").mean  # the variant that cuts nothing


def _expected(paths: list[Path], image: np.ndarray) -> np.ndarray:
    import keras

    models = [keras.models.load_model(path, compile=False) for path in paths]
    return np.mean([m(image[None, ..., None], training=False).numpy()[0, ..., 0] for m in models], axis=0)


def test_openvino_gives_what_keras_gives(dot_bundle: Bundle, dot_folds: list[Path]) -> None:
    ensemble = load_ensemble(dot_bundle.folder, options=F32)
    assert (ensemble.engine, ensemble.precision) == ("openvino", "f32")
    image = _image()
    np.testing.assert_allclose(_mean(ensemble, image), _expected(dot_folds, image), atol=1e-5)
    assert ensemble.predict(image).n_folds == 2


def test_keras_engine_gives_the_same(dot_bundle: Bundle, dot_folds: list[Path]) -> None:
    ensemble = load_ensemble(dot_bundle.folder, options=EngineOptions(engine="keras", gpu=-1))
    image = _image(1)
    np.testing.assert_allclose(_mean(ensemble, image), _expected(dot_folds, image), atol=1e-5)


def test_a_loaded_ensemble_answers_again_and_does_not_mix_up_images(dot_bundle: Bundle) -> None:
    ensemble = load_ensemble(dot_bundle.folder, options=F32)
    first = ensemble.predict(_image(1)).mean
    second = ensemble.predict(_image(2)).mean
    np.testing.assert_array_equal(ensemble.predict(_image(1)).mean, first)
    assert np.abs(first - second).max() > 0.1


def test_bf16_is_close(dot_bundle: Bundle) -> None:
    try:
        fast = load_ensemble(dot_bundle.folder, options=EngineOptions(precision="bf16", engine="openvino"))
    except UsageError:
        pytest.skip("this processor has no bf16")
    exact = load_ensemble(dot_bundle.folder, options=F32)
    # the sharp sigmoid of the dot finder magnifies rounding 40-fold: 2e-3 is for trained networks
    assert np.abs(fast.predict(_image()).mean - exact.predict(_image()).mean).max() < 0.1


def test_saved_models_h5_and_keras_files_can_be_mixed(tmp_path: Path, dot_folds: list[Path]) -> None:
    import keras

    model = keras.models.load_model(dot_folds[0], compile=False)
    model.export(str(tmp_path / "fold_a"), verbose=False)
    model.save(tmp_path / "fold_b.keras")
    ensemble = load_ensemble(
        [tmp_path / "fold_a", tmp_path / "fold_b.keras", dot_folds[1]], shape=DOT_GRID, options=F32
    )
    image = _image(4)
    expected = _expected([dot_folds[0], dot_folds[0], dot_folds[1]], image)
    np.testing.assert_allclose(_mean(ensemble, image), expected, atol=1e-5)


def test_a_changed_fold_is_refused(tmp_path: Path, dot_bundle: Bundle) -> None:
    folder = tmp_path / "dots"
    shutil.copytree(dot_bundle.folder, folder)
    with (folder / "fold_1.h5").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match=r"fold_1\.h5 has md5"):
        load_ensemble(folder)


def test_a_missing_fold_is_refused(tmp_path: Path, dot_bundle: Bundle) -> None:
    folder = tmp_path / "dots"
    shutil.copytree(dot_bundle.folder, folder)
    (folder / "fold_0.h5").unlink()
    with pytest.raises(ModelError, match=r"fold_0\.h5 is missing"):
        load_ensemble(folder)


def test_a_truncated_fold_is_named(tmp_path: Path, dot_folds: list[Path]) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(dot_folds[0].read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"broken\.h5"):
        load_ensemble([dot_folds[1], broken], shape=DOT_GRID)


def test_folds_of_another_shape_are_refused(tmp_path: Path, dot_folds: list[Path]) -> None:
    other = make_dot_finder(tmp_path / "other.h5", shape=(20, 20, 20))
    with pytest.raises(ModelError, match=r"other\.h5 takes an input of .*20,20,20"):
        load_ensemble([dot_folds[0], other], shape=DOT_GRID)


def test_a_model_with_two_output_channels_is_refused(tmp_path: Path) -> None:
    import keras

    image = keras.layers.Input((8, 8, 8, 1))
    keras.Model(image, keras.layers.Conv3D(2, 1)(image)).save(tmp_path / "two.h5", include_optimizer=False)
    with pytest.raises(ModelError, match=r"two\.h5 gives an output of"):
        load_ensemble(tmp_path / "two.h5", shape=(8, 8, 8))


def test_an_image_of_another_shape_is_refused(dot_bundle: Bundle) -> None:
    ensemble = load_ensemble(dot_bundle.folder, options=F32)
    with pytest.raises(ImageError, match="the model takes"):
        ensemble.predict(np.zeros((8, 8, 8), np.float32))


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, dot_folds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("SHIVA_CMB_CACHE", str(blocked / "cache"))
    notes: list[str] = []
    ensemble = load_ensemble(dot_folds, shape=DOT_GRID, options=F32, note=notes.append)
    np.testing.assert_allclose(_mean(ensemble, _image()), _expected(dot_folds, _image()), atol=1e-5)
    assert any("could not be kept" in line for line in notes)


def test_the_second_load_needs_no_tensorflow(tmp_path: Path, dot_bundle: Bundle) -> None:
    load_ensemble(dot_bundle.folder, options=F32)
    code = (
        "import sys, numpy as np\n"
        "from shiva_cmb import load_ensemble\n"
        f"maps = load_ensemble({str(dot_bundle.folder)!r}).predict(np.zeros({DOT_GRID}, np.float32))\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'tf_keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_several_models_cannot_hold_a_bundle(dot_bundle: Bundle, dot_folds: list[Path]) -> None:
    with pytest.raises(UsageError, match="either one bundle"):
        load_ensemble([dot_bundle.folder, dot_folds[0]])


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken"])
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.h5 is no HDF5"):
        load_ensemble(path)


@pytest.mark.parametrize("name", ["ensemble.bin", "ensemble.xml", "sha256.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_entry_is_made_anew(
    tmp_path: Path, dot_folds: list[Path], monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    monkeypatch.setenv("SHIVA_CMB_CACHE", str(tmp_path / "cache"))
    before = _mean(load_ensemble(dot_folds[0], shape=DOT_GRID, options=F32), _image())
    (entry,) = (tmp_path / "cache").iterdir()
    if damage == "gone":
        (entry / name).unlink()
    else:
        (entry / name).write_bytes((entry / name).read_bytes()[:-7])
    after = _mean(load_ensemble(dot_folds[0], shape=DOT_GRID, options=F32), _image())
    np.testing.assert_array_equal(after, before)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_others_may_read_the_cache(
    tmp_path: Path, dot_folds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIVA_CMB_CACHE", str(tmp_path / "cache"))
    load_ensemble(dot_folds[0], shape=DOT_GRID, options=F32)
    (entry,) = (tmp_path / "cache").iterdir()
    assert entry.stat().st_mode & 0o055 == 0o055


def test_several_threads_may_share_an_ensemble(dot_bundle: Bundle) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ensemble = load_ensemble(dot_bundle.folder, options=F32)
    expected = [ensemble.predict(_image(seed)).mean for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda seed: ensemble.predict(_image(seed)).mean, range(4)))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_gives_no_probabilities_is_refused(tmp_path: Path) -> None:
    import keras

    image = keras.layers.Input((8, 8, 8, 1))
    model = keras.Model(image, keras.layers.Conv3D(1, 1)(image))
    model.layers[-1].set_weights([np.full((1, 1, 1, 1, 1), 3.0), np.array([-1.0])])
    model.save(tmp_path / "linear.h5", include_optimizer=False)
    ensemble = load_ensemble(tmp_path / "linear.h5", shape=(8, 8, 8), options=F32)
    with pytest.raises(ModelError, match="expected probabilities"):
        ensemble.predict(np.ones((8, 8, 8), np.float32))


def test_bare_folds_bring_their_own_shape_and_it_is_said_what_is_assumed(dot_folds: list[Path]) -> None:
    notes: list[str] = []
    ensemble = load_ensemble(dot_folds, options=F32, note=notes.append)
    assert ensemble.part.input.shape == DOT_GRID
    assert any("without a description" in line for line in ensemble.notes)
    assert list(ensemble.notes) == notes


def test_one_fold_twice_is_said(dot_folds: list[Path]) -> None:
    notes: list[str] = []
    load_ensemble([dot_folds[0], dot_folds[0]], shape=DOT_GRID, options=F32, note=notes.append)
    assert any("more than once" in line for line in notes)
