"""What is written: strict JSON in which every figure has its interval, its number and its definition."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shiva_cmb.evaluation.figures import DEFINITIONS
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.pairing.inputs import CaseList
from shiva_cmb.evaluation.pipeline import Evaluation, evaluate
from shiva_cmb.evaluation.record import (
    LESION_COLUMNS,
    case_rows,
    evaluation_record,
    lesion_rows,
    plain,
    stratum_rows,
)
from shiva_cmb.lesions.criteria import LesionCriteria
from tests.evaluation.boxes import bar, dot
from tests.evaluation.cases import case_list, chances, labels, make_case, settings


def judged(folder: Path, rule: str = "overlap") -> Evaluation:
    """One found, one missing prediction, one unusable, one truth that cannot be read; with maps."""
    found = make_case(
        folder,
        "a",
        labels(bar(3, 4), dot(7)),
        chances((bar(3, 4), 0.9), (dot(9), 0.6)),
        columns={"site": "x", "f1": "mine", "accuracy": "mine too"},
    )
    lost = make_case(folder, "b", labels(dot(3)), None, columns={"site": "y"})
    broken = make_case(folder, "c", labels(dot(3)), chances((dot(3), np.inf)), columns={"site": "y"})
    unknown = make_case(folder, "d", chances((dot(3), np.nan)), chances())
    notes: list[str] = []
    return evaluate(
        CaseList((found, lost, broken, unknown), missing=("b",), extra=("e",)),
        settings(rule=MatchRule(rule), strata=("site",), ignore_below_mm3=0.5),  # type: ignore[arg-type]
        processes=1,
        note=notes.append,
    )


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    return judged(tmp_path)


def figures_in(record: Any, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], dict[str, Any]]:
    """Everything in a record that looks like a figure."""
    if not isinstance(record, dict):
        return {}
    if "value" in record and "low" in record:
        return {place: record}
    found = {}
    for key, part in record.items():
        found |= figures_in(part, (*place, key))
    return found


@pytest.mark.parametrize("rule", ["overlap", "iou", "distance", "shiva", "valdo", "valdo-voxels"])
def test_the_record_is_strict_json_and_complete(tmp_path: Path, rule: str) -> None:
    found = judged(tmp_path, rule)
    record = evaluation_record(found)
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record
    figures = figures_in(record)
    assert all(set(figure) == {"value", "low", "high", "n"} for figure in figures.values())
    for figure in figures.values():
        assert figure["n"] is not None
        if figure["low"] is not None:
            assert float(figure["low"]) <= float(figure["high"])
    for wanted in ("detection.micro.f1", "detection.macro.f1", "detection.curves.average_precision",
                   "segmentation.dice_mean", "segmentation.matched_dice_median", "counts.icc",
                   "scan_classification.11.auc", "calibration.expected_calibration_error_voxels",
                   "strata.site.x.segmentation.dice_mean",
                   "strata.size.<2 mm.detection.micro.sensitivity"):  # fmt: skip
        parts = wanted.split(".")
        assert tuple(parts) in figures, wanted


def test_every_figure_has_a_definition(evaluation: Evaluation) -> None:
    written = evaluation_record(evaluation)["definitions"]
    for group, named in evaluation.groups.items():
        texts = written["scan_classification" if group.startswith("scan_classification.") else group]
        for name in named:
            assert len(texts[name]) > 20, (group, name)
    for group, texts in DEFINITIONS.items():
        assert written[group] == texts
    assert "nearest" not in written["match"]
    assert written["segmentation"]["hd95_mm_median"].startswith("Median")
    assert "95th percentile" in written["segmentation"]["hd95_mm_median"]


def test_definitions_say_what_was_done(tmp_path: Path) -> None:
    ours = evaluation_record(judged(tmp_path / "a"))["definitions"]
    theirs = evaluation_record(judged(tmp_path / "b", "valdo"))["definitions"]
    assert "strictly above 0.5" in ours["lesions"]
    assert "at or above 0.5" in theirs["lesions"]
    assert "under 0.5 mm3" in ours["ignored"]
    assert theirs["match"].startswith("VALDO")
    assert theirs["empty_cases"] != ours["empty_cases"]
    assert ours["interval"].startswith("95 % interval of 100 samples")
    for rule in ("all scans of a patient", "percentiles", "more than half", "fewer than two patients"):
        assert rule in ours["interval"]
    assert "also beyond the mask" in ours["voxels_judged"]


@pytest.mark.parametrize(
    ("kind", "of_truth"),
    [
        ("auto", "Truth: each connected piece of each value is a lesion; fractions are cut above 0.5."),
        (
            "mask",
            "Truth: each connected component of what is not 0 is a lesion, whatever its values; fractions",
        ),
        ("labels", "Truth: each value is one lesion, in however many pieces."),
    ],
)
def test_how_lesions_were_made_is_said_with_the_number_of_cases(
    tmp_path: Path, kind: str, of_truth: str
) -> None:
    truth = labels(bar(3, 4))
    cases = (
        make_case(tmp_path, "a", truth, chances((bar(3, 4), 0.9))),
        make_case(tmp_path, "b", truth, chances((bar(3, 4), 0.9))),
        make_case(tmp_path, "c", truth, truth),
        make_case(tmp_path, "d", truth, None),
    )
    how = settings(
        truth_kind=kind,
        criteria=LesionCriteria(0.4, 0.7, min_volume_mm3=2.0, connectivity=6, max_outside_fraction=0.5),
    )
    said = evaluation_record(evaluate(case_list(*cases), how, note=[].append))["definitions"]["lesions"]
    assert said.startswith("Connectivity 6. " + of_truth)
    assert "Predictions of 1 cases were judged as labels: each connected piece of each value" in said
    assert "Predictions of 2 cases were judged as probability maps: " in said
    assert "strictly above 0.4 is a lesion, if its highest probability is strictly above 0.7" in said
    assert "dropped with more than 50 % of its voxels outside" in said
    assert "1 cases had no prediction that could be used" in said
    assert said.endswith("Predicted lesions under 2 mm3 are dropped.")


def test_only_what_was_done_is_said(tmp_path: Path) -> None:
    truth = labels(bar(3, 4))
    how = settings(prediction_kind="labels")
    found = evaluate(case_list(make_case(tmp_path, "a", truth, truth)), how, note=[].append)
    record = evaluation_record(found)
    said = record["definitions"]["lesions"]
    assert "judged as labels: each value is one lesion" in said
    for not_done in ("probability", "no prediction", "under"):
        assert not_done not in said
    assert "No predicted lesion is dropped for its size." in said
    assert record["curves"] is None


def test_the_curves_are_in_the_record(evaluation: Evaluation) -> None:
    curves = evaluation_record(evaluation)["curves"]
    assert (curves["thresholds"], curves["min_volume_mm3"]) == ([0.3, 0.5, 0.7], 0)
    # 4 truth lesions, 1 found at each; 3 scans; the false alarm of 0.6 is gone above 0.7
    assert curves["sensitivity"] == [1 / 4] * 3
    assert curves["fp_per_scan"] == [1 / 3, 1 / 3, 0]
    assert curves["precision"] == [1 / 2, 1 / 2, 1]
    for low, value, high in zip(
        curves["sensitivity_low"], curves["sensitivity"], curves["sensitivity_high"], strict=True
    ):
        assert 0 <= low <= value <= high <= 1


def test_cases_are_accounted_for(evaluation: Evaluation) -> None:
    cases = evaluation_record(evaluation)["cases"]
    assert (cases["judged"], cases["patients"]) == (3, 3)
    assert cases["missing_predictions"] == ["b"]
    assert set(cases["unreadable_predictions"]) == {"c"}
    assert set(cases["not_judged"]) == {"d"}
    assert cases["predictions_without_truth"] == ["e"]
    lesions = evaluation_record(evaluation)["lesions"]
    assert lesions == {"truth_count": 4, "predicted_count": 2, "ignored_truth": 0, "ignored_prediction": 0}


def test_infinite_distances_are_a_word(evaluation: Evaluation) -> None:
    # a is finite, b and c have nothing predicted: the median of three is infinite
    segmentation = evaluation_record(evaluation)["segmentation"]
    assert segmentation["hd95_mm_median"]["value"] == "inf"
    assert segmentation["hd95_mm_median"]["high"] == "inf"
    assert segmentation["hd95_mm_median"]["low"] is not None
    assert isinstance(segmentation["hd95_mm_mean"]["value"], float)
    assert segmentation["hd95_mm_mean"]["n"] == 1


def test_interval_ends_between_finite_and_infinite_are_not_lost() -> None:
    from shiva_cmb.evaluation.resampling import Measure, as_figures

    # the upper end of 94 % lies 0.97 * 40 = 38.8 places up, between the last 1 and the first infinity
    drawn = np.array([1.0] * 39 + [np.inf] * 2)
    measure = {"x": Measure(np.array(1.0), np.array(3.0))}
    figure = as_figures(measure, {"x": Measure(drawn, np.full(41, 3.0))}, 0.94)["x"]
    assert (figure.low, figure.high) == (1.0, np.inf)


def test_plain_values() -> None:
    given = {
        1: np.float32(0.5),
        "a": (np.int64(3), float("nan"), -math.inf),
        "b": np.array([[1.0, np.nan]]),
        "c": np.bool_(True),
        "d": None,
    }
    assert plain(given) == {"1": 0.5, "a": [3, None, "-inf"], "b": [[1.0, None]], "c": True, "d": None}


def test_case_rows(evaluation: Evaluation) -> None:
    rows = {row["case"]: row for row in case_rows(evaluation)}
    assert [row["prediction"] for row in rows.values()] == ["probability map", "missing", "unusable"]
    a = rows["a"]
    assert (a["tp"], a["fp"], a["fn"]) == (1, 1, 1)
    assert a["sensitivity"] == 1 / 2
    # voxels: 2 shared, 3 true, 3 predicted
    assert a["dice"] == pytest.approx(4 / 6)
    assert a["voxel_sensitivity"] == pytest.approx(2 / 3)
    assert a["matched_dice"] == 1
    assert math.isinf(rows["b"]["hd95_mm"])
    # columns of the case table that are called as ours are
    assert (a["site"], a["table_f1"], a["table_accuracy"]) == ("x", "mine", "mine too")
    assert a["f1"] == pytest.approx(2 / 4)
    assert 0 < a["accuracy"] <= 1
    assert rows["b"]["table_f1"] is None
    assert len({tuple(row) for row in rows.values()}) == 1  # the same columns in every row


def test_lesion_rows(evaluation: Evaluation) -> None:
    rows = list(lesion_rows(evaluation))
    assert {tuple(row) for row in rows} == {LESION_COLUMNS}
    assert [(row["case"], row["kind"], row["status"]) for row in rows] == [
        ("a", "truth", "TP"),
        ("a", "truth", "FN"),
        ("a", "prediction", "TP"),
        ("a", "prediction", "FP"),
        ("b", "truth", "FN"),
        ("c", "truth", "FN"),
    ]
    assert [row["score"] for row in rows] == [
        None, None, pytest.approx(0.9), pytest.approx(0.6), None, None
    ]  # fmt: skip


def test_stratum_rows(evaluation: Evaluation) -> None:
    rows = list(stratum_rows(evaluation))
    found = {(r["stratum"], r["level"], r["group"], r["figure"]): r["value"] for r in rows}
    assert len(found) == len(rows)
    assert found["site", "y", "detection.micro", "sensitivity"] == 0
    assert found["site", "x", "detection.micro", "sensitivity"] == 1 / 2
    assert found["size", "<2 mm", "detection.micro", "fn"] == 3
