"""The operating point chosen on out-of-fold maps, and what a user may expect of the model there."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.ensemble.descriptor import OperatingPoint, ShivaCmbPart
from shiva_cmb.errors import NOT_CLINICAL, DataError, Note, UsageError, warn_user
from shiva_cmb.evaluation import Evaluation, EvaluationSettings, choose_operating_point, evaluate, pair_cases
from shiva_cmb.evaluation.figures import patient_bootstrap, several_patients
from shiva_cmb.evaluation.metrics import detection
from shiva_cmb.evaluation.operating_point import ChosenPoint, best_point, operating_curve
from shiva_cmb.evaluation.resampling import Figure, as_figures
from shiva_cmb.evaluation.sweep import NO_PEAK, PEAKS_TO_TRY, SweepSettings
from shiva_cmb.files import plain
from shiva_cmb.parallel import Progress
from shiva_cmb.reporting.evaluation_report import save_evaluation
from shiva_cmb.training.calibration.out_of_fold import ignored_truth
from shiva_cmb.training.calibration.settings import CalibrationSettings

REPORTED = ("sensitivity", "precision", "f1", "fp_per_scan")
"""Lesion-wise figures, pooled over all cases."""

_WORDS = dict(zip(REPORTED, ("sensitivity", "precision", "F1", "false positives per scan"), strict=True))


@dataclass(frozen=True, eq=False)
class Calibration:
    """What came out."""

    evaluation: Evaluation
    """Of all out-of-fold maps, at the chosen point."""
    point: OperatingPoint
    """With the whole curve; the default one where none could be chosen."""
    chosen: ChosenPoint | None
    """By what it was chosen; None if it was not."""
    figures: dict[str, float | None]
    """For the bundle's `metrics`, see `calibrate`."""


def calibrate(
    table: Path,
    settings: CalibrationSettings | None = None,
    values: LabelValues | None = None,
    *,
    processes: int = 1,
    progress: Progress | None = None,
    note: Note = warn_user,
) -> Calibration:
    """Choose threshold, peak threshold and minimum volume on the out-of-fold maps, and judge them there.

    The figures are `sensitivity`, `precision`, `f1` and `fp_per_scan`, pooled over all cases, each with
    `_low` and `_high`, the 95 % interval of the bootstrap over patients: what `shiva-cmb evaluate` gives for
    the same table at the same point. As the point was chosen on these very cases, they are a little too good.
    Those behind `nested_` are free of that: the cases of each fold are judged at the point that the other
    folds' cases choose. They are still a little too good, as the others are, where each network's best epoch,
    the end of its training or the temperature was chosen on the cases that it is judged on here. Further: the
    numbers of `cases`, `patients` and `lesions`, and `expected_calibration_error_voxels` and `_lesions`.

    Where no point can be chosen (no lesions, or none found), the default one is kept, which is said.

    Args:
        table: see `out_of_fold.write_case_table`.
        settings: by what the point is chosen.
        values: what the values in the dataset's labels mean.
        processes: cases at once.
        progress: told how far it is; the cases are gone through twice.
        note: told what was guessed or left out.

    Raises:
        DataError: if a case or its map cannot be read: it would count as one where nothing was found.
    """
    settings, told = settings or CalibrationSettings(), set[str]()

    def say_once(line: str) -> None:  # both evaluations remark on the same files
        if line not in told:
            told.add(line)
            note(line)

    cases = pair_cases(table, table, note=say_once)
    how = EvaluationSettings(
        criteria=ShivaCmbPart().lesion_criteria(),
        sweep=SweepSettings(peak_thresholds=PEAKS_TO_TRY),
        truth_kind="mask",
        ignored_values=ignored_truth(values),
    )
    first = evaluate(
        cases, replace(how, replicates=100), processes=processes, progress=progress, note=say_once
    )
    _require_all(first)
    point, chosen = OperatingPoint(curve=operating_curve(first)), None
    try:
        chosen = choose_operating_point(first, settings.pick)
    except UsageError as error:
        say_once(f"the default operating point is kept: {error}")
    if chosen is not None:
        point = OperatingPoint(**chosen.as_dict(), curve=chosen.curve)
    criteria = ShivaCmbPart(operating_point=point).lesion_criteria()
    final = evaluate(
        cases, replace(how, criteria=criteria), processes=processes, progress=progress, note=say_once
    )
    _require_all(final)
    figures = _expected(final) | _nested(first, final, settings.pick)
    return Calibration(final, point, chosen, dict(plain(figures)))


