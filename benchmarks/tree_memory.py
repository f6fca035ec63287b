"""Memory of a process and all that it started, at the same moment; Linux only."""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL_SECONDS = 0.05
"""Between two looks: each holds up the processes for about a millisecond."""


@dataclass(frozen=True)
class TreeRun:
    """One finished process with its children."""

    seconds: float
    cpu_seconds: float
    """Of the process and of all children that it waited for."""
    resident_gb: float
    """Largest sum of resident memory over the processes alive at one moment; what they share counts often."""
    proportional_gb: float
    """The same with shared pages divided by the number of processes that have them (PSS)."""
    single_gb: float
    """Largest resident memory of any one process, by the operating system's own account."""


def run_tree(command: Sequence[str], folder: Path) -> TreeRun:
    """Run a command in a folder to its end.

    Raises:
        RuntimeError: if it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    ended = threading.Event()
    peaks = [0.0, 0.0]
    sampler = threading.Thread(target=_sample, args=(process.pid, ended, peaks))
    sampler.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    finally:
        ended.set()
        sampler.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    resident, proportional = peaks
    return TreeRun(
        seconds, usage.ru_utime + usage.ru_stime, resident, proportional, usage.ru_maxrss * 1024e-9
    )


def _sample(root: int, ended: threading.Event, peaks: list[float]) -> None:
    while not ended.wait(INTERVAL_SECONDS):
        sums = [0.0, 0.0]
        for process in _tree(root):
            for k, gb in enumerate(_memory_gb(process)):
                sums[k] += gb
        peaks[:] = map(max, peaks, sums)


def _tree(root: int) -> list[int]:
    """A process and its descendants, those that are still alive."""
    found = [root]
    for process in found:  # grows while it is read
        try:
            threads = list(Path(f"/proc/{process}/task").iterdir())
            found += [int(child) for t in threads for child in (t / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _memory_gb(process: int) -> tuple[float, float]:
    """Resident and proportional memory, 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return kilobytes.get("Rss:", 0) * 1024e-9, kilobytes.get("Pss:", 0) * 1024e-9
