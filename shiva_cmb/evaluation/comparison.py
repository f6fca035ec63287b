"""Two or more methods on the same cases: which differences are more than chance."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.figures import (
    DEFINITIONS,
    CaseArrays,
    Measures,
    Weights,
    exchange_cases,
    measure_all,
    patient_bootstrap,
    several_patients,
)
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.metrics.weighted import Measure
from shiva_cmb.evaluation.pipeline import Evaluation
from shiva_cmb.evaluation.resampling import Figure, as_figures, holm, permutation_p, swap_methods

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

PERMUTATIONS = 5000
"""Of the test by default: the smallest p value is 1 / 5001."""

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
    """Second less first, with the paired bootstrap's interval; see `resampling.INTERVAL_RULE`."""
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
    permutations: int = PERMUTATIONS,
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
    arrays, left_out = _side_by_side(runs)
    first = next(iter(arrays.values()))[0]
    rule = next(iter(runs.values()))[0].settings.rule
    figures_of = _Figures.chosen(figures, measure_all(first, None, rule, _POSITIVE), rule)
    points = {n: [figures_of(a, None) for a in several] for n, several in arrays.items()}
    drawn: dict[str, list[Flat]] = {n: [] for n in arrays}
    if several_patients(first.patients):
        weights = patient_bootstrap(first, replicates, seed)
        drawn = {n: [figures_of(a, weights) for a in several] for n, several in arrays.items()}
    differences: list[Difference] = []
    for one, other in combinations(runs, 2):
        null = _null(figures_of, arrays[one], arrays[other], permutations, seed)
        for name in figures_of.names:
            point = {name: _less(_mean(name, points[other]), _mean(name, points[one]))}
            samples = {name: _less(_mean(name, drawn[other]), _mean(name, drawn[one]))} if drawn[one] else {}
            difference = as_figures(point, samples, level)[name]
            p = permutation_p(difference.value, null[name])
            differences.append(Difference(name, one, other, difference, p, np.nan))
    adjusted = holm([difference.p for difference in differences])
    return Comparison(
        cases=first.names,
        left_out=left_out,
        methods={
            method: {n: _method_figure(n, points[method], drawn[method], level) for n in figures_of.names}
            for method in runs
        },
        differences=tuple(replace(d, p_holm=float(p)) for d, p in zip(differences, adjusted, strict=True)),
        replicates=replicates,
        permutations=permutations,
        seed=seed,
    )


_POSITIVE = (1,)
"""Scans are compared as positive or negative by any lesion."""


@dataclass(frozen=True)
class _Figures:
    """Measures the wanted figures of cases, and little else."""

    names: tuple[str, ...]
    """Full names, `detection.micro.f1`."""
    groups: frozenset[str]
    voxels: frozenset[str]
    rule: MatchRule

    @classmethod
    def chosen(cls, wanted: Sequence[str] | None, measured: Measures, rule: MatchRule) -> "_Figures":
        """Those that are asked for, or those of `COMPARED` that there are.

        Raises:
            UsageError: if one was not measured.
        """
        group_of = {f"{group}.{name}": group for group, named in measured.items() for name in named}
        names = _tested(wanted, group_of)
        of_voxels = (name.removeprefix("segmentation.") for name in names)
        return cls(
            names,
            frozenset(group_of[name] for name in names),
            frozenset(name.removesuffix("_mean").removesuffix("_median") for name in of_voxels),
            rule,
        )

    def __call__(self, arrays: CaseArrays, weights: Weights) -> Flat:
        """Figures by full name."""
        needed = replace(arrays, voxels={n: v for n, v in arrays.voxels.items() if n in self.voxels})
        groups = measure_all(needed, weights, self.rule, _POSITIVE, self.groups)
        return {f"{group}.{name}": m for group, named in groups.items() for name, m in named.items()}


def _tested(figures: Sequence[str] | None, measured: Collection[str]) -> tuple[str, ...]:
    """The figures to test.

    Raises:
        UsageError: if one was not measured.
    """
    if not figures:
        return tuple(name for name in COMPARED if name in measured)
    unknown = [name for name in figures if name not in measured]
    if unknown:
        raise UsageError(_no_such_figure(unknown[0], measured))
    return tuple(dict.fromkeys(figures))


