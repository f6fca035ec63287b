"""Folds at the same time, each in a process and on a device of its own."""

import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from shiva_cmb.errors import DataError
from shiva_cmb.training.curves import CurvesPicture
from shiva_cmb.training.fitting.state import STATE_NAME, read_state
from shiva_cmb.training.train import EpochReport, Training

SECONDS_BETWEEN = 1.0
"""How often it is looked how far they are."""


def train_on_devices(training: Training) -> None:
    """Train all folds that are not finished, one per device at a time.

    Raises:
        DataError: if a fold fails; the others are trained to their end first.
    """
    run, devices = training.run, training.options.devices
    waiting = deque(k for k in range(training.settings.folds) if run.result(k) is None)
    free = list(devices)
    running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
    failures: list[str] = []
    reported: dict[int, int] = {}
    picture = CurvesPicture(run, training.settings)
    try:
        while waiting or running:
            while waiting and free:
                number, device = waiting.popleft(), free.pop(0)
                training.progress.on_step(f"training fold {number} on {device}")
                running[number] = (device, _start(training, number, device))
            time.sleep(SECONDS_BETWEEN)
            for number, (device, process) in list(running.items()):
                _report(training, number, reported)
                if process.poll() is None:
                    continue
                del running[number]
                free.append(device)
                if process.returncode:
                    failures.append(_last_line(run.fold(number) / "messages.txt", number))
            picture.if_it_is_time()
    finally:
        for _, process in running.values():  # interrupted: what they did is kept
            process.terminate()
        for _, process in running.values():
            process.wait()
    picture.now()
    if failures:
        raise DataError("; ".join(failures))


def _start(training: Training, number: int, device: str) -> "subprocess.Popen[bytes]":
    folder = training.run.fold(number)
    folder.mkdir(exist_ok=True)
    options = training.options
    command = [sys.executable, "-m", "shiva_cmb.training.one_fold", str(training.run.output), str(number)]
    command += ["--workers", str(options.workers), *(["--tensorboard"] if options.tensorboard else [])]
    command += ["--cache", str(options.cache)] if options.cache else []
    hidden = "-1" if device == "cpu" else device
    with (folder / "messages.txt").open("wb") as messages:
        return subprocess.Popen(
            command,
            stdout=messages,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": hidden},
        )


def _report(training: Training, number: int, reported: dict[int, int]) -> None:
    """Tell of the epochs that were finished since the last time."""
    history = read_state(training.run.fold(number) / STATE_NAME).history
    for row in history[reported.get(number, 0) :]:
        training.progress.on_epoch(EpochReport(number, int(row["epoch"]), row))
    reported[number] = len(history)


def _last_line(path: Path, number: int) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    told = [line for line in lines if line.strip()]
    return told[-1].removeprefix("error: ") if told else f"fold {number}: its process was killed"
