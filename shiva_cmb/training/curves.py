"""The picture of a training that is under way."""

import time

from shiva_cmb.errors import DataError
from shiva_cmb.files import replacing
from shiva_cmb.reporting.training_curves import FoldCurve, draw_training_curves
from shiva_cmb.training.fitting.settings import DATA_LOSS
from shiva_cmb.training.fitting.state import STATE_NAME, read_state
from shiva_cmb.training.run import Run
from shiva_cmb.training.settings import TrainingSettings

SECONDS_BETWEEN = 30.0
"""Drawing takes about a second."""


class CurvesPicture:
    """Draws the figures of all folds along the epochs, not too often."""

    def __init__(self, run: Run, settings: TrainingSettings) -> None:
        """Nothing is drawn yet.

        Args:
            run: where the folds are.
            settings: how many there will be, and what chooses the best epoch.
        """
        self._run, self._folds = run, settings.folds
        monitored, _ = settings.fitting.monitored
        self._metric = "val_loss" if monitored == DATA_LOSS else monitored
        self._last = time.monotonic()

    def if_it_is_time(self) -> None:
        """Draw, if the last time is long ago."""
        if time.monotonic() - self._last > SECONDS_BETWEEN:
            self.now()

    def now(self) -> None:
        """Draw."""
        curves = [curve for number in range(self._folds) if (curve := self._curve(number)) is not None]
        with replacing() as pending:
            draw_training_curves(pending.path(self._run.curves_path), curves, metric=self._metric)
        self._last = time.monotonic()

    def _curve(self, number: int) -> FoldCurve | None:
        try:
            state = read_state(self._run.fold(number) / STATE_NAME)
        except DataError:  # whoever trains that fold is told
            return None
        if not state.history:
            return None
        shown = {name: name for row in state.history for name in row if name != "epoch"}
        shown["val_loss"] = DATA_LOSS  # without penalties: what chooses the best epoch
        return FoldCurve(
            name=f"fold {number}",
            epochs=[int(row["epoch"]) for row in state.history],
            values={
                panel: [row.get(name, float("nan")) for row in state.history] for panel, name in shown.items()
            },
            best_epoch=state.best_epoch,
        )
