"""One case judged, with figures that can be checked by hand."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import Place
from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.evaluation.case import CaseResult, evaluate_case
from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.pairing.inputs import EvaluationCase
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.lesions.criteria import LesionCriteria
from shiva_cmb.lesions.features import FIRST_ORDER_FEATURES, SHAPE_FEATURES
from tests.evaluation.boxes import bar, dot
from tests.evaluation.cases import AFFINE, SHAPE, VOXEL_MM3, chances, labels, make_case, settings, write

PLACES = {1: Place("lobar", "left"), 2: Place("deep", "right")}
EMPTY = np.zeros(SHAPE, np.uint8)


def judge(case: EvaluationCase, how: EvaluationSettings | None = None, features: bool = False) -> CaseResult:
    return evaluate_case(case, how or settings(), region_names=PLACES, features=features)


@pytest.fixture
def counted(tmp_path: Path) -> EvaluationCase:
    """Truth: 1 of 4 voxels, 2 of 2 voxels, 3 of 1 voxel. Prediction: 1 shares 3 voxels with the first and has
    2 of its own, 2 touches the third, 3 and 4 touch nothing; nothing finds the second truth lesion."""
    truth = labels(bar(2, 5), bar(10, 11), dot(16))
    prediction = labels(bar(3, 7), bar(16, 17), dot(20), dot(22))
    return make_case(tmp_path, "a", truth, prediction, patient="p", columns={"site": "x"})


def facts(result: CaseResult, kind: str) -> list[LesionFacts]:
    return [fact for fact in result.facts if fact.kind == kind]


def test_counts_and_facts_by_hand(counted: EvaluationCase) -> None:
    found = judge(counted)
    assert (found.name, found.patient, found.columns) == ("a", "p", {"site": "x"})
    assert (found.tp, found.fp, found.fn) == (2, 2, 1)
    assert (found.truth_count, found.predicted_count) == (3, 4)
    assert [fact.status for fact in facts(found, "truth")] == ["TP", "FN", "TP"]
    assert [fact.status for fact in facts(found, "prediction")] == ["TP", "TP", "FP", "FP"]
    assert [fact.partner for fact in facts(found, "truth")] == [1, None, 2]
    assert [fact.partner for fact in facts(found, "prediction")] == [1, 3, None, None]
    first, missed, _ = facts(found, "truth")
    assert first.overlap_voxels == 3
    assert first.matched_dice == pytest.approx(2 * 3 / (4 + 5))
    # centroids at 3.5 and 5 along x, where voxels are 0.9 mm wide
    assert first.distance_mm == pytest.approx(1.5 * 0.9)
    assert first.volume_mm3 == pytest.approx(4 * VOXEL_MM3)
    assert (first.x_mm, first.y_mm, first.z_mm) == pytest.approx(AFFINE[:3, :3] @ [3.5, 5, 5] + AFFINE[:3, 3])
    assert (missed.overlap_voxels, missed.matched_dice, missed.distance_mm) == (None, None, None)
    # dice of both pairs: 6 / 9 and 2 * 1 / (1 + 2)
    assert found.matched_dice == pytest.approx([6 / 9, 2 / 3])


def test_voxel_figures_by_hand(counted: EvaluationCase) -> None:
    # 7 true voxels, 9 predicted, 4 shared; 24 x 20 x 24 = 11520 judged
    voxels = judge(counted).voxels
    assert voxels["dice"] == pytest.approx(2 * 4 / (7 + 9))
    assert voxels["specificity"] == pytest.approx((11520 - 12) / (11520 - 7))
    assert voxels["volume_difference_mm3"] == pytest.approx(2 * VOXEL_MM3)
    assert np.isfinite(voxels["hd95_mm"])


def test_ignored_lesions_count_neither_way(counted: EvaluationCase) -> None:
    # the third truth lesion has one voxel: it goes, and the prediction that touches only it goes too
    found = judge(counted, settings(ignore_below_mm3=2 * VOXEL_MM3))
    assert (found.tp, found.fp, found.fn) == (1, 2, 1)
    assert (found.truth_count, found.predicted_count) == (2, 3)
    assert (found.ignored_truth, found.ignored_prediction) == (1, 1)
    assert [fact.status for fact in facts(found, "prediction")] == ["TP", "ignored", "FP", "FP"]


def test_ignored_lesions_are_no_voxels(tmp_path: Path) -> None:
    # 16 is too small to count, and 15-17 touches only it. Left: 4 true voxels, 3 predicted, all shared
    case = make_case(tmp_path, "a", labels(bar(2, 5), dot(16)), labels(bar(3, 5), bar(15, 17)))
    ignoring = settings(ignore_below_mm3=2 * VOXEL_MM3)
    voxels = judge(case, ignoring).voxels
    assert voxels["dice"] == pytest.approx(2 * 3 / (4 + 3))
    assert voxels["precision"] == 1
    assert voxels["volume_difference_mm3"] == pytest.approx(-VOXEL_MM3)
    # voxel 2 is 0.9 mm from the prediction, the other three are on it: 95 % lie 2.85 places up
    assert voxels["hd95_mm"] == pytest.approx(0.85 * 0.9)
    # 15 to 17 are not judged, neither in the whole image nor in a brain of 0 to 15
    assert 1 - voxels["accuracy"] == pytest.approx(1 / (24 * 20 * 24 - 3))
    brain = write(tmp_path / "brain.nii", labels(bar(0, 15)))
    assert judge(replace(case, mask=brain), ignoring).voxels["accuracy"] == pytest.approx(14 / 15)
    assert judge(case).voxels["precision"] == pytest.approx(4 / 6)


def test_regions_of_a_value_to_ignore_count_neither_way(tmp_path: Path) -> None:
    truth = labels(bar(2, 3), bar(4, 6), dot(12), bar(16, 17))
    truth[truth == 2] = 9  # touches the first lesion
    truth[truth == 4] = 9
    found = chances((bar(3, 4), 0.9), (bar(6, 6), 0.9), (dot(16), 0.8), (dot(20), 0.7))
    case = make_case(tmp_path, "a", truth, found)
    result = judge(case, settings(ignored_values=(9,)))
    # the first lesion is found though its prediction reaches into what is ignored; 6 and 16 count neither way
    assert (result.tp, result.fp, result.fn) == (1, 1, 1)
    assert (result.truth_count, result.ignored_truth, result.ignored_prediction) == (2, 2, 2)
    assert result.sweep is not None
    assert result.sweep[1, 0, 0].tolist() == [1, 1, 1]
    plain = judge(case)
    assert (plain.tp, plain.fp, plain.fn) == (3, 1, 1)  # each value is a lesion
    with pytest.raises(UsageError, match="other than 0"):
        settings(ignored_values=(0,))


def test_nothing_but_ignored_lesions_is_as_good_as_nothing(tmp_path: Path) -> None:
    case = make_case(tmp_path, "a", labels(dot(16)), labels(bar(15, 17)))
    found = judge(case, settings(ignore_below_mm3=2 * VOXEL_MM3))
    assert np.isnan(found.voxels["dice"])
    assert np.isnan(found.voxels["hd95_mm"])
    assert found.voxels["accuracy"] == 1


def test_predictions_under_the_minimum_are_not_there(counted: EvaluationCase) -> None:
    found = judge(counted, settings(criteria=LesionCriteria(min_volume_mm3=2 * VOXEL_MM3)))
    assert (found.tp, found.fp, found.fn) == (2, 0, 1)
    assert len(facts(found, "prediction")) == 2


@pytest.fixture
def told_apart(tmp_path: Path) -> EvaluationCase:
    """Four groups of lesions in which no two rules agree, 5 rows of 1.8 mm apart; 0.9 mm along x."""
    truth = labels(bar(2, 8, 2), bar(2, 12, 7), dot(20, 12), dot(10, 17), dot(14, 17))
    prediction = labels(bar(2, 3, 2), bar(6, 8, 2), dot(2, 7), dot(22, 12), dot(13, 17), dot(16, 17))
    return make_case(tmp_path, "a", truth, prediction)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Row 2: two predictions lie on one lesion (IoU 2 / 7 and 3 / 7, centroids 2.5 and 2 voxels away).
        # Row 7: one shared voxel of 11 (IoU 0.09), centroids 5 voxels, 4.5 mm, apart.
        # Row 12: no shared voxel, 2 voxels apart.
        # Row 17: lesions at 10 and 14, predictions at 13 and 16, nothing shared.
        # TP, FP, FN of the rows, and in all:
        # (1, 1, 0) + (1, 0, 0) + (0, 1, 1) + (0, 2, 2)
        ("overlap", (2, 4, 3)),
        # row 7 stays under 0.1: (1, 1, 0) + (0, 1, 1) + (0, 1, 1) + (0, 2, 2)
        ("iou", (1, 5, 4)),
        # row 17: 13 with 10 and 16 with 14 are two pairs: (1, 1, 0) + (1, 0, 0) + (1, 0, 0) + (2, 0, 0)
        ("distance", (5, 1, 0)),
        # row 2: both touch a lesion: (1, 0, 0) + (1, 0, 0) + (0, 1, 1) + (0, 2, 2)
        ("shiva", (2, 3, 3)),
        # row 17: 13 and 16 both go to 14, and 13 has it: (1, 1, 0) + (1, 0, 0) + (1, 0, 0) + (1, 1, 1)
        ("valdo", (4, 2, 1)),
        # row 7: 5 voxels are not less than 5: (1, 1, 0) + (0, 1, 1) + (1, 0, 0) + (1, 1, 1)
        ("valdo-voxels", (3, 3, 2)),
    ],
)
def test_every_rule(told_apart: EvaluationCase, rule: str, expected: tuple[int, int, int]) -> None:
    found = judge(told_apart, settings(rule=MatchRule(rule)))  # type: ignore[arg-type]
    assert (found.tp, found.fp, found.fn) == expected


def test_rules_differ_where_two_predictions_lie_on_one_lesion(tmp_path: Path) -> None:
    case = make_case(tmp_path, "a", labels(bar(2, 8)), labels(bar(2, 3), bar(6, 8)))
    counts = {
        rule: (found.tp, found.fp, found.fn)
        for rule in ("overlap", "shiva", "valdo")
        for found in [judge(case, settings(rule=MatchRule(rule)))]  # type: ignore[arg-type]
    }
    assert counts == {"overlap": (1, 1, 0), "shiva": (1, 0, 0), "valdo": (1, 1, 0)}


def test_one_prediction_over_two_lesions(tmp_path: Path) -> None:
    case = make_case(tmp_path, "a", labels(bar(2, 3), bar(6, 8)), labels(bar(2, 8)))
    assert [judge(case).tp, judge(case).fp, judge(case).fn] == [1, 0, 1]
    shiva = judge(case, settings(rule=MatchRule("shiva")))
    assert (shiva.tp, shiva.fp, shiva.fn) == (2, 0, 0)


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [((), (), (0, 0, 0)), ((dot(0, 0, 0),), (), (0, 0, 1)), ((), (dot(23, 19, 23),), (0, 1, 0))],
)
def test_empty_sides(tmp_path: Path, truth: tuple, prediction: tuple, expected: tuple[int, int, int]) -> None:
    found = judge(make_case(tmp_path, "a", labels(*truth), labels(*prediction)))
    assert (found.tp, found.fp, found.fn) == expected
    assert found.matched_dice == ()
    both_empty = not truth and not prediction
    assert np.isnan(found.voxels["dice"]) if both_empty else found.voxels["dice"] == 0
    assert np.isnan(found.voxels["hd95_mm"]) if both_empty else np.isinf(found.voxels["hd95_mm"])


# What cannot be read


@pytest.mark.parametrize("damage", ["missing", "cut", "link", "infinite", "percent"])
def test_an_unreadable_prediction_counts_as_empty_and_is_named(tmp_path: Path, damage: str) -> None:
    case = make_case(tmp_path, "a", labels(dot(3), dot(6)), EMPTY)
    assert case.prediction is not None
    if damage == "missing":
        case.prediction.unlink()
    elif damage == "cut":
        case.prediction.write_bytes(case.prediction.read_bytes()[:1000])
    elif damage == "link":
        case.prediction.unlink()
        case.prediction.symlink_to(tmp_path / "annex" / "a.nii")
    else:
        write(case.prediction, chances((dot(3), np.inf if damage == "infinite" else 50.5)))
    found = judge(replace(case, probability=case.prediction))
    assert found.failure is not None
    assert str(case.prediction) in found.failure
    assert found.judged == "nothing"
    assert (found.tp, found.fp, found.fn) == (0, 0, 2)
    assert found.sweep is None


def test_an_unreadable_truth_raises(tmp_path: Path) -> None:
    case = make_case(tmp_path, "a", chances((dot(3), np.nan)), EMPTY)
    with pytest.raises(ImageError, match="truth"):
        judge(case)


def test_nan_in_a_prediction_is_no_failure(tmp_path: Path) -> None:
    found = judge(make_case(tmp_path, "a", labels(dot(3)), chances((dot(3), 0.75), (dot(9), np.nan))))
    assert found.failure is None
    assert found.judged == "probability map"
    assert (found.tp, found.fp, found.fn) == (1, 0, 0)
    assert found.sweep is not None
    assert found.voxel_bins is not None
    assert found.voxel_bins[:, 0].sum() == 1
    assert "NaN was taken for 0" in found.notes[0]


def test_a_missing_prediction_is_no_failure(tmp_path: Path) -> None:
    found = judge(make_case(tmp_path, "a", labels(dot(3)), None))
    assert found.failure is None
    assert found.judged == "nothing"
    assert (found.tp, found.fp, found.fn) == (0, 0, 1)


# Places, masks, images


def test_regions_are_looked_up_by_world_position(tmp_path: Path) -> None:
    # The atlas covers only x < 18 of the image, on voxels twice as wide along x: its voxel i holds the
    # image's 2i and 2i + 1. Left of 10 it is region 1, then region 2; region 9 has no name.
    atlas = np.full((9, 20, 24), 2, np.int16)
    atlas[:5] = 1
    atlas[6] = 9
    affine = AFFINE @ np.diag([2.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = AFFINE[:3, :3] @ [0.5, 0, 0] + AFFINE[:3, 3]
    regions = write(tmp_path / "atlas.nii", atlas, affine)
    # 8 to 10: two voxels in 1, one in 2; 11: in 2; 12: in 9; 20: outside
    truth = labels(bar(8, 10), dot(11, 8), dot(12, 12), dot(20))
    found = judge(make_case(tmp_path, "a", truth, EMPTY, regions=regions))
    assert [(fact.region, fact.side) for fact in found.facts] == [
        ("lobar", "left"),
        ("deep", "right"),
        (None, None),
        (None, None),
    ]


def test_voxels_are_judged_in_the_brain_and_in_all_lesions(tmp_path: Path) -> None:
    # 10 voxels of brain, with a true voxel that is found, a true one beyond, and two false ones beyond:
    # 13 are judged, 1 is TP, 2 are FP, 1 is FN, 9 are TN
    brain = write(tmp_path / "brain.nii", labels(bar(0, 9)))
    case = make_case(tmp_path, "a", labels(dot(3), dot(12)), labels(dot(3), bar(20, 21)), mask=brain)
    assert judge(case).voxels["specificity"] == pytest.approx(9 / 11)
    assert judge(case).voxels["accuracy"] == pytest.approx(10 / 13)


@pytest.mark.parametrize("role", ["mask", "regions", "image"])
@pytest.mark.parametrize("wrong", ["missing", "empty"])
def test_what_only_adds_to_the_figures_may_be_missing(tmp_path: Path, role: str, wrong: str) -> None:
    path = tmp_path / "more.nii"
    if wrong == "empty":
        write(path, EMPTY)
    case = make_case(tmp_path, "a", labels(dot(3)), labels(dot(3)), **{role: path})
    found = judge(case, features=True)
    assert found.tp == 1
    assert found.voxels["accuracy"] == 1
    if wrong == "missing" or role == "mask":
        assert any("left out" in line for line in found.notes)


def test_features_of_every_lesion(tmp_path: Path) -> None:
    image = np.full(SHAPE, 100.0, np.float32)
    image[3:6, 5, 5] = 10, 20, 60
    path = write(tmp_path / "image.nii", image)
    case = make_case(tmp_path, "a", labels(bar(3, 5)), labels(dot(4), dot(9)), image=path)
    truth, first, _ = judge(case, features=True).features
    assert (truth["case"], truth["kind"], truth["name"]) == ("a", "truth", 1)
    assert (first["kind"], first["name"]) == ("prediction", 1)
    names = [f"shape_{name}" for name in SHAPE_FEATURES]
    names += [f"intensity_{name}" for name in FIRST_ORDER_FEATURES]
    assert list(truth) == ["case", "kind", "name", *names]
    assert truth["intensity_mean"] == 30
    assert truth["intensity_median"] == 20
    assert first["intensity_mean"] == 20
    assert truth["shape_voxel_volume_mm3"] == pytest.approx(3 * VOXEL_MM3)
    assert judge(case).features == ()


def test_nan_inside_a_lesion_leaves_out_its_intensities_only(tmp_path: Path) -> None:
    image = np.full(SHAPE, 100.0, np.float32)
    image[4, 5, 5] = np.nan
    case = make_case(
        tmp_path, "a", labels(bar(3, 5), dot(9)), EMPTY, image=write(tmp_path / "image.nii", image)
    )
    found = judge(case, features=True)
    with_nan, without = found.features
    assert "intensity_mean" not in with_nan
    assert with_nan["shape_voxel_volume_mm3"] == pytest.approx(3 * VOXEL_MM3)
    assert without["intensity_mean"] == 100
    assert len(found.notes) == 1
    assert "intensity features of truth lesion 1" in found.notes[0]


# Maps


def hazy() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Truth and map: two found above 0.5, one just at 0.5, one between 0.3 and 0.5, one false alarm."""
    truth = labels(bar(2, 4), dot(8), bar(12, 13), dot(16))
    chance = chances(
        (bar(2, 4), 0.65),
        (dot(8), 0.95),
        (bar(12, 13), 0.5),
        (dot(16), 0.45),
        (dot(20), 0.75),
        (dot(22), 0.2),
    )
    return truth, chance


