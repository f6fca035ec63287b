"""The plots of an evaluation, and the entries of its gallery."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from shiva_cmb.evaluation import Evaluation
from shiva_cmb.evaluation.figures import empty_convention
from shiva_cmb.evaluation.metrics import detection
from shiva_cmb.evaluation.reading import read_case
from shiva_cmb.evaluation.record import figure_record
from shiva_cmb.imaging import Volume, align_image, read_volume
from shiva_cmb.reporting.curve_plots import (
    Line,
    plot_froc,
    plot_precision_recall,
    plot_reliability,
    plot_thresholds,
)
from shiva_cmb.reporting.evaluation_plots import (
    plot_bland_altman,
    plot_levels,
    plot_per_case,
    plot_violins,
)
from shiva_cmb.reporting.gallery import GalleryEntry, GalleryVolumes
from shiva_cmb.reporting.plot_style import save_plot


def draw_plots(evaluation: Evaluation, folder: Path, name: str) -> None:
    """Write every plot the evaluation has numbers for, as PNG and SVG.

    Args:
        evaluation: what was measured.
        folder: must exist.
        name: of the method, for the legends.
    """
    arrays, level = evaluation.arrays, evaluation.settings.level
    dice = arrays.voxels["dice"]
    f1 = detection.per_case(arrays.tp, arrays.fp, arrays.fn, empty_convention(evaluation.settings.rule))["f1"]
    save_plot(plot_bland_altman(arrays.truth_count, arrays.predicted_count), folder, "bland_altman")
    save_plot(plot_per_case(arrays.names, dice), folder, "dice_per_case")
    for stratum, levels in evaluation.levels.items():
        measured = {
            one: figure_record(groups["detection.micro"]["sensitivity"])
            for one, groups in evaluation.strata[stratum].items()
        }
        file = "".join(c if c.isalnum() else "_" for c in stratum)
        figure = plot_levels({name: measured}, stratum=stratum, level=level)
        save_plot(figure, folder, f"sensitivity_by_{file}")
        if levels.unit == "case":
            members = {one: levels.members(one) for one in levels.names}
            for figure_name, values in (("Dice", dice), ("F1", f1)):
                spread = {one: values[rows] for one, rows in members.items()}
                figure = plot_violins(spread, figure_name=figure_name, stratum=stratum)
                save_plot(figure, folder, f"{figure_name.lower()}_by_{file}")
    if evaluation.curves is not None:
        _draw_curves(evaluation, folder, name)


def _draw_curves(evaluation: Evaluation, folder: Path, name: str) -> None:
    curves = evaluation.curves
    if curves is None:
        return
    chosen = curves.thresholds.index(evaluation.settings.criteria.threshold)
    froc = Line(
        curves.fp_per_scan,
        curves.sensitivity,
        low=curves.sensitivity_low,
        high=curves.sensitivity_high,
        marked=chosen,
    )
    save_plot(plot_froc({name: froc}), folder, "froc")
    recall = Line(curves.sensitivity, curves.precision, marked=chosen)
    save_plot(plot_precision_recall({name: recall}), folder, "precision_recall")
    both = curves.sensitivity + curves.precision
    f1 = np.divide(2 * curves.sensitivity * curves.precision, both, out=np.zeros_like(both), where=both > 0)
    lines = {"sensitivity": curves.sensitivity, "precision": curves.precision, "F1": f1}
    thresholds = {n: Line(curves.thresholds, values, marked=chosen) for n, values in lines.items()}
    save_plot(plot_thresholds(thresholds), folder, "thresholds")
    if curves.reliability is not None:
        save_plot(plot_reliability({"lesions": curves.reliability}), folder, "reliability")


def gallery_entries(evaluation: Evaluation) -> list[GalleryEntry]:
    """Misses, the largest first, then false alarms, the most probable (else the largest) first."""
    misses = sorted((f for f in evaluation.facts if f.status == "FN"), key=lambda f: -f.volume_mm3)
    alarms = sorted(
        (f for f in evaluation.facts if f.status == "FP"), key=lambda f: (-(f.score or 0.0), -f.volume_mm3)
    )
    return [
        GalleryEntry(
            case=fact.case,
            kind="missed" if fact.status == "FN" else "false alarm",
            place_mm=(fact.x_mm, fact.y_mm, fact.z_mm),
            volume_mm3=fact.volume_mm3,
            score=fact.score,
            title=" ".join(part for part in (fact.region, fact.side) if part),
        )
        for fact in (*misses, *alarms)
    ]


def gallery_loader(evaluation: Evaluation) -> Callable[[str], GalleryVolumes]:
    """Reads the images of a case again, as they are not kept while figures are computed."""
    cases = {case.name: case for case in evaluation.cases.cases}

    def silent(_: str) -> None:
        """Remarks on these files were made before."""

    def load(name: str) -> GalleryVolumes:
        case = cases[name]
        if name in evaluation.unread:
            case = replace(case, prediction=None, probability=None)
        lesions = read_case(case, evaluation.settings, note=silent)
        grid = lesions.truth.grid
        image = None
        if case.image is not None:
            image = align_image(read_volume(case.image, note=silent), grid, str(case.image), silent)
        return GalleryVolumes(
            image=image,
            truth=Volume(lesions.truth.labels(), grid.affine),
            prediction=Volume(lesions.prediction.labels(), grid.affine),
        )

    return load
