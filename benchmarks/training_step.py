"""`python -m benchmarks.training_step`: a training step in Keras against the same network in PyTorch.

A step is: forward, loss (cross-entropy + soft Dice), backward, Adam. Each side is a process of its own that
runs steps on demand, so that the rounds alternate: a noisy machine is noisy for both. Both start from the
same weights; that the first loss and the number of parameters are the same is checked. PyTorch may live in
another environment (`--torch-python`). With `--whole`, only the memory of whole-volume training is measured.

Beside other work, take `--threads 1` and read the processor seconds: PyTorch's threads wait for each other
after each small piece of work, so with two of them on busy cores its time says more about the neighbours.

On a GPU, PyTorch runs with `torch.compile`. That part was written without a GPU at hand.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.tree_memory import run_tree

ROOT = Path(__file__).parents[1]
BATCH, EDGE = 2, 96
FILTERS = (16, 32, 64, 128)
HEAD_FILTERS = 10
LEARNING_RATE = 1e-3
WHOLE = (160, 214, 176)
WHOLE_NETWORK = "Unet3Dv2-10.7.2-1.8"
RIVALS = {"f32": ("f32",), "bf16": ("autocast", "bf16")}
"""How PyTorch does a precision: `bf16` has bfloat16 weights too, `autocast` float32 weights as Keras has."""
LOSS_TOLERANCE = 0.02
"""Of the first losses, relative: bfloat16 has 8 bits; float32 agrees to 1e-5."""


def main() -> None:
    """Measure and print tables in Markdown, or be one side (`--side`, used by the measurement itself)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--precision", choices=RIVALS, nargs="+", default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1, help="per round; take 50 or more on a GPU")
    parser.add_argument("--threads", type=int, help="cores that both sides may use; all unless given")
    parser.add_argument("--edge", type=int, default=EDGE, help="voxels along each axis, a multiple of 8")
    parser.add_argument("--whole", action="store_true", help="memory of a step on a whole volume, in bf16")
    parser.add_argument("--side", choices=("patch", "whole"), help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:  # both engines take as many threads as they find cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if options.side == "patch":
        serve(*keras_side(options.precision[0], (options.edge,) * 3, options.weights))
    elif options.side == "whole":
        one_whole_step()
    elif options.whole:
        measure_whole()
    else:
        print(
            "| precision | PyTorch | time | Keras | PyTorch | ratio (min - max) | memory, Keras / PyTorch |"
        )
        print("|---|---|---|---|---|---|---|")
        for precision in options.precision:
            measure(precision, options)


def measure(precision: str, options: argparse.Namespace) -> None:
    """Print one row for each way that PyTorch does a precision."""
    with tempfile.TemporaryDirectory() as folder:
        rest = ["--edge", str(options.edge), "--weights", str(Path(folder) / "weights.npz")]
        ours = [sys.executable, "-m", "benchmarks.training_step", "--side", "patch", "--precision", precision]
        theirs = [options.torch_python, "-m", "benchmarks.training_step_pytorch", "--how"]
        with Side([*ours, *rest]) as keras_steps:  # started first: it writes the weights
            for how in RIVALS[precision]:
                with Side([*theirs, how, *rest]) as torch_steps:
                    print(compare(precision, how, keras_steps, torch_steps, options), flush=True)


def compare(precision: str, how: str, ours: "Side", theirs: "Side", options: argparse.Namespace) -> str:
    """Check that both do the same work, run the rounds, and give the row."""
    assert ours.hello["parameters"] == theirs.hello["parameters"], (ours.hello, theirs.hello)
    difference = abs(ours.hello["loss"] / theirs.hello["loss"] - 1)
    assert difference < LOSS_TOLERANCE, (ours.hello, theirs.hello)
    rounds = []
    for number in range(options.rounds):
        # each goes first as often as the other
        order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        answers = {side: side.run(options.steps) for side in order}
        rounds.append((answers[ours], answers[theirs]))
    memory = " / ".join(
        f"{max(answer['peak_gb'] for answer in side):.2f}" for side in zip(*rounds, strict=True)
    )
    rows = []
    for kind in ("wall", "processor"):
        pairs = [(a[kind], b[kind]) for a, b in rounds]
        columns = [f"{precision}, {ours.hello['device']}", how, kind]
        columns += [_seconds(side) for side in zip(*pairs, strict=True)]
        ratios = [a / b for a, b in pairs]
        columns.append(f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} - {max(ratios):.2f})")
        rows.append("| " + " | ".join([*columns, f"{memory} GB"]) + " |")
    return "\n".join(rows)


