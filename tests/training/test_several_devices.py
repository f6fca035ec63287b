"""Folds side by side, and batches shared among devices: on parts of the processor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.training import EpochReport, Progress, RunOptions, settings_from, train_folds
from shiva_cmb.training.run import Run
from tests.training.small import TINY, small_dataset

pytestmark = pytest.mark.slow
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
        settings_from(json.loads(sys.argv[3])),
        RunOptions(fold=0, replicas=replicas),
        progress=Progress(on_epoch=lambda report: rows[replicas].append(report.figures)),
    )
import tensorflow as tf
print(json.dumps({"devices": len(tf.config.list_logical_devices("CPU")), "rows": rows}))
"""


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
    with pytest.raises(UsageError, match="not both"):
        RunOptions(devices=("0", "1"), replicas=2)
