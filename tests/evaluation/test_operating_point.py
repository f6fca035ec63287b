"""The threshold and minimum volume that an evaluation recommends."""

import json
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.ensemble import FoldFile, open_bundle, write_bundle
from shiva_cmb.ensemble.descriptor import OperatingPoint, ShivaCmbPart
from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.operating_point import (
    choose_operating_point,
    operating_curve,
    require_choice,
    store_operating_point,
)
from shiva_cmb.evaluation.pairing.inputs import EvaluationCase
from shiva_cmb.evaluation.pipeline import Evaluation, evaluate
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.sweep import SweepSettings
from shiva_cmb.lesions.criteria import LesionCriteria
from tests.evaluation.boxes import bar, dot
from tests.evaluation.cases import case_list, chances, labels, make_case, settings


@pytest.fixture
def mapped(tmp_path: Path) -> Evaluation:
    """Two scans. Voxels have 1.296 mm3, so that the minimum of 2 mm3 takes out lesions of one voxel.

    threshold  found        TP FP FN  F1    with 2 mm3  TP FP FN  F1
    0.3        3 7 12 16 l  3  2  0   6/8   3 12 l      2  1  1   4/6
    0.5        3 16 l       2  1  1   4/6   3 l         2  0  1   4/5
    0.7        3            1  0  2   2/4   3           1  0  2   2/4
    """
    return evaluate(
        case_list(
            make_case(
                tmp_path,
                "k",
                labels(bar(3, 4), dot(7)),
                chances((bar(3, 4), 0.9), (dot(7), 0.4), (bar(12, 13), 0.4), (dot(16), 0.6)),
            ),
            make_case(tmp_path, "l", labels(bar(3, 4)), chances((bar(3, 4), 0.6))),
        ),
        settings(),
        processes=1,
        note=pytest.fail,
    )


def test_the_highest_f1(mapped: Evaluation) -> None:
    chosen = choose_operating_point(mapped)
    assert (chosen.threshold, chosen.min_volume_mm3) == (0.5, 2.0)  # 4 / 5 against 3 / 4
    assert chosen.criterion.startswith("highest pooled F1 on 2 cases")
    assert mapped.settings.rule.definition in chosen.criterion


@pytest.mark.parametrize(
    ("wanted", "expected"),
    # with 1 a scan all three are found; with 1/2 two at most, without false alarms at 0.5 and 2 mm3
    [("fp:1", (0.3, 0.0)), ("fp:0.5", (0.5, 2.0)), ("fp:0", (0.5, 2.0))],
)
def test_the_most_sensitive_within_a_rate(
    mapped: Evaluation, wanted: str, expected: tuple[float, float]
) -> None:
    chosen = choose_operating_point(mapped, wanted)
    assert (chosen.threshold, chosen.min_volume_mm3) == expected
    assert f"at most {wanted[3:]} false positives per scan" in chosen.criterion


@pytest.mark.parametrize("wanted", ["", "F2", "fp", "fp:", "fp:x", "fp:-1", "fp:inf", "fp:nan", "f1:0.5"])
def test_what_is_wanted_must_be_known(mapped: Evaluation, wanted: str) -> None:
    with pytest.raises(UsageError, match="expected f1, or fp:RATE"):
        choose_operating_point(mapped, wanted)
    with pytest.raises(UsageError, match="expected f1, or fp:RATE"):
        require_choice(wanted)  # before any work


def test_choices_are_read() -> None:
    assert (require_choice("f1"), require_choice("fp:0.5"), require_choice("fp:0")) == (None, 0.5, 0.0)


def run(*cases: EvaluationCase, how: EvaluationSettings | None = None) -> Evaluation:
    return evaluate(case_list(*cases), how or settings(), processes=1, note=lambda _: None)


def test_masks_have_no_operating_point(tmp_path: Path) -> None:
    cases = [make_case(tmp_path, f"c{k}", labels(dot(3)), labels(dot(3))) for k in range(7)]
    mapped = make_case(tmp_path, "m", labels(dot(3)), chances((dot(3), 0.9)))
    missing = make_case(tmp_path, "n", labels(dot(3)), None)
    found = run(*cases, mapped, missing)
    assert operating_curve(found) == ()
    with pytest.raises(UsageError, match=r"only be chosen from probability maps.* 7 of 9 cases") as caught:
        choose_operating_point(found)
    assert "(c0, c1, c2, c3, c4, ...)" in str(caught.value)
    with pytest.raises(UsageError, match="there is none"):
        choose_operating_point(run(missing))


def test_a_map_that_finds_nothing_has_no_operating_point(tmp_path: Path) -> None:
    found = run(make_case(tmp_path, "a", labels(dot(3)), chances((bar(6, 8), 0.9))))
    for wanted in ("f1", "fp:2"):
        with pytest.raises(UsageError, match="finds a lesion"):
            choose_operating_point(found, wanted)


def test_a_rate_that_no_threshold_reaches(tmp_path: Path) -> None:
    found = run(make_case(tmp_path, "a", labels(dot(3)), chances((bar(6, 8), 0.9))))
    with pytest.raises(UsageError, match=r"fewest are 1"):
        choose_operating_point(found, "fp:0.5")


