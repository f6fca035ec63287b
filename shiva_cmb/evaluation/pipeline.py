"""Many cases judged, in parallel, and what comes out of all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import FREESURFER, Place
from shiva_cmb.errors import DataError, Note, ShivaCmbError, warn_user
from shiva_cmb.evaluation.case import CaseResult, evaluate_case
from shiva_cmb.evaluation.figures import (
    CaseArrays,
    Groups,
    case_arrays,
    measure_all,
    patient_bootstrap,
    with_intervals,
)
from shiva_cmb.evaluation.metrics import curves, detection, weighted
from shiva_cmb.evaluation.metrics.calibration import Reliability, reliability
from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase
from shiva_cmb.evaluation.parallel import Progress, run_cases
from shiva_cmb.evaluation.resampling import as_figures
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.strata import (
    LesionFacts,
    Levels,
    Stratum,
    case_levels,
    lesion_levels,
    parse_stratum,
    stratum_counts,
)

ALWAYS = ("size", "n_lesions", "elongation", "sphericity")
"""Strata that need nothing but the masks."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Pooled detection along the thresholds, at one minimum volume; arrays have one entry per threshold."""

    thresholds: tuple[float, ...]
    min_volume_mm3: float
    sensitivity: NDArray[np.float64]
    sensitivity_low: NDArray[np.float64]
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
    """Figures by stratum and level."""
    levels: Mapping[str, Levels]
    """Which case or lesion is in which level."""
    curves: Curves | None
    """None without probability maps."""
    notes: tuple[str, ...]
    """What was repaired, guessed or left out."""

    @property
    def facts(self) -> tuple[LesionFacts, ...]:
        """Every lesion of every case."""
        return tuple(fact for result in self.results for fact in result.facts)

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
    notes: list[str] = []

    def remark(line: str) -> None:
        notes.append(line)
        note(line)

    work = _Work(settings, FREESURFER if region_names is None else region_names, features)
    outcomes = run_cases(cases.cases, work, processes, progress)
    results = tuple(outcome for outcome in outcomes if isinstance(outcome, CaseResult))
    named = zip(cases.cases, outcomes, strict=True)
    failures = {case.name: outcome for case, outcome in named if isinstance(outcome, str)}
    _tell(results, failures, remark)
    if not results:
        why = next(iter(failures.values()), "there are none")
        raise DataError(f"none of {len(cases.cases)} cases could be judged: {why}")
    sweep = settings.sweep
    arrays = case_arrays(results, len(sweep.thresholds), len(sweep.min_volumes_mm3))
    some_map = any(result.sweep is not None and result.sweep[..., :2].any() for result in results)
    if arrays.sweep is None and some_map:
        remark("some predictions have no probability map: there are no curves")
    volume = sweep.min_volumes_mm3.index(settings.criteria.min_volume_mm3)
    weights = patient_bootstrap(arrays, settings.replicates, settings.seed)
    groups = with_intervals(
        arrays,
        lambda a, w: measure_all(a, w, settings.rule, settings.scan_thresholds, volume),
        weights,
        settings.level,
    )
    levels = _levels(results, arrays, settings, remark)
    strata = {name: _stratum(level, results, arrays, weights, settings) for name, level in levels.items()}
    return Evaluation(
        settings=settings,
        cases=cases,
        results=results,
        failures=failures,
        arrays=arrays,
        groups=groups,
        strata=strata,
        levels=levels,
        curves=None if arrays.sweep is None else _curves(arrays, weights, settings, volume),
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
        except Exception as error:  # whatever it is, the other cases are not to blame
            return f"{type(error).__name__}: {error}"


def _with_operating_point(settings: EvaluationSettings) -> EvaluationSettings:
    """The sweep holds the operating point too, so that it lies on the curves."""
    sweep, criteria = settings.sweep, settings.criteria
    return replace(
        settings,
        sweep=replace(
            sweep,
            thresholds=tuple(sorted({*sweep.thresholds, criteria.threshold})),
            min_volumes_mm3=tuple(sorted({*sweep.min_volumes_mm3, criteria.min_volume_mm3})),
            connectivity=criteria.connectivity,
        ),
    )


def _tell(results: Sequence[CaseResult], failures: Mapping[str, str], remark: Note) -> None:
    """Every remark, with the case it was made on."""
    for result in results:
        for line in result.notes:
            remark(f"{result.name}: {line}")
        if result.failure is not None:
            remark(f"{result.name}: the prediction cannot be used and counts as empty: {result.failure}")
    for name, reason in failures.items():
        remark(f"{name}: not judged: {reason}")


def _levels(
    results: Sequence[CaseResult], arrays: CaseArrays, settings: EvaluationSettings, remark: Note
) -> dict[str, Levels]:
    facts = [fact for result in results for fact in result.facts]
    asked = [parse_stratum(text) for text in settings.strata]
    wanted = {stratum.column: stratum for stratum in map(parse_stratum, ALWAYS)}
    for column in ("region", "side"):
        if any(getattr(fact, column) is not None for fact in facts):
            wanted[column] = Stratum(column)
    wanted |= {stratum.column: stratum for stratum in asked}
    columns = [result.columns for result in results]
    return {
        name: lesion_levels(stratum, facts)
        if stratum.unit == "lesion"
        else case_levels(stratum, columns, arrays.truth_count, remark)
        for name, stratum in wanted.items()
    }


def _stratum(
    levels: Levels,
    results: Sequence[CaseResult],
    arrays: CaseArrays,
    weights: NDArray[np.int32],
    settings: EvaluationSettings,
) -> dict[str, Groups]:
    """Figures of every level; a matched pair counts in the level of its truth lesion."""
    found: dict[str, Groups] = {}
    if levels.unit == "case":
        for level in levels.names:
            members = levels.members(level)
            found[level] = with_intervals(
                arrays.take(np.flatnonzero(members)),
                lambda a, w: measure_all(a, w, settings.rule, settings.scan_thresholds, 0),
                weights[:, members],
                settings.level,
            )
        return found
    facts = [fact for result in results for fact in result.facts]
    free = arrays.truth_count == 0
    for level, counts in stratum_counts(facts, arrays.names, levels).items():
        tp, fp, fn = counts.T
        point, replicates = (detection.micro(tp, fp, fn, free, drawn) for drawn in (None, weights))
        found[level] = {"detection.micro": as_figures(point, replicates, settings.level)}
    return found


def _curves(
    arrays: CaseArrays, weights: NDArray[np.int32], settings: EvaluationSettings, volume: int
) -> Curves | None:
    if arrays.sweep is None:
        return None
    counts = arrays.sweep[:, :, volume]
    point, recall = curves.froc(counts), curves.precision_recall(counts)
    drawn = curves.froc(counts, weights).sensitivity
    tail = (1 - settings.level) / 2
    low, high = (end.value for end in weighted.quantiles(drawn.T, None, (tail, 1 - tail)))
    return Curves(
        thresholds=settings.sweep.thresholds,
        min_volume_mm3=settings.sweep.min_volumes_mm3[volume],
        sensitivity=point.sensitivity,
        sensitivity_low=low,
        sensitivity_high=high,
        fp_per_scan=point.fp_per_scan,
        precision=recall.precision,
        reliability=None if arrays.lesion_bins is None else reliability(arrays.lesion_bins),
    )
