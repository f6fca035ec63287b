"""A training that is killed at any moment goes on to the same weights. See also `test_train_folds.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import DataError, OutputError, UsageError
from shiva_cmb.imaging import read_volume, write_volume
from shiva_cmb.training import RunOptions, train_folds
from shiva_cmb.training.config import settings_from
from shiva_cmb.training.fitting import callbacks, fit
from shiva_cmb.training.run import Run
from shiva_cmb.training.settings import TrainingSettings
from tests.training.small import TINY, small_dataset

SETTINGS = settings_from({**TINY, "deterministic": True, "epochs": 3, "ema": 0.5, "patience": 5})
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")


class Killed(BaseException):
    """Ends a training as a kill does: nothing of ours catches it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data"), 4)


def weights(folder: Path) -> list[np.ndarray]:
    return keras.models.load_model(folder / "training" / "fold_0" / "fold.h5", compile=False).get_weights()


def run(data: Path, output: Path, settings: TrainingSettings = SETTINGS, **options: Any) -> Path:
    return train_folds(read_cases(data), output, settings, RunOptions(fold=0, **options), note=pytest.fail)


@pytest.fixture(scope="module", autouse=True)
def _eagerly() -> Iterator[None]:
    """Tracing the graph of a training step takes longer than some steps without one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The weights of a fold that was never stopped."""
    return weights(run(data, tmp_path_factory.mktemp("whole") / "model"))


def killing(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: int, *, after: bool = False
) -> None:
    """Let a function be killed at its nth call, before or after it did its work."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1000))

    def deadly(*arguments: Any, **named: Any) -> Any:
        last = next(calls) == when
        if last and not after:
            raise Killed
        result = original(*arguments, **named)
        if last:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, deadly)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "when", "after"),
    [
        (callbacks.KeepState, "on_epoch_end", 2, False),  # best weights and state of an epoch are lost
        (callbacks, "save_state", 2, False),  # best weights are there, the state is not
        (callbacks, "save_state", 2, True),  # the old best weights are still there
        (fit, "save_quietly", 1, False),  # all epochs are done, nothing is exported
    ],
)
def test_goes_on_to_the_same_weights(
    owner: Any, name: str, when: int, after: bool, data: Path, whole: Any, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, owner, name, when, after=after)
        with pytest.raises(Killed):
            run(data, tmp_path / "model")
    (tmp_path / "model" / "training" / "fold_0" / ".tmp-half.h5").write_bytes(b"half")
    resumed = weights(run(data, tmp_path / "model", resume=True))
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    names = {path.name for path in (tmp_path / "model" / "training" / "fold_0").iterdir()}
    assert not [name for name in names if name.startswith(".tmp")]
    assert len([name for name in names if name.startswith("best_")]) == 1


def test_other_settings_or_cases_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.train.train_one_fold", lambda training, number: None)
        run(data, tmp_path / "model")
        with pytest.raises(UsageError, match=r"other settings \(learning_rate was .*, now 0.5\)"):
            run(data, tmp_path / "model", settings_from({"learning_rate": 0.5}, SETTINGS), resume=True)
        with pytest.raises(DataError, match="other cases"):
            train_folds(read_cases(data)[:3], tmp_path / "model", SETTINGS, RunOptions(resume=True))
    with pytest.raises(OutputError, match="--resume"):
        train_folds(read_cases(data), tmp_path / "model", SETTINGS)


def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    data = small_dataset(tmp_path, 2)
    settings = settings_from({**TINY, "folds": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.train.train_one_fold", lambda training, number: None)
        run(data, tmp_path / "model", settings)
        image = read_volume(tmp_path / "0_swi.nii.gz", note=pytest.fail)
        write_volume(image.with_data(image.data + 1), tmp_path / "0_swi.nii.gz")
        with pytest.raises(DataError, match="not those that"):
            run(data, tmp_path / "model", settings, resume=True)


def test_a_fold_cannot_be_trained_twice_at_once(data: Path, tmp_path: Path) -> None:
    folder = Run(tmp_path / "model")
    folder.folder.mkdir(parents=True)
    expected = pytest.raises(UsageError, match="another process works on fold 0")
    with folder.holding("fold_0"), expected, folder.holding("fold_0"):
        pass
