"""Training one fold with Keras."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.errors import DataError
from shiva_cmb.networks import build_network
from shiva_cmb.training.fitting.losses import training_loss
from shiva_cmb.training.sampling.batches import FixedBatches, TrainingBatches
from shiva_cmb.training.sampling.places import validation_places
from shiva_cmb.training.settings import TrainingSettings

FIRST_PROBABILITY = 0.01
"""What an untrained network answers, as in Lin et al. 2017, "Focal loss for dense object detection". From
0.5, short runs spend their steps on learning that bleeds are rare (120 steps on generated heads found none);
at the true rarity, under 0.001, some runs never started to fire."""

LARGEST_STEP = 1.0
"""Norm of the gradient of each weight: a patch full of mimics must not undo what was learned."""

OnEpoch = Callable[[int, float, float], None]
"""Takes the epoch (from 1), its training loss and its validation loss."""


@dataclass(frozen=True)
class FitResult:
    """How the training of a fold went."""

    best_epoch: int
    """The epoch whose weights were kept, from 1."""
    validation_loss: float
    """The loss of those weights on the validation patches."""


def fit_fold(
    train: Sequence[PreparedCase],
    validation: Sequence[PreparedCase],
    settings: TrainingSettings,
    seed: int,
    path: Path,
    on_epoch: OnEpoch,
) -> FitResult:
    """Train a network and save its best state as a full Keras model for the whole model grid.

    Args:
        train: cases to learn from.
        validation: cases that choose the best epoch.
        settings: see `TrainingSettings`.
        seed: of the weights and the patches.
        path: `.h5` file to write; the best weights lie beside it meanwhile.
        on_epoch: called after each epoch.

    Raises:
        DataError: if the loss is not finite.
    """
    keras.utils.set_random_seed(seed)
    model = _network(settings, settings.patch_shape, training=True)
    start_from_rarity(model)
    # XLA takes minutes to compile 3-D convolutions for a CPU and makes them slower there.
    model.compile(
        keras.optimizers.Adam(learning_rate(settings), clipnorm=LARGEST_STEP),
        training_loss(settings.loss_settings),
        jit_compile=False,
    )
    places = validation_places(np.random.default_rng(seed), validation, settings.patch_shape)
    keeper = KeepBest(path.with_suffix(".weights.h5"), on_epoch)
    model.fit(
        TrainingBatches(train, settings, seed),
        validation_data=FixedBatches(validation, places, settings.patch_shape, settings.batch_size),
        epochs=settings.epochs,
        callbacks=[keeper],
        verbose=0,
    )
    model.load_weights(keeper.path)
    keras.utils.clear_session()
    whole = _network(settings, settings.shape)
    # By name: what was added for training alone is left behind, and crops differ with the size.
    for layer in (layer for layer in whole.layers if layer.weights):
        layer.set_weights(model.get_layer(layer.name).get_weights())
    save_quietly(whole, path)
    keeper.path.unlink()
    return FitResult(keeper.best_epoch, keeper.best_loss)


def learning_rate(settings: TrainingSettings) -> keras.optimizers.schedules.LearningRateSchedule:
    """Up to the setting's rate in a tenth of the steps, then down to 1 % of it along a half cosine."""
    warmup = settings.steps // 10
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 10,
        max(settings.steps - warmup, 1),
        alpha=0.01,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


def start_from_rarity(model: keras.Model) -> None:
    """Set the outputs' biases so that the untrained network gives about `FIRST_PROBABILITY` everywhere."""
    for layer in model.layers:
        # An output that ends in a plain activation has its bias in the layer called `logits`.
        if layer.weights and (layer.name.startswith("probability") or layer.name == "logits"):
            kernel, bias = layer.get_weights()
            first = np.full_like(bias, np.log(FIRST_PROBABILITY / (1.0 - FIRST_PROBABILITY)))
            layer.set_weights([kernel, first])


class KeepBest(keras.callbacks.Callback):
    """Saves the weights whenever the validation loss falls, and stops a run that has gone astray."""

    def __init__(self, path: Path, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.path = path
        self.best_epoch = 0
        self.best_loss = float("inf")
        self._on_epoch = on_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, save, report."""
        losses = logs or {}
        loss, validation_loss = float(losses["loss"]), float(losses["val_loss"])
        if not np.isfinite([loss, validation_loss]).all():
            raise DataError(
                f"the training loss became {loss} in epoch {epoch + 1}: try a tenth of the learning rate"
            )
        if validation_loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch + 1, validation_loss
            self.model.save_weights(self.path, overwrite=True)
        self._on_epoch(epoch + 1, loss, validation_loss)


def save_quietly(model: keras.Model, path: Path) -> None:
    """Save as HDF5 without Keras' advice to use another format: HDF5 is what the bundles hold."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        model.save(path)
    finally:
        logger.setLevel(level)


def _network(
    settings: TrainingSettings, shape: tuple[int, int, int], *, training: bool = False
) -> keras.Model:
    network = settings.network
    return build_network(network.architecture, network.as_arguments(), (*shape, 1), training=training)
