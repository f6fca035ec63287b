"""Many cases judged, in parallel, and what comes out of all of them together."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import FREESURFER, Place
from shiva_cmb.errors import DataError, Note, ShivaCmbError, warn_user
from shiva_cmb.evaluation.case import CaseResult, evaluate_case
from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.evaluation.figures import (
    CaseArrays,
    Groups,
    case_arrays,
    lesion_level_figures,
    patient_bootstrap,
    several_patients,
    with_intervals,
)
from shiva_cmb.evaluation.metrics import curves
from shiva_cmb.evaluation.metrics.calibration import Reliability, reliability
from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase
from shiva_cmb.evaluation.resampling import interval
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.strata import (
    Levels,
    Stratum,
    case_levels,
    lesion_levels,
    parse_stratum,
    require_strata,
)
from shiva_cmb.evaluation.sweep import NO_PEAK
from shiva_cmb.parallel import Progress, run_cases

ALWAYS = ("size", "n_lesions", "elongation", "sphericity")
"""Strata that need nothing but the masks."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Pooled detection along the thresholds, at one minimum volume and peak threshold; arrays have one entry
    per threshold."""

    thresholds: tuple[float, ...]
    min_volume_mm3: float
    peak_threshold: float | None
    """None: none was asked for; it changes nothing at thresholds that are not below it."""
    sensitivity: NDArray[np.float64]
    sensitivity_low: NDArray[np.float64]
    """Ends of the intervals, NaN where there is none: see `resampling.INTERVAL_RULE`."""
    sensitivity_high: NDArray[np.float64]
    fp_per_scan: NDArray[np.float64]
    precision: NDArray[np.float64]
    reliability: Reliability | None
    """Of the predicted lesions; None if the predictions have no probabilities."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured."""

    settings: EvaluationSettings
    cases: CaseList
    """What was compared, what was missing and what was left over."""
    results: tuple[CaseResult, ...]
    """One per case that could be judged, in the order of the cases."""
    failures: Mapping[str, str]
    """Cases that could not be judged, and why."""
    arrays: CaseArrays
    """The numbers of `results`, side by side."""
    groups: Groups
    """All figures of all cases."""
    strata: Mapping[str, Mapping[str, Groups]]
    """Figures by stratum (as it was asked for) and level."""
    levels: Mapping[str, Levels]
    """Which case or lesion is in which level."""
    curves: Curves | None
    """None without probability maps."""
    notes: tuple[str, ...]
    """What was repaired, guessed or left out."""

    @cached_property
    def facts(self) -> tuple[LesionFacts, ...]:
        """Every lesion of every case."""
        return _facts(self.results)

    @property
    def unread(self) -> dict[str, str]:
        """Cases whose prediction could not be read, and why; they count as empty predictions."""
        return {result.name: result.failure for result in self.results if result.failure is not None}


