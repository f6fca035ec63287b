"""`python -m benchmarks.augmentation`: what augmentation adds to a training step on the processor.

The network for patches, 2 x 96^3, one channel. In one process, in turn: a compiled training step, that of
`benchmarks.training_step`, on a batch as it is, and the compiled layer alone on the same batch. The layer's
cost differs from call to call, since each change is made only when a sample of the batch draws it: so its
mean counts, over more calls than steps. Each precision has a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from benchmarks.training_step import compiled

SHAPE = (2, 96, 96, 96)
SPACING_MM = (1.0, 1.0, 1.0)
PRECISIONS = ("f32", "bf16")


def main() -> None:
    """Print a table in Markdown for each precision, or measure one (`--precision`, used by the table)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--calls", type=int, default=8, help="of the layer, for each step")
    parser.add_argument("--precision", choices=PRECISIONS)
    options = parser.parse_args()
    if options.precision:
        _compare(options.precision, options.steps, options.calls)
        return
    print("| precision | augmentation | step, median (min - max) | layer, mean (median, max) | ratio |")
    print("|---|---|---|---|---|", flush=True)
    for precision in PRECISIONS:
        numbers = ["--steps", str(options.steps), "--calls", str(options.calls)]
        command = [sys.executable, "-m", "benchmarks.augmentation", "--precision", precision, *numbers]
        subprocess.run(command, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})


def _compare(precision: str, steps: int, calls: int) -> None:
    from shiva_cmb.training.augmentation.settings import AUGMENTATIONS, AugmentationSettings

    stack = _stack()
    step = _training_step(stack, precision)
    heavy = AUGMENTATIONS["heavy"]
    always = {f.name: replace(getattr(heavy, f.name), probability=1.0) for f in fields(heavy)}
    ways = {name: AUGMENTATIONS[name] for name in ("light", "medium", "heavy")}
    ways["heavy, all for every sample"] = AugmentationSettings(**always)
    layers = {name: _layer(settings, stack) for name, settings in ways.items()}
    step_seconds: list[float] = []
    layer_seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(steps):
        step_seconds.append(_seconds(step))
        for name, layer in layers.items():
            layer_seconds[name] += [_seconds(layer) for _ in range(calls)]
    middle = statistics.median(step_seconds)
    for name, seconds in layer_seconds.items():
        mean = statistics.mean(seconds)
        print(
            f"| {precision} | {name} "
            f"| {middle:.2f} s ({min(step_seconds):.2f} - {max(step_seconds):.2f}) "
            f"| {mean:.3f} s ({statistics.median(seconds):.3f}, {max(seconds):.3f}) "
            f"| **{mean / middle:.1%}** |",
            flush=True,
        )


def _stack() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.random((*SHAPE, 1), dtype=np.float32)
    brain = np.ones_like(image)
    label = (rng.random((*SHAPE, 1)) > 0.9999).astype(np.float32)
    return np.concatenate([image, brain, label], axis=-1)


def _training_step(stack: np.ndarray, precision: str) -> Callable[[], Any]:
    from shiva_cmb.training.settings import SHALLOW

    model = compiled(SHALLOW, precision, SHAPE[1:])
    image, label = stack[..., :1], stack[..., 2:]

    def step() -> Any:
        return model.train_on_batch(image, label)

    _warm_up(step)
    return step


def _layer(settings: Any, stack: np.ndarray) -> Callable[[], Any]:
    import tensorflow as tf

    from shiva_cmb.training.augmentation.augment import Augment

    layer = Augment(settings, 1, SPACING_MM, seed=0)
    change = tf.function(lambda batch: layer(batch, training=True))
    batch = tf.constant(stack)

    def call() -> Any:
        return change(batch).numpy()

    _warm_up(call)
    return call


def _warm_up(work: Callable[[], Any]) -> None:
    """Trace, and fill caches."""
    for _ in range(2):
        work()


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