def save_calibration(
    calibration: Calibration, folder: Path, *, gallery: bool = True, note: Note = warn_user
) -> Path:
    """Write what `shiva-cmb evaluate` writes: figures, tables, plots, misses and false alarms.

    A report that is there already, of an earlier attempt, is replaced.

    Raises:
        OutputError: if it cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    return save_evaluation(
        calibration.evaluation, folder, chosen=calibration.chosen, gallery=gallery, note=note
    )


def calibration_text(calibration: Calibration, command: Sequence[str]) -> str:
    """What a user may expect on data like the training data, for a screen.

    Args:
        calibration: what came out.
        command: see `evaluate_command`.
    """
    figures, point = calibration.figures, calibration.point
    criteria = ShivaCmbPart(operating_point=point).lesion_criteria()
    peak = "" if point.peak_threshold is None else f", peak threshold {point.peak_threshold:g}"
    why = "the default" if calibration.chosen is None else calibration.chosen.criterion
    lines = [
        f"operating point: threshold {point.threshold:g}{peak}, minimum volume"
        f" {criteria.min_volume_mm3:g} mm3 ({why})",
        f"expected on data like these, from {figures['cases']:g} cases of {figures['patients']:g} patients"
        f" with {figures['lesions']:g} lesions, none judged by a network that was trained on it:",
    ]
    for name, words in _WORDS.items():
        line = f"  {words:27}{_with_interval(figures, name)}"
        if f"nested_{name}" in figures:
            line += f", {_number(figures[f'nested_{name}'])} with points chosen on the other folds"
        lines.append(line)
    for unit in ("voxels", "lesions"):
        error = figures.get(f"expected_calibration_error_{unit}")
        lines.append(f"  {'calibration error, ' + unit:27}{_number(error)}")
    lines += [
        "all a little too good: each network's best epoch was chosen on the cases that it is judged on here",
        "the same figures again:",
        f"  {shlex.join(command)}",
    ]
    return "\n".join([*lines, NOT_CLINICAL])


def _require_all(evaluation: Evaluation) -> None:
    """An evaluation goes on without what cannot be read, or counts it as nothing found; here it is refused.

    Raises:
        DataError: naming the first.
    """
    bad = {**evaluation.failures, **evaluation.unread}
    if bad:
        name, why = next(iter(bad.items()))
        raise DataError(
            f"{len(bad)} of {len(evaluation.cases.cases)} cases cannot be judged, the first is {name}: {why};"
            " mend it and go on with --resume"
        )


def _expected(evaluation: Evaluation) -> dict[str, float]:
    """The figures of all cases at the evaluation's own point."""
    arrays = evaluation.arrays
    figures = {
        "cases": float(len(arrays)),
        "patients": float(len(set(arrays.patients))),
        "lesions": float(arrays.truth_count.sum()),
    }
    figures |= _named(evaluation.groups["detection.micro"])
    calibration = evaluation.groups.get("calibration", {})
    return figures | {name: figure.value for name, figure in calibration.items()}


def _nested(first: Evaluation, final: Evaluation, wanted: str) -> dict[str, float]:
    """The same with points that each fold's cases had no part in; empty for a single fold or without maps.

    Args:
        first: with the default point, which is taken where the other folds allow no choice.
        final: with the settings of the intervals.
        wanted: see `choose_operating_point`.
    """
    arrays, settings = first.arrays, first.settings
    folds = np.array([result.columns.get("fold", "") for result in first.results])
    if arrays.sweep is None or len(set(folds)) < 2:
        return {}
    tried = settings.sweep
    default = (
        tried.thresholds.index(settings.criteria.threshold),
        tried.min_volumes_mm3.index(settings.criteria.min_volume_mm3),
        tried.peak_thresholds.index(settings.criteria.peak_threshold or NO_PEAK),
    )
    counts = np.zeros((len(arrays), 3), np.int64)
    for fold in sorted(set(folds)):
        own = folds == fold
        counts[own] = arrays.sweep[own][:, *_choose(arrays.sweep[~own], wanted, default)]
    free, how = arrays.truth_count == 0, final.settings
    tp, fp, fn = counts.T
    point, drawn = detection.micro(tp, fp, fn, free), {}
    if several_patients(arrays.patients):
        drawn = detection.micro(tp, fp, fn, free, patient_bootstrap(arrays, how.replicates, how.seed))
    return _named(as_figures(point, drawn, how.level), "nested_")


def _choose(counts: NDArray[np.int64], wanted: str, default: tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        return best_point(counts, wanted)
    except UsageError:  # these cases have no lesion, or none that is found
        return default


def _named(figures: dict[str, Figure], prefix: str = "") -> dict[str, float]:
    named: dict[str, float] = {}
    for name in REPORTED:
        figure = figures[name]
        named |= {
            f"{prefix}{name}": figure.value,
            f"{prefix}{name}_low": figure.low,
            f"{prefix}{name}_high": figure.high,
        }
    return named


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _with_interval(figures: dict[str, float | None], name: str) -> str:
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return _number(figures[name]) + interval


def evaluate_command(table: Path, model: Path, values: LabelValues | None = None) -> Sequence[str]:
    """The command that gives the same figures again."""
    ignoring = [word for value in ignored_truth(values) for word in ("--ignore-value", str(value))]
    return (
        *("shiva-cmb", "evaluate", "--truth", str(table), "--pred", str(table), "--truth-kind", "mask"),
        *("--operating-point", str(model), *ignoring, "-o", "figures"),
    )
