"""The curves of a training: loss, validation, metric and learning rate of every fold, in one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.files import replacing
from shiva_cmb.reporting.plot_style import (
    FAINT,
    legend,
    new_figure,
    of_same_length,
    plain,
    say,
    style,
    subtitle,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (("loss", "Training loss"), ("val_loss", "Validation loss"))
_RATE = ("learning_rate", "Learning rate")
_MANY_EPOCHS = 30
"""From here on markers would hide the curves."""
_DECADES = 20.0
"""Curves that span a larger ratio are drawn by their logarithm."""
_DPI = 150


@dataclass(frozen=True, eq=False)
class FoldCurve:
    """What was measured after each epoch of one fold."""

    name: str
    """Of the fold."""
    epochs: Sequence[int]
    """Numbers of the epochs, as they are to be shown."""
    values: Mapping[str, Sequence[float]]
    """By name, one number for each epoch: `loss`, `val_loss`, `learning_rate` and metrics. NaN where nothing
    was measured; a name may be missing."""
    best_epoch: int | None = None
    """The epoch whose weights were kept, one of `epochs`."""


def draw_training_curves(
    path: str | Path, folds: Sequence[FoldCurve], *, metric: str = "val_lesion_f1"
) -> Path:
    """Write a PNG with a panel each for training loss, validation loss, a metric and the learning rate.

    The same curves give the same bytes. It can be called after each epoch: the file is replaced at once.

    Args:
        path: of the PNG; its folder must exist.
        folds: their curves; folds may be at different epochs.
        metric: the name of the one by which the best epoch was chosen. If it is `loss` or `val_loss`, or if
            no fold has it, it has no panel of its own.

    Returns:
        The path.

    Raises:
        UsageError: if a curve is not as long as its epochs, or the best epoch is none of them.
        OutputError: if the file cannot be written.
    """
    figure = plot_training(folds, metric=metric)
    with replacing() as pending:
        figure.savefig(pending.path(path), format="png", dpi=_DPI, metadata={"Software": None})
    return Path(path)


def plot_training(folds: Sequence[FoldCurve], *, metric: str = "val_lesion_f1") -> "Figure":
    """The figure of `draw_training_curves`."""
    from matplotlib.ticker import MaxNLocator

    panels = [*_PANELS]
    if metric not in dict(panels) and any(metric in fold.values for fold in folds):
        name = metric.removeprefix("val_").replace("_", " ").capitalize().replace("f1", "F1")
        panels.append((metric, plain(name)))
    panels.append(_RATE)
    figure, axes = new_figure("Training", len(panels), width=7.0, height=1.0 + 1.9 * len(panels))
    for one, (key, label) in zip(axes, panels, strict=True):
        values = [_draw(one, number, fold, key) for number, fold in enumerate(folds)]
        _scale(one, np.concatenate([*values, np.zeros(0)]), fraction=key == metric and "loss" not in key)
        one.set_ylabel(label)
        one.grid(color=FAINT, linewidth=0.5)
        if one is not axes[0]:
            one.sharex(axes[0])
        one.tick_params(labelbottom=one is axes[-1])
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1].set_xlabel("Epoch")
    if any(fold.best_epoch is not None for fold in folds):
        subtitle(axes[0], "ring: the epoch whose weights were kept")
    legend(axes[0])
    return figure


def _draw(axes: "Axes", number: int, fold: FoldCurve, key: str) -> NDArray[np.float64]:
    """Draw one curve, and give the values that could be drawn."""
    epochs, values = of_same_length(fold.epochs, fold.values.get(key, [np.nan] * len(fold.epochs)))
    look = style(number)
    measured = np.isfinite(values)
    if measured.sum() > _MANY_EPOCHS:
        look["markevery"] = int(measured.sum()) // 10
    axes.plot(epochs[measured], values[measured], label=plain(fold.name), **look)
    if fold.best_epoch is not None:
        best = epochs == fold.best_epoch
        if not best.any():
            raise UsageError(
                f"the best epoch of {fold.name}: expected one of its {len(epochs)} epochs,"
                f" got {fold.best_epoch}"
            )
        spot = best & measured
        axes.plot(epochs[spot], values[spot], "o", ms=11, mfc="none", mec=look["color"], mew=1.6)
    return values[measured]


def _scale(axes: "Axes", values: NDArray[np.float64], *, fraction: bool) -> None:
    """Fractions from 0 to 1; what spans decades in its logarithm."""
    if not values.size:
        say(axes, "not measured")
        axes.set_yticks([])
    elif fraction and values.min() >= 0.0 and values.max() <= 1.0:
        axes.set_ylim(0.0, 1.02)
    elif values.min() > 0.0 and values.max() > _DECADES * values.min():
        axes.set_yscale("log")