def _seconds(seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    return f"{middle:.3g} s ({min(seconds):.3g} - {max(seconds):.3g}), {BATCH / middle:.3g} samples/s"


class Side:
    """A process that runs steps on demand; see `serve`."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello = self._answer()

    def run(self, steps: int) -> dict[str, float]:
        """Mean seconds of a step in a round of some, and the peak memory so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"{self._process.args} ended with status {self._process.wait()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(step: Callable[[], float], hello: dict[str, Any]) -> None:
    """Be one side: for each number that comes in, run as many steps and tell how long they took.

    Args:
        step: runs one step to its end and gives its loss.
        hello: what is told first; the loss of the very first step, which also compiles, is added.
    """
    print(json.dumps({**hello, "loss": step()}), flush=True)
    step()  # the first step with an optimizer that has its state
    for line in sys.stdin:
        steps = int(line)
        start = time.perf_counter(), time.process_time()
        for _ in range(steps):
            assert np.isfinite(step())
        wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-9
        print(
            json.dumps({"wall": wall / steps, "processor": processor / steps, "peak_gb": peak_gb}), flush=True
        )


def keras_side(
    precision: str, shape: tuple[int, ...], weights: Path
) -> tuple[Callable[[], float], dict[str, Any]]:
    """A step as `Model.fit` runs it, and what PyTorch needs to do the same.

    Args:
        precision: `f32` or `bf16`.
        shape: voxels along each axis.
        weights: file to write the untrained weights to.
    """
    import tensorflow as tf

    from shiva_cmb.networks import ShivaUNet

    settings = ShivaUNet(
        first_filters=FILTERS[0],
        levels=len(FILTERS),
        growth=2.0,
        head_filters=HEAD_FILTERS,
        dropout_first=0.0,
        dropout=0.0,
        pool_deepest=False,
        wide_decoder=False,
    )
    assert settings.filters == FILTERS
    network = compiled(settings, precision, shape)
    layers = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    np.savez(
        weights, **{f"{name}/{k}": part for name, parts in layers.items() for k, part in enumerate(parts)}
    )
    image, label = batch(BATCH, shape)
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return lambda: float(network.train_on_batch(image, label)), {"parameters": trained, "device": device}


def compiled(settings: Any, precision: Any, shape: Any) -> Any:
    """The network that training takes, with the loss and the optimizer of the comparison."""
    import keras

    from shiva_cmb.training.fitting.loss_spec import parse_loss
    from shiva_cmb.training.fitting.losses import training_loss
    from shiva_cmb.training.fitting.model import training_network
    from shiva_cmb.training.fitting.settings import FittingSettings

    keras.utils.set_random_seed(0)
    network = training_network(settings, shape, 1, FittingSettings(precision=precision))
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    network.compile(optimizer, training_loss(parse_loss("bce+dice")), jit_compile=False)
    return network


def batch(count: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and a label with bleeds of 27 voxels; both (count, x, y, z, 1) float32."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((count, *shape, 1), np.float32)
    label = np.zeros_like(image)
    for sample in label:
        for x, y, z in rng.integers(0, np.array(shape) - 3, (5, 3)):
            sample[x : x + 3, y : y + 3, z : z + 3] = 1
    return image, label


def measure_whole() -> None:
    """Print the largest memory of a process that trains on a whole volume."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    run = run_tree([sys.executable, "-m", "benchmarks.training_step", "--side", "whole"], ROOT)
    size = " x ".join(map(str, WHOLE))
    print(
        f"{WHOLE_NETWORK}, 1 x {size}, bf16, 2 steps: {run.single_gb:.1f} GB resident in {run.seconds:.0f} s"
    )


def one_whole_step() -> None:
    """Two steps: the second has the state of the optimizer."""
    from shiva_cmb.networks import PUBLISHED

    network = compiled(PUBLISHED[WHOLE_NETWORK], "bf16", WHOLE)
    image, label = batch(1, WHOLE)
    for _ in range(2):
        assert np.isfinite(network.train_on_batch(image, label))


if __name__ == "__main__":
    main()