def require_figures(figures: Sequence[str]) -> None:
    """Check the names of figures before any work is done.

    Raises:
        UsageError: if there is no such figure; it names the nearest.
    """
    known = [f"{group}.{name}" for group, named in DEFINITIONS.items() for name in named]
    for figure in figures:
        # scan_classification.3.f1: one set of figures for every number of lesions
        if re.sub(r"^(scan_classification)\.\d+\.", r"\1.", figure) not in known:
            raise UsageError(_no_such_figure(figure, known))


def _no_such_figure(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    return f"there is no figure {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def _side_by_side(
    runs: Mapping[str, Sequence[Evaluation]],
) -> tuple[dict[str, list[CaseArrays]], tuple[str, ...]]:
    """Every run's arrays with the same cases and thresholds, and the cases that are left out.

    Raises:
        UsageError: if the runs cannot be compared.
    """
    counts = {len(evaluations) for evaluations in runs.values()}
    every = [evaluation for evaluations in runs.values() for evaluation in evaluations]
    if len(counts) != 1 or len(every) < 2:
        told = ", ".join(f"{name}: {len(evaluations)}" for name, evaluations in runs.items())
        raise UsageError(
            "expected two or more methods with as many runs each, or several runs of one, got "
            f"{told or 'none'}"
        )
    cases, left_out = _common_cases(every)
    thresholds = _common_thresholds(every)
    arrays = {name: [_aligned(e, cases, thresholds) for e in several] for name, several in runs.items()}
    _require_same_truth(runs, arrays)
    if any(one.curve is None for several in arrays.values() for one in several):
        arrays = {n: [replace(a, curve=None) for a in several] for n, several in arrays.items()}
    return arrays, left_out


def _common_cases(evaluations: Sequence[Evaluation]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    everywhere = set.intersection(*(set(evaluation.arrays.names) for evaluation in evaluations))
    common = [name for name in evaluations[0].arrays.names if name in everywhere]
    seen = {name for evaluation in evaluations for name in (*evaluation.arrays.names, *evaluation.failures)}
    if not common:
        raise UsageError("the methods have no case in common")
    return tuple(common), tuple(sorted(seen - everywhere))


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
    row_of = {name: row for row, name in enumerate(arrays.names)}
    rows = np.array([row_of[case] for case in cases])
    kept = arrays.take(rows)
    if arrays.curve is None or not thresholds:
        return kept
    columns = [settings.sweep.thresholds.index(threshold) for threshold in thresholds]
    return replace(kept, curve=arrays.curve[rows][:, columns])


def _mean(name: str, runs: Sequence[Flat]) -> Measure:
    """Mean over runs of one figure."""
    return Measure(np.mean([run[name].value for run in runs], axis=0), runs[0][name].n)


def _less(a: Measure, b: Measure) -> Measure:
    return Measure(a.value - b.value, np.minimum(a.n, b.n))


def _method_figure(name: str, points: Sequence[Flat], drawn: Sequence[Flat], level: float) -> MethodFigure:
    samples = {name: _mean(name, drawn)} if drawn else {}
    figure = as_figures({name: _mean(name, points)}, samples, level)[name]
    values = tuple(float(point[name].value) for point in points)
    return MethodFigure(figure, values, float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"))


def _null(
    figures_of: _Figures,
    first: Sequence[CaseArrays],
    second: Sequence[CaseArrays],
    permutations: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Differences of every figure where patients' results were exchanged at random, shape (permutations,)."""
    # every pair of methods has the same exchanges, so that its p values do not depend on the other methods
    swap = swap_methods(first[0].patients, permutations, np.random.default_rng((seed, 1)))
    null: dict[str, list[NDArray[np.float64]]] = {name: [] for name in figures_of.names}
    for block in np.array_split(swap, min(len(swap), max(1, swap.size // 20_000))):
        exchanged = [exchange_cases(a, b, block) for a, b in zip(first, second, strict=True)]
        one = [figures_of(a, None) for a, _ in exchanged]
        other = [figures_of(b, None) for _, b in exchanged]
        for name in figures_of.names:
            null[name].append(np.atleast_1d(_mean(name, other).value - _mean(name, one).value))
    return {name: np.concatenate(parts) for name, parts in null.items()}
