"""What a fold needs to go on after it was killed, in one file that is replaced in one step."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shiva_cmb.errors import DataError
from shiva_cmb.files import replacing
from shiva_cmb.training.fitting.state import DAMAGED, FitState


def save_state(path: Path, model: keras.Model, state: FitState) -> None:
    """Write everything that changes while a network is fitted.

    Args:
        path: `.npz`; an older one is replaced when the new one is complete.
        model: compiled and built.
        state: the rest.
    """
    arrays = {f"model_{k}": _value(v) for k, v in enumerate(_variables(model))}
    arrays |= {f"optimizer_{k}": _value(v) for k, v in enumerate(model.optimizer.variables)}
    text = json.dumps(asdict(state))
    with replacing() as pending, pending.path(path).open("wb") as stream:
        np.savez(stream, state=np.array(text), **arrays)


def restore(path: Path, model: keras.Model, state: FitState) -> None:
    """Give a model and its optimizer the numbers of a checkpoint.

    Where other weights are trainable than in the checkpoint (stages that were frozen before), the optimizer
    begins anew, with `make_optimizer`'s `first_step`: Adam's averages, and those of the weights, count on
    beginning at step 0.

    Args:
        path: written by `save_state`.
        model: built by the same settings, for patches of any size; compiled.
        state: of that checkpoint.

    Raises:
        DataError: if the checkpoint is damaged or of another network.
    """
    try:
        with np.load(path) as stored:
            _assign(_variables(model), stored, "model", path)
            optimizer = model.optimizer
            optimizer.build(model.trainable_variables)
            if state.trainable == len(model.trainable_variables):
                _assign(optimizer.variables, stored, "optimizer", path)
    except DAMAGED as error:
        raise DataError(
            f"{path} cannot be read ({error}): remove its folder to train this fold anew"
        ) from error


def inner(optimizer: Any) -> Any:
    """The optimizer inside one that scales the loss, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _variables(model: keras.Model) -> list[Any]:
    """Weights, running statistics and random states; not the metrics, which start anew each epoch."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def _value(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable)


def _assign(variables: Sequence[Any], stored: Any, kind: str, path: Path) -> None:
    names = [name for name in stored.files if name.startswith(f"{kind}_")]
    arrays = [stored[f"{kind}_{k}"] for k in range(len(names))]
    if [v.shape for v in variables] != [a.shape for a in arrays]:
        raise DataError(f"{path} belongs to another network: remove its folder to train this fold anew")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
