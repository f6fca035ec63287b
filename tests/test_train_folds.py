"""The way from a folder of scans to a model that every tool can use, as a user goes it: killed twice, too."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.dataset import read_cases
from shiva_cmb.dataset.folds import read_folds
from shiva_cmb.ensemble import EngineOptions, load_ensemble, open_bundle, verify_bundle
from shiva_cmb.networks import build_network
from shiva_cmb.training import RunOptions, settings_from, train_folds
from shiva_cmb.training.config import as_names
from tests.training.small import small_dataset

ROOT = Path(__file__).parents[1]
GRID = (32, 37, 30)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that the script trained, for a few steps, on small generated heads, in spite of two kills."""
    folder = tmp_path_factory.mktemp("train")
    small_dataset(folder, 4, patients=[0, 0, 1, 1])
    model = folder / "model"
    command = [sys.executable, str(ROOT / "train_folds.py"), "--data", str(folder / "cases.csv"), "--resume"]
    command += ["-o", str(model), "--folds", "2", "--epochs", "3", "--steps", "40", "--batch-size", "2"]
    command += ["--patch", "16", "--grid", ",".join(map(str, GRID)), "--spacing-mm", "2", "--seed", "1"]
    command += ["--filters", "8", "--levels", "2", "--growth", "1.5", "--loss", "dice+ce:5", "--lr", "0.01"]
    for setting in ("dropout=0", "dropout_first=0", "pool_deepest=false"):  # or it finds nothing so soon
        command += ["--set", f"network.{setting}"]
    command += ["--deterministic"]
    training = model / "training"
    log = training / "fold_0" / "log.csv"
    _kill_when(command, lambda: log.is_file() and len(log.read_text().splitlines()) == 2)  # 1 of 3 epochs
    assert not (model / "model_info.json").exists()
    _kill_when(command, lambda: any((training / "out_of_fold").glob("*_prob.nii.gz")))
    assert not (model / "model_info.json").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(model)
    assert "expected on data like these, from 4 cases of 2 patients" in done.stderr
    return folder


def _kill_when(command: list[str], is_time: Callable[[], bool]) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while not is_time():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_the_bundle_passes_verification_and_keeps_patients_apart(trained: Path) -> None:
    bundle = open_bundle(trained / "model")
    verify_bundle(bundle)
    validation = [set(fold.validation_cases) for fold in bundle.part.folds]
    assert validation in (
        [{"0_swi", "1_swi"}, {"2_swi", "3_swi"}],
        [{"2_swi", "3_swi"}, {"0_swi", "1_swi"}],
    )
    assert bundle.part.input.shape == GRID
    assert bundle.part.training["cases"] == 4
    assert bundle.part.training["patients"] == 2
    for number, fold in enumerate(bundle.part.folds):
        rows = _rows(trained / "model" / "training" / f"fold_{number}" / "log.csv")
        assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
        losses = [float(row["val_data_loss"]) for row in rows]
        assert fold.metrics["val_data_loss"] == pytest.approx(min(losses), rel=1e-4)
        assert fold.metrics["best_epoch"] == losses.index(min(losses)) + 1


