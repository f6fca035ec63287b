"""Folds at the same time, each in a process and on a device of its own."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.training.curves import CurvesPicture
from shiva_cmb.training.fitting.state import STATE_NAME, read_state
from shiva_cmb.training.train import EpochReport, Training

SECONDS_BETWEEN = 1.0
"""How often it is looked how far they are."""
MESSAGES_NAME = "messages.txt"
"""What the process of a fold says."""


def require_devices(devices: Sequence[str]) -> None:
    """Say early that a device is not there.

    Args:
        devices: `cpu`, or numbers of GPUs among those that this process sees.

    Raises:
        UsageError: if one is something else, or there is no such GPU.
    """
    gpus = _gpus()
    for device in devices:
        if device != "cpu" and not (device.isascii() and device.isdigit()):
            raise UsageError(f"devices: expected cpu or numbers of GPUs, such as 0,1, got {device!r}")
        if device != "cpu" and int(device) >= len(gpus):
            raise UsageError(
                f"devices: there is no GPU {device}: counted from 0, {len(gpus)} can be seen (/dev/nvidia*, "
                "or the variable CUDA_VISIBLE_DEVICES); use cpu"
            )


def _gpus() -> list[str]:
    """What each GPU that this process sees is called in CUDA_VISIBLE_DEVICES. TensorFlow is not asked."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    return [name.strip() for name in told.split(",") if name.strip() not in ("", "-1")]


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
    told: set[str] = set()
    picture = CurvesPicture(run, training.settings)
    try:
        while waiting or running:
            while waiting and free:
                number, device = waiting.popleft(), free.pop(0)
                training.progress.on_step(f"training fold {number} on {device}")
                reported[number] = read_state(run.fold(number) / STATE_NAME).epoch  # before a kill
                running[number] = (device, _start(training, number, device))
            time.sleep(SECONDS_BETWEEN)
            for number, (device, process) in list(running.items()):
                ended = process.poll() is not None  # first: what it did until then is reported
                _report(training, number, reported)
                lines = _lines(run.fold(number) / MESSAGES_NAME)
                _relay(training, lines, told)
                if not ended:
                    continue
                del running[number]
                free.append(device)
                if process.returncode:
                    failures.append(_why(number, process.returncode, lines, run.fold(number) / MESSAGES_NAME))
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
    visible = "-1" if device == "cpu" else _gpus()[int(device)]
    with (folder / MESSAGES_NAME).open("wb") as messages:
        return subprocess.Popen(
            command,
            stdout=messages,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
        )


def _report(training: Training, number: int, reported: dict[int, int]) -> None:
    """Tell of the epochs that were finished since the last time."""
    state = read_state(training.run.fold(number) / STATE_NAME)
    for row in state.history[reported[number] :]:
        training.progress.on_epoch(EpochReport(number, int(row["epoch"]), row, state.best_epoch))
    reported[number] = state.epoch


def _lines(path: Path) -> list[str]:
    """What a process has said, up to the last full line."""
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def _relay(training: Training, lines: Sequence[str], told: set[str]) -> None:
    """Pass on each remark once, also if several folds make it."""
    for line in lines:
        if line.startswith("note: ") and line not in told:
            told.add(line)
            training.note(line.removeprefix("note: "))


def _why(number: int, code: int, lines: Sequence[str], path: Path) -> str:
    """Why a fold failed: what it said itself, or how its process ended."""
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        perhaps = " (memory may have run out)" if name == "SIGKILL" else ""
        return f"fold {number}: its process was ended by {name}{perhaps}; {path} has its last words"
    return f"fold {number}: its process ended with exit code {code}; {path} says why"
