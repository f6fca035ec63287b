"""Runs commands as whole processes, in turn, and keeps the operating system's own accounting of each."""

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One finished process."""

    seconds: float
    peak_gb: float


def run_process(command: Sequence[str], environment: dict[str, str] | None = None) -> Run:
    """Run a command to its end.

    Raises:
        RuntimeError: if it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return Run(seconds, usage.ru_maxrss / 1e6)


def in_turn(a: Sequence[str], b: Sequence[str], pairs: int) -> tuple[list[Run], list[Run]]:
    """Run two commands alternately: a noisy machine is noisy for both."""
    runs: tuple[list[Run], list[Run]] = ([], [])
    for _ in range(pairs):
        runs[0].append(run_process(a))
        runs[1].append(run_process(b))
    return runs


def ratio(a: Sequence[Run], b: Sequence[Run]) -> tuple[float, float, float]:
    """Smallest, median and largest of the pairwise ratios of seconds, a over b."""
    ratios = [x.seconds / y.seconds for x, y in zip(a, b, strict=True)]
    return min(ratios), statistics.median(ratios), max(ratios)


def median_seconds(runs: Sequence[Run]) -> float:
    """Median wall time."""
    return statistics.median(run.seconds for run in runs)


def peak_gb(runs: Sequence[Run]) -> float:
    """Largest memory of any run."""
    return max(run.peak_gb for run in runs)
