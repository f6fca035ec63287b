"""Many cases: what is pooled, what is listed, and that it does not depend on how the work is done."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.evaluation.case import CaseResult
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase
from shiva_cmb.evaluation.pipeline import Evaluation, evaluate
from shiva_cmb.evaluation.record import evaluation_record
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.lesions.criteria import LesionCriteria
from tests.evaluation.boxes import Box, bar, dot
from tests.evaluation.cases import SHAPE, case_list, chances, labels, make_case, settings, write

EMPTY = np.zeros(SHAPE, np.uint8)


def run(
    *cases: EvaluationCase,
    how: EvaluationSettings | None = None,
    notes: list[str] | None = None,
    processes: int = 1,
) -> Evaluation:
    """Without `notes` there must not be any."""
    note = pytest.fail if notes is None else notes.append
    return evaluate(case_list(*cases), how or settings(), processes=processes, note=note)


def values(evaluation: Evaluation, group: str) -> dict[str, float]:
    return {name: figure.value for name, figure in evaluation.groups[group].items()}


def four(folder: Path) -> list[EvaluationCase]:
    """TP, FP, FN: a 2, 1, 0; b 0, 0, 1 (missing); c 0, 3, 0 (lesion-free); d 1, 0, 1."""
    return [
        make_case(folder, "a", labels(dot(3), dot(6)), labels(dot(3), dot(6), dot(9)), columns={"site": "x"}),
        make_case(folder, "b", labels(dot(3)), None, columns={"site": "y"}),
        make_case(folder, "c", EMPTY, labels(dot(3), dot(6), dot(9)), columns={"site": "x"}),
        make_case(folder, "d", labels(dot(3), dot(6)), labels(dot(3)), columns={"site": "y"}),
    ]


def test_pooled_figures_by_hand(tmp_path: Path) -> None:
    found = run(*four(tmp_path))
    micro = values(found, "detection.micro")
    assert (micro["tp"], micro["fp"], micro["fn"]) == (3, 4, 2)
    assert micro["sensitivity"] == pytest.approx(3 / 5)
    assert micro["precision"] == pytest.approx(3 / 7)
    assert micro["f1"] == pytest.approx(6 / 12)
    assert micro["fp_per_scan"] == pytest.approx(4 / 4)  # over all four, also the missing one
    assert micro["fp_per_lesion_free_scan"] == 3  # only c
    # sensitivity: a 1, b 0, d 1/2, c undefined; precision: a 2/3, c 0, d 1, b undefined
    macro = values(found, "detection.macro")
    assert macro["sensitivity"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert macro["precision"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    # predicted less true number: 1, -1, 3, -1
    assert values(found, "counts")["error_mean"] == pytest.approx(2 / 4)
    # at least 1: truth a, b, d; prediction a, c, d
    scans = values(found, "scan_classification.1")
    assert (scans["tp"], scans["fp"], scans["fn"], scans["tn"]) == (2, 1, 1, 0)
    # one side of b and c is empty: infinite, so the median of 0, inf, inf, and of a and d is infinite
    assert values(found, "segmentation")["hd95_mm_median"] == np.inf
    assert found.groups["segmentation"]["hd95_mm_mean"].n == 2
    assert found.curves is None
    assert "detection.curves" not in found.groups
    for group in found.groups.values():
        for figure in group.values():
            assert not figure.low > figure.high


def test_a_missing_prediction_counts_as_empty(tmp_path: Path) -> None:
    missing = run(*four(tmp_path / "a"))
    cases = four(tmp_path / "b")
    cases[1] = replace(cases[1], prediction=write(tmp_path / "b" / "empty.nii", EMPTY))
    assert run(*cases).groups["detection.micro"] == missing.groups["detection.micro"]
    assert missing.arrays.names == ("a", "b", "c", "d")
    assert [result.judged != "nothing" for result in missing.results] == [True, False, True, True]


def test_what_cannot_be_read_is_listed_and_stops_nothing(tmp_path: Path) -> None:
    a, b, c, d = four(tmp_path)
    assert a.prediction is not None
    a.prediction.write_bytes(b"no image")
    c.truth.unlink()
    notes: list[str] = []
    found = run(a, b, c, d, notes=notes)
    assert found.arrays.names == ("a", "b", "d")
    assert set(found.failures) == {"c"}
    assert str(c.truth) in found.failures["c"]
    assert set(found.unread) == {"a"}
    assert [result.fn for result in found.results] == [2, 1, 1]
    assert any(line.startswith("a: the prediction cannot be used and counts as empty") for line in notes)
    assert any(line.startswith("c: not judged") for line in notes)
    assert found.notes == tuple(notes)


def test_a_defect_in_one_case_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[evaluate.__module__]
    judge = module.evaluate_case

    def sometimes(case: EvaluationCase, *args: object, **more: object) -> CaseResult:
        if case.name == "b":
            raise ZeroDivisionError("oops")
        return judge(case, *args, **more)

    monkeypatch.setattr(module, "evaluate_case", sometimes)
    found = run(*four(tmp_path), notes=[])
    assert list(found.failures) == ["b"]
    # nobody should look for the fault in the file
    assert re.fullmatch(r"unexpected ZeroDivisionError in test_pipeline\.py:\d+: oops", found.failures["b"])
    assert found.arrays.names == ("a", "c", "d")


def test_nothing_to_judge(tmp_path: Path) -> None:
    case = make_case(tmp_path, "a", EMPTY, None)
    case.truth.unlink()
    with pytest.raises(DataError, match=r"none of 1 cases.*a\.nii: no such file"):
        run(case, notes=[])
    with pytest.raises(DataError, match="none of 0 cases"):
        evaluate(CaseList(()), note=pytest.fail)


def test_remarks_name_their_case(tmp_path: Path) -> None:
    notes: list[str] = []
    run(make_case(tmp_path, "a", chances((dot(3), 0.9)), EMPTY), *four(tmp_path / "more")[1:], notes=notes)
    assert len(notes) == 1
    assert notes[0].startswith("a: ")


def test_one_patient_has_no_intervals_and_that_is_said_once(tmp_path: Path) -> None:
    notes: list[str] = []
    found = run(*(replace(case, patient="p") for case in mapped(tmp_path)), notes=notes)
    assert notes == ["all cases are of one patient: there are no intervals"]
    assert found.curves is not None
    assert found.groups["detection.micro"]["sensitivity"].value == pytest.approx(2 / 4)
    groups = [found.groups, *(level for levels in found.strata.values() for level in levels.values())]
    for figure in (figure for each in groups for group in each.values() for figure in group.values()):
        assert np.isnan(figure.low)
        assert np.isnan(figure.high)
    assert np.isnan([found.curves.sensitivity_low, found.curves.sensitivity_high]).all()


def test_a_level_with_lesions_of_one_patient_has_no_intervals(tmp_path: Path) -> None:
    # the small lesions are all of p, the large ones of p and q
    cases = [
        make_case(tmp_path, "p1", labels(dot(3), dot(6), block(9, 2)), labels(dot(3), block(9, 2))),
        make_case(tmp_path, "q1", labels(block(3, 2)), EMPTY),
        make_case(tmp_path, "r1", EMPTY, EMPTY),
    ]
    sizes = run(*cases).strata["size"]
    small, large = (sizes[level]["detection.micro"]["sensitivity"] for level in ("<2 mm", "2-5 mm"))
    assert small.value == large.value == 0.5
    assert np.isnan([small.low, small.high]).all()
    assert (large.low, large.high) == (0, 1)


def test_progress(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    evaluate(
        case_list(*four(tmp_path)),
        settings(),
        processes=1,
        progress=lambda done, of: told.append((done, of)),
        note=pytest.fail,
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    cases = [*four(tmp_path), *mapped(tmp_path / "maps")]
    cases[2].truth.unlink()
    notes: list[list[str]] = [[], []]
    records = [
        json.dumps(evaluation_record(run(*cases, notes=notes[n], processes=n + 1)), allow_nan=False)
        for n in range(2)
    ]
    assert records[0] == records[1]
    assert notes[0] == notes[1]
    assert notes[0]


# Strata


def levels_of(evaluation: Evaluation, stratum: str) -> dict[str, tuple[float, float, float]]:
    found = {}
    for level, groups in evaluation.strata[stratum].items():
        micro = groups["detection.micro"]
        found[level] = (micro["tp"].value, micro["fp"].value, micro["fn"].value)
    return found


def block(x: int, size: int) -> Box:
    return slice(x, x + size), slice(4, 4 + size), slice(4, 4 + size)


def test_a_pair_across_a_border_stays_a_pair(tmp_path: Path) -> None:
    # 1.296 mm3 have a diameter of 1.35 mm, 8 voxels 2.71 mm, 64 voxels 5.41 mm. The small true lesion is
    # found by one of 8 voxels, the one of 64 voxels by a single voxel; there is a false alarm of 8 voxels.
    truth = labels(dot(3, 4, 4), block(8, 4), dot(20))
    prediction = labels(block(3, 2), dot(8, 4, 4), block(14, 2))
    found = run(make_case(tmp_path, "a", truth, prediction), make_case(tmp_path, "b", EMPTY, EMPTY))
    assert levels_of(found, "size") == {"<2 mm": (1, 0, 1), "2-5 mm": (0, 1, 0), "5-10 mm": (1, 0, 0)}


def test_levels_add_up_to_the_whole(tmp_path: Path) -> None:
    # region 1 (left cortex) for x < 12, region 41 (right white matter) beyond; bars cross the border
    atlas = np.full(SHAPE, 41, np.int16)
    atlas[:12] = 3
    regions = write(tmp_path / "atlas.nii", atlas)
    boxes = [bar(2, 4), bar(10, 13), dot(16), block(18, 3), dot(8, 12), bar(20, 22, 12)]
    rng = np.random.default_rng(4)
    cases = []
    for number in range(6):
        chosen = [box for box in boxes if rng.random() < 0.5]
        found = labels(*[box for box in boxes if rng.random() < 0.5])
        found[:, :, :-1] |= found[:, :, 1:]  # larger than the truth, so that sizes and shapes differ
        table = {"site": rng.choice(["x", "y"])}
        cases.append(
            make_case(tmp_path, f"c{number}", labels(*chosen), found, regions=regions, columns=table)
        )
    evaluation = run(*cases, how=settings(strata=("site",), truth_kind="labels", prediction_kind="mask"))
    whole = values(evaluation, "detection.micro")
    assert min(whole["tp"], whole["fp"], whole["fn"]) > 0
    assert set(evaluation.strata) == {
        "size", "n_lesions", "elongation", "sphericity", "region", "side", "site"
    }  # fmt: skip
    for stratum in evaluation.strata:
        total = np.sum(list(levels_of(evaluation, stratum).values()), axis=0)
        assert tuple(total) == (whole["tp"], whole["fp"], whole["fn"]), stratum
    assert set(evaluation.strata["side"]) == {"left", "right"}


def test_strata_of_cases_have_all_figures_of_their_own(tmp_path: Path) -> None:
    found = run(*four(tmp_path), how=settings(strata=("site", "n_lesions:2")))
    x, y = found.strata["site"]["x"], found.strata["site"]["y"]
    assert levels_of(found, "site") == {"x": (2, 4, 0), "y": (1, 0, 2)}
    assert x["detection.micro"]["fp_per_scan"].value == 2  # a and c
    assert x["detection.micro"]["fp_per_scan"].n == 2
    assert y["counts"]["error_mean"].value == -1
    # by number of true lesions: b and c have under two
    assert levels_of(found, "n_lesions:2") == {"<2": (0, 3, 1), ">=2": (3, 1, 1)}
    assert set(levels_of(found, "n_lesions")) == {"0", "1-2"}  # not replaced by what was asked for


def test_one_column_can_be_cut_in_several_ways(tmp_path: Path) -> None:
    cases = [
        replace(c, columns={"te": str(te)}) for c, te in zip(four(tmp_path), (3, 9, 18, 20), strict=True)
    ]
    strata = run(*cases, how=settings(strata=("te:15", "te:5", "te"))).strata
    assert {name: list(strata[name]) for name in ("te:15", "te:5", "te")} == {
        "te:15": ["<15", ">=15"],
        "te:5": ["<5", ">=5"],
        "te": ["3", "9", "18", "20"],
    }


def test_the_samples_of_a_stratum_are_those_of_its_own_patients(tmp_path: Path) -> None:
    # both scans at site x are of one patient, so that there is nothing to draw from; the scans at y are of
    # two, and samples find 0, 1 of 2, or all
    cases = [
        make_case(tmp_path, f"c{n}", labels(dot(3)), labels(dot(3) if hit else dot(9)), **place)  # type: ignore[arg-type]
        for n, (hit, place) in enumerate(
            [
                (True, {"patient": "p", "columns": {"site": "x"}}),
                (True, {"patient": "q", "columns": {"site": "y"}}),
                (False, {"patient": "p", "columns": {"site": "x"}}),
                (False, {"patient": "r", "columns": {"site": "y"}}),
            ]
        )
    ]
    strata = run(*cases, how=settings(strata=("site",))).strata["site"]
    x, y = (strata[site]["detection.micro"]["sensitivity"] for site in "xy")
    assert x.value == 0.5
    assert np.isnan([x.low, x.high]).all()
    assert (y.low, y.value, y.high) == (0, 0.5, 1)


def test_an_unknown_stratum(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stratum 'scanner'"):
        run(*four(tmp_path), how=settings(strata=("scanner",)))


def test_strata_are_checked_before_any_case_is_judged(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    cases = [replace(case, columns={"site": "x", "Size": "1"}) for case in four(tmp_path)]
    for text, error, reason in (
        ("scanner", UsageError, "no stratum 'scanner'"),
        ("site:3", DataError, "'site' of the case table holds 'x'"),
        ("size", UsageError, "a column 'Size' too"),
        ("te:", UsageError, "cannot read the stratum"),
    ):
        with pytest.raises(error, match=reason):
            evaluate(
                case_list(*cases),
                settings(strata=(text,)),
                progress=lambda *at: told.append(at),
                note=pytest.fail,
            )
    assert told == []


def test_a_column_of_cases_that_could_not_be_judged_is_known(tmp_path: Path) -> None:
    a, b, *_ = four(tmp_path)
    a = replace(a, columns={"te": "3"})
    a.truth.unlink()
    found = run(
        replace(b, columns={}), *four(tmp_path / "more")[2:], a, how=settings(strata=("te",)), notes=[]
    )
    assert list(found.strata["te"]) == ["unknown"]


# Curves


def mapped(folder: Path) -> list[EvaluationCase]:
    """Three maps: above 0.7 one hit; above 0.5 two and a false alarm; above 0.3 three and two."""
    sure, likely, unsure = 0.9, 0.6, 0.4
    return [
        make_case(folder, "k", labels(dot(3), dot(6)), chances((dot(3), sure), (dot(9), likely))),
        make_case(folder, "l", labels(bar(3, 4)), chances((bar(3, 4), likely), (dot(9), unsure))),
        make_case(folder, "m", labels(dot(3)), chances((dot(3), unsure))),
    ]


def test_curves_by_hand(tmp_path: Path) -> None:
    found = run(*mapped(tmp_path))
    curve = found.curves
    assert curve is not None
    assert curve.thresholds == (0.3, 0.5, 0.7)
    np.testing.assert_allclose(curve.sensitivity, [3 / 4, 2 / 4, 1 / 4])
    np.testing.assert_allclose(curve.fp_per_scan, [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(curve.precision, [3 / 5, 2 / 3, 1])
    assert (curve.sensitivity_low <= curve.sensitivity).all()
    assert (curve.sensitivity <= curve.sensitivity_high).all()
    # at most 1/8 and 1/4 a scan: 1/4; 1/2: 2/4; 1, 2, 4, 8: 3/4
    figures = values(found, "detection.curves")
    assert figures["free_response_score"] == pytest.approx((2 * 1 / 4 + 2 / 4 + 4 * 3 / 4) / 7)
    assert figures["sensitivity_at_0.5_fp_per_scan"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("rule", ["overlap", "valdo"])
@pytest.mark.parametrize(("threshold", "minimum"), [(0.5, 0.0), (0.37, 1.5), (0.4, 0.0)])
def test_the_operating_point_lies_on_the_curves(
    tmp_path: Path, rule: str, threshold: float, minimum: float
) -> None:
    criteria = LesionCriteria(threshold=threshold, min_volume_mm3=minimum)
    how = settings(rule=MatchRule(rule), criteria=criteria)  # type: ignore[arg-type]
    found = run(*mapped(tmp_path), how=how)
    assert found.curves is not None
    assert found.curves.min_volume_mm3 == minimum
    place = found.curves.thresholds.index(threshold)
    micro = values(found, "detection.micro")
    assert found.curves.sensitivity[place] == micro["sensitivity"]
    assert found.curves.fp_per_scan[place] == micro["fp_per_scan"]
    assert found.curves.precision[place] == pytest.approx(micro["precision"], nan_ok=True)


def test_samples_without_lesions_leave_the_band_of_the_others(tmp_path: Path) -> None:
    # one case of three has lesions: 8 of 27 samples do not draw it and have no sensitivity; all others have 1
    cases = [
        make_case(tmp_path, "a", labels(dot(3)), chances((dot(3), 0.9))),
        make_case(tmp_path, "b", EMPTY, chances((dot(3), 0.9))),
        make_case(tmp_path, "c", EMPTY, chances((dot(3), 0.6))),
    ]
    found = run(*cases)
    assert found.facts is found.facts  # put together once
    curve = found.curves
    assert curve is not None
    assert curve.sensitivity_low.tolist() == curve.sensitivity_high.tolist() == [1, 1, 1]


def test_missing_unreadable_and_empty_predictions_stay_on_the_curves(tmp_path: Path) -> None:
    cases = mapped(tmp_path)
    cases.append(make_case(tmp_path, "n", labels(dot(3)), None))
    cases.append(make_case(tmp_path, "o", labels(dot(3), dot(6)), chances()))  # a map without any lesion
    broken = make_case(tmp_path, "p", labels(dot(3)), chances())
    assert broken.prediction is not None
    broken.prediction.write_bytes(b"")
    found = run(*cases, broken, notes=[])
    assert found.curves is not None
    np.testing.assert_allclose(found.curves.sensitivity, [3 / 8, 2 / 8, 1 / 8])
    np.testing.assert_allclose(found.curves.fp_per_scan, [2 / 6, 1 / 6, 0])


def test_there_are_no_curves_if_a_prediction_is_a_mask(tmp_path: Path) -> None:
    notes: list[str] = []
    found = run(*mapped(tmp_path), make_case(tmp_path, "z", labels(dot(3)), labels(dot(3))), notes=notes)
    assert found.curves is None
    assert notes == ["some predictions have no probability map: there are no curves"]
