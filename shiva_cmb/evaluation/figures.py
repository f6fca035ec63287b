"""All figures of a set of cases, with their intervals: the content of `metrics.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.evaluation.case import CaseResult
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.metrics import (
    calibration,
    counts,
    curves,
    detection,
    scan_classification,
    segmentation,
)
from shiva_cmb.evaluation.resampling import Figure, Measure, as_figures, bootstrap_weights

Groups = dict[str, dict[str, Figure]]
"""Figures by group (`detection.micro`) and name (`sensitivity`)."""
Measures = dict[str, dict[str, Measure]]
Weights = NDArray[np.int32] | None


@dataclass(frozen=True, eq=False)
class CaseArrays:
    """The cases' numbers as arrays, one entry per case along the first axis."""

    names: tuple[str, ...]
    patients: tuple[str, ...]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    truth_count: NDArray[np.int64]
    predicted_count: NDArray[np.int64]
    voxels: Mapping[str, NDArray[np.float64]]
    """Voxel metrics, surface distances and the mean Dice of matched lesions, each shape (cases,)."""
    sweep: NDArray[np.int64] | None
    """Shape (cases, thresholds, volumes, 3); None without probability maps."""
    voxel_bins: NDArray[np.float64] | None
    lesion_bins: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, kept: NDArray[np.intp]) -> "CaseArrays":
        """The cases with these indices, without curves and calibration."""
        return CaseArrays(
            names=tuple(self.names[k] for k in kept),
            patients=tuple(self.patients[k] for k in kept),
            tp=self.tp[kept],
            fp=self.fp[kept],
            fn=self.fn[kept],
            truth_count=self.truth_count[kept],
            predicted_count=self.predicted_count[kept],
            voxels={name: values[kept] for name, values in self.voxels.items()},
            sweep=None,
            voxel_bins=None,
            lesion_bins=None,
        )


def case_arrays(results: Sequence[CaseResult], thresholds: int, volumes: int) -> CaseArrays:
    """Put the cases' numbers side by side.

    Cases whose prediction is missing find nothing at any threshold. If a prediction has no probability map,
    there are no curves.

    Args:
        results: of all cases.
        thresholds: number of thresholds in the sweeps.
        volumes: number of minimum volumes in the sweeps.
    """

    def column(name: str) -> NDArray[np.int64]:
        return np.array([getattr(result, name) for result in results], np.int64)

    names = [*segmentation.DEFINITIONS]
    voxels = {name: np.array([result.voxels[name] for result in results], np.float64) for name in names}
    voxels["matched_dice"] = np.array(
        [np.mean(result.matched_dice) if result.matched_dice else np.nan for result in results], np.float64
    )
    sweeps = [_sweep(result, thresholds, volumes) for result in results]
    with_curves = any(result.sweep is not None for result in results) and all(s is not None for s in sweeps)
    bins = [_bins(result.voxel_bins, result) for result in results]
    lesion_bins = [_bins(result.lesion_bins, result) for result in results]
    return CaseArrays(
        names=tuple(result.name for result in results),
        patients=tuple(result.patient for result in results),
        tp=column("tp"),
        fp=column("fp"),
        fn=column("fn"),
        truth_count=column("truth_count"),
        predicted_count=column("predicted_count"),
        voxels=voxels,
        sweep=np.stack([s for s in sweeps if s is not None]) if with_curves else None,
        voxel_bins=np.stack([b for b in bins if b is not None]) if with_curves else None,
        lesion_bins=np.stack([b for b in lesion_bins if b is not None])
        if with_curves and all(b is not None for b in lesion_bins)
        else None,
    )


def _sweep(result: CaseResult, thresholds: int, volumes: int) -> NDArray[np.int64] | None:
    if result.sweep is not None or result.judged != "nothing":
        return result.sweep
    nothing = np.zeros((thresholds, volumes, 3), np.int64)
    nothing[..., 2] = result.truth_count
    return nothing


def _bins(bins: NDArray[np.float64] | None, result: CaseResult) -> NDArray[np.float64] | None:
    if bins is not None or result.judged != "nothing":
        return bins
    return np.zeros((calibration.BINS, 3))


