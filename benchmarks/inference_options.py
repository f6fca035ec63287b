"""`python -m benchmarks.inference_options`: what each way to save time on the processor gives, and costs.

Works on the folder that `benchmarks.whole_process --folder` left. Each way runs in a process of its own, in
turn with the way it is compared with.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.measure import in_turn, median_seconds, peak_gb, ratio

STRIDE = 16
"""Five levels halve the image four times; the boxes keep the full grid's remainders."""


def main() -> None:
    """Print a table in Markdown, or run one way (`--way`, used by the table itself)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--way", choices=tuple(WAYS))
    parser.add_argument("--precision", default="bf16")
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](options.folder, options.precision)
        return
    print("| way | instead of | time ratio, way over instead (min - max) | peak memory |")
    print("|---|---|---|---|")
    for way, instead in COMPARISONS:
        a, b = (_command(options.folder, name, options.precision) for name in (way, instead))
        runs = in_turn(a, b, options.pairs)
        low, middle, high = ratio(*runs)
        print(
            f"| {way} | {instead} | {median_seconds(runs[0]):.2f} s / {median_seconds(runs[1]):.2f} s "
            f"= **{middle:.2f}** ({low:.2f} - {high:.2f}) "
            f"| {peak_gb(runs[0]):.2f} / {peak_gb(runs[1]):.2f} GB |",
            flush=True,
        )
    for margin in (0, 16, 32):
        print(_box_difference(options.folder, margin, options.precision), flush=True)


def _command(folder: Path, way: str, precision: str) -> list[str]:
    module = [sys.executable, "-m", "benchmarks.inference_options"]
    return [*module, str(folder), "--way", way, "--precision", precision]


def _inputs(folder: Path) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    image = nib.load(folder / "swi.nii.gz").get_fdata(dtype=np.float32)
    mask = nib.load(folder / "brain.nii.gz").get_fdata(dtype=np.float32)
    return image * mask, mask, [folder / f"fold_{k}.tf_inference" for k in range(3)]


def _compile(path: Path, shape: tuple[int, ...], precision: str, cache: Path | None = None) -> Any:
    from shiva_cmb.ensemble.quiet_openvino import openvino

    core = openvino.Core()
    if cache is not None:
        core.set_property({"CACHE_DIR": str(cache)})
    model = core.read_model(path)
    model.reshape(list(shape))
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(model, "CPU", hints)


def one_graph(folder: Path, precision: str) -> None:
    """All folds as one graph: what the package does."""
    from shiva_cmb.ensemble import EngineOptions, load_ensemble

    image, mask, folds = _inputs(folder)
    options = EngineOptions(precision=precision, engine="openvino")
    load_ensemble(folds, shape=image.shape, options=options).predict(image, mask)


def graph_per_fold(folder: Path, precision: str, cache: Path | None = None) -> None:
    """One graph after the other, each freed before the next."""
    image, _, folds = _inputs(folder)
    total = np.zeros_like(image)
    for fold in folds:
        compiled = _compile(fold, (1, *image.shape, 1), precision, cache)
        total += compiled(image[None, ..., None])[0][0, ..., 0]


def graph_per_fold_compiled_before(folder: Path, precision: str) -> None:
    """One graph after the other, from OpenVINO's cache of compiled models."""
    graph_per_fold(folder, precision, folder / "compiled")


def graph_per_fold_overlapped(folder: Path, precision: str) -> None:
    """The next fold is compiled while one runs."""
    from concurrent.futures import ThreadPoolExecutor

    image, _, folds = _inputs(folder)
    total = np.zeros_like(image)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(_compile, folds[0], (1, *image.shape, 1), precision)
        for number in range(len(folds)):
            compiled = coming.result()
            if number + 1 < len(folds):
                coming = pool.submit(_compile, folds[number + 1], (1, *image.shape, 1), precision)
            total += compiled(image[None, ..., None])[0][0, ..., 0]


def two_images_one_by_one(folder: Path, precision: str) -> None:
    """Two images through one fold, one after the other."""
    image, _, folds = _inputs(folder)
    compiled = _compile(folds[0], (1, *image.shape, 1), precision)
    for _ in range(2):
        compiled(image[None, ..., None])


def two_images_as_a_batch(folder: Path, precision: str) -> None:
    """Two images through one fold at once."""
    image, _, folds = _inputs(folder)
    compiled = _compile(folds[0], (2, *image.shape, 1), precision)
    compiled(np.stack([image, image])[..., None])


def _box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Around the mask, of a size that leaves the full grid's remainder when divided by the stride."""
    box = []
    for axis, full in enumerate(mask.shape):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        wanted = int(hits[-1] - hits[0] + 1 + 2 * margin)
        size = min(full, wanted + (full - wanted) % STRIDE)
        start = int(np.clip((hits[0] + hits[-1] + 1 - size) // 2, 0, full - size))
        box.append(slice(start, start + size))
    return tuple(box)


def _box_difference(folder: Path, margin: int, precision: str) -> str:
    image, mask, folds = _inputs(folder)
    box = _box(mask > 0, margin)
    whole = _compile(folds[0], (1, *image.shape, 1), precision)
    part = _compile(folds[0], (1, *image[box].shape, 1), precision)
    seconds, maps = [], []
    for compiled, given in ((whole, image), (part, image[box])):
        compiled(given[None, ..., None])
        start = time.perf_counter()
        maps.append(compiled(given[None, ..., None])[0][0, ..., 0].copy())
        seconds.append(time.perf_counter() - start)
    inside = mask[box] > 0
    difference = np.abs(maps[0][box] - maps[1])[inside].max()
    share = image[box].size / image.size
    return (
        f"\nBrain's box with a margin of {margin} voxels: {share:.0%} of the grid, "
        f"{seconds[1] / seconds[0]:.2f} of the time, largest change inside the mask {difference:.1e}"
    )


WAYS = {
    "one graph": one_graph,
    "graph per fold": graph_per_fold,
    "graph per fold, compiled before": graph_per_fold_compiled_before,
    "graph per fold, compiled while running": graph_per_fold_overlapped,
    "two images as a batch": two_images_as_a_batch,
    "two images one by one": two_images_one_by_one,
}
COMPARISONS = (
    ("one graph", "graph per fold"),
    ("graph per fold, compiled before", "graph per fold"),
    ("graph per fold, compiled while running", "graph per fold"),
    ("two images as a batch", "two images one by one"),
)

if __name__ == "__main__":
    main()
