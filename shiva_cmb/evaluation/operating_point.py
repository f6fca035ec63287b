"""The threshold and minimum volume at which a model should be used, chosen on cases with known truth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics import curves
from shiva_cmb.evaluation.pipeline import Evaluation
from shiva_cmb.evaluation.settings import EvaluationSettings

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
        UsageError: if `wanted` is something else or cannot be reached, the best point finds no lesion, or
            there are no probability maps.
    """
    rate = require_choice(wanted)
    counts = evaluation.arrays.sweep
    if counts is None:
        raise UsageError(
            "an operating point can only be chosen from probability maps of all cases:"
            f" {_without_map(evaluation)}; give them with --pred"
        )
    if rate is None:
        t, v = curves.best_by_f1(counts)
        criterion = "highest pooled F1"
    else:
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


def store_operating_point(chosen: ChosenPoint, bundle: "Bundle", evaluation: Evaluation) -> "Bundle":
    """Write a chosen point and its curve into a model's descriptor.

    Args:
        chosen: what to write.
        bundle: the model.
        evaluation: what it was chosen from.

    Raises:
        UsageError: if lesions were told otherwise than the model will tell them; see `require_storable`.
        OutputError: if the descriptor cannot be written.
    """
    require_storable(evaluation.settings)
    from shiva_cmb.ensemble import OperatingPoint, update_operating_point

    point = OperatingPoint(
        threshold=chosen.threshold, min_volume_mm3=chosen.min_volume_mm3, curve=chosen.curve
    )
    return update_operating_point(bundle, point)


def require_choice(wanted: str) -> float | None:
    """Read what `choose_operating_point` should choose by, before any work is done.

    Returns:
        The most false positives per scan, or None for the highest F1.

    Raises:
        UsageError: if it is neither `f1` nor `fp:RATE`.
    """
    if wanted == "f1":
        return None
    kind, _, number = wanted.partition(":")
    try:
        rate = float(number)
    except ValueError:
        rate = -1.0
    if kind != "fp" or not 0.0 <= rate < float("inf"):
        raise UsageError(f"expected f1, or fp:RATE such as fp:0.5, to choose a threshold by; got {wanted!r}")
    return rate


def require_storable(settings: EvaluationSettings) -> None:
    """A point holds for a model only if lesions are told here as the model tells them.

    Raises:
        UsageError: if the connectivity is not 26, or the rule cuts at the threshold instead of above it.
    """
    if settings.criteria.connectivity != 26:
        raise UsageError(
            "the operating point was not stored: it was chosen with connectivity"
            f" {settings.criteria.connectivity}, but a model's lesions are 26-connected: evaluate with 26"
        )
    if settings.rule.name.startswith("valdo"):
        raise UsageError(
            f"the operating point was not stored: the rule {settings.rule.name!r} takes voxels at the"
            " threshold too, a model only those above it: choose by another rule"
        )


def _without_map(evaluation: Evaluation) -> str:
    """Which predictions have none."""
    names = [r.name for r in evaluation.results if r.sweep is None and r.judged != "nothing"]
    if not names:
        return "there is none"
    told = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} of {len(evaluation.results)} cases have none ({told})"


def _json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
