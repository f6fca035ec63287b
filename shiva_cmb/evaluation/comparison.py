"""Two or more methods on the same cases: which differences are more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.figures import CaseArrays, Weights, measure_all, patient_bootstrap
from shiva_cmb.evaluation.metrics.weighted import Measure
from shiva_cmb.evaluation.pipeline import Evaluation
from shiva_cmb.evaluation.resampling import Figure, as_figures, exchange, holm, permutation_p, swap_methods

COMPARED = (
    "detection.micro.sensitivity",
    "detection.micro.precision",
    "detection.micro.f1",
    "detection.micro.fp_per_scan",
    "detection.micro.fp_per_lesion_free_scan",
    "detection.macro.sensitivity",
    "detection.macro.precision",
    "detection.macro.f1",
    "detection.curves.free_response_score",
    "detection.curves.average_precision",
    "segmentation.dice_mean",
    "segmentation.matched_dice_mean",
    "counts.absolute_error_mean",
    "counts.icc",
    "scan_classification.1.f1",
    "scan_classification.1.auc",
)
"""Figures that are tested. Few, as every further test weakens the others."""

Flat = dict[str, Measure]


@dataclass(frozen=True)
class MethodFigure:
    """One figure of one method: the mean over its runs."""

    figure: Figure
    runs: tuple[float, ...]
    """The value of every run (seed)."""
    runs_sd: float
    """Their standard deviation (n - 1); NaN for a single run."""


@dataclass(frozen=True)
class Difference:
    """One figure of two methods on the same cases."""

    name: str
    first: str
    second: str
    difference: Figure
    """Second less first, with the paired bootstrap's interval."""
    p: float
    """Two-sided permutation test: each patient's results of both methods are exchanged or not."""
    p_holm: float
    """Corrected for all figures and pairs of methods of this comparison."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was compared, and what came out."""

    cases: tuple[str, ...]
    """Cases that all runs were judged on."""
    left_out: tuple[str, ...]
    """Cases that at least one run could not be judged on."""
    methods: Mapping[str, Mapping[str, MethodFigure]]
    """Figures by method and name."""
    differences: tuple[Difference, ...]
    replicates: int
    permutations: int
    seed: int


