"""How far a fold is. No Keras: whoever watches a training reads it too."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from shiva_cmb.errors import DataError

STATE_NAME = "state.npz"
FOLD_NAME = "fold.h5"
LOG_NAME = "log.csv"
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile)
"""What reading a damaged checkpoint raises."""


@dataclass
class FitState:
    """How far a fold is, apart from the numbers in the network and the optimizer."""

    epoch: int = 0
    """Finished epochs."""
    best_epoch: int = 0
    """The epoch whose weights are kept, from 1; 0 if there is none yet."""
    best_value: float | None = None
    """What the monitored figure was then."""
    best_loss: float | None = None
    """The validation loss then, which decides between equal figures; None if it cannot be compared."""
    stopped: bool = False
    """Whether it ended before its last epoch, for want of progress."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row of figures per finished epoch."""
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the callbacks that wait for progress remember, by their class."""
    trainable: int = 0
    """Trainable weights, which the optimizer's numbers belong to."""

    @property
    def best_name(self) -> str:
        """The file of the kept weights."""
        return f"best_{self.best_epoch}.weights.h5"


def read_state(path: Path) -> FitState:
    """How far a fold is; at the very beginning if there is no such file.

    Raises:
        DataError: if the file cannot be read.
    """
    if not path.is_file():
        return FitState()
    try:
        with np.load(path) as stored:
            return FitState(**json.loads(str(stored["state"])))
    except DAMAGED as error:
        raise DataError(
            f"{path} cannot be read ({error}): remove its folder to train this fold anew"
        ) from error
