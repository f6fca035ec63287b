"""Folds side by side, and batches shared among devices: on parts of the processor."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import DataError, Note, UsageError
from shiva_cmb.training import (
    EpochReport,
    Progress,
    RunOptions,
    one_fold,
    settings_from,
    several_devices,
    train_folds,
)
from shiva_cmb.training.run import Run
from shiva_cmb.training.several_devices import require_devices, train_on_devices
from shiva_cmb.training.train import Training
from tests.training.small import TINY, small_dataset

SETTINGS = settings_from({**TINY, "augmentation": "none"})

REPLICAS = """
import json, sys
from pathlib import Path
from shiva_cmb.dataset import read_cases
from shiva_cmb.training import Progress, RunOptions, settings_from, train_folds

rows = {}
for replicas in (2, 1):
    rows[replicas] = []
    train_folds(
        read_cases(sys.argv[1]),
        Path(sys.argv[2]) / str(replicas),
        settings_from({**json.loads(sys.argv[3]), "replicas": replicas}),
        RunOptions(fold=0),
        progress=Progress(on_epoch=lambda report: rows[replicas].append(report.figures)),
    )
import tensorflow as tf
print(json.dumps({"devices": len(tf.config.list_logical_devices("CPU")), "rows": rows}))
"""


@pytest.mark.slow
def test_a_fold_that_fails_leaves_the_others_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fold is held by another process: that is told, the other is trained; the rest is done later."""
    cases = read_cases(small_dataset(tmp_path, 2))
    monkeypatch.setattr("shiva_cmb.training.assemble.assemble", lambda training: None)
    reports: list[EpochReport] = []
    run = Run(tmp_path / "model")
    run.folder.mkdir(parents=True)
    progress = Progress(on_epoch=reports.append)
    options = RunOptions(devices=("cpu", "cpu"))
    with run.holding("fold_1"), pytest.raises(DataError, match="another process works on fold 1"):
        train_folds(cases, run.output, SETTINGS, options, note=pytest.fail, progress=progress)
    assert run.result(0) is not None
    assert run.result(1) is None
    assert [(report.fold, report.epoch) for report in reports] == [(0, 1), (0, 2)]
    options = RunOptions(devices=("cpu",), resume=True)
    train_folds(cases, run.output, SETTINGS, options, note=pytest.fail, progress=progress)
    result = run.result(1)
    assert result is not None
    assert result["validation"] != run.result(0)["validation"]
    assert [(report.fold, report.epoch) for report in reports[2:]] == [(1, 1), (1, 2)]
    assert run.curves_path.is_file()


@pytest.mark.slow
def test_a_batch_can_be_shared_by_two_devices(tmp_path: Path) -> None:
    """In a fresh process, which can still divide the processor; the network learns as it does on one."""
    data = small_dataset(tmp_path, 2)
    names = json.dumps({**TINY, "augmentation": "none", "ema": 0.5, "clip_norm": 0})
    command = [sys.executable, "-c", REPLICAS, str(data), str(tmp_path), names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == 2
    shared, alone = found["rows"]["2"], found["rows"]["1"]
    assert [row["epoch"] for row in shared] == [1, 2]
    for one, other in zip(shared, alone, strict=True):
        assert one["val_data_loss"] == pytest.approx(other["val_data_loss"], rel=1e-3)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_devices_that_cannot_be_are_told() -> None:
    with pytest.raises(UsageError, match="leave out --devices or --fold"):
        RunOptions(devices=("0", "1"), fold=0)


def test_only_devices_that_are_there_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    require_devices(("cpu", "0", "1"))
    with pytest.raises(UsageError, match="there is no GPU 2: counted from 0, 2 can be seen"):
        require_devices(("2",))
    with pytest.raises(UsageError, match="there is no GPU 7"):
        train_folds((), tmp_path / "model", SETTINGS, RunOptions(devices=("cpu", "7")))
    assert not (tmp_path / "model").exists()
    for device in ("c", "gpu0", "-1", "", "\u00b2"):
        with pytest.raises(UsageError, match="devices: expected cpu or numbers of GPUs"):
            require_devices((device,))
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        require_devices(("cpu",))
        with pytest.raises(UsageError, match="there is no GPU 0"):
            require_devices(("0",))


FOLDS = (
    "print('2026 oneDNN is on'); print('note: slow'); print('note: only here', end='')",
    "print('note: slow'); print('error: disk full'); print('2026 oneDNN is on'); exit(1)",
    "import os, signal; print('2026 oneDNN is on', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
    "raise ValueError('a defect')",
)
"""What stands in for folds: one that goes well, and three that fail."""


def test_remarks_and_reasons_of_folds_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(training: Training, number: int, device: str) -> "subprocess.Popen[bytes]":
        folder = training.run.fold(number)
        folder.mkdir(parents=True)
        with (folder / "messages.txt").open("wb") as messages:
            return subprocess.Popen(
                [sys.executable, "-S", "-c", FOLDS[number]], stdout=messages, stderr=subprocess.STDOUT
            )

    monkeypatch.setattr(several_devices, "_start", start)
    monkeypatch.setattr(several_devices, "SECONDS_BETWEEN", 0.02)
    notes: list[str] = []
    options = RunOptions(devices=("cpu", "cpu"))
    settings = settings_from({**TINY, "folds": 4})
    training = Training(Run(tmp_path), settings, options, (), (), (), notes.append, Progress())
    with pytest.raises(DataError) as caught:
        train_on_devices(training)
    assert notes == ["slow"]  # once, and nothing that may go on
    places = [tmp_path / f"training/fold_{number}/messages.txt" for number in (2, 3)]
    for told in (
        "disk full",
        f"fold 2: its process was ended by SIGKILL (memory may have run out); {places[0]} has its last words",
        f"fold 3: its process ended with exit code 1; {places[1]} says why",
    ):
        assert told in str(caught.value)
    assert "oneDNN" not in str(caught.value)


def test_a_fold_says_its_own_remarks_but_not_those_of_the_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(*_: Any, note: Note, **__: Any) -> Training:
        note("said before")
        return Training(Run(tmp_path), SETTINGS, RunOptions(), (), (), (), note, Progress())

    monkeypatch.setattr(one_fold, "stored_cases", lambda run: ())
    monkeypatch.setattr(one_fold, "stored_settings", lambda run: SETTINGS)
    monkeypatch.setattr(one_fold, "prepare_training", prepare)
    monkeypatch.setattr(one_fold, "train_one_fold", lambda training, number: training.note("of the fold"))
    assert one_fold.main([str(tmp_path), "1"]) == 0
    assert capsys.readouterr().err.split("\n") == ["", "note: of the fold", ""]
