"""The plots of a comparison, of the cases that were compared."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import Note
from shiva_cmb.evaluation import Comparison, Evaluation
from shiva_cmb.evaluation.figures import lesion_level_figures, patient_bootstrap
from shiva_cmb.evaluation.metrics import curves
from shiva_cmb.evaluation.record import figure_record
from shiva_cmb.evaluation.strata import lesion_levels, parse_stratum
from shiva_cmb.reporting.curve_plots import Line, plot_froc, plot_precision_recall
from shiva_cmb.reporting.evaluation_plots import plot_levels
from shiva_cmb.reporting.plot_style import save_or_note


def draw_comparison(
    comparison: Comparison, runs: Mapping[str, Sequence[Evaluation]], folder: Path, note: Note
) -> None:
    """Write sensitivity by size, and the curves of those methods that have some.

    Shown are the cases that all runs were judged on, and of several runs the first, which the titles say.

    Args:
        comparison: what came out.
        runs: the evaluations it was made of.
        folder: must exist.
        note: told of plots that could not be drawn; the others are.
    """
    first = {name: evaluations[0] for name, evaluations in runs.items()}
    most = max(len(evaluations) for evaluations in runs.values())
    shown = f"{len(comparison.cases)} common case{'' if len(comparison.cases) == 1 else 's'}"
    shown += f", run 1 of {most}" if most > 1 else ""
    level = next(iter(first.values())).settings.level
    sizes = {name: _by_size(evaluation, comparison) for name, evaluation in first.items()}
    if any(sizes.values()):
        title = f"Sensitivity by size, {shown}"
        make = partial(plot_levels, sizes, level=level, title=title)
        save_or_note(make, folder, "sensitivity_by_size", note)
    froc, recall = {}, {}
    for name, evaluation in first.items():
        if evaluation.arrays.curve is not None:
            counts = evaluation.arrays.curve[_rows(evaluation, comparison)]
            rates, precision = curves.froc(counts), curves.precision_recall(counts).precision
            froc[name] = Line(rates.fp_per_scan, rates.sensitivity)
            recall[name] = Line(rates.sensitivity, precision)
    if froc:
        make = partial(plot_froc, froc, title=f"Free-response ROC, {shown}")
        save_or_note(make, folder, "froc", note)
        make = partial(plot_precision_recall, recall, title=f"Precision and recall, {shown}")
        save_or_note(make, folder, "precision_recall", note)


def _rows(evaluation: Evaluation, comparison: Comparison) -> NDArray[np.intp]:
    """Where the compared cases are among those of a run."""
    place = {name: row for row, name in enumerate(evaluation.arrays.names)}
    return np.array([place[name] for name in comparison.cases], np.intp)


def _by_size(evaluation: Evaluation, comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Sensitivity by size class of the true lesions, with intervals of the comparison's bootstrap."""
    arrays = evaluation.arrays.take(_rows(evaluation, comparison))
    kept = set(comparison.cases)
    facts = [fact for fact in evaluation.facts if fact.case in kept]
    levels = lesion_levels(parse_stratum("size"), facts)
    weights = patient_bootstrap(arrays, comparison.replicates, comparison.seed)
    found = lesion_level_figures(levels, facts, arrays, weights, evaluation.settings.level)
    return {name: figure_record(groups["detection.micro"]["sensitivity"]) for name, groups in found.items()}