def measure_all(
    arrays: CaseArrays, weights: Weights, rule: MatchRule, scan_thresholds: Sequence[int], volume: int
) -> Measures:
    """Every figure of the cases, or of bootstrap samples of them.

    Args:
        arrays: the cases; the numbers may have replicates in front, shape (B, cases), as a permutation has.
        weights: how often each case is drawn, shape (B, cases); None: once.
        rule: decides what an empty case scores.
        scan_thresholds: see `EvaluationSettings`.
        volume: index of the minimum volume whose curves are measured.
    """
    tp, fp, fn = arrays.tp, arrays.fp, arrays.fn
    truth, predicted = arrays.truth_count, arrays.predicted_count
    measures: Measures = {
        "detection.micro": detection.micro(tp, fp, fn, truth == 0, weights),
        "detection.macro": detection.macro(tp, fp, fn, weights, empty_convention(rule)),
        "segmentation": segmentation.summary(arrays.voxels, weights),
        "counts": counts.agreement(truth, predicted, weights),
    }
    for at_least in scan_thresholds:
        measures[f"scan_classification.{at_least}"] = scan_classification.classify(
            truth, predicted, at_least, weights
        )
    if arrays.sweep is not None:
        at_volume = arrays.sweep[..., volume, :]
        measures["detection.curves"] = {
            "free_response_score": curves.free_response_score(at_volume, weights),
            "average_precision": curves.average_precision(at_volume, weights),
            **{
                f"sensitivity_at_{rate:g}_fp_per_scan": curves.sensitivity_at(at_volume, rate, weights)
                for rate in curves.FREE_RESPONSE_RATES
            },
        }
    for name, bins in (("voxels", arrays.voxel_bins), ("lesions", arrays.lesion_bins)):
        if bins is not None:
            error = calibration.expected_calibration_error(bins, weights)
            measures.setdefault("calibration", {})[f"expected_calibration_error_{name}"] = error
    return measures


def empty_convention(rule: MatchRule) -> detection.Empty:
    """What an empty case scores: the published rules have conventions of their own."""
    if rule.name == "shiva":
        return "shiva"
    return "valdo" if rule.name.startswith("valdo") else "undefined"


def with_intervals(
    arrays: CaseArrays,
    measure: Callable[[CaseArrays, Weights], Measures],
    weights: NDArray[np.int32],
    level: float,
) -> Groups:
    """Figures with bootstrap intervals.

    Args:
        arrays: the cases.
        measure: gives the measures of cases and weights.
        weights: how often each replicate draws each case, shape (B, cases).
        level: of the intervals.
    """
    point, replicates = measure(arrays, None), measure(arrays, weights)
    return {group: as_figures(point[group], replicates[group], level) for group in point}


def patient_bootstrap(arrays: CaseArrays, replicates: int, seed: int) -> NDArray[np.int32]:
    """How often each replicate draws each case, shape (B, cases): all cases of a patient together."""
    return bootstrap_weights(arrays.patients, replicates, np.random.default_rng(seed))


_MATCHED_DICE = (
    "mean over matched pairs of lesions of 2 shared / (truth + predicted) voxels; undefined without pairs"
)
_STATISTICS = {"mean": "Mean (infinite values are left out)", "median": "Median (infinite values count)"}

DEFINITIONS: dict[str, Mapping[str, str]] = {
    "detection.micro": {
        name.removeprefix("micro."): text
        for name, text in detection.DEFINITIONS.items()
        if name.startswith("micro.")
    },
    "detection.macro": {
        name.removeprefix("macro."): text
        for name, text in detection.DEFINITIONS.items()
        if name.startswith("macro.")
    },
    "detection.curves": curves.DEFINITIONS,
    "segmentation": {
        f"{name}_{statistic}": f"{words} over scans; of each scan: {text}."
        for name, text in {**segmentation.DEFINITIONS, "matched_dice": _MATCHED_DICE}.items()
        for statistic, words in _STATISTICS.items()
    },
    "counts": counts.DEFINITIONS,
    "scan_classification": scan_classification.DEFINITIONS,
    "calibration": calibration.DEFINITIONS,
}
"""One sentence for every figure, by group; `scan_classification` has one set for all numbers of lesions."""


def definition(group: str, name: str) -> str:
    """What a figure means.

    Args:
        group: as in `Groups`, for example `scan_classification.3`.
        name: of the figure.
    """
    group = "scan_classification" if group.startswith("scan_classification.") else group
    return DEFINITIONS[group][name]
