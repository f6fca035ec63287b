"""All figures of a set of cases, with their intervals: the content of `metrics.json`."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.evaluation.case import CaseResult
from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.metrics import (
    calibration,
    counts,
    curves,
    detection,
    scan_classification,
    segmentation,
)
from shiva_cmb.evaluation.metrics.weighted import Measure
from shiva_cmb.evaluation.resampling import Figure, as_figures, bootstrap_weights, exchange
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.strata import Levels, stratum_counts
from shiva_cmb.evaluation.sweep import NO_PEAK

Groups = dict[str, dict[str, Figure]]
"""Figures by group (`detection.micro`) and name (`sensitivity`)."""
Measures = dict[str, dict[str, Measure]]
Weights = NDArray[np.int16] | None


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
    """Shape (cases, thresholds, volumes, peak thresholds, 3); None without probability maps."""
    curve: NDArray[np.int64] | None
    """The sweep at the operating point's minimum volume and peak threshold, shape (cases, thresholds, 3)."""
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
            curve=None,
            voxel_bins=None,
            lesion_bins=None,
        )


def exchange_cases(a: CaseArrays, b: CaseArrays, swap: NDArray[np.bool_]) -> tuple[CaseArrays, CaseArrays]:
    """Two runs on the same cases with the results of some exchanged, and without calibration.

    Args:
        a: first run.
        b: second run.
        swap: the cases to exchange, shape (B, cases).

    Returns:
        The new first and second run, whose numbers have an axis of B in front.
    """
    tp, fp, fn = (exchange(getattr(a, name), getattr(b, name), swap) for name in ("tp", "fp", "fn"))
    truth_count = exchange(a.truth_count, b.truth_count, swap)
    predicted_count = exchange(a.predicted_count, b.predicted_count, swap)
    voxels = {name: exchange(a.voxels[name], b.voxels[name], swap) for name in a.voxels}
    curves = (None, None) if a.curve is None or b.curve is None else exchange(a.curve, b.curve, swap)

    def side(k: int) -> CaseArrays:
        return CaseArrays(
            names=a.names,
            patients=a.patients,
            tp=tp[k],
            fp=fp[k],
            fn=fn[k],
            truth_count=truth_count[k],
            predicted_count=predicted_count[k],
            voxels={name: pair[k] for name, pair in voxels.items()},
            sweep=None,
            curve=curves[k],
            voxel_bins=None,
            lesion_bins=None,
        )

    return side(0), side(1)


def case_arrays(results: Sequence[CaseResult], settings: EvaluationSettings) -> CaseArrays:
    """Put the cases' numbers side by side.

    Cases whose prediction is missing find nothing at any threshold. If a prediction has no probability map,
    there are no curves.

    Args:
        results: of all cases.
        settings: they were judged with; the sweep has the operating point too.
    """

    def column(name: str) -> NDArray[np.int64]:
        return np.array([getattr(result, name) for result in results], np.int64)

    names = [*segmentation.DEFINITIONS]
    voxels = {name: np.array([result.voxels[name] for result in results], np.float64) for name in names}
    voxels["matched_dice"] = np.array(
        [np.mean(result.matched_dice) if result.matched_dice else np.nan for result in results], np.float64
    )
    tried, criteria = settings.sweep, settings.criteria
    volumes_mm3, peaks = tried.min_volumes_mm3, tried.peak_thresholds
    points = (len(tried.thresholds), len(volumes_mm3), len(peaks))
    sweeps = [_sweep(result, points) for result in results]
    with_curves = any(result.sweep is not None for result in results) and all(s is not None for s in sweeps)
    sweep = np.stack([s for s in sweeps if s is not None]) if with_curves else None
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
        sweep=sweep,
        curve=None
        if sweep is None
        else sweep[
            :, :, volumes_mm3.index(criteria.min_volume_mm3), peaks.index(criteria.peak_threshold or NO_PEAK)
        ],
        voxel_bins=np.stack([b for b in bins if b is not None]) if with_curves else None,
        lesion_bins=np.stack([b for b in lesion_bins if b is not None])
        if with_curves and all(b is not None for b in lesion_bins)
        else None,
    )


def _sweep(result: CaseResult, points: tuple[int, int, int]) -> NDArray[np.int64] | None:
    if result.sweep is not None or result.judged != "nothing":
        return result.sweep
    nothing = np.zeros((*points, 3), np.int64)
    nothing[..., 2] = result.truth_count
    return nothing