def compare(
    runs: Mapping[str, Sequence[Evaluation]],
    *,
    figures: Sequence[str] | None = None,
    replicates: int = 1000,
    permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare methods that were evaluated on the same truth.

    Args:
        runs: the evaluations of each method; several are runs of it with other seeds, and every method
            then needs as many. Figures are means over runs. Several runs of one method show their spread.
        figures: which ones to test, by group and name; those of `COMPARED` that are there by default.
        replicates: bootstrap samples of patients, the same ones for all methods.
        permutations: of the test.
        level: of the intervals.
        seed: of both.

    Raises:
        UsageError: if there are fewer than two runs in all, the numbers of runs differ, they have no case
            in common, or there is no such figure.
    """
    counts = {len(evaluations) for evaluations in runs.values()}
    if len(counts) != 1 or sum(len(evaluations) for evaluations in runs.values()) < 2 or 0 in counts:
        told = ", ".join(f"{name}: {len(evaluations)}" for name, evaluations in runs.items())
        raise UsageError(
            "expected two or more methods with as many runs each, or several runs of one, got "
            f"{told or 'none'}"
        )
    every = [evaluation for evaluations in runs.values() for evaluation in evaluations]
    cases, left_out = _common_cases(every)
    thresholds = _common_thresholds(every)
    arrays = {name: [_aligned(e, cases, thresholds) for e in several] for name, several in runs.items()}
    _require_same_truth(runs, arrays)
    if not all(one.sweep is not None for several in arrays.values() for one in several):
        arrays = {n: [replace(a, sweep=None) for a in several] for n, several in arrays.items()}
    any_run = next(iter(runs.values()))[0]
    names = _tested(figures, _flat(any_run, next(iter(arrays.values()))[0], None))
    weights = patient_bootstrap(next(iter(arrays.values()))[0], replicates, seed)
    points = {n: [_flat(any_run, a, None) for a in several] for n, several in arrays.items()}
    drawn = {n: [_flat(any_run, a, weights) for a in several] for n, several in arrays.items()}
    methods = {
        method: {name: _method_figure(name, points[method], drawn[method], level) for name in names}
        for method in runs
    }
    differences: list[Difference] = []
    for first, second in combinations(runs, 2):
        null = _null(any_run, arrays[first], arrays[second], names, permutations, seed)
        for name in names:
            difference = as_figures(
                {name: _less(_mean(name, points[second]), _mean(name, points[first]))},
                {name: _less(_mean(name, drawn[second]), _mean(name, drawn[first]))},
                level,
            )[name]
            p = permutation_p(difference.value, null[name])
            differences.append(Difference(name, first, second, difference, p, np.nan))
    adjusted = holm([difference.p for difference in differences])
    return Comparison(
        cases=cases,
        left_out=left_out,
        methods=methods,
        differences=tuple(replace(d, p_holm=float(p)) for d, p in zip(differences, adjusted, strict=True)),
        replicates=replicates,
        permutations=permutations,
        seed=seed,
    )


def _tested(figures: Sequence[str] | None, measured: Flat) -> list[str]:
    """The figures to test.

    Raises:
        UsageError: if one was not measured.
    """
    if not figures:
        return [name for name in COMPARED if name in measured]
    unknown = [name for name in figures if name not in measured]
    if unknown:
        raise UsageError(f"there is no figure {unknown[0]!r}; there are {', '.join(measured)}")
    return list(dict.fromkeys(figures))


def _common_cases(evaluations: Sequence[Evaluation]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    common = [n for n in evaluations[0].arrays.names if all(n in e.arrays.names for e in evaluations)]
    seen = {name for evaluation in evaluations for name in (*evaluation.arrays.names, *evaluation.failures)}
    if not common:
        raise UsageError("the methods have no case in common")
    return tuple(common), tuple(sorted(seen - set(common)))


def _common_thresholds(evaluations: Sequence[Evaluation]) -> tuple[float, ...]:
    """Thresholds that all were swept at: each sweep holds its method's own operating point too."""
    common = set.intersection(*(set(evaluation.settings.sweep.thresholds) for evaluation in evaluations))
    return tuple(sorted(common))


def _require_same_truth(
    runs: Mapping[str, Sequence[Evaluation]], arrays: Mapping[str, Sequence[CaseArrays]]
) -> None:
    """Differences mean nothing where the methods were not judged alike.

    Raises:
        UsageError: if rules or truth lesions differ.
    """
    every = [(name, *pair) for name in runs for pair in zip(runs[name], arrays[name], strict=True)]
    first, reference, expected = every[0]
    for method, evaluation, found in every[1:]:
        for what in ("rule", "ignore_below_mm3", "truth_kind"):
            one, other = getattr(reference.settings, what), getattr(evaluation.settings, what)
            if one != other:
                raise UsageError(f"{first} and {method} were judged differently: {what} {one} and {other}")
        differing = np.flatnonzero(expected.truth_count != found.truth_count)
        if len(differing):
            case = differing[0]
            raise UsageError(
                f"{first} and {method} were judged by other truths: case {found.names[case]!r} has"
                f" {expected.truth_count[case]} and {found.truth_count[case]} lesions"
            )


def _aligned(evaluation: Evaluation, cases: tuple[str, ...], thresholds: tuple[float, ...]) -> CaseArrays:
    """The arrays with exactly these cases and thresholds, in this order, at the run's own minimum volume."""
    arrays, settings = evaluation.arrays, evaluation.settings
    rows = np.array([arrays.names.index(case) for case in cases])
    kept = arrays.take(rows)
    if arrays.sweep is None or not thresholds:
        return kept
    columns = [settings.sweep.thresholds.index(threshold) for threshold in thresholds]
    volume = settings.sweep.min_volumes_mm3.index(settings.criteria.min_volume_mm3)
    return replace(kept, sweep=arrays.sweep[rows][:, columns, volume : volume + 1])


def _flat(evaluation: Evaluation, arrays: CaseArrays, weights: Weights) -> Flat:
    """Figures by their full name."""
    groups = measure_all(arrays, weights, evaluation.settings.rule, (1,), 0)
    return {f"{group}.{name}": m for group, measures in groups.items() for name, m in measures.items()}


def _mean(name: str, runs: Sequence[Flat]) -> Measure:
    """Mean over runs of one figure."""
    return Measure(np.mean([run[name].value for run in runs], axis=0), runs[0][name].n)


def _less(a: Measure, b: Measure) -> Measure:
    return Measure(a.value - b.value, np.minimum(a.n, b.n))


def _method_figure(name: str, points: Sequence[Flat], drawn: Sequence[Flat], level: float) -> MethodFigure:
    figure = as_figures({name: _mean(name, points)}, {name: _mean(name, drawn)}, level)[name]
    values = tuple(float(point[name].value) for point in points)
    return MethodFigure(figure, values, float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"))


def _null(
    evaluation: Evaluation,
    first: Sequence[CaseArrays],
    second: Sequence[CaseArrays],
    names: Sequence[str],
    permutations: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Differences of every figure where patients' results were exchanged at random, shape (permutations,)."""
    # every pair of methods has the same exchanges, so that its p values do not depend on the other methods
    swap = swap_methods(first[0].patients, permutations, np.random.default_rng((seed, 1)))
    null: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for block in np.array_split(swap, max(1, swap.size // 20_000)):
        exchanged = [_exchanged(a, b, block) for a, b in zip(first, second, strict=True)]
        one = [_flat(evaluation, a, None) for a, _ in exchanged]
        other = [_flat(evaluation, b, None) for _, b in exchanged]
        for name in names:
            null[name].append(np.atleast_1d(_mean(name, other).value - _mean(name, one).value))
    return {name: np.concatenate(parts) for name, parts in null.items()}


def _exchanged(a: CaseArrays, b: CaseArrays, swap: NDArray[np.bool_]) -> tuple[CaseArrays, CaseArrays]:
    """Two runs with the results of some cases exchanged, each with a leading axis of permutations."""
    tp, fp, fn = (exchange(getattr(a, name), getattr(b, name), swap) for name in ("tp", "fp", "fn"))
    truth_count = exchange(a.truth_count, b.truth_count, swap)
    predicted_count = exchange(a.predicted_count, b.predicted_count, swap)
    voxels = {name: exchange(a.voxels[name], b.voxels[name], swap) for name in a.voxels}
    sweeps = (None, None) if a.sweep is None or b.sweep is None else exchange(a.sweep, b.sweep, swap)

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
            sweep=sweeps[k],
            voxel_bins=None,
            lesion_bins=None,
        )

    return side(0), side(1)
