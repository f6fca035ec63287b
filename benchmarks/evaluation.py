"""`python -m benchmarks.evaluation`: time and memory of `evaluate`, as whole processes.

Generated cases on the model grid; every run pairs the files, judges them and writes the figures. Memory is
the sum over all processes at one moment of what is resident, the same with shared pages counted once (PSS),
and the most that any one process had. Linux only.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.material import SHAPE
from benchmarks.tree_memory import TreeRun, run_tree

ROOT = Path(__file__).parents[1]
KINDS = ("labels", "probabilities")
LESIONS_PER_CASE = 10
FALSE_ALARMS_PER_CASE = 2
FOUND = 0.85
DIAMETER_MM = (2.0, 5.0)
EDGE_MM = 0.4
APART_MM = 9.0
"""Between centres: no two lesions of a side touch."""


def main() -> None:
    """Print a table in Markdown, or judge once (`--judge`, used by the table itself)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to keep the cases between runs")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--judge", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        judge(options.folder, options.judge, options.processes, options.replicates, options.output)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        # made in other processes: their memory must not count for those that are started from here
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            list(pool.map(partial(make_case, folder), range(options.cases)))
        print("| predictions | processes | time (min - max) | processor time | memory: sum / PSS / largest |")
        print("|---|---|---|---|---|")
        for kind in options.kinds:
            measure(folder, kind, options.rounds, options.replicates)


def judge(folder: Path, kind: str, processes: int, replicates: int, output: Path) -> None:
    """Evaluate the cases in this process and those it starts, and write all figures."""
    from shiva_cmb.evaluation.pairing.inputs import pair_cases
    from shiva_cmb.evaluation.pipeline import evaluate
    from shiva_cmb.evaluation.record import evaluation_record
    from shiva_cmb.evaluation.settings import EvaluationSettings

    cases = pair_cases(folder / "truth", folder / kind)
    settings = EvaluationSettings(replicates=replicates)
    evaluation = evaluate(cases, settings, processes=processes)
    if evaluation.failures or evaluation.unread:
        raise RuntimeError(f"not judged: {evaluation.failures} {evaluation.unread}")
    output.write_text(json.dumps(evaluation_record(evaluation), sort_keys=True))


def measure(folder: Path, kind: str, rounds: int, replicates: int) -> None:
    """Judge with one process and with two in turn; print a row for each, and what they have in common.

    Raises:
        RuntimeError: if the number of processes changes the figures.
    """
    runs: dict[int, list[TreeRun]] = {1: [], 2: []}
    records = {}
    for _ in range(rounds):
        for processes, finished in runs.items():
            output = folder / f"{kind}_{processes}.json"
            arguments = {
                "folder": folder,
                "judge": kind,
                "processes": processes,
                "replicates": replicates,
                "output": output,
            }
            command = [f"--{name}={value}" for name, value in arguments.items()]
            finished.append(run_tree([sys.executable, "-m", "benchmarks.evaluation", *command], ROOT))
            records[processes] = output.read_text()
    for processes, finished in runs.items():
        _row(kind, processes, finished)
    ratios = [one.seconds / two.seconds for one, two in zip(*runs.values(), strict=True)]
    if records[1] != records[2]:
        raise RuntimeError(f"{kind}: the figures depend on the number of processes")
    found = json.loads(records[1])
    cases, lesions = found["cases"]["judged"], found["lesions"]["truth_count"]
    sensitivity = found["detection"]["micro"]["sensitivity"]["value"]
    print(
        f"\n{cases} cases, {lesions} lesions, sensitivity {sensitivity:.2f}: the same figures from both;"
        f" one process takes {statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f}) times as"
        " long as two\n",
        flush=True,
    )


def _row(kind: str, processes: int, runs: Sequence[TreeRun]) -> None:
    seconds = [run.seconds for run in runs]
    names = ("resident_gb", "proportional_gb", "single_gb")
    memory = " / ".join(f"{max(getattr(run, name) for run in runs):.2f}" for name in names)
    print(
        f"| {kind} | {processes} "
        f"| **{statistics.median(seconds):.1f} s** ({min(seconds):.1f} - {max(seconds):.1f}) "
        f"| {statistics.median(run.cpu_seconds for run in runs):.1f} s | {memory} GB |",
        flush=True,
    )


def make_case(folder: Path, number: int) -> None:
    """A truth, a label map and a probability map; kept if they are there.

    Probabilities are tiny but not 0 all over the brain, as networks give them: that takes time to read.
    """
    name = f"sub-{number:03d}"
    paths = [folder / "truth" / f"{name}_labels.nii.gz"]
    paths += [folder / "labels" / f"{name}_labels.nii.gz", folder / "probabilities" / f"{name}_prob.nii.gz"]
    if all(path.is_file() for path in paths):
        return
    rng = np.random.default_rng(number)
    lesions, alarms = rng.poisson(LESIONS_PER_CASE), rng.poisson(FALSE_ALARMS_PER_CASE)
    brain = _brain()
    centres = _centres(brain, lesions + alarms, rng)
    radii = rng.uniform(*DIAMETER_MM, len(centres)) / 2
    truth, labels = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.int16)
    probability = np.where(brain, 10 ** rng.uniform(-7, -3, SHAPE), 0).astype(np.float32)
    for k, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        if k < lesions:
            box, distance = _around(centre)
            truth[box][distance <= radius] = k + 1
            if rng.uniform() > FOUND:
                continue
        peak = rng.beta(6, 2) if k < lesions else rng.beta(3, 3)
        box, distance = _around(centre + rng.normal(0, 0.4, 3))
        blob = peak / (1 + np.exp((distance - radius * rng.uniform(0.8, 1.3)) / EDGE_MM))
        probability[box] = np.maximum(probability[box], blob)
        labels[box][probability[box] > 0.5] = k + 1
    for path, data in zip(paths, (truth, labels, probability), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, np.eye(4)), path)


def _brain() -> NDArray[np.bool_]:
    places = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    inside = sum(((x - n / 2) / (0.42 * n)) ** 2 for x, n in zip(places, SHAPE, strict=True)) < 1
    return np.asarray(inside)


def _centres(brain: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Places in the brain, none near another, shape (count, 3)."""
    inside = np.argwhere(brain)
    chosen = np.zeros((0, 3))
    while len(chosen) < count:
        place = inside[rng.integers(len(inside))] + rng.uniform(-0.4, 0.4, 3)
        if (np.linalg.norm(chosen - place, axis=1) > APART_MM).all():
            chosen = np.vstack([chosen, place])
    return chosen


def _around(centre: NDArray[np.float64]) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """A box around a place, and the distance in mm of each of its voxels; the grid is 1 mm."""
    box = tuple(slice(int(c) - 6, int(c) + 8) for c in centre)
    offsets = [places - c for places, c in zip(np.ogrid[box], centre, strict=True)]
    return box, np.sqrt(sum(offset**2 for offset in offsets))


if __name__ == "__main__":
    main()
