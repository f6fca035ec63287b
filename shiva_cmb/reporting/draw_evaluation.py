"""The plots of an evaluation, and the entries of its gallery."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiva_cmb.errors import ImageError, Note
from shiva_cmb.evaluation import Evaluation
from shiva_cmb.evaluation.figures import empty_convention
from shiva_cmb.evaluation.metrics import detection
from shiva_cmb.evaluation.pipeline import Curves
from shiva_cmb.evaluation.reading import read_case
from shiva_cmb.evaluation.record import figure_record
from shiva_cmb.imaging import Grid, Volume, align_image, read_volume
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
from shiva_cmb.reporting.plot_style import save_or_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_plots(evaluation: Evaluation, folder: Path, note: Note) -> None:
    """Write every plot the evaluation has numbers for, as PNG and SVG.

    Args:
        evaluation: what was measured.
        folder: must exist.
        note: told of plots that could not be drawn; the others are.
    """
    arrays, level = evaluation.arrays, evaluation.settings.level
    dice = arrays.voxels["dice"]
    f1 = detection.per_case(arrays.tp, arrays.fp, arrays.fn, empty_convention(evaluation.settings.rule))["f1"]
    plots = {
        "bland_altman": partial(plot_bland_altman, arrays.truth_count, arrays.predicted_count),
        "dice_per_case": partial(plot_per_case, arrays.names, dice),
    }
    for stratum, levels in evaluation.levels.items():
        measured = {
            one: figure_record(groups["detection.micro"]["sensitivity"])
            for one, groups in evaluation.strata[stratum].items()
        }
        file = "".join(c if c.isalnum() else "_" for c in stratum)
        while f"sensitivity_by_{file}" in plots:  # te:1,2 and te:1.2
            file += "_"
        plots[f"sensitivity_by_{file}"] = partial(
            plot_levels, {"sensitivity": measured}, stratum=stratum, level=level
        )
        if levels.unit == "case":
            members = {one: levels.members(one) for one in levels.names}
            for name, values in (("Dice", dice), ("F1", f1)):
                spread = {one: values[rows] for one, rows in members.items()}
                plots[f"{name.lower()}_by_{file}"] = partial(
                    plot_violins, spread, figure_name=name, stratum=stratum
                )
    if evaluation.curves is not None:
        plots |= _plots_of_curves(evaluation, evaluation.curves)
    for name, make in plots.items():
        save_or_note(make, folder, name, note)


def judged_by_labels(evaluation: Evaluation) -> tuple[str, ...]:
    """Cases whose lesions are those of a label map, so that they may differ from the curves of the maps.

    Where neither has a lesion, they do not differ.
    """
    return tuple(
        result.name
        for result in evaluation.results
        if result.judged == "labels"
        and (
            any(fact.kind == "prediction" for fact in result.facts)
            or (result.sweep is not None and result.sweep[..., :2].any())
        )
    )


def _plots_of_curves(evaluation: Evaluation, curves: Curves) -> dict[str, "partial[Figure]"]:
    # a ring on the curves would be read as the figures in the tables, which are those of the label maps
    chosen = (
        None
        if judged_by_labels(evaluation)
        else curves.thresholds.index(evaluation.settings.criteria.threshold)
    )
    froc = Line(
        curves.fp_per_scan,
        curves.sensitivity,
        low=curves.sensitivity_low,
        high=curves.sensitivity_high,
        marked=chosen,
    )
    recall = Line(curves.sensitivity, curves.precision, marked=chosen)
    both = curves.sensitivity + curves.precision
    f1 = np.divide(2 * curves.sensitivity * curves.precision, both, out=np.zeros_like(both), where=both > 0)
    lines = {"sensitivity": curves.sensitivity, "precision": curves.precision, "F1": f1}
    thresholds = {n: Line(curves.thresholds, values, marked=chosen) for n, values in lines.items()}
    plots = {
        "froc": partial(plot_froc, {"sensitivity": froc}),
        "precision_recall": partial(plot_precision_recall, {"precision": recall}),
        "thresholds": partial(plot_thresholds, thresholds),
    }
    if curves.reliability is not None:
        plots["reliability"] = partial(plot_reliability, {"lesions": curves.reliability})
    return plots


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


def gallery_loader(evaluation: Evaluation, note: Note) -> Callable[[str], GalleryVolumes]:
    """Reads the images of a case again, as they are not kept while figures are computed.

    Args:
        evaluation: whose cases are read.
        note: told of scans that cannot be used; lesions are then shown without them.
    """
    cases = {case.name: case for case in evaluation.cases.cases}

    def load(name: str) -> GalleryVolumes:
        case = cases[name]
        if name in evaluation.unread:
            case = replace(case, prediction=None, probability=None)
        lesions = read_case(case, evaluation.settings, note=_silent)
        grid = lesions.truth.grid
        return GalleryVolumes(
            image=_image(name, case.image, grid, note),
            truth=Volume(lesions.truth.labels(), grid.affine),
            prediction=Volume(lesions.prediction.labels(), grid.affine),
        )

    return load


def _silent(_: str) -> None:
    """Remarks on these files were made before."""


def _image(name: str, path: Path | None, grid: Grid, note: Note) -> Volume | None:
    """The scan of a case on a grid, or None: what was missed is shown without it too."""
    if path is None:
        return None
    try:
        return align_image(read_volume(path, note=_silent), grid, str(path), _silent)
    except ImageError as error:
        note(f"{name}: the gallery lacks the scan ({error})")
        return None
