"""An evaluation as files: what is in them, and that no single picture can lose the rest."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shiva_cmb.evaluation.pairing.inputs import EvaluationCase
from shiva_cmb.evaluation.pipeline import Evaluation, evaluate
from shiva_cmb.reporting import draw_evaluation, evaluation_report, plot_style
from shiva_cmb.reporting.evaluation_report import save_evaluation, summary_text
from tests.evaluation.boxes import bar, dot
from tests.evaluation.cases import SHAPE, case_list, chances, labels, make_case, settings, write

FOUND, MISSED, ALARM = bar(2, 3), bar(8, 9), dot(16)


def run(*cases: EvaluationCase, **changes: Any) -> Evaluation:
    return evaluate(case_list(*cases), settings(**changes), note=lambda _: None)


def of_maps(folder: Path, name: str = "c1", **more: object) -> EvaluationCase:
    """A lesion found, one missed, and a false alarm."""
    return make_case(folder, name, labels(FOUND, MISSED), chances((FOUND, 0.9), (ALARM, 0.6)), **more)


def saved(evaluation: Evaluation, folder: Path, **more: Any) -> tuple[dict[str, Any], list[str]]:
    """What `metrics.json` holds, and the notes of saving, which follow those of judging there."""
    notes: list[str] = []
    save_evaluation(evaluation, folder, note=notes.append, **more)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["notes"] == [*evaluation.notes, *notes]
    return metrics, notes


def test_a_plot_that_fails_is_noted_and_everything_else_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by the matplotlib of tomorrow")

    monkeypatch.setattr(draw_evaluation, "plot_bland_altman", broken)
    monkeypatch.setattr(evaluation_report, "write_gallery", broken)
    metrics, notes = saved(run(of_maps(tmp_path)), tmp_path / "out")
    assert notes == [
        "the plot bland_altman could not be drawn (ZeroDivisionError: by the matplotlib of tomorrow)",
        "the gallery could not be drawn (ZeroDivisionError: by the matplotlib of tomorrow)",
    ]
    assert metrics["detection"]["micro"]["tp"]["value"] == 1
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "metrics.json",
        "cases.tsv",
        "lesions.tsv",
        "strata.tsv",
        "tables.md",
        "tables.tex",
        "plots",
    }
    plots = {path.name for path in (tmp_path / "out/plots").iterdir()}
    assert "bland_altman.png" not in plots
    assert {"dice_per_case.png", "froc.svg", "thresholds.png", "sensitivity_by_size.png"} <= plots


def test_the_plots_are_drawn_without_remarks(tmp_path: Path) -> None:
    _, notes = saved(run(of_maps(tmp_path)), tmp_path / "out")
    assert notes == []
    gallery = {path.name for path in (tmp_path / "out/gallery").iterdir()}
    assert gallery == {"misses_01.png", "false_alarms_01.png"}


def test_no_gallery_where_nothing_is_wrong(tmp_path: Path) -> None:
    case = make_case(tmp_path, "c1", labels(FOUND), chances((FOUND, 0.9)))
    saved(run(case), tmp_path / "out")
    assert not (tmp_path / "out/gallery").exists()


@pytest.mark.parametrize("content", ["elsewhere", "unreadable", "none"])
def test_misses_are_shown_without_a_usable_scan(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_report, "draw_plots", lambda *_: None)
    path = tmp_path / "scan.nii"
    far = np.eye(4)
    far[:3, 3] = 5000.0
    if content == "elsewhere":
        write(path, np.ones(SHAPE, np.float32), far)
    elif content == "unreadable":
        path.write_bytes(b"nothing")
    _, notes = saved(run(of_maps(tmp_path, image=path)), tmp_path / "out")
    (line,) = notes
    assert line.startswith("c1: the gallery lacks the scan (")
    gallery = {path.name for path in (tmp_path / "out/gallery").iterdir()}
    assert gallery == {"misses_01.png", "false_alarms_01.png"}


def marks(evaluation: Evaluation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Operating points on the plots of curves."""
    seen: list[int | None] = []

    def watched(plot: Callable[..., object]) -> Callable[..., object]:
        def draw(lines: Any) -> object:
            seen.extend(line.marked for line in lines.values())
            return plot(lines)

        return draw

    for name in ("plot_froc", "plot_precision_recall", "plot_thresholds"):
        monkeypatch.setattr(draw_evaluation, name, watched(getattr(draw_evaluation, name)))
    monkeypatch.setattr(plot_style, "save_plot", lambda *_: None)
    saved(evaluation, folder, gallery=False)
    return seen


def test_the_operating_point_is_marked_on_curves_of_what_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = make_case(tmp_path, "c2", labels(FOUND), None)  # finds nothing at any threshold
    evaluation = run(of_maps(tmp_path), missing)
    # froc, precision-recall and three lines by threshold; 0.5 is the second of 0.3, 0.5, 0.7
    assert marks(evaluation, tmp_path / "out", monkeypatch) == [1] * 5
    assert "judged by label maps" not in summary_text(evaluation)


def test_no_operating_point_on_curves_of_other_lesions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = write(tmp_path / "c1_prob.nii", chances((FOUND, 0.9), (ALARM, 0.6)))
    judged = make_case(tmp_path, "c1", labels(FOUND, MISSED), labels(FOUND, MISSED), probability=beside)
    evaluation = run(judged)
    assert evaluation.curves is not None
    assert marks(evaluation, tmp_path / "out", monkeypatch) == [None] * 5
    told = "judged by label maps, while the curves are of probability maps: 1 (c1)"
    assert told in summary_text(evaluation)


def test_an_empty_label_map_agrees_with_its_empty_curve(tmp_path: Path) -> None:
    empty = make_case(tmp_path, "c2", labels(FOUND), np.zeros(SHAPE, np.uint8))
    evaluation = run(of_maps(tmp_path), empty)
    assert evaluation.curves is not None
    assert draw_evaluation.judged_by_labels(evaluation) == ()


def test_the_summary_counts_and_names(tmp_path: Path) -> None:
    one = summary_text(run(of_maps(tmp_path)))
    assert one.startswith("1 case of 1 patient, 2 true and 2 predicted lesions\n")
    bad = make_case(tmp_path, "bad", labels(FOUND), labels(FOUND))
    assert bad.prediction is not None
    bad.prediction.write_bytes(b"nothing")
    evaluation = run(of_maps(tmp_path), bad, make_case(tmp_path, "gone", labels(FOUND), None))
    evaluation = replace(evaluation, cases=replace(evaluation.cases, extra=("more",)))
    text = summary_text(evaluation)
    assert text.startswith("3 cases of 3 patients, 4 true and 2 predicted lesions\n")
    assert "without a prediction, counted as empty: 1 (gone)" in text
    assert "with an unusable prediction, counted as empty: 1 (bad)" in text
    assert "predictions without a truth, left out: 1 (more)" in text
    assert "not judged" not in text


def test_every_stratum_has_its_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plots: list[str] = []
    monkeypatch.setattr(plot_style, "save_plot", lambda figure, folder, name: plots.append(name))
    cases = [of_maps(tmp_path, f"c{k}", columns={"te": str(k)}) for k in range(3)]
    saved(run(*cases, strata=("te:1,2", "te:1.2", "size:3")), tmp_path / "out", gallery=False)
    assert {"dice_by_te_1_2", "dice_by_te_1_2_", "sensitivity_by_size", "sensitivity_by_size_3"} <= {*plots}
    assert len(set(plots)) == len(plots)
