"""Threshold, peak threshold and minimum volume for using a model, chosen on cases with known truth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics import curves
from shiva_cmb.evaluation.pipeline import Evaluation
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.sweep import NO_PEAK

if TYPE_CHECKING:
    from shiva_cmb.ensemble import Bundle


@dataclass(frozen=True)
class ChosenPoint:
    """An operating point and what it gave on the cases it was chosen on."""

    threshold: float
    """A voxel belongs to a lesion where its probability is strictly above this."""
    min_volume_mm3: float
    """Smaller lesions are dropped."""
    peak_threshold: float | None
    """A lesion's highest probability must be strictly above this too; None: nothing more is asked."""
    criterion: str
    """By what it was chosen, in words."""
    curve: tuple[dict[str, float | None], ...]
    """Pooled figures at every point that was tried, see `operating_curve`."""

    def as_dict(self) -> dict[str, Any]:
        """The point itself, by the names that descriptors and criteria give its parts."""
        return {
            "threshold": self.threshold,
            "peak_threshold": self.peak_threshold,
            "min_volume_mm3": self.min_volume_mm3,
        }


def choose_operating_point(evaluation: Evaluation, wanted: str = "f1") -> ChosenPoint:
    """Choose among the thresholds, minimum volumes and peak thresholds of the evaluation's sweep.

    Equally good points: see `curves.best_by_f1`.

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
    t, v, p = best_point(counts, wanted)
    criterion = (
        "highest pooled F1"
        if rate is None
        else f"highest sensitivity with at most {rate:g} false positives per scan"
    )
    sweep = evaluation.settings.sweep
    threshold, peak = sweep.thresholds[t], sweep.peak_thresholds[p]
    return ChosenPoint(
        threshold=threshold,
        min_volume_mm3=sweep.min_volumes_mm3[v],
        peak_threshold=peak if peak > threshold else None,
        criterion=f"{criterion} on {len(evaluation.arrays)} cases, {evaluation.settings.rule.definition}",
        curve=operating_curve(evaluation),
    )


def best_point(counts: NDArray[np.int64], wanted: str) -> tuple[int, int, int]:
    """Threshold, minimum volume and peak threshold by index.

    Args:
        counts: see `CaseArrays.sweep`.
        wanted: see `choose_operating_point`.

    Raises:
        UsageError: if `wanted` is something else or cannot be reached, or the best point finds no lesion.
    """
    rate = require_choice(wanted)
    return curves.best_by_f1(counts) if rate is None else curves.best_by_fp_rate(counts, rate)


def operating_curve(evaluation: Evaluation) -> tuple[dict[str, float | None], ...]:
    """Pooled figures at every point that was tried; empty without probability maps.

    Peak thresholds are left out where they are not above the threshold, except `sweep.NO_PEAK`.
    """
    counts = evaluation.arrays.sweep
    if counts is None:
        return ()
    points = curves.operating_points(counts)
    sweep = evaluation.settings.sweep
    return tuple(
        {
            "threshold": threshold,
            "min_volume_mm3": volume,
            "peak_threshold": peak,
            **{name: _json(values[t, v, p]) for name, values in points._asdict().items()},
        }
        for v, volume in enumerate(sweep.min_volumes_mm3)
        for p, peak in enumerate(sweep.peak_thresholds)
        for t, threshold in enumerate(sweep.thresholds)
        if peak == NO_PEAK or peak > threshold
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

    return update_operating_point(bundle, OperatingPoint(**chosen.as_dict(), curve=chosen.curve))


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
