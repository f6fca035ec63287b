"""An evaluation written to a folder and summed up on a screen."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shiva_cmb.errors import NOT_CLINICAL, Note, warn_user
from shiva_cmb.evaluation import Evaluation
from shiva_cmb.evaluation.operating_point import ChosenPoint
from shiva_cmb.evaluation.record import (
    LESION_COLUMNS,
    case_rows,
    evaluation_record,
    figure_record,
    lesion_rows,
    stratum_rows,
)
from shiva_cmb.files import new_directory, write_json
from shiva_cmb.prediction.provenance import describe_software
from shiva_cmb.reporting.draw_evaluation import draw_plots, gallery_entries, gallery_loader, judged_by_labels
from shiva_cmb.reporting.evaluation_tables import evaluation_tables, figure_text, latex, markdown
from shiva_cmb.reporting.gallery import write_gallery
from shiva_cmb.tables import write_tsv

SOFTWARE = ("shiva-cmb", "numpy", "scipy", "scikit-image", "nibabel")
"""What the figures depend on."""

_SHOWN = (
    ("sensitivity", "detection.micro", "sensitivity"),
    ("precision", "detection.micro", "precision"),
    ("F1", "detection.micro", "f1"),
    ("F1, mean of scans", "detection.macro", "f1"),
    ("false positives per scan", "detection.micro", "fp_per_scan"),
    ("  per lesion-free scan", "detection.micro", "fp_per_lesion_free_scan"),
    ("free-response score", "detection.curves", "free_response_score"),
    ("average precision", "detection.curves", "average_precision"),
    ("Dice, mean of scans", "segmentation", "dice_mean"),
    ("Dice of matched lesions", "segmentation", "matched_dice_mean"),
    ("error of the count, mean", "counts", "error_mean"),
    ("ICC of the count", "counts", "icc"),
)
"""What the summary on the screen shows: words, group, figure."""


def save_evaluation(
    evaluation: Evaluation,
    folder: str | Path,
    *,
    chosen: ChosenPoint | None = None,
    gallery: bool = True,
    on_step: Callable[[str], None] = lambda _: None,
    note: Note = warn_user,
) -> Path:
    """Write everything into a new folder, which appears when all of it is there.

    Args:
        evaluation: what was measured.
        folder: made new.
        chosen: an operating point that was chosen on these cases.
        gallery: whether to draw the misses and false alarms.
        on_step: told what is being done.
        note: told what could not be drawn; it is in `metrics.json` too.

    Raises:
        OutputError: if the folder is there already, or cannot be written.
    """
    record = evaluation_json(evaluation, chosen)

    def remark(line: str) -> None:
        record["notes"].append(line)
        note(line)

    with new_directory(folder) as temporary:
        _write_tables(evaluation, temporary)
        tables = evaluation_tables({"all cases": record}, level=evaluation.settings.level)
        (temporary / "tables.md").write_text(markdown(tables), encoding="utf-8")
        (temporary / "tables.tex").write_text(latex(tables), encoding="utf-8")
        on_step("drawing plots")
        (temporary / "plots").mkdir()
        draw_plots(evaluation, temporary / "plots", remark)
        if gallery:
            on_step("drawing misses and false alarms")
            _draw_gallery(evaluation, temporary / "gallery", remark)
        write_json(record, temporary / "metrics.json")  # last: it holds the remarks made on the way
    return Path(folder)


def _draw_gallery(evaluation: Evaluation, folder: Path, note: Note) -> None:
    """Misses and false alarms; no folder where there is nothing to show."""
    folder.mkdir()
    try:
        write_gallery(folder, gallery_entries(evaluation), gallery_loader(evaluation, note), note=note)
    except Exception as error:
        # isolation: pictures only show what the tables have, and hours of computing may be behind those
        note(f"the gallery could not be drawn ({type(error).__name__}: {error})")
    if not any(folder.iterdir()):
        folder.rmdir()


def evaluation_json(evaluation: Evaluation, chosen: ChosenPoint | None = None) -> dict[str, Any]:
    """What `metrics.json` holds."""
    record = {"notice": NOT_CLINICAL, "software": describe_software(SOFTWARE)} | evaluation_record(evaluation)
    if chosen is not None:
        record["chosen_operating_point"] = {
            **chosen.as_dict(),
            "criterion": chosen.criterion,
            "caution": "chosen on these cases: its figures are optimistic for them",
        }
    return record


def summary_text(evaluation: Evaluation, chosen: ChosenPoint | None = None) -> str:
    """The most wanted figures with their intervals, and what was wrong with the input, for a screen."""
    arrays = evaluation.arrays
    truth, predicted = int(arrays.truth_count.sum()), int(arrays.predicted_count.sum())
    lines = [
        f"{_counted(len(arrays), 'case')} of {_counted(len(set(arrays.patients)), 'patient')}, "
        f"{truth} true and {_counted(predicted, 'predicted lesion')}",
        evaluation.settings.rule.definition,
        "",
        f"{'':28}{'value':>6}  {100 * evaluation.settings.level:g} % interval",
    ]
    for words, group, name in _SHOWN:
        figure = evaluation.groups.get(group, {}).get(name)
        if figure is not None:
            lines.append(f"{words:28}{figure_text(figure_record(figure)).replace(' (', '  (', 1):>6}")
    for at_least in evaluation.settings.scan_thresholds:
        scans = evaluation.groups[f"scan_classification.{at_least}"]
        told = [f"{n} {figure_text(figure_record(scans[n]))}" for n in ("sensitivity", "specificity")]
        lines.append(f"{f'scans with {at_least} or more':28}{', '.join(told)}")
    lines += ["", *faults_of_input(evaluation)]
    labels = () if evaluation.curves is None else judged_by_labels(evaluation)
    if labels:
        lines.append(f"judged by label maps, while the curves are of probability maps: {some_names(labels)}")
    if chosen is not None:
        peak = f", peak threshold {chosen.peak_threshold:g}" if chosen.peak_threshold is not None else ""
        lines.append(
            f"chosen: threshold {chosen.threshold:g}{peak}, minimum volume {chosen.min_volume_mm3:g} mm3 "
            f"({chosen.criterion}); figures at this point are optimistic for these cases"
        )
    return "\n".join([*lines, NOT_CLINICAL])


def faults_of_input(evaluation: Evaluation) -> list[str]:
    """A line for each of missing and unusable predictions, cases not judged, and predictions left over."""
    return [
        f"{what}: {some_names(names)}"
        for names, what in (
            (evaluation.cases.missing, "without a prediction, counted as empty"),
            (tuple(evaluation.unread), "with an unusable prediction, counted as empty"),
            (tuple(evaluation.failures), "not judged"),
            (evaluation.cases.extra, "predictions without a truth, left out"),
        )
        if names
    ]


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def some_names(names: Sequence[str]) -> str:
    """How many there are, and the first five."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} ({', '.join(names[:5])}{more})"


def _write_tables(evaluation: Evaluation, folder: Path) -> None:
    rows = case_rows(evaluation)
    write_tsv(folder / "cases.tsv", list(rows[0]), rows)
    write_tsv(folder / "lesions.tsv", LESION_COLUMNS, lesion_rows(evaluation))
    columns = ("stratum", "level", "group", "figure", "value", "low", "high", "n")
    write_tsv(folder / "strata.tsv", columns, stratum_rows(evaluation))
    features = [row for result in evaluation.results for row in result.features]
    if features:
        names = list(dict.fromkeys(name for row in features for name in row))
        write_tsv(folder / "features.tsv", names, [dict.fromkeys(names) | dict(row) for row in features])
