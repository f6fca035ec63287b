"""`python -m benchmarks.training_memory`: memory of an epoch's batches, out of few and out of many cases.

Prepared cases of the model grid's size lie on disk as a training run would leave them; those of a large
set are hard links to a few, which is the same to the process that reads them. Each run is a process of its
own that asks for the batches of an epoch. Anonymous memory is what the process itself holds; resident memory
counts the file pages mapped at that moment too, which the system takes back when it needs them. Linux only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.material import SHAPE

FIRST = 5
"""Cases with arrays of their own."""
LESIONS = 20
INTERVAL_SECONDS = 0.02
MODES = {"patches": "100 batches of 4 x 48^3", "volumes": "50 batches of 2 whole volumes"}
KEYS = ("RssAnon", "VmRSS")


def main() -> None:
    """Print a table in Markdown, or sample once (`--sample`, used by the table itself)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=(5, 500))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sample", choices=MODES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sample:
        print(json.dumps(sample(options.folder, options.cases[0], options.sample, options.workers)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cases(folder, max(options.cases))
        print("| batches | cases | peak of anonymous memory | before | peak resident | files open | time |")
        print("|---|---|---|---|---|---|---|")
        for mode in MODES:
            for count in options.cases:
                runs = [measure(folder, count, mode, options.workers) for _ in range(options.rounds)]
                print(row(MODES[mode], count, runs), flush=True)


def row(what: str, count: int, runs: list[dict[str, float]]) -> str:
    """Medians, with the range of the first figure."""
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    peaks = [run["peak_anon_mb"] for run in runs]
    return (
        f"| {what} | {count} | {middle['peak_anon_mb']:.0f} MB ({min(peaks):.0f} - {max(peaks):.0f}) "
        f"| {middle['before_mb']:.0f} MB | {middle['peak_rss_mb']:.0f} MB | {middle['files']:.0f} "
        f"| {middle['seconds']:.1f} s |"
    )


def write_cases(folder: Path, count: int) -> None:
    """Arrays of `FIRST` cases, and links to them under the numbers of the others."""
    rng = np.random.default_rng(0)
    for number in range(count):
        own = folder / str(number)
        own.mkdir()
        for name in ("image", "label"):
            if number >= FIRST:
                os.link(folder / str(number % FIRST) / f"{name}.npy", own / f"{name}.npy")
        if number < FIRST:
            corners = rng.integers(10, np.array(SHAPE) - 10, (LESIONS, 3))
            label = np.zeros(SHAPE, np.uint8)
            for x, y, z in corners:
                label[x : x + 2, y : y + 2, z : z + 2] = 1
            np.save(own / "image.npy", rng.random((*SHAPE, 1), np.float32))
            np.save(own / "label.npy", label)


def measure(folder: Path, count: int, mode: str, workers: int) -> dict[str, float]:
    """Sample once in a new process."""
    command = [sys.executable, "-m", "benchmarks.training_memory", "--folder", str(folder)]
    command += ["--cases", str(count), "--sample", mode, "--workers", str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def sample(folder: Path, count: int, mode: str, workers: int) -> dict[str, float]:
    """Ask for all batches of an epoch; figures in MB."""
    from shiva_cmb.dataset.prepare import PreparedCase, StoredArray
    from shiva_cmb.evaluation.lesion_set import lesions_of_mask
    from shiva_cmb.imaging import Grid
    from shiva_cmb.training.sampling.batches import TrainingBatches
    from shiva_cmb.training.sampling.settings import PRESETS, SamplingSettings

    settings = SamplingSettings()
    if mode == "volumes":
        settings = replace(settings, **{**PRESETS["whole"], "batch_size": 2, "steps_per_epoch": 50})
    before = memory_mb()["RssAnon"]
    grid = Grid(SHAPE, np.eye(4))
    known = [lesions_of_mask(np.load(folder / str(k) / "label.npy"), grid) for k in range(FIRST)]
    cases = []
    for number in range(count):
        own = folder / str(number)
        lesions = known[number % FIRST]
        cases.append(
            PreparedCase(
                name=str(number),
                patient=str(number),
                image=StoredArray(own / "image.npy", (*SHAPE, 1), np.dtype(np.float32)),
                brain=StoredArray(own / "label.npy", SHAPE, np.dtype(np.uint8)),
                label=StoredArray(own / "label.npy", SHAPE, np.dtype(np.uint8)),
                lesions=replace(lesions, voxels=lesions.voxels.copy()),
                brain_box=np.array([[10] * 3, [n - 11 for n in SHAPE]]),
                fingerprint=str(number),
            )
        )
    peaks = dict.fromkeys(KEYS, 0.0)
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(ended, peaks))
    watcher.start()
    start = time.perf_counter()
    batches = TrainingBatches(cases, settings, settings.patch or SHAPE, 0, workers=workers)
    total = sum(float(batches[index][0][0, 0, 0, 0, 0]) for index in range(len(batches)))
    seconds = time.perf_counter() - start
    files = len(list(Path("/proc/self/fd").iterdir()))
    ended.set()
    watcher.join()
    assert np.isfinite(total)
    return {
        "before_mb": before,
        "peak_anon_mb": peaks["RssAnon"],
        "peak_rss_mb": peaks["VmRSS"],
        "files": files,
        "seconds": seconds,
    }


def watch(ended: threading.Event, peaks: dict[str, float]) -> None:
    """Keep the highest values until the end."""
    while not ended.wait(INTERVAL_SECONDS):
        for key, value in memory_mb().items():
            peaks[key] = max(peaks[key], value)


def memory_mb() -> dict[str, float]:
    """Of this process, now."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[key].split()[0]) * 1024e-6 for key in KEYS}


if __name__ == "__main__":
    main()
