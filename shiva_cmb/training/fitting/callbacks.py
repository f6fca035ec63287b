"""What happens after each epoch: whole volumes are checked, the best weights and the state are kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import DataError
from shiva_cmb.files import replacing
from shiva_cmb.tables import write_csv
from shiva_cmb.training.fitting.checkpoint import inner, save_state
from shiva_cmb.training.fitting.optimizer import WARMUP_START
from shiva_cmb.training.fitting.settings import DATA_LOSS, FittingSettings
from shiva_cmb.training.fitting.state import LOG_NAME, STATE_NAME, FitState

_REMEMBERED = ("wait", "best", "best_epoch", "cooldown_counter")

OnEpoch = Callable[[Mapping[str, float]], None]
"""Takes the figures of an epoch by name, `epoch` and `best_epoch` (from 1) among them."""
CheckVolumes = Callable[[], dict[str, float]]
"""Predicts the validation cases with the present weights; figures by name."""


class RequireFinite(keras.callbacks.Callback):
    """Ends a fold that went astray: before the callbacks that predict with its weights or keep them."""

    def __init__(self, folder: Path, state: FitState) -> None:
        """Remember where the fold's last good checkpoint is.

        Args:
            folder: of the fold.
            state: as of the last good epoch.
        """
        super().__init__()
        self._folder, self._state = folder, state

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the losses.

        Raises:
            DataError: if one of them is not finite.
        """
        figures = logs or {}
        wrong = [name for name in ("loss", "val_loss") if not np.isfinite(figures.get(name, 0.0))]
        if not wrong:
            return
        state = self._state
        kept = "no epoch was finished before"
        if state.epoch:
            kept = (
                f"the last good checkpoint, of epoch {state.epoch}, is {self._folder / STATE_NAME}, the best "
                f"weights, of epoch {state.best_epoch}, are {self._folder / state.best_name}"
            )
        raise DataError(
            f"{self._folder.name}: the {wrong[0]} became {figures[wrong[0]]} in epoch {epoch + 1}: try a "
            f"tenth of the learning rate; {kept}"
        )


class KeepState(keras.callbacks.Callback):
    """Compares, keeps the best weights, writes the log and the state, and reports: the last of the callbacks.

    A kill at any moment loses the present epoch only: the kept weights have the epoch in their name, and the
    state, which says which ones they are, is replaced in one step.
    """

    def __init__(
        self,
        folder: Path,
        network: keras.Model,
        settings: FittingSettings,
        state: FitState,
        on_epoch: OnEpoch,
    ) -> None:
        """Take over where `state` ends.

        Args:
            folder: of the fold.
            network: whose weights are kept, a part of the model that is fitted.
            settings: see `FittingSettings`.
            state: changed as the training goes on.
            on_epoch: told the figures of each epoch.
        """
        super().__init__()
        self._folder, self._network, self._settings = folder, network, settings
        self._state, self._on_epoch = state, on_epoch
        self.waiting: tuple[keras.callbacks.Callback, ...] = ()
        """Callbacks that wait for progress, whose memory is part of the state."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Give the others their memory back, which they lose as training begins."""
        for callback in self.waiting:
            for name, value in self._state.waiting.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, keep, write, report."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        state = self._state
        before = state.best_name if state.best_epoch else None
        state.epoch = epoch + 1
        state.history.append({"epoch": epoch + 1, **figures})
        value = figures.get(self._settings.monitored[0], float("nan"))
        loss = figures.get(DATA_LOSS, float("nan"))
        if self._is_better(epoch + 1, value, loss):
            state.best_epoch = epoch + 1
            state.best_value = None if np.isnan(value) else value
            state.best_loss = None if np.isnan(loss) else loss
            with averaged_weights(self.model), replacing() as pending:
                self._network.save_weights(pending.path(self._folder / state.best_name), overwrite=True)
        for callback in self.waiting:
            remembered = {name: getattr(callback, name) for name in _REMEMBERED if hasattr(callback, name)}
            state.waiting[type(callback).__name__] = remembered
        state.stopped = bool(self.model.stop_training)
        state.trainable = len(self.model.trainable_variables)
        save_state(self._folder / STATE_NAME, self.model, state)
        if before is not None and before != state.best_name:
            (self._folder / before).unlink(missing_ok=True)
        write_log(self._folder, state)
        self._on_epoch({**state.history[-1], "best_epoch": state.best_epoch})

    def _is_better(self, epoch: int, value: float, loss: float) -> bool:
        """Whether the weights of an epoch are to be kept."""
        state, fitting = self._state, self._settings
        if not state.best_epoch or state.best_value is None:
            return True  # an epoch without a figure is kept if there is no other: some weights must be
        if value == state.best_value:
            # whole volumes tie often, at first all at 0; between checks, figures are those of older weights
            return fitting.checks_in(epoch) and (state.best_loss is None or loss < state.best_loss)
        return value < state.best_value if fitting.monitored[1] == "min" else value > state.best_value


