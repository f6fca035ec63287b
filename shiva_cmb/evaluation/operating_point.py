"""The threshold and minimum volume at which a model should be used, chosen on cases with known truth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics import curves
from shiva_cmb.evaluation.pipeline import Evaluation

if TYPE_CHECKING:
    from shiva_cmb.ensemble import Bundle


@dataclass(frozen=True)
class ChosenPoint:
    """An operating point and what it gave on the cases it was chosen on."""

    threshold: float
    """A voxel belongs to a lesion where its probability is strictly above this."""
    min_volume_mm3: float
    """Smaller lesions are dropped."""
    criterion: str
    """By what it was chosen, in words."""
    curve: tuple[dict[str, float | None], ...]
    """Pooled figures at every threshold and minimum volume that was tried."""


def choose_operating_point(evaluation: Evaluation, wanted: str = "f1") -> ChosenPoint:
    """Choose among the thresholds and minimum volumes of the evaluation's sweep.

    The figures at the chosen point are optimistic for these cases: judge the model on others.

    Args:
        evaluation: with probability maps.
        wanted: `f1`: the highest pooled F1; `fp:0.5`: the highest sensitivity with at most so many false
            positives per scan.

    Raises:
        UsageError: if `wanted` is something else, cannot be reached, or there are no probability maps.
    """
    counts = evaluation.arrays.sweep
    if counts is None:
        raise UsageError("an operating point can only be chosen from probability maps: give them with --pred")
    if wanted == "f1":
        t, v = curves.best_by_f1(counts)
        criterion = "highest pooled F1"
    else:
        rate = _rate(wanted)
        t, v = curves.best_by_fp_rate(counts, rate)
        criterion = f"highest sensitivity with at most {rate:g} false positives per scan"
    sweep = evaluation.settings.sweep
    return ChosenPoint(
        threshold=sweep.thresholds[t],
        min_volume_mm3=sweep.min_volumes_mm3[v],
        criterion=f"{criterion} on {len(evaluation.arrays)} cases, {evaluation.settings.rule.definition}",
        curve=operating_curve(evaluation),
    )


def operating_curve(evaluation: Evaluation) -> tuple[dict[str, float | None], ...]:
    """Pooled figures at every threshold and minimum volume; empty without probability maps."""
    counts = evaluation.arrays.sweep
    if counts is None:
        return ()
    points = curves.operating_points(counts)
    sweep = evaluation.settings.sweep
    return tuple(
        {
            "threshold": threshold,
            "min_volume_mm3": volume,
            **{name: _json(values[t, v]) for name, values in points._asdict().items()},
        }
        for v, volume in enumerate(sweep.min_volumes_mm3)
        for t, threshold in enumerate(sweep.thresholds)
    )


def store_operating_point(chosen: ChosenPoint, bundle: "Bundle") -> "Bundle":
    """Write a chosen point and its curve into a model's descriptor.

    Raises:
        OutputError: if the descriptor cannot be written.
    """
    from shiva_cmb.ensemble import OperatingPoint, update_operating_point

    point = OperatingPoint(
        threshold=chosen.threshold, min_volume_mm3=chosen.min_volume_mm3, curve=chosen.curve
    )
    return update_operating_point(bundle, point)


def _rate(wanted: str) -> float:
    kind, _, number = wanted.partition(":")
    try:
        rate = float(number)
    except ValueError:
        rate = -1.0
    if kind != "fp" or not 0.0 <= rate < float("inf"):
        raise UsageError(f"expected f1, or fp:RATE such as fp:0.5, to choose a threshold by; got {wanted}")
    return rate


def _json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
