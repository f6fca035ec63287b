"""From trained folds to a bundle, interrupted. For whole trainings: `tests/test_train_folds.py`."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiva_cmb.dataset import read_cases
from shiva_cmb.dataset.folds import Fold
from shiva_cmb.ensemble import EngineOptions, open_bundle
from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.training import assemble as home
from shiva_cmb.training.calibration import out_of_fold
from shiva_cmb.training.calibration.out_of_fold import MapSettings
from shiva_cmb.training.config import settings_from
from shiva_cmb.training.fitting.state import FOLD_NAME
from shiva_cmb.training.run import Run
from shiva_cmb.training.train import Progress, RunOptions, Training
from tests.conftest import make_dot_finder
from tests.training.small import TINY, small_dataset

GRID = (32, 37, 30)


class Killed(BaseException):
    """Ends the work as a kill does: nothing of ours catches it."""


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Two folds that are finished, with a case each."""
    cases = read_cases(small_dataset(tmp_path, 2))
    run = Run(tmp_path / "model")
    for number, case in enumerate(cases):
        run.fold(number).mkdir(parents=True)
        network = make_dot_finder(run.fold(number) / FOLD_NAME, 30.0, GRID)
        result = {"validation": [case.name], "figures": {}, "best_epoch": 1, "transfer": None}
        run.write_result(number, result | {"sha256": sha256_of(network)})
    settings = settings_from({**TINY, "temperature": True, "ignore_values": [7]})
    prepared: Any = tuple(SimpleNamespace(lesions=()) for _ in cases)
    folds = (Fold((1,), (0,)), Fold((0,), (1,)))
    return Training(run, settings, RunOptions(), cases, prepared, folds, lambda _: None, Progress())


def test_no_map_is_made_twice_and_the_plain_ones_go(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], out_of_fold.predict

    def watched(images: list[Path], **more: Any) -> Any:
        made.append(images)
        return real(images, **more)

    def deadly(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(out_of_fold, "predict", watched)
    here = EngineOptions(engine="keras", precision="f32", gpu=-1)  # no other process has to be started
    monkeypatch.setattr(home, "MapSettings", partial(MapSettings, options=here))
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(home, "calibrate", deadly)
            with pytest.raises(Killed):
                home.assemble(training)
        assert len(made) == 4  # each case at the temperature 1, and at the one that was found
    monkeypatch.setattr(home, "save_calibration", lambda *_, **__: None)  # seconds of plots
    home.assemble(training)
    assert len(made) == 4
    folder = training.run.folder
    assert {path.name for path in folder.iterdir()} == {"fold_0", "fold_1", "out_of_fold", "expected.txt"}
    text = training.run.expected_path.read_text(encoding="utf-8")
    assert f"--operating-point {training.run.output} --ignore-value 2 -o figures\n" in text
    assert open_bundle(training.run.output).part.training["temperature"]["value"] != 1