def test_the_same_seed_trains_the_same_network_without_any_kill(trained: Path, tmp_path: Path) -> None:
    """From the settings that the bundle states, to the last bit."""
    import keras

    stated = open_bundle(trained / "model").part.training["settings"]
    settings = settings_from(stated)
    assert as_names(settings) == stated
    assert settings.fitting.loss == "dice+ce:5"
    assert settings.fitting.epochs == 3
    options = RunOptions(fold=0)
    train_folds(read_cases(trained / "cases.csv"), tmp_path / "again", settings, options, note=pytest.fail)
    saved = tmp_path / "again" / "training" / "fold_0" / "fold.h5"
    first, second = (
        keras.models.load_model(path).get_weights() for path in (trained / "model" / "fold_0.h5", saved)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_bundle_says_how_its_networks_are_built(trained: Path) -> None:
    import keras

    part = open_bundle(trained / "model").part
    assert part.architecture is not None
    again = build_network(part.architecture.name, part.architecture.arguments, (*part.input.shape, 1))
    saved = keras.models.load_model(trained / "model" / "fold_0.h5")
    assert saved.input_shape == (None, *GRID, 1)
    assert [layer.name for layer in again.layers] == [layer.name for layer in saved.layers]
    again.set_weights(saved.get_weights())
    image = np.random.default_rng(0).random((1, *GRID, 1), dtype=np.float32)
    np.testing.assert_array_equal(np.asarray(again(image)), np.asarray(saved(image)))


def test_its_folder_holds_the_model_and_how_it_came_about(trained: Path) -> None:
    model, training = trained / "model", trained / "model" / "training"
    expected = {"fold_0.h5", "fold_1.h5", "model_info.json", "training"}
    assert {path.name for path in model.iterdir()} == expected
    assert not [path for path in trained.iterdir() if path.name.startswith(".")]
    assert not list(model.rglob("*.tmp*")) + list(model.rglob(".tmp*"))
    assert not (training / "cache").exists()
    listed = read_cases(trained / "cases.csv")
    folds = read_folds(training / "folds.json", listed)
    stated = [fold.validation_cases for fold in open_bundle(model).part.folds]
    assert [tuple(listed[index].name for index in fold.validation) for fold in folds] == stated
    assert (training / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "sensitivity" in (training / "expected.txt").read_text()
    assert (training / "evaluation" / "metrics.json").is_file()
    for number in range(4):
        image, unseen = (
            nib.load(path)
            for path in (
                trained / f"{number}_swi.nii.gz",
                training / "out_of_fold" / f"{number}_swi_prob.nii.gz",
            )
        )
        assert unseen.shape == image.shape
        np.testing.assert_allclose(unseen.affine, image.affine, atol=1e-4)


def test_evaluate_gives_the_figures_that_the_bundle_states(trained: Path, tmp_path: Path) -> None:
    part = open_bundle(trained / "model").part
    point, metrics = part.operating_point, part.metrics
    assert point is not None
    assert point.curve
    table = str(trained / "model" / "training" / "out_of_fold" / "cases.tsv")
    command = ["evaluate", "--truth", table, "--pred", table, "--operating-point", str(trained / "model")]
    command += ["--no-gallery", "--processes", "1", "-o", str(tmp_path / "judged")]
    assert main(command) == 0
    judged = trained / "model" / "training" / "evaluation" / "metrics.json"
    for found in (tmp_path / "judged" / "metrics.json", judged):
        content = json.loads(found.read_text())
        for name in ("sensitivity", "precision", "f1", "fp_per_scan"):
            given = content["detection"]["micro"][name]
            stated = [metrics[f"{name}{end}"] for end in ("", "_low", "_high")]
            assert stated == [given[key] for key in ("value", "low", "high")]
        assert metrics["lesions"] == content["lesions"]["truth_count"]
    assert metrics["f1"] > 0.3  # 0.7 to 0.9 for the single folds
    assert metrics["f1_low"] <= metrics["f1"] <= metrics["f1_high"]
    assert metrics["cases"] == 4


def test_plain_keras_loads_the_folds_and_every_way_gives_one_map(trained: Path) -> None:
    import keras
    import tensorflow

    model, exported = str(trained / "model"), str(trained / "S")
    assert main(["model", "export", model, "--format", "savedmodel", "-o", exported]) == 0
    image = np.random.default_rng(0).random((*GRID, 1), dtype=np.float32)
    ours = load_ensemble(trained / "model", options=EngineOptions(precision="f32", engine="openvino"))
    expected = ours.predict(image, averaging="predict_one_file").mean
    by_keras = [
        keras.models.load_model(path, compile=False).predict(image[None], verbose=0)
        for path in open_bundle(trained / "model").fold_paths
    ]
    loaded = [tensorflow.saved_model.load(str(path)) for path in open_bundle(exported).fold_paths]
    by_serve = [fold.serve(image[None]).numpy() for fold in loaded]
    for keras_map, serve_map in zip(by_keras, by_serve, strict=True):
        np.testing.assert_allclose(keras_map, serve_map, atol=2e-6)
    np.testing.assert_allclose(np.mean(by_keras, axis=0)[0, ..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(np.mean(by_serve, axis=0)[0, ..., 0], expected, atol=1e-5)


def test_predict_takes_the_bundle(trained: Path, tmp_path: Path) -> None:
    arguments = [str(trained / "0_swi.nii.gz"), "-b", str(trained / "0_brain.nii.gz")]
    assert main(["predict", *arguments, "-m", str(trained / "model"), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "0_swi_lesions.tsv").is_file()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
