"""From files to a bundle that the rest of the package, plain Keras and TensorFlow accept."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from shiva_cmb.dataset import read_cases
from shiva_cmb.dataset.prepare import prepare_case
from shiva_cmb.ensemble.bundle import open_bundle, verify_bundle
from shiva_cmb.errors import DataError, ImageError, OutputError
from shiva_cmb.imaging import Preprocessing, Volume, to_model_grid, write_volume
from shiva_cmb.networks import PlainUNet, ShivaUNet, build_network
from shiva_cmb.synthesis import Phantom, PhantomSettings, make_head
from shiva_cmb.training import QUICK, EpochReport, Progress, TrainingSettings, train_folds

SMALL_HEAD = PhantomSettings(
    spacing_mm=(1.0, 1.0, 2.0),
    head_mm=(62.0, 70.0, 64.0),
    bleeds=(4, 6),
    bleed_diameter_mm=(3.0, 5.0),
    vessels=6,
)
TINY = TrainingSettings(
    folds=2,
    epochs=2,
    steps_per_epoch=2,
    batch_size=2,
    patch=(16, 16, 16),
    shape=(60, 65, 58),
    network=ShivaUNet(first_filters=2, levels=2, growth=2.0),
)


def write_heads(folder: Path, heads: Sequence[Phantom]) -> Path:
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "mask", "patient"])
        for number, head in enumerate(heads):
            names = [f"{number}_{kind}.nii.gz" for kind in ("swi", "bleeds", "brain")]
            for name, volume in zip(names, (head.image, head.bleeds, head.brain), strict=True):
                write_volume(volume, folder / name)
            writer.writerow([*names, f"P{number}"])
    return folder / "cases.csv"


@pytest.fixture(scope="module")
def heads() -> list[Phantom]:
    rng = np.random.default_rng(4)
    return [make_head(rng, SMALL_HEAD) for _ in range(3)]


@pytest.fixture(scope="module")
def cases(heads: list[Phantom], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("cases"), heads)


@pytest.fixture(scope="module")
def trained(cases: Path) -> tuple[Path, list[EpochReport], list[str]]:
    reports: list[EpochReport] = []
    notes: list[str] = []
    progress = Progress(on_epoch=reports.append)
    folder = train_folds(
        read_cases(cases), cases.parent / "model", TINY, note=notes.append, progress=progress
    )
    return folder, reports, notes


def test_writes_a_bundle_that_verifies(trained: tuple[Path, list[EpochReport], list[str]]) -> None:
    folder, reports, notes = trained
    bundle = open_bundle(folder)
    verify_bundle(bundle)
    assert [path.name for path in bundle.fold_paths] == ["fold_0.h5", "fold_1.h5"]
    assert bundle.part.input.shape == TINY.shape
    assert bundle.part.training["cases"] == 3
    checked = [case for fold in bundle.part.folds for case in fold.validation_cases]
    assert sorted(checked) == ["0_swi", "1_swi", "2_swi"]
    assert [(report.fold, report.epoch) for report in reports] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert notes == []
    for number, fold in enumerate(bundle.part.folds):
        own = [report.validation_loss for report in reports if report.fold == number]
        assert fold.metrics["validation_loss"] == pytest.approx(min(own))


def test_leaves_nothing_else_behind(trained: tuple[Path, list[EpochReport], list[str]]) -> None:
    folder = trained[0]
    assert sorted(path.name for path in folder.iterdir()) == ["fold_0.h5", "fold_1.h5", "model_info.json"]
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_folds_load_in_plain_keras_and_equal_their_export(
    trained: tuple[Path, list[EpochReport], list[str]], tmp_path: Path
) -> None:
    model = keras.models.load_model(trained[0] / "fold_0.h5")
    assert model.input_shape == (None, *TINY.shape, 1)
    image = np.random.default_rng(0).random((1, *TINY.shape, 1), dtype=np.float32)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.serve(image).numpy(), np.asarray(model(image)), atol=2e-6)


def test_the_same_seed_trains_the_same_networks(
    cases: Path, trained: tuple[Path, list[EpochReport], list[str]], tmp_path: Path
) -> None:
    again = train_folds(read_cases(cases), tmp_path / "model", TINY, note=pytest.fail)
    for name in ("fold_0.h5", "fold_1.h5"):
        first, second = (
            keras.models.load_model(folder / name).get_weights() for folder in (trained[0], again)
        )
        for one, other in zip(first, second, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")
def test_the_bundle_says_how_its_networks_are_built(cases: Path, tmp_path: Path) -> None:
    network = PlainUNet(filters=(2, 3), convs=1)
    settings = replace(TINY, network=network, loss="dice+ce:5,0.1", epochs=1, steps_per_epoch=1, batch_size=1)
    tf.config.run_functions_eagerly(True)  # faster than tracing one step
    try:
        folder = train_folds(read_cases(cases), tmp_path / "model", settings, note=pytest.fail)
    finally:
        tf.config.run_functions_eagerly(False)
    part = open_bundle(folder).part
    assert part.architecture is not None
    assert part.training["settings"]["loss"] == "dice+ce:5,0.1"
    again = build_network(part.architecture.name, part.architecture.arguments, (*part.input.shape, 1))
    saved = keras.models.load_model(folder / "fold_0.h5")
    assert [layer.name for layer in again.layers] == [layer.name for layer in saved.layers]
    again.set_weights(saved.get_weights())
    image = np.random.default_rng(0).random((1, *TINY.shape, 1), dtype=np.float32)
    np.testing.assert_array_equal(np.asarray(again(image)), np.asarray(saved(image)))


def test_cases_lie_on_the_grid_as_predict_would_put_them(
    cases: Path, heads: list[Phantom], tmp_path: Path
) -> None:
    case = prepare_case(read_cases(cases)[0], TINY.preprocessing, tmp_path, note=pytest.fail)
    assert case.image.shape == case.label.shape == TINY.shape
    expected = [bleed.centre_mm for bleed in heads[0].truth]
    settings = Preprocessing(shape=TINY.shape)
    model = to_model_grid(heads[0].image, heads[0].brain.data > 0, settings, note=pytest.fail)
    np.testing.assert_allclose(case.image, model.image.data, atol=1e-6)
    found = model.image.grid.to_world(case.bleeds)
    for centre in expected:
        assert np.linalg.norm(found - centre, axis=1).min() < 1.8


def test_masked_input_is_zero_outside_the_brain(cases: Path, heads: list[Phantom], tmp_path: Path) -> None:
    case = prepare_case(read_cases(cases)[0], TINY.preprocessing, tmp_path, mask_input=True, note=pytest.fail)
    brain = to_model_grid(heads[0].image, heads[0].brain.data > 0, Preprocessing(shape=TINY.shape)).brain
    assert brain is not None
    assert case.image[brain].mean() > 0.3
    assert not case.image[~brain].any()
    assert not case.label[~brain].any()


def test_refuses_an_output_that_is_there_before_reading_anything(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").touch()
    with pytest.raises(OutputError, match="exists already"):
        train_folds([], tmp_path / "model", TINY)
    with pytest.raises(OutputError, match="does not exist"):
        train_folds([], tmp_path / "nowhere" / "model", TINY)


def test_too_few_patients_are_told_before_reading_images(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 folds need at least 4 patients"):
        train_folds(read_cases(cases), tmp_path / "model", replace(TINY, folds=4))


def test_a_broken_image_stops_the_run_and_leaves_nothing(cases: Path, tmp_path: Path) -> None:
    good = read_cases(cases)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(good[0].image.read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"broken\.nii\.gz"):
        train_folds([replace(good[0], image=broken), *good[1:]], tmp_path / "model", TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.nii.gz"]


def test_a_run_that_goes_astray_says_what_to_try(cases: Path, tmp_path: Path) -> None:
    wild = replace(TINY, learning_rate=1e30, steps_per_epoch=4)
    with pytest.raises(DataError, match="tenth of the learning rate"):
        train_folds(read_cases(cases), tmp_path / "model", wild)


@pytest.mark.slow
def test_finds_most_bleeds_of_an_unseen_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    heads = [make_head(rng, SMALL_HEAD) for _ in range(7)]
    unseen = heads.pop()
    settings = replace(QUICK, epochs=4, shape=(64, 72, 64))
    folder = train_folds(read_cases(write_heads(tmp_path, heads)), tmp_path / "model", settings)
    model_input = to_model_grid(unseen.image, unseen.brain.data > 0, Preprocessing(shape=settings.shape))
    maps = [
        keras.models.load_model(path).predict(model_input.image.data[None, ..., None], verbose=0)
        for path in open_bundle(folder).fold_paths
    ]
    mean = Volume(np.mean(maps, axis=0)[0, ..., 0], model_input.image.affine)
    labels, count = ndimage.label(mean.data > 0.5, np.ones((3, 3, 3)))
    places = np.array(ndimage.center_of_mass(mean.data, labels, range(1, count + 1))).reshape(-1, 3)
    found_mm = mean.grid.to_world(places)
    hits = [np.linalg.norm(found_mm - bleed.centre_mm, axis=1).min(initial=99) < 3 for bleed in unseen.truth]
    assert np.mean(hits) > 0.6
    assert count - sum(hits) <= 5
