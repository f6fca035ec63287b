"""What a training refuses, and what it tells. For whole bundles: `tests/test_train_folds.py`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import DataError, OutputError, UsageError
from shiva_cmb.training import EpochReport, Progress, RunOptions, settings_from, train_folds
from shiva_cmb.training.run import Run
from tests.training.small import TINY, small_dataset

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")
SETTINGS = settings_from(TINY)


@pytest.fixture(scope="module", autouse=True)
def _eagerly() -> Iterator[None]:
    """Tracing the graph of a training step takes longer than some steps without one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("cases"), 3)


def test_one_fold_is_trained_and_told_of(cases: Path, tmp_path: Path) -> None:
    """Folds may be trained one by one; whole volumes are checked as asked for."""
    reports: list[EpochReport] = []
    prepared: list[tuple[int, int]] = []
    steps: list[str] = []
    settings = settings_from({"metric": "lesion_f1", "check_every": 2, "patience": 5}, SETTINGS)
    folder = train_folds(
        read_cases(cases),
        tmp_path / "model",
        settings,
        RunOptions(fold=1, cache=tmp_path / "cache"),
        note=pytest.fail,
        progress=Progress(lambda *done: prepared.append(done), reports.append, steps.append),
    )
    assert [(report.fold, report.epoch) for report in reports] == [(1, 1), (1, 2)]
    assert {"loss", "val_data_loss", "val_lesion_f1", "val_dice", "learning_rate"} <= set(reports[0].figures)
    assert prepared[-1] == (3, 3)
    assert "training fold 1" in steps
    assert not (folder / "model_info.json").exists()
    written = {path.name for path in (folder / "training").iterdir() if not path.name.startswith(".")}
    assert written == {"run.json", "folds.json", "fingerprints.json", "fold_1", "curves.png"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.fitting.fit.fit_fold", pytest.fail)  # a finished fold is not redone
        train_folds(read_cases(cases), folder, settings, RunOptions(fold=1, cache=tmp_path / "cache"))
    # a damaged network is made again from the best weights
    network = folder / "training" / "fold_1" / "fold.h5"
    before = keras.models.load_model(network, compile=False).get_weights()
    notes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.fitting.fit.FoldAtWork.run", pytest.fail)
        for damage in (b"half", None):
            network.unlink()
            if damage:
                network.write_bytes(damage)
            assert Run(folder).result(1) is None
        options = RunOptions(fold=1, cache=tmp_path / "cache")
        train_folds(read_cases(cases), folder, settings, options, note=notes.append)
    assert notes == [f"{network} is missing or not what result.json says: it is made again"]
    for one, other in zip(before, keras.models.load_model(network, compile=False).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_refuses_an_output_that_is_there_before_reading_anything(cases: Path, tmp_path: Path) -> None:
    absent = [replace(case, images=(tmp_path / "absent.nii",)) for case in read_cases(cases)]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").touch()
    with pytest.raises(OutputError, match="exists already"):
        train_folds(absent, tmp_path / "model", replace(SETTINGS, folds=9))
    with pytest.raises(OutputError, match="does not exist"):
        train_folds(absent, tmp_path / "nowhere" / "model", SETTINGS)


def test_too_few_patients_are_told_before_reading_images(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 folds need at least 4 patients"):
        train_folds(read_cases(cases), tmp_path / "model", replace(SETTINGS, folds=4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({}, {"fold": 2}, UsageError, "fold: expected 0 to 1, got 2"),
        ({"replicas": 4}, {}, UsageError, "batch_size: 2 cannot be shared by 4 devices"),
        ({"replicas": 2}, {"devices": ("cpu", "cpu")}, UsageError, "not both"),
        ({"channels": ["swi", "t1"]}, {}, DataError, r"has 1 images, the network takes 2 \(swi, t1\)"),
        ({"stratify": ["site"]}, {}, UsageError, "no case has a value in the column 'site'"),
        ({"init": "/no/model"}, {}, UsageError, "init: /no/model does not exist"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(
    changes: dict[str, object],
    options: dict[str, int],
    error: type[Exception],
    message: str,
    cases: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        train_folds(
            read_cases(cases), tmp_path / "model", settings_from(changes, SETTINGS), RunOptions(**options)
        )
    assert not list(tmp_path.iterdir())


def test_a_broken_image_stops_the_run_which_goes_on_once_it_is_mended(cases: Path, tmp_path: Path) -> None:
    first, *others = read_cases(cases)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(first.images[0].read_bytes()[:2000])
    listed = [replace(first, images=(broken,)), *others]
    with pytest.raises(DataError, match=r"broken\.nii\.gz"):
        train_folds(listed, tmp_path / "model", SETTINGS)
    assert {path.name for path in tmp_path.iterdir()} == {"broken.nii.gz", "model"}
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["training"]
    broken.write_bytes(first.images[0].read_bytes())
    begun: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "shiva_cmb.training.train.train_one_fold", lambda training, number: begun.append(number)
        )
        options = RunOptions(resume=True, fold=0)
        train_folds(listed, tmp_path / "model", SETTINGS, options, note=pytest.fail)
    assert begun == [0]


def test_a_run_that_goes_astray_says_what_to_try(cases: Path, tmp_path: Path) -> None:
    wild = settings_from({"learning_rate": 1e30, "steps_per_epoch": 4, "warmup_fraction": 0}, SETTINGS)
    with pytest.raises(DataError, match=r"fold_0: the .*tenth of the learning rate; no epoch was finished"):
        train_folds(read_cases(cases), tmp_path / "model", wild, note=pytest.fail)
    assert not (tmp_path / "model" / "model_info.json").exists()


def test_networks_that_were_trained_one_by_one_belong_to_one_split(cases: Path, tmp_path: Path) -> None:
    """A hand-written split is taken, kept, and checked for leaks."""
    options = RunOptions(fold=0, folds_file=tmp_path / "folds.json")
    from shiva_cmb.dataset.folds import read_folds, split_folds, write_folds

    listed = read_cases(cases)
    folds = split_folds(listed, 2, seed=99, note=pytest.fail)
    write_folds(options.folds_file, folds, listed, seed=99, stratify=())
    with pytest.raises(UsageError, match=r"folds\.json has 2 folds, 3 were asked for"):
        train_folds(listed, tmp_path / "model", replace(SETTINGS, folds=3), options, note=pytest.fail)
    assert not (tmp_path / "model").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.train.train_one_fold", lambda training, number: None)
        folder = train_folds(listed, tmp_path / "model", SETTINGS, options, note=pytest.fail)
        assert read_folds(folder / "training" / "folds.json", listed) == folds
        twin = [listed[0], replace(listed[0], name="twin", patient="another"), *listed[1:]]
        with pytest.raises(DataError, match="twin"):
            train_folds(twin, tmp_path / "twins", replace(SETTINGS, folds=4), RunOptions(fold=0))
