"""Fits the anatomy network: step after step, kept at every check, so that a killed run goes on."""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from shiva_cmb.anatomy.head_network import N_CLASSES
from shiva_cmb.anatomy.window import folded, unfolded
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.files import replacing, write_json
from shiva_cmb.networks.head_unet import head_unet
from shiva_cmb.training.anatomy.draw import draw_image
from shiva_cmb.training.anatomy.settings import AnatomyTrainingSettings
from shiva_cmb.training.anatomy.shape import CodedHead

LAST, LOG, SETTINGS = "last.npz", "log.jsonl", "settings.json"

Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]
Report = Callable[[dict[str, Any]], None]
"""Is told the figures of each check."""


def fit(
    heads: Sequence[CodedHead],
    folder: Path,
    settings: AnatomyTrainingSettings,
    report: Report,
) -> None:
    """Train, or go on from the last check.

    Args:
        heads: all of them; those that the settings hold out are looked at only.
        folder: where `last.npz`, `log.jsonl` and `settings.json` are.
        settings: see `AnatomyTrainingSettings`.
        report: told the figures of each check.

    Raises:
        UsageError: if no head is left to train on, or to check with.
        DataError: if the folder holds a run with other settings.
    """
    trained, unseen = parted(heads, settings)
    _require_same(folder / SETTINGS, settings)
    small = round(settings.steps * settings.small_share)
    for window, last in ((settings.small_window, small), (settings.window, settings.steps)):
        keras.utils.set_random_seed(settings.seed)
        model, looking = _compiled(window, settings), _network(settings.window, settings)
        state = _State(folder, model)
        first = state.restore()
        losses: list[float] = []
        batches = _batches(trained, first, window, settings)
        for step in range(first + 1, last + 1):
            losses.append(float(model.train_on_batch(*next(batches))))
            if step % settings.check_every and step != last:
                continue
            looking.set_weights(model.get_weights())
            figures = check(looking, unseen, settings, settings.check_images)
            line = {"step": step, "loss": float(np.mean(losses)), **figures}
            losses.clear()
            state.keep(step, line)
            report(line)


def _require_same(path: Path, settings: AnatomyTrainingSettings) -> None:
    """A run goes on with the settings that it began with: else held-out heads might have been trained on."""
    now = json.loads(json.dumps(asdict(settings)))
    if not path.exists():
        with replacing() as pending:
            write_json(now, pending.path(path))
        return
    then = json.loads(path.read_text(encoding="utf-8"))
    if changed := [name for name in now if now[name] != then.get(name)]:
        raise DataError(
            f"{path}: the run in this folder was begun with another {', '.join(changed)}: name a new folder"
        )


def parted(
    heads: Sequence[CodedHead], settings: AnatomyTrainingSettings
) -> tuple[list[CodedHead], list[CodedHead]]:
    """The heads to train on, and those that are held out.

    Raises:
        UsageError: if either are none.
    """
    trained = [head for head in heads if head.name not in settings.held_out]
    unseen = [head for head in heads if head.name in settings.held_out]
    if not trained or not unseen:
        raise UsageError(
            f"held_out: expected some of the heads ({', '.join(h.name for h in heads)}) but not all of them, "
            f"got {', '.join(settings.held_out) or 'none'}"
        )
    return trained, unseen


def check(
    model: Any, heads: Sequence[CodedHead], settings: AnatomyTrainingSettings, images: int
) -> dict[str, float]:
    """Mean Dice of the brain and region accuracy over images that are the same at every check.

    Args:
        model: gives logits or probabilities.
        heads: whose, in turn.
        settings: window, seed, and how images are drawn.
        images: how many.
    """
    dices, accuracies = [], []
    for number in range(images):
        rng = np.random.default_rng([settings.seed, 1, number])
        image, truth = draw_image(rng, heads[number % len(heads)], settings.window, settings.drawing)
        logits = np.asarray(model.predict_on_batch(folded(image)[None])[0])
        scores = unfolded(logits).astype(np.float32)
        dices.append(brain_dice(scores.argmax(axis=-1), truth))
        accuracies.append(region_accuracy(scores, truth))
    return {
        "brain_dice": float(np.nanmean(dices)),
        "worst_brain_dice": float(np.nanmin(dices)),
        "region_accuracy": float(np.nanmean(accuracies)),
    }