@pytest.mark.parametrize("rule", ["overlap", "iou", "distance", "shiva", "valdo", "valdo-voxels"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_sweep_agrees_with_the_labels_at_each_threshold(
    tmp_path: Path, rule: str, threshold: float
) -> None:
    how = settings(
        rule=MatchRule(rule, max_distance_mm=2.0),  # type: ignore[arg-type]
        criteria=LesionCriteria(threshold=threshold, min_volume_mm3=2.0),
        ignore_below_mm3=1.0,
    )
    found = judge(make_case(tmp_path, "a", *hazy()), how)
    assert found.sweep is not None
    assert found.sweep.shape == (3, 2, 1, 3)
    place = how.sweep.thresholds.index(threshold)
    assert found.sweep[place, 1, 0].tolist() == [found.tp, found.fp, found.fn]


@pytest.mark.parametrize("most_outside", [0.25, 0.5])
def test_the_sweep_agrees_with_the_lesions_in_the_brain(tmp_path: Path, most_outside: float) -> None:
    brain = np.zeros(SHAPE, np.uint8)
    brain[:10] = 1
    # wholly inside, a third outside, wholly outside
    chance = chances((bar(2, 4), 0.8), (bar(8, 10, 9), 0.8), (bar(14, 16), 0.8))
    case = make_case(tmp_path, "a", labels(bar(2, 4)), chance, mask=write(tmp_path / "brain.nii", brain))
    how = settings(criteria=LesionCriteria(min_volume_mm3=0, max_outside_fraction=most_outside))
    found = judge(case, how)
    assert (found.tp, found.fp, found.fn) == (1, 0 if most_outside == 0.25 else 1, 0)
    assert found.sweep is not None
    assert found.sweep[how.sweep.thresholds.index(0.5), 0, 0].tolist() == [found.tp, found.fp, found.fn]


def test_the_threshold_itself_counts_for_valdo_only(tmp_path: Path) -> None:
    # above 0.5: 2-4 and 8 are found, 20 is a false alarm; at 0.5: 12-13 too
    case = make_case(tmp_path, "a", *hazy())
    overlap, valdo = judge(case), judge(case, settings(rule=MatchRule("valdo", max_distance_mm=2.0)))
    assert (overlap.tp, overlap.fp, overlap.fn) == (2, 1, 2)
    assert (valdo.tp, valdo.fp, valdo.fn) == (3, 1, 1)
    assert overlap.sweep is not None
    assert overlap.sweep[:, 0, 0].tolist() == [[4, 1, 0], [2, 1, 2], [1, 1, 3]]
    # at least 2 mm3, two voxels: 2-4 at 0.3 and 0.5, 12-13 at 0.3
    assert overlap.sweep[:, 1, 0].tolist() == [[2, 0, 2], [1, 0, 3], [0, 0, 4]]


def test_calibration_by_hand(tmp_path: Path) -> None:
    found = judge(make_case(tmp_path, "a", *hazy()))
    assert found.lesion_bins is not None
    assert found.voxel_bins is not None
    # lesions above 0.5, bins of (n, sum of probabilities, true): (0.6, 0.7] 2-4; (0.7, 0.8] the false alarm;
    # (0.9, 1] the other
    expected = np.zeros((10, 3))
    expected[6], expected[7], expected[9] = (1, 0.65, 1), (1, 0.75, 0), (1, 0.95, 1)
    np.testing.assert_allclose(found.lesion_bins, expected, atol=1e-6)
    # voxels above the lowest threshold of 0.3: 0.45 and two of 0.5 in (0.4, 0.5], three of 0.65
    assert found.voxel_bins[:, 0].tolist() == [0, 0, 0, 0, 3, 0, 3, 1, 0, 1]
    assert found.voxel_bins[:, 2].tolist() == [0, 0, 0, 0, 3, 0, 3, 0, 0, 1]


def test_ignored_lesions_are_not_calibrated(tmp_path: Path) -> None:
    # 8 and 16 are too small to count; 15-17 touches only 16, while 3-8 finds 2-5 as well
    truth = labels(bar(2, 5), dot(8), dot(16))
    chance = chances((bar(3, 8), 0.75), (bar(15, 17), 0.95))
    found = judge(make_case(tmp_path, "a", truth, chance), settings(ignore_below_mm3=2 * VOXEL_MM3))
    assert (found.tp, found.fp, found.fn) == (1, 0, 0)
    assert found.voxel_bins is not None
    assert found.lesion_bins is not None
    expected = np.zeros((10, 3))
    expected[7] = 5, 5 * 0.75, 3  # 3 to 7, of which 3 to 5 are true
    np.testing.assert_allclose(found.voxel_bins, expected)
    expected[7] = 1, 0.75, 1
    np.testing.assert_allclose(found.lesion_bins, expected)


def test_a_lesion_is_in_the_bin_of_its_voxel(tmp_path: Path) -> None:
    # the float32 next to 0.6 is above 0.6: in float64, it would be in the bin above
    found = judge(make_case(tmp_path, "a", labels(dot(3)), chances((dot(3), 0.6))))
    assert found.voxel_bins is not None
    assert found.lesion_bins is not None
    assert np.flatnonzero(found.voxel_bins[:, 0]).tolist() == [5]
    assert np.flatnonzero(found.lesion_bins[:, 0]).tolist() == [5]


def test_facts_are_small_and_go_between_processes(counted: EvaluationCase) -> None:
    fact = judge(counted).facts[0]
    assert not hasattr(fact, "__dict__")
    assert pickle.loads(pickle.dumps(fact)) == fact
