"""A training that is killed at any moment goes on to the same weights. See also `test_train_folds.py`."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.dataset import read_cases, read_folds, write_folds
from shiva_cmb.errors import DataError, OutputError, UsageError
from shiva_cmb.imaging import read_volume, write_volume
from shiva_cmb.training import RunOptions, train_folds
from shiva_cmb.training.config import settings_from
from shiva_cmb.training.curves import CurvesPicture
from shiva_cmb.training.fitting import callbacks, fit
from shiva_cmb.training.fitting.state import FitState, read_state
from shiva_cmb.training.run import Run, stored_settings
from shiva_cmb.training.settings import TrainingSettings
from shiva_cmb.training.train import Training
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
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with a fold that was never stopped."""
    return run(data, tmp_path_factory.mktemp("whole") / "model")


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
    owner: Any, name: str, when: int, after: bool, data: Path, whole: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, owner, name, when, after=after)
        with pytest.raises(Killed):
            run(data, tmp_path / "model")
    (tmp_path / "model" / "training" / "fold_0" / ".tmp-half.h5").write_bytes(b"half")
    resumed = weights(run(data, tmp_path / "model", resume=True))
    for one, other in zip(weights(whole), resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    names = {path.name for path in (tmp_path / "model" / "training" / "fold_0").iterdir()}
    assert not [name for name in names if name.startswith(".tmp")]
    assert len([name for name in names if name.startswith("best_")]) == 1


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """Folds are not trained; what would be."""
    asked: list[Training] = []
    monkeypatch.setattr(
        "shiva_cmb.training.train.train_one_fold", lambda training, number: asked.append(training)
    )
    return asked


def begun(output: Path) -> Path:
    """As if a fold had an epoch behind it."""
    write_state(output / "training" / "fold_0")
    return output


def write_state(folder: Path) -> None:
    folder.mkdir(parents=True)
    state = FitState(1, 1, 0.5, history=[{"epoch": 1, "loss": 1.0}])
    np.savez(folder / "state.npz", state=np.array(json.dumps(asdict(state))))


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped after an epoch; its cases are prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.train.train_one_fold", lambda training, number: None)
        return begun(run(data, tmp_path_factory.mktemp("stopped") / "model"))


def test_other_settings_cases_or_folds_are_refused(
    data: Path, stopped: Path, tmp_path: Path, untrained: list[Training]
) -> None:
    output = stopped
    cases = read_cases(data)
    with pytest.raises(UsageError, match=r"other settings \(learning_rate was .*, now 0.5\)"):
        run(data, output, settings_from({"learning_rate": 0.5}, SETTINGS), resume=True)
    with pytest.raises(DataError, match="other cases"):
        train_folds(cases[:3], output, SETTINGS, RunOptions(resume=True))
    with pytest.raises(OutputError, match="--resume"):
        train_folds(cases, output, SETTINGS)
    other = tmp_path / "folds.json"
    saved = read_folds(output / "training" / "folds.json", cases)
    write_folds(other, saved[::-1], cases, seed=0)
    with pytest.raises(UsageError, match=r"other folds than those of .*folds\.json"):
        run(data, output, folds_file=other)
    train_folds(cases[::-1], output, SETTINGS, RunOptions(resume=True, fold=0), note=pytest.fail)
    assert untrained[-1].cases == cases  # batches depend on their order


def test_a_finished_training_is_left_alone(data: Path, tmp_path: Path, untrained: list[Training]) -> None:
    output = run(data, tmp_path / "model")
    (output / "model_info.json").touch()
    with pytest.raises(UsageError, match="other settings"):
        run(data, output, settings_from({"epochs": 9}, SETTINGS), resume=True)
    for options in (RunOptions(fold=0), RunOptions(resume=True)):
        (output / "training" / "cache").mkdir(exist_ok=True)
        (output / "training" / ".tmp-half.png").touch()  # a kill came while the curves were drawn
        notes: list[str] = []
        train_folds(read_cases(data), output, SETTINGS, options, note=notes.append)
        assert notes == [f"{output} is finished: there is nothing left to do"]
        assert not (output / "training" / "cache").exists()
        assert not (output / "training" / ".tmp-half.png").exists()
    assert len(untrained) == 1


def test_what_has_not_come_to_a_fold_begins_anew(
    data: Path, tmp_path: Path, untrained: list[Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake is mended with the same folder, with --resume and without; not below a job at work."""
    monkeypatch.setattr("shiva_cmb.training.assemble.assemble", lambda training: None)
    output = run(data, tmp_path / "model")
    other = settings_from({"epochs": 7, "seed": 5}, SETTINGS)
    with Run(output).holding("fold_1"), pytest.raises(UsageError, match="other settings"):
        run(data, output, other)
    train_folds(read_cases(data)[:3], output, other, note=pytest.fail)
    assert stored_settings(Run(output)) == other
    assert len(untrained[-1].cases) == 3
    run(data, output, resume=True)
    assert len(untrained[-1].cases) == 4


@pytest.mark.parametrize("kind", ["swi", "bleeds", "brain"])
def test_a_changed_file_is_noticed(kind: str, tmp_path: Path, untrained: list[Training]) -> None:
    data = small_dataset(tmp_path, 2)
    output = begun(run(data, tmp_path / "model"))
    path = tmp_path / f"0_{kind}.nii.gz"
    volume = read_volume(path, note=pytest.fail)
    changed = volume.data.copy()
    changed[10:20, 20:40, 10:20] = 300 if kind == "swi" else 0
    changed[30:33, 30:33, 15:18] = 1
    write_volume(volume.with_data(changed), path)
    with pytest.raises(DataError, match="images, labels or masks of 1 cases are not those that"):
        train_folds(read_cases(data), output, SETTINGS, RunOptions(fold=0), note=lambda line: None)


def read_all(data: Path, output: Path) -> None:
    """Read what going on reads."""
    read_state(output / "training" / "fold_0" / "state.npz")
    Run(output).result(0)
    run(data, output)


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("run.json", '{"settings": {}, "cases": [1]}', "begin anew in another folder"),
        ("run.json", '{"settings": {"epochs": "many"}, "cases": []}', "begin anew in another folder"),
        ("folds.json", "[", "remove the file and go on"),
        ("fingerprints.json", '{"a": ', "remove it and go on"),
        ("fold_0/result.json", "{}", "remove it and go on"),
        ("fold_0/state.npz", "", "remove its folder to train this fold anew"),
        ("fold_0/state.npz", "PK\x03\x04", "remove its folder to train this fold anew"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(
    name: str, content: str, remedy: str, stopped: Path, data: Path, tmp_path: Path, untrained: list[Training]
) -> None:
    output = tmp_path / "model"
    shutil.copytree(stopped, output)
    (output / "training" / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{remedy}") as error:
        read_all(data, output)
    (output / "training" / name).unlink()
    if "run" not in name:  # the remedy
        read_all(data, output)
    assert "\n" not in str(error.value)


def test_the_picture_of_curves_does_without_a_damaged_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        "shiva_cmb.training.curves.draw_training_curves",
        lambda path, curves, metric: drawn.extend(curve.name for curve in curves),
    )
    for number in range(2):
        write_state(tmp_path / "training" / f"fold_{number}")
    (tmp_path / "training" / "fold_0" / "state.npz").write_bytes(b"PK")
    CurvesPicture(Run(tmp_path), SETTINGS).now()
    assert drawn == ["fold 1"]


def test_waiting_for_another_process_is_told(tmp_path: Path) -> None:
    folder = Run(tmp_path / "model")
    folder.folder.mkdir(parents=True)
    told: list[str] = []
    with ExitStack() as other:
        other.enter_context(folder.holding("preparation"))

        def waiting() -> None:
            told.append("waiting")
            other.close()

        with folder.holding("preparation", waiting=waiting):
            assert told == ["waiting"]
        with folder.holding("preparation", waiting=pytest.fail):
            pass


def test_a_fold_cannot_be_trained_twice_at_once(data: Path, tmp_path: Path) -> None:
    folder = Run(tmp_path / "model")
    folder.folder.mkdir(parents=True)
    expected = pytest.raises(UsageError, match="another process works on fold 0")
    with folder.holding("fold_0"), expected, folder.holding("fold_0"):
        pass


def test_what_a_kill_leaves_beside_a_finished_model_is_removed(data: Path, tmp_path: Path) -> None:
    """Reports are made as folders, which a kill leaves behind as well as files."""
    kept = Run(tmp_path / "model")
    for folder in (".tmp-evaluation-x", "out_of_fold", "out_of_fold_plain", "fold_0"):
        (kept.folder / folder).mkdir(parents=True)
    for name in (".tmp-evaluation-x/cases.tsv", "out_of_fold/.tmp-map.nii.gz", "fold_0/.tmp-x.h5"):
        (kept.folder / name).touch()
    (kept.output / "model_info.json").touch()
    notes: list[str] = []
    options = RunOptions(resume=True)
    train_folds(read_cases(data), kept.output, SETTINGS, options, note=notes.append)
    assert "nothing left to do" in notes[0]
    left = {path.relative_to(kept.folder).as_posix() for path in kept.folder.rglob("*")}
    assert left == {"out_of_fold", "fold_0"}


def test_folds_that_were_given_stay_until_something_is_trained(data: Path, tmp_path: Path) -> None:
    """A kill in the first epoch must not deal other folds than those of the file."""
    cases = read_cases(data)
    names = [case.name for case in cases]
    given = [{"train": names[2:], "validation": names[:2]}, {"train": names[:2], "validation": names[2:]}]
    (tmp_path / "folds.json").write_text(json.dumps({"folds": given}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.train.train_one_fold", lambda training, number: None)
        for options in ({"folds_file": tmp_path / "folds.json"}, {"resume": True}):
            run(data, tmp_path / "model", **options)
            folds = read_folds(tmp_path / "model" / "training" / "folds.json", cases)
            assert [fold.validation for fold in folds] == [(0, 1), (2, 3)]


def test_a_training_that_begins_anew_keeps_nothing_of_another(data: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiva_cmb.training.train.train_one_fold", lambda training, number: None)
        run(data, tmp_path / "model")
        fold = tmp_path / "model" / "training" / "fold_0"
        fold.mkdir()
        (fold / "transfer.json").write_text("{}")
        run(data, tmp_path / "model", settings_from({"seed": 5}, SETTINGS))
        assert not fold.exists()