def brain_dice(found: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Dice of everything but 0; NaN where both are empty."""
    total = np.count_nonzero(found) + np.count_nonzero(truth)
    return 2 * np.count_nonzero((found > 0) & (truth > 0)) / total if total else math.nan


def region_accuracy(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """How much of the tissue has the right region and side.

    Args:
        scores: logits or probabilities, shape (x, y, z, classes).
        truth: regions.

    Returns:
        Of the voxels that truly are lobar, deep or infratentorial (1 to 5) and were found to be brain, the
        share whose most probable class among these five is the true one.
    """
    tissue = (truth >= 1) & (truth <= 5) & (scores.argmax(axis=-1) > 0)
    if not tissue.any():
        return math.nan
    return float(np.mean(scores[tissue][:, 1:6].argmax(axis=-1) + 1 == truth[tissue]))


def _network(window: tuple[int, int, int], settings: AnatomyTrainingSettings) -> Any:
    """Gives logits; computes in half precision if the settings say so."""
    keras.config.set_dtype_policy("mixed_bfloat16" if settings.mixed_precision else "float32")
    try:
        return head_unet(settings.widths, window, N_CLASSES, training=True)
    finally:
        keras.config.set_dtype_policy("float32")


def _compiled(window: tuple[int, int, int], settings: AnatomyTrainingSettings) -> Any:
    model = _network(window, settings)
    optimizer = _optimizer(settings)
    model.compile(optimizer, lambda truth, logits: _loss(truth, logits, settings.dice_weight))
    optimizer.build(model.trainable_variables)
    return model


def _loss(truth: Any, logits: Any, dice_weight: float) -> Any:
    """Cross-entropy, and one minus the mean Dice of the regions that are there.

    Args:
        truth: regions, shape (batch, x, y, z, 8).
        logits: shape (batch, x, y, z, 8, classes).
        dice_weight: of the second part.
    """
    flat = ops.reshape(logits, (-1, N_CLASSES))
    wanted = ops.one_hot(ops.reshape(truth, (-1,)), N_CLASSES, dtype=flat.dtype)
    chosen = ops.log_softmax(flat)
    entropy = -ops.mean(ops.sum(wanted * chosen, axis=-1))
    found = ops.exp(chosen)
    sizes = ops.sum(wanted, axis=0)
    dice = 2 * ops.sum(found * wanted, axis=0) / (ops.sum(found, axis=0) + sizes + 1.0)
    there = ops.cast(sizes > 0, flat.dtype)
    return entropy + dice_weight * (1.0 - ops.sum(dice * there) / ops.sum(there))


def _optimizer(settings: AnatomyTrainingSettings) -> Any:
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 10,
        max(settings.steps - settings.warmup_steps, 1),
        alpha=0.01,
        warmup_target=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=settings.weight_decay, clipnorm=settings.clip_norm or None
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _batches(
    heads: Sequence[CodedHead],
    first: int,
    window: tuple[int, int, int],
    settings: AnatomyTrainingSettings,
) -> Iterator[Sample]:
    """Batches from a step on; seed and number decide what is in an image, whichever thread draws it."""

    def draw(number: int) -> Sample:
        rng = np.random.default_rng([settings.seed, 0, number])
        head = heads[int(rng.integers(len(heads)))]
        image, regions = draw_image(rng, head, window, settings.drawing)
        return np.asarray(folded(image), np.float32), np.asarray(folded(regions), np.uint8)

    size = settings.batch_size
    waiting: deque[Future[Sample]] = deque()
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="draw") as pool:
        number = first * size
        try:
            while True:
                while len(waiting) < size + 2 * settings.workers:
                    waiting.append(pool.submit(draw, number))
                    number += 1
                samples = [waiting.popleft().result() for _ in range(size)]
                yield np.stack([image for image, _ in samples]), np.stack([regions for _, regions in samples])
        finally:
            for future in waiting:
                future.cancel()


class _State:
    """What a run keeps on disk."""

    def __init__(self, folder: Path, model: Any) -> None:
        self._folder, self._model = folder, model

    def restore(self) -> int:
        """Steps done, 0 for a new run; sets weights and optimizer."""
        path = self._folder / LAST
        if not path.exists():
            return 0
        with np.load(path) as kept:
            for name, variable in self._variables().items():
                variable.assign(kept[name])
            return int(kept["step"])

    def keep(self, step: int, line: dict[str, Any]) -> None:
        """Everything that changes, and one line of figures."""
        values = {name: np.asarray(variable) for name, variable in self._variables().items()}
        log = self._folder / LOG
        before = log.read_text(encoding="utf-8") if log.exists() else ""
        with replacing() as pending:
            np.savez(pending.path(self._folder / LAST), step=np.array(step), **values)  # type: ignore[arg-type]
            pending.path(log).write_text(before + json.dumps(line) + "\n", encoding="utf-8")

    def _variables(self) -> dict[str, Any]:
        """By their names in the file."""
        weights = {f"weight_{number}": one for number, one in enumerate(self._model.weights)}
        return weights | {f"step_{number}": one for number, one in enumerate(self._model.optimizer.variables)}


def trained_network(folder: Path, settings: AnatomyTrainingSettings) -> keras.Model:
    """The network at the end of a run, for use: float32, gives probabilities.

    The end, not the best check: the held-out heads, which the figures are about, choose nothing.

    Raises:
        DataError: if there is none.
    """
    path = folder / LAST
    if not path.exists():
        raise DataError(f"{path} does not exist: train first")
    network = head_unet(settings.widths, settings.window, N_CLASSES)
    with np.load(path) as kept:
        if kept["step"] < settings.steps:
            raise DataError(f"{path}: expected {settings.steps} steps, got {kept['step']}: train on")
        network.set_weights([kept[f"weight_{number}"] for number in range(len(network.weights))])
    return network
