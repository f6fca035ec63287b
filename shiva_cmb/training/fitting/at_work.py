"""A fold while it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.errors import Note
from shiva_cmb.files import replacing, write_json
from shiva_cmb.training.augmentation.augment import Augment
from shiva_cmb.training.fitting import initial
from shiva_cmb.training.fitting.callbacks import (
    CheckWholeVolumes,
    JudgeAverages,
    KeepState,
    OnEpoch,
    RequireFinite,
    WarmUp,
    averaged_weights,
)
from shiva_cmb.training.fitting.checkpoint import restore
from shiva_cmb.training.fitting.devices import sharing_devices
from shiva_cmb.training.fitting.losses import judged_loss, stacked_loss
from shiva_cmb.training.fitting.model import training_model, training_network
from shiva_cmb.training.fitting.optimizer import make_optimizer
from shiva_cmb.training.fitting.sliding import slide
from shiva_cmb.training.fitting.stages import Stage, settled_after
from shiva_cmb.training.fitting.state import STATE_NAME, FitState
from shiva_cmb.training.fitting.whole_volume import VOLUME_FIGURES, check_whole_volumes
from shiva_cmb.training.sampling.batches import FollowEpochs, TrainingBatches, ValidationBatches
from shiva_cmb.training.sampling.hard_negatives import (
    HardNegatives,
    mine,
    read_hard_negatives,
    write_hard_negatives,
)
from shiva_cmb.training.settings import TrainingSettings

TRANSFER_NAME = "transfer.json"


@dataclass(frozen=True)
class FoldJob:
    """One fold: what it learns from, and where it is kept."""

    folder: Path
    """For the state, the log, the best weights and the finished network."""
    train: Sequence[PreparedCase]
    """Cases to learn from."""
    validation: Sequence[PreparedCase]
    """Cases that choose the best epoch."""
    seed: int
    """Of the weights, the patches and their changes."""
    init: Path | None = None
    """A network to start from."""


@dataclass(frozen=True)
class FitOptions:
    """How the work is done, which does not change what comes out."""

    workers: int = 1
    """Threads that cut patches."""
    tensorboard: bool = False
    """Write logs for TensorBoard too."""


class FoldAtWork:
    """A fold at work: stages share its model as long as they see patches of one size."""

    def __init__(
        self,
        job: FoldJob,
        settings: TrainingSettings,
        options: FitOptions,
        state: FitState,
        on_epoch: OnEpoch,
        note: Note,
    ) -> None:
        self.job, self.settings, self.options = job, settings, options
        self.state, self.on_epoch, self.note = state, on_epoch, note
        self.network: Any = None
        self.model: Any = None
        self._built_for: Any = None

    def run(self, stage: Stage) -> None:
        """Train from the state's epoch to the end of a stage."""
        job, settings, state = self.job, self.settings, self.state
        if self._built_for != (stage.patch, stage.frozen):
            self._build(stage)
        if (job.folder / STATE_NAME).is_file():  # always: `fit` ends by putting in averaged weights
            restore(job.folder / STATE_NAME, self.model, state)
            if settings.fitting.schedule == "plateau":  # also goes on where the optimizer begins anew
                self.model.optimizer.learning_rate = state.history[-1]["learning_rate"]
        if stage.grown and state.epoch == stage.first:  # losses on patches of two sizes cannot be compared
            state.best_loss = None
            if settings.fitting.metric == "loss":
                state.best_value = None
                state.waiting = {}
        hard = None if stage.mined_at is None else self._hard_negatives(stage.mined_at)
        batches = TrainingBatches(
            job.train,
            settings.sampling,
            stage.patch,
            job.seed,
            first_epoch=state.epoch,
            hard_negatives=hard,
            workers=self.options.workers,
        )
        checked = ValidationBatches(job.validation, settings.sampling, stage.patch, job.seed)
        self.model.fit(
            batches,
            validation_data=checked,
            initial_epoch=state.epoch,
            epochs=stage.last,
            callbacks=[FollowEpochs(batches), *self._callbacks(stage)],
            shuffle=False,  # Keras would shuffle by the process' own random state
            verbose=0,
        )

    def _build(self, stage: Stage) -> None:
        settings, fitting = self.settings, self.settings.fitting
        keras.utils.clear_session()
        keras.utils.set_random_seed(self.job.seed)
        whole = stage.patch == settings.grid
        with sharing_devices(self.settings.fitting.replicas):
            self.network = training_network(settings.network, stage.patch, len(settings.channels), fitting)
            if self.job.init is not None and not self.state.epoch:
                self._take_weights(self.job.init)
            if stage.frozen:
                initial.freeze(self.network, stage.frozen)
            augment = Augment(
                settings.changes,
                len(settings.channels),
                settings.spacing_mm,
                seed=self.job.seed,
                whole_volume=whole,
                value_range=settings.value_range,
                # as `predict` masks images, or as a skull-stripped image is scaled
                outside=0.0 if settings.mask_input else settings.value_range[0],
            )
            self.model = training_model(self.network, augment)
            self.model.compile(
                make_optimizer(fitting, settings.steps, stage.thawed_at * settings.sampling.steps_per_epoch),
                stacked_loss(fitting.loss_settings),
                metrics=[judged_loss(fitting.loss_settings)],
                # XLA takes minutes to compile 3-D convolutions for a processor and makes them slower there;
                # JAX does nothing without.
                jit_compile=keras.backend.backend() == "jax",
            )
            self.model.optimizer.build(self.model.trainable_variables)
        self._built_for = (stage.patch, stage.frozen)

    def _callbacks(self, stage: Stage) -> list[keras.callbacks.Callback]:
        """In the order in which they need each other's figures."""
        settings, state, fitting = self.settings, self.state, self.settings.fitting
        monitored, mode = fitting.monitored
        callbacks: list[keras.callbacks.Callback] = [
            keras.callbacks.TerminateOnNaN(),
            RequireFinite(self.job.folder, state),
        ]
        if fitting.ema:
            callbacks.append(JudgeAverages())
        if fitting.checks_volumes:
            last = state.history[-1] if state.history else {}
            known = {name: value for name, value in last.items() if name in VOLUME_FIGURES}
            callbacks.append(CheckWholeVolumes(self._check_volumes, fitting, known))
        keeper = KeepState(self.job.folder, self.network, fitting, state, self.on_epoch)
        waiting: list[keras.callbacks.Callback] = []
        if fitting.schedule == "plateau":
            callbacks.append(WarmUp(fitting, settings.steps, settings.sampling.steps_per_epoch))
            waiting.append(
                keras.callbacks.ReduceLROnPlateau(
                    monitored,
                    factor=fitting.plateau_factor,
                    patience=fitting.plateau_epochs,
                    mode=mode,
                    min_lr=fitting.learning_rate * fitting.final_fraction,
                )
            )
        if fitting.patience:
            waiting.append(
                keras.callbacks.EarlyStopping(
                    monitored, patience=fitting.patience, mode=mode, start_from_epoch=settled_after(settings)
                )
            )
        keeper.waiting = tuple(waiting)
        if self.options.tensorboard:
            folder = self.job.folder / "tensorboard"
            callbacks.append(keras.callbacks.TensorBoard(folder, write_graph=False))
        return [*callbacks, *waiting, keeper]

    def _take_weights(self, source: Path) -> None:
        transfer = initial.initial_weights(source, self.network, self.settings.initial)
        with replacing() as pending:
            write_json(transfer.as_dict(), pending.path(self.job.folder / TRANSFER_NAME))
        for line in transfer.lines:
            self.note(f"{self.job.folder.name}: {line}")

    def _check_volumes(self) -> dict[str, float]:
        return check_whole_volumes(self.job.validation, self._map_of)

    def _hard_negatives(self, epoch: int) -> HardNegatives:
        """False positives of the network as it was after an epoch; found once, also if resumed."""
        path = self.job.folder / f"hard_negatives_{epoch}.json"
        if not path.is_file():
            sampling = self.settings.sampling
            with averaged_weights(self.model):
                found = mine(
                    self.job.train, self._map_of, sampling.mine_threshold, sampling.mine_most_per_case
                )
            write_hard_negatives(found, self.job.train, path)
        return read_hard_negatives(path, self.job.train)

    def _map_of(self, case: PreparedCase) -> NDArray[np.float32]:
        return slide(
            self._probabilities,
            case.image[...],
            self.network.input_shape[1:4],
            overlap=self.settings.fitting.window_overlap,
            batch_size=self.settings.sampling.batch_size,
        )

    def _probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of windows (n, x, y, z, channels), with the present weights."""
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # while it fits, JAX keeps the weights elsewhere
        logits = np.asarray(self.network.predict_on_batch(windows), np.float32)[..., 0]
        return scipy.special.expit(logits)