@pytest.fixture
def faint(tmp_path: Path) -> Evaluation:
    """Two lesions that have high peaks and low rims which lie on the truth, and false alarms that are low.

    Above 0.3 both are found, with two false alarms; above 0.7 what is found of the first touches no truth.
    """
    truth = labels(bar(3, 4), bar(9, 10))
    found = chances(
        (bar(3, 5), 0.4), (dot(5), 0.9), (bar(9, 10), 0.8), (bar(14, 15), 0.4), (bar(19, 20), 0.6)
    )
    sweep = SweepSettings((0.3, 0.7), (0.0, 2.0), (0.0, 0.5, 0.7, 0.75))
    case = make_case(tmp_path, "f", truth, found)
    return evaluate(case_list(case), settings(sweep=sweep), processes=1, note=lambda _: None)


def test_a_peak_threshold_is_chosen_where_it_helps(faint: Evaluation, tmp_path: Path) -> None:
    chosen = choose_operating_point(faint)
    assert chosen.as_dict() == {"threshold": 0.3, "peak_threshold": 0.7, "min_volume_mm3": 0.0}
    peaks = {(p["threshold"], p["peak_threshold"]) for p in chosen.curve}
    # one that is not above the threshold says nothing new; 0.5 is the criteria's own threshold
    assert {peak for threshold, peak in peaks if threshold == 0.3} == {0.0, 0.5, 0.7, 0.75}
    assert {peak for threshold, peak in peaks if threshold == 0.7} == {0.0, 0.75}
    again = evaluate(
        faint.cases, settings(criteria=LesionCriteria(**chosen.as_dict())), processes=1, note=lambda _: None
    )
    best = next(p for p in chosen.curve if (p["threshold"], p["peak_threshold"]) == (0.3, 0.7))
    assert again.groups["detection.micro"]["f1"].value == best["f1"] == 1
    assert again.curves is not None
    assert again.curves.sensitivity.tolist() == [1, 0.5, 0.5]  # at 0.3, 0.5, 0.7 with the peak threshold 0.7
    (tmp_path / "fold.h5").write_bytes(b"never opened")
    bundle = write_bundle(tmp_path / "model", [FoldFile(tmp_path / "fold.h5")], ShivaCmbPart())
    store_operating_point(chosen, bundle, faint)
    assert open_bundle(tmp_path / "model").part.lesion_criteria() == LesionCriteria(0.3, 0.7, 0.0)


def test_the_curve_has_every_point(mapped: Evaluation) -> None:
    points = {(p["threshold"], p["min_volume_mm3"]): p for p in operating_curve(mapped)}
    assert list(points) == [(0.3, 0.0), (0.5, 0.0), (0.7, 0.0), (0.3, 2.0), (0.5, 2.0), (0.7, 2.0)]
    assert points[0.3, 0.0]["f1"] == pytest.approx(6 / 8)
    assert points[0.5, 0.0]["fp_per_scan"] == pytest.approx(1 / 2)
    assert points[0.5, 2.0]["sensitivity"] == pytest.approx(2 / 3)
    assert points[0.7, 2.0]["precision"] == 1


def test_a_chosen_point_is_written_into_a_bundle(mapped: Evaluation, tmp_path: Path) -> None:
    fold = tmp_path / "fold.h5"
    fold.write_bytes(b"never opened")
    part = ShivaCmbPart(operating_point=OperatingPoint(threshold=0.2, peak_threshold=0.9))
    bundle = write_bundle(tmp_path / "model", [FoldFile(fold)], part)
    before = json.loads(bundle.descriptor_path.read_text())
    chosen = choose_operating_point(mapped)
    store_operating_point(chosen, bundle, mapped)
    stored = open_bundle(tmp_path / "model").part.operating_point
    assert (stored.threshold, stored.min_volume_mm3, stored.peak_threshold) == (0.5, 2.0, None)
    assert stored.curve == chosen.curve
    after = json.loads(bundle.descriptor_path.read_text())
    before["shiva_cmb"].pop("operating_point")
    after["shiva_cmb"].pop("operating_point")
    assert after == before


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"criteria": LesionCriteria(min_volume_mm3=0, connectivity=6)}, "connectivity 6.*26-connected"),
        ({"rule": MatchRule("valdo")}, "'valdo' takes voxels at the threshold too"),
        ({"rule": MatchRule("valdo-voxels")}, "'valdo-voxels' takes voxels at the threshold too"),
    ],
)
def test_a_point_that_means_something_else_to_a_model_is_not_stored(
    how: dict[str, object], reason: str, tmp_path: Path
) -> None:
    fold = tmp_path / "fold.h5"
    fold.write_bytes(b"never opened")
    bundle = write_bundle(tmp_path / "model", [FoldFile(fold)], ShivaCmbPart())
    before = bundle.descriptor_path.read_bytes()
    cases = [make_case(tmp_path, name, labels(dot(3)), chances((dot(3), 0.9))) for name in "ab"]
    found = run(*cases, how=settings(**how))
    with pytest.raises(UsageError, match=reason):
        store_operating_point(choose_operating_point(found), bundle, found)
    assert bundle.descriptor_path.read_bytes() == before


def test_undefined_figures_of_the_curve_can_be_stored(tmp_path: Path) -> None:
    # nothing is above 0.7: precision is undefined there
    case = make_case(tmp_path, "a", labels(bar(3, 4)), chances((bar(3, 4), 0.6)))
    chosen = choose_operating_point(run(case))
    assert (chosen.threshold, chosen.min_volume_mm3) == (0.5, 0.0)  # of equal ones the higher threshold
    assert [point["precision"] for point in chosen.curve] == [1, 1, None, 1, 1, None]
    assert not any(
        value is not None and np.isnan(value) for point in chosen.curve for value in point.values()
    )
