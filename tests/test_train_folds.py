"""The way from a folder of scans to a model that every tool can use, as a user goes it."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import EngineOptions, load_ensemble, open_bundle, verify_bundle
from shiva_cmb.imaging import write_volume
from shiva_cmb.synthesis import PhantomSettings, make_head

ROOT = Path(__file__).parents[1]
GRID = (47, 56, 50)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that the script trained, for a few steps, on small generated heads."""
    folder = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(5)
    settings = PhantomSettings(
        spacing_mm=(1.0, 1.0, 2.0), head_mm=(70, 84, 74), bleeds=(2, 3), bleed_diameter_mm=(3, 5), vessels=5
    )
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "mask", "patient"])
        for number in range(4):
            head = make_head(rng, settings)
            names = [f"{number}_{kind}.nii.gz" for kind in ("swi", "bleeds", "brain")]
            for name, volume in zip(names, (head.image, head.bleeds, head.brain), strict=True):
                write_volume(volume, folder / name)
            writer.writerow([*names, f"patient{number // 2}"])
    command = [
        sys.executable,
        str(ROOT / "train_folds.py"),
        "--data",
        str(folder / "cases.csv"),
        "--folds",
        "2",
    ]
    command += ["-o", str(folder / "model"), "--epochs", "2", "--steps", "3", "--batch-size", "2"]
    command += ["--patch", "16", "--grid", ",".join(map(str, GRID)), "--spacing-mm", "1.5", "--seed", "1"]
    command += ["--filters", "4", "--levels", "3", "--growth", "1.5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "model")
    return folder


@pytest.mark.slow
def test_the_bundle_passes_verification_and_keeps_patients_apart(trained: Path) -> None:
    bundle = open_bundle(trained / "model")
    verify_bundle(bundle)
    validation = [set(fold.validation_cases) for fold in bundle.part.folds]
    assert len(validation) == 2
    assert not validation[0] & validation[1]
    assert len(validation[0] | validation[1]) == 4
    assert bundle.part.input.shape == GRID


@pytest.mark.slow
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
    np.testing.assert_allclose(np.mean(by_keras, axis=0)[0, ..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(np.mean(by_serve, axis=0)[0, ..., 0], expected, atol=1e-5)


@pytest.mark.slow
def test_predict_takes_the_bundle(trained: Path, tmp_path: Path) -> None:
    arguments = [str(trained / "0_swi.nii.gz"), "-b", str(trained / "0_brain.nii.gz")]
    assert main(["predict", *arguments, "-m", str(trained / "model"), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "0_swi_lesions.tsv").is_file()