def _bins(bins: NDArray[np.float64] | None, result: CaseResult) -> NDArray[np.float64] | None:
    if bins is not None or result.judged != "nothing":
        return bins
    return np.zeros((calibration.BINS, 3))


def measure_all(
    arrays: CaseArrays,
    weights: Weights,
    rule: MatchRule,
    scan_thresholds: Sequence[int],
    only: Collection[str] | None = None,
) -> Measures:
    """Every figure of the cases, or of bootstrap samples of them.

    Args:
        arrays: the cases; the numbers may have replicates in front, shape (B, cases), as a permutation has.
        weights: how often each case is drawn, shape (B, cases); None: once.
        rule: decides what an empty case scores.
        scan_thresholds: see `EvaluationSettings`.
        only: groups to measure; by default all that the cases have numbers for.
    """
    tp, fp, fn = arrays.tp, arrays.fp, arrays.fn
    truth, predicted, curve = arrays.truth_count, arrays.predicted_count, arrays.curve
    free = truth == 0
    groups: dict[str, Callable[[], dict[str, Measure]]] = {
        "detection.micro": lambda: detection.micro(tp, fp, fn, free, weights),
        "detection.macro": lambda: detection.macro(tp, fp, fn, free, weights, empty_convention(rule)),
        "segmentation": lambda: segmentation.summary(arrays.voxels, weights),
        "counts": lambda: counts.agreement(truth, predicted, weights),
    }
    for least in scan_thresholds:
        groups[f"scan_classification.{least}"] = partial(
            scan_classification.classify, truth, predicted, least, weights
        )
    if curve is not None:
        groups["detection.curves"] = partial(curves.summary, curve, weights)
    bins = {"voxels": arrays.voxel_bins, "lesions": arrays.lesion_bins}
    if any(of_cases is not None for of_cases in bins.values()):
        groups["calibration"] = lambda: {
            f"expected_calibration_error_{name}": calibration.expected_calibration_error(of_cases, weights)
            for name, of_cases in bins.items()
            if of_cases is not None
        }
    return {group: measure() for group, measure in groups.items() if only is None or group in only}


def empty_convention(rule: MatchRule) -> detection.Empty:
    """What an empty case scores: the published rules have conventions of their own."""
    if rule.name == "shiva":
        return "shiva"
    return "valdo" if rule.name.startswith("valdo") else "undefined"


def with_intervals(arrays: CaseArrays, weights: NDArray[np.int16], settings: EvaluationSettings) -> Groups:
    """Every figure with its bootstrap interval, see `resampling.INTERVAL_RULE`.

    Args:
        arrays: the cases.
        weights: how often each replicate draws each case, shape (B, cases).
        settings: see `EvaluationSettings`.
    """
    point = measure_all(arrays, None, settings.rule, settings.scan_thresholds)
    drawn: Measures = {}
    if several_patients(arrays.patients):
        drawn = measure_all(arrays, weights, settings.rule, settings.scan_thresholds)
    return {group: as_figures(named, drawn.get(group, {}), settings.level) for group, named in point.items()}


def lesion_level_figures(
    levels: Levels,
    facts: Sequence[LesionFacts],
    arrays: CaseArrays,
    weights: NDArray[np.int16],
    level: float,
) -> dict[str, Groups]:
    """Detection in every level of a stratum of lesions; a matched pair counts where its truth lesion is.

    Args:
        levels: of the lesions.
        facts: the lesions, in the same order.
        arrays: their cases.
        weights: how often each replicate draws each case, shape (B, cases).
        level: of the intervals; there is none where all lesions of a level are of one patient.
    """
    found: dict[str, Groups] = {}
    free = arrays.truth_count == 0
    for name, outcomes in stratum_counts(facts, arrays.names, levels).items():
        tp, fp, fn = outcomes.T
        point, drawn = detection.micro(tp, fp, fn, free), {}
        if several_patients(arrays.patients[k] for k in np.flatnonzero(outcomes.any(axis=1))):
            drawn = detection.micro(tp, fp, fn, free, weights)
        found[name] = {"detection.micro": as_figures(point, drawn, level)}
    return found


def several_patients(patients: Iterable[str]) -> bool:
    """Whether there is anything to draw from: samples of a single patient are all alike."""
    return len(set(patients)) > 1


def patient_bootstrap(arrays: CaseArrays, replicates: int, seed: int) -> NDArray[np.int16]:
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