def evaluate(
    cases: CaseList,
    settings: EvaluationSettings | None = None,
    *,
    region_names: Mapping[int, Place] | None = None,
    features: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
    note: Note = warn_user,
) -> Evaluation:
    """Compare predictions with the truth.

    Args:
        cases: see `pair_cases`.
        settings: see `EvaluationSettings`.
        region_names: of the values in region maps; FreeSurfer's by default.
        features: whether to measure the shape and intensity features of every lesion.
        processes: how many cases at once; the result does not depend on it. More than one are started anew,
            so that a script needs the usual `if __name__ == "__main__"`.
        progress: told how far it is.
        note: told what was repaired, guessed or left out.

    Raises:
        DataError: if no case could be judged.
        UsageError: if a stratum does not exist.
    """
    settings = _with_operating_point(settings or EvaluationSettings())
    asked = [parse_stratum(text) for text in settings.strata]
    require_strata(asked, [case.columns for case in cases.cases])
    notes = list(cases.notes)  # these were told before

    def remark(line: str) -> None:
        notes.append(line)
        note(line)

    work = _Work(settings, FREESURFER if region_names is None else region_names, features)
    outcomes = run_cases(cases.cases, work, processes, progress)
    results, failures = _sorted_out(cases, outcomes, remark)
    arrays = case_arrays(results, settings)
    _tell_of_all(results, arrays, remark)
    weights = patient_bootstrap(arrays, settings.replicates, settings.seed)
    levels = _levels(asked, cases, results, arrays, remark)
    return Evaluation(
        settings=settings,
        cases=cases,
        results=results,
        failures=failures,
        arrays=arrays,
        groups=with_intervals(arrays, weights, settings),
        strata=_strata(levels, results, arrays, weights, settings),
        levels=levels,
        curves=_curves(arrays, weights, settings),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Work:
    """What every process needs to judge a case."""

    settings: EvaluationSettings
    region_names: Mapping[int, Place]
    features: bool

    def __call__(self, case: EvaluationCase) -> CaseResult | str:
        """The result, or why there is none."""
        try:
            return evaluate_case(case, self.settings, region_names=self.region_names, features=self.features)
        except ShivaCmbError as error:
            return str(error)
        except Exception as error:  # a defect of ours: the other cases are not to blame, nor are the files
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return f"unexpected {type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}: {error}"


def _with_operating_point(settings: EvaluationSettings) -> EvaluationSettings:
    """The sweep holds the operating point too, so that it lies on the curves."""
    sweep, criteria = settings.sweep, settings.criteria
    return replace(
        settings,
        sweep=replace(
            sweep,
            thresholds=tuple(sorted({*sweep.thresholds, criteria.threshold})),
            min_volumes_mm3=tuple(sorted({*sweep.min_volumes_mm3, criteria.min_volume_mm3})),
            peak_thresholds=tuple(
                sorted({NO_PEAK, *sweep.peak_thresholds, criteria.peak_threshold or NO_PEAK})
            ),
            connectivity=criteria.connectivity,
        ),
    )


def _facts(results: Sequence[CaseResult]) -> tuple[LesionFacts, ...]:
    return tuple(fact for result in results for fact in result.facts)


def _sorted_out(
    cases: CaseList, outcomes: Sequence[CaseResult | str], remark: Note
) -> tuple[tuple[CaseResult, ...], dict[str, str]]:
    """The results, and why other cases have none; says every remark with the case it was made on.

    Raises:
        DataError: if there is no result.
    """
    results = tuple(outcome for outcome in outcomes if isinstance(outcome, CaseResult))
    named = zip(cases.cases, outcomes, strict=True)
    failures = {case.name: outcome for case, outcome in named if isinstance(outcome, str)}
    for result in results:
        for line in result.notes:
            remark(f"{result.name}: {line}")
        if result.failure is not None:
            remark(f"{result.name}: the prediction cannot be used and counts as empty: {result.failure}")
    for name, reason in failures.items():
        remark(f"{name}: not judged: {reason}")
    if not results:
        why = next(iter(failures.values()), "there are none")
        raise DataError(f"none of {len(cases.cases)} cases could be judged: {why}")
    return results, failures


def _tell_of_all(results: Sequence[CaseResult], arrays: CaseArrays, remark: Note) -> None:
    """Say what the cases together do not allow."""
    some_map = any(result.sweep is not None and result.sweep[..., :2].any() for result in results)
    if arrays.sweep is None and some_map:
        remark("some predictions have no probability map: there are no curves")
    if not several_patients(arrays.patients):
        remark("all cases are of one patient: there are no intervals")


def _levels(
    asked: Sequence[Stratum],
    cases: CaseList,
    results: Sequence[CaseResult],
    arrays: CaseArrays,
    remark: Note,
) -> dict[str, Levels]:
    """Levels by stratum: those that always are shown, then those asked for."""
    facts = _facts(results)
    places = [c for c in ("region", "side") if any(getattr(fact, c) is not None for fact in facts)]
    wanted = [*map(parse_stratum, ALWAYS), *map(Stratum, places), *asked]
    for column in ("region", "side"):
        if column not in places and any(stratum.column == column for stratum in asked):
            remark(f"no lesion has a {column}: it takes parcellations of the cases")
    # a column may be known from the rows of cases that could not be judged only
    known = dict.fromkeys((name for case in cases.cases for name in case.columns), "")
    columns = [{**known, **result.columns} for result in results]
    return {
        stratum.name: lesion_levels(stratum, facts)
        if stratum.unit == "lesion"
        else case_levels(stratum, columns, arrays.truth_count, remark)
        for stratum in dict.fromkeys(wanted)
    }


def _strata(
    levels: Mapping[str, Levels],
    results: Sequence[CaseResult],
    arrays: CaseArrays,
    weights: NDArray[np.int16],
    settings: EvaluationSettings,
) -> dict[str, dict[str, Groups]]:
    """Figures by stratum and level."""
    facts = _facts(results)
    strata: dict[str, dict[str, Groups]] = {}
    for name, of_stratum in levels.items():
        if of_stratum.unit == "lesion":
            strata[name] = lesion_level_figures(of_stratum, facts, arrays, weights, settings.level)
            continue
        strata[name] = {}
        for level in of_stratum.names:
            members = np.flatnonzero(of_stratum.members(level))
            strata[name][level] = with_intervals(arrays.take(members), weights[:, members], settings)
    return strata


def _curves(arrays: CaseArrays, weights: NDArray[np.int16], settings: EvaluationSettings) -> Curves | None:
    counts = arrays.curve
    if counts is None:
        return None
    point = curves.froc(counts)
    low = high = np.full(len(point.sensitivity), np.nan)
    if several_patients(arrays.patients):
        drawn = curves.froc(counts, weights).sensitivity
        low, high = interval(point.sensitivity, drawn, settings.level)
    return Curves(
        thresholds=settings.sweep.thresholds,
        min_volume_mm3=settings.criteria.min_volume_mm3,
        peak_threshold=settings.criteria.peak_threshold,
        sensitivity=point.sensitivity,
        sensitivity_low=low,
        sensitivity_high=high,
        fp_per_scan=point.fp_per_scan,
        precision=curves.precision_recall(counts).precision,
        reliability=None if arrays.lesion_bins is None else reliability(arrays.lesion_bins),
    )
