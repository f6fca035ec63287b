"""`python -m benchmarks.whole_process`: our drop-in against the plain TensorFlow way, as whole processes."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.measure import Run, in_turn, median_seconds, peak_gb, ratio, run_process

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep models and images between runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        # made in a process of its own: TensorFlow's memory must not stay in this one
        subprocess.run([sys.executable, "-m", "benchmarks.material", str(folder)], check=True, cwd=ROOT)
        measure(folder, options.pairs)


def measure(folder: Path, pairs: int) -> None:
    """Print one row for each comparison."""
    folds = [str(folder / f"fold_{k}.tf_inference") for k in range(3)]
    image, mask = str(folder / "swi.nii.gz"), str(folder / "brain.nii.gz")
    plain = [
        sys.executable,
        "-m",
        "benchmarks.plain_tensorflow",
        image,
        mask,
        str(folder / "plain.nii.gz"),
        *folds,
    ]
    cache = folder / "cache"
    os.environ["SHIVA_CMB_CACHE"] = str(cache)
    os.environ["PYTHONPATH"] = str(ROOT)

    print("| what | plain TensorFlow | shiva_cmb | ratio (min - max) | peak memory | largest difference |")
    print("|---|---|---|---|---|---|")
    for precision in ("auto", "f32"):
        output = folder / f"ours_{precision}.nii.gz"
        ours = [sys.executable, str(ROOT / "predict_one_file.py"), "-i", image, "-b", mask, "-o", str(output)]
        ours += [part for fold in folds for part in ("-m", fold)] + ["--precision", precision]
        first_ours, first_plain = [], []
        for _ in range(pairs if precision == "auto" else 0):
            shutil.rmtree(cache, ignore_errors=True)
            first_plain.append(run_process(plain))
            first_ours.append(run_process(ours))
        if first_ours:
            _row(f"first run, {precision}", first_plain, first_ours, folder / "plain.nii.gz", output)
        run_process(ours)
        _row(f"second run, {precision}", *in_turn(plain, ours, pairs), folder / "plain.nii.gz", output)
    help_seconds = median_seconds([run_process([_program(), "--help"]) for _ in range(pairs)])
    print(f"\n`shiva-cmb --help`: {help_seconds:.2f} s (median of {pairs})")


def _row(what: str, plain: list[Run], ours: list[Run], expected: Path, got: Path) -> None:
    low, middle, high = ratio(plain, ours)
    difference = np.abs(np.asarray(nib.load(expected).dataobj) - np.asarray(nib.load(got).dataobj)).max()
    print(
        f"| {what} | {median_seconds(plain):.1f} s, {peak_gb(plain):.2f} GB | {median_seconds(ours):.1f} s "
        f"| **{middle:.1f}x** ({low:.1f} - {high:.1f}) | {peak_gb(ours):.2f} GB | {difference:.1e} |",
        flush=True,
    )


def _program() -> str:
    return str(Path(sys.executable).with_name("shiva-cmb"))


if __name__ == "__main__":
    main()