def write_log(folder: Path, state: FitState) -> None:
    """Write the figures of all epochs as a table."""
    columns = list(dict.fromkeys(name for row in state.history for name in row))
    rows = [dict.fromkeys(columns) | row for row in state.history]
    with replacing() as pending:
        write_csv(pending.path(folder / LOG_NAME), columns, rows)


class CheckWholeVolumes(keras.callbacks.Callback):
    """Adds figures of whole volumes to those of an epoch; before the callbacks that wait for them.

    Between two checks the last figures are repeated, so that waiting counts epochs, not checks.
    """

    def __init__(self, check: CheckVolumes, settings: FittingSettings, known: Mapping[str, float]) -> None:
        """Set up.

        Args:
            check: predicts and measures.
            settings: say in which epochs.
            known: figures of the last check, if the training goes on.
        """
        super().__init__()
        self._check, self._settings = check, settings
        self._known = dict(known)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Check if it is time."""
        if self._settings.checks_in(epoch + 1):
            with averaged_weights(self.model):
                self._known = self._check()
        if logs is not None:
            logs.update(self._known)


class WarmUp(keras.callbacks.Callback):
    """Lets the learning rate rise where it is a number that another callback cuts."""

    def __init__(self, settings: FittingSettings, steps: int, steps_per_epoch: int) -> None:
        """Work out the steps.

        Args:
            settings: see `FittingSettings`.
            steps: batches of the whole run.
            steps_per_epoch: batches of one epoch.
        """
        super().__init__()
        self._highest = settings.learning_rate
        self._warmup = int(steps * settings.warmup_fraction)
        self._steps_per_epoch = steps_per_epoch
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the learning rate of this step."""
        step = self._epoch * self._steps_per_epoch + batch
        if step <= self._warmup and self._warmup:
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()  # within an epoch, JAX keeps the learning rate elsewhere
            self.model.optimizer.learning_rate = self._highest * (
                WARMUP_START + (1 - WARMUP_START) * step / self._warmup
            )


class JudgeAverages(keras.callbacks.Callback):
    """Validates the moving averages of the weights.

    Keras' own `SwapEMAWeights` lets weights and averages share arrays, which JAX deletes at the next step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._while_judging = ExitStack()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put them in."""
        self._while_judging.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the weights back."""
        self._while_judging.close()


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the moving averages into the model for a while, if there are any.

    They are zeros before the first step of an optimizer, which begins anew when frozen parts thaw. Keras'
    public `iterations` would stay 0 for longer where gradients are added up.
    """
    optimizer = inner(model.optimizer)
    if not optimizer.use_ema or int(keras.ops.convert_to_numpy(optimizer._iterations)) == 0:
        yield
        return
    own = _copies(model)
    optimizer.finalize_variable_values(model.trainable_variables)
    _assign(model, _copies(model))  # under JAX, weights and averages would share arrays
    try:
        yield
    finally:
        _assign(model, own)


def _copies(model: keras.Model) -> list[NDArray[Any]]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def _assign(model: keras.Model, values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
