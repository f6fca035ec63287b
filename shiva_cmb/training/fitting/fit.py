"""Training one fold with Keras, from wherever it is to its end."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from shiva_cmb.errors import Note
from shiva_cmb.files import replacing
from shiva_cmb.training.fitting.at_work import TRANSFER_NAME, FitOptions, FoldAtWork, FoldJob
from shiva_cmb.training.fitting.callbacks import OnEpoch, write_log
from shiva_cmb.training.fitting.devices import make_deterministic, require_precision
from shiva_cmb.training.fitting.model import training_network, whole_network
from shiva_cmb.training.fitting.stages import stages_of
from shiva_cmb.training.fitting.state import FOLD_NAME, STATE_NAME, FitState, read_state
from shiva_cmb.training.settings import TrainingSettings


@dataclass(frozen=True)
class FitResult:
    """How the training of a fold went."""

    path: Path
    """The finished network."""
    best_epoch: int
    """The epoch whose weights were kept, from 1."""
    figures: dict[str, float]
    """The figures of that epoch."""
    transfer: dict[str, Any] | None
    """Which weights it started from, if from any."""


def fit_fold(
    job: FoldJob, settings: TrainingSettings, options: FitOptions, on_epoch: OnEpoch, note: Note
) -> FitResult:
    """Train a network, or go on where it was stopped, and save its best state for the whole model grid.

    Args:
        job: the fold.
        settings: see `TrainingSettings`.
        options: see `FitOptions`.
        on_epoch: told the figures of each epoch.
        note: told which weights were taken over.

    Raises:
        DataError: if the loss is not finite, or a checkpoint cannot be used.
        UsageError: if the devices there are cannot do what is asked for.
    """
    require_precision(settings.fitting.precision)
    if settings.fitting.deterministic:
        make_deterministic()
    state = read_state(job.folder / STATE_NAME)
    _tidy(job.folder, state)
    if state.epoch:  # a kill may have come between the state and the log
        write_log(job.folder, state)
    fit = FoldAtWork(job, settings, options, state, on_epoch, note)
    for stage in stages_of(settings):
        if state.epoch < stage.last and not state.stopped:
            fit.run(stage)
    keras.utils.clear_session()
    network = training_network(settings.network, settings.patch, len(settings.channels), settings.fitting)
    network.load_weights(job.folder / state.best_name)
    whole = whole_network(settings.network, settings.grid, network)
    path = job.folder / FOLD_NAME
    with replacing() as pending:
        save_quietly(whole, pending.path(path))
    keras.utils.clear_session()
    figures = next(row for row in state.history if row["epoch"] == state.best_epoch)
    transfer = job.folder / TRANSFER_NAME  # of this training: `begin` removes older ones
    origin = json.loads(transfer.read_text(encoding="utf-8")) if transfer.is_file() else None
    return FitResult(path, state.best_epoch, figures, origin)


def save_quietly(model: keras.Model, path: Path) -> None:
    """Save as HDF5 without Keras' advice to use another format: HDF5 is what the bundles hold."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        model.save(path)
    finally:
        logger.setLevel(level)


def _tidy(folder: Path, state: FitState) -> None:
    """Remove what a kill left behind: half-written files, and best weights of an epoch that was lost."""
    for path in (*folder.glob(".tmp-*"), *folder.glob("best_*.weights.h5")):
        if path.name != state.best_name:
            path.unlink()
