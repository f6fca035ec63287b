"""What a training shows while it runs."""

import time

import pytest

from shiva_cmb.cli.training_table import showing_folds
from shiva_cmb.training import EpochReport, settings_from

SETTINGS = settings_from({"folds": 2, "epochs": 5, "metric": "lesion_f1"})


def report(fold: int, epoch: int, f1: float) -> EpochReport:
    figures = {"loss": 0.51234567, "val_data_loss": 0.25, "learning_rate": 1e-3, "val_lesion_f1": f1}
    return EpochReport(fold, epoch, figures, best_epoch=min(epoch, 2))


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_folds(SETTINGS) as progress:
        for done in range(1, 41):
            progress.on_case(done, 40)
        progress.on_step("training fold 1")
        progress.on_epoch(report(1, 2, 0.75))
    shown = capsys.readouterr()
    assert shown.out == ""
    *cases, step, epoch = shown.err.splitlines()
    assert cases == [f"preparing the cases: {done} of 40" for done in range(4, 41, 4)]
    assert step == "training fold 1"
    assert epoch == "fold 1 epoch 2/5: loss 0.5123, validation 0.25, lesion F1 0.75"


def test_on_a_terminal_there_is_a_table_of_folds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    clock = iter([0.0, 100.0])
    with showing_folds(SETTINGS) as progress:
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: next(clock))
            progress.on_epoch(report(0, 1, 0.5))
        for epoch, f1 in ((2, 0.75), (3, 0.625)):
            progress.on_epoch(report(0, epoch, f1))
        progress.on_step("training fold 1")
    shown = capsys.readouterr().err.split("training fold 1")[-1]  # the last state of the table
    assert "fold" in shown
    assert "lesion F1" in shown
    assert "Dice" not in shown
    row = next(line for line in shown.splitlines() if "3/5" in line)
    for figure in ("0.5123", "0.25", "0.625", " 2 "):
        assert figure in row
    assert row.count(":") == 2  # time left, as h:mm:ss
