"""Files become sets of lesions on one grid: none is lost, broken or joined without a word."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError
from shiva_cmb.evaluation.common_grid import enlarged, missing_margins, moved_to
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels
from shiva_cmb.evaluation.matching import MatchRule, match_lesions
from shiva_cmb.evaluation.reading import CaseLesions, read_case, strict_threshold
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.sweep import SweepSettings, sweep_case
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.lesions.criteria import LesionCriteria
from tests.evaluation.boxes import bar, dot
from tests.evaluation.cases import AFFINE, SHAPE, VOXEL_MM3, chances, labels, make_case, settings, write

EMPTY = np.zeros(SHAPE, np.uint8)


def read(
    folder: Path,
    truth: NDArray[np.generic],
    prediction: NDArray[np.generic] | None,
    notes: list[str] | None = None,
    how: EvaluationSettings | None = None,
    **more: object,
) -> CaseLesions:
    """Without `notes` there must not be any."""
    case = make_case(folder, "a", truth, prediction, **more)
    return read_case(case, how or settings(), note=pytest.fail if notes is None else notes.append)


def voxels(lesions: LesionSet) -> list[list[tuple[int, ...]]]:
    return [sorted(map(tuple, lesions.indices(k).tolist())) for k in range(len(lesions))]


# What a file holds


def test_a_mask_has_connected_components_whatever_its_value(tmp_path: Path) -> None:
    mask = 255 * (labels(bar(2, 4), dot(5, 6, 6), dot(10)) > 0)  # the second touches the first by a corner
    found = read(tmp_path, mask.astype(np.uint8), EMPTY).truth
    assert found.sizes.tolist() == [4, 1]
    assert found.scores is None


def test_labels_that_touch_stay_apart(tmp_path: Path) -> None:
    found = read(tmp_path, labels(bar(2, 4), bar(5, 6), dot(10)), labels(bar(2, 4), bar(5, 6)))
    assert found.truth.sizes.tolist() == [3, 2, 1]
    assert found.prediction.sizes.tolist() == [3, 2]
    joined = read(tmp_path, labels(bar(2, 4), bar(5, 6)), EMPTY, how=settings(truth_kind="mask"))
    assert joined.truth.sizes.tolist() == [5]


def test_every_piece_of_every_value_is_a_lesion(tmp_path: Path) -> None:
    # 1: definite, at two places; 2: possible, at one of its own and one that touches a definite one
    classes = labels(bar(2, 4), dot(12))
    classes[dot(5)], classes[dot(16)], classes[dot(20)] = 2, 2, 1
    notes: list[str] = []
    found = read(tmp_path, classes, EMPTY, notes)
    assert sorted(found.truth.sizes.tolist()) == [1, 1, 1, 1, 3]  # 2 to 4 is definite, 5 touches it
    assert len(notes) == 1
    assert "has 2 values in 5 pieces" in notes[0]
    as_labels = read(tmp_path, classes, EMPTY, how=settings(truth_kind="labels"))
    assert as_labels.truth.names.tolist() == [1, 2]
    assert as_labels.truth.sizes.tolist() == [4, 3]  # 2-4 and 20; 5, 12 and 16


def test_which_voxels_touch_depends_on_the_connectivity(tmp_path: Path) -> None:
    corner = (labels(dot(2), dot(3, 6, 6)) > 0).astype(np.uint8)
    faces = settings(criteria=LesionCriteria(min_volume_mm3=0, connectivity=6))
    assert len(read(tmp_path, corner, corner).prediction) == 1
    found = read(tmp_path, corner, corner, how=faces)
    assert (len(found.truth), len(found.prediction)) == (2, 2)


def test_a_soft_mask_is_cut_at_one_half(tmp_path: Path) -> None:
    notes: list[str] = []
    found = read(tmp_path, chances((bar(2, 6), 0.4), (bar(3, 5), 0.9), (dot(9), 0.5)), EMPTY, notes)
    assert voxels(found.truth) == [[(3, 5, 5), (4, 5, 5), (5, 5, 5)]]  # 0.4 and exactly 0.5 are not above
    assert "not binary" in notes[0]


def test_a_soft_prediction_may_be_called_a_mask(tmp_path: Path) -> None:
    notes: list[str] = []
    how = settings(prediction_kind="mask", criteria=LesionCriteria(threshold=0.1, min_volume_mm3=0))
    found = read(tmp_path, EMPTY, chances((bar(2, 6), 0.4), (bar(3, 5), 0.9)), notes, how)
    assert found.prediction.sizes.tolist() == [3]  # at one half, not at the threshold of maps
    assert found.prediction.scores is None
    assert found.probability is None


def test_rounding_of_scale_factors_is_forgiven(tmp_path: Path) -> None:
    found = read(tmp_path, chances((bar(2, 4), 1.0000005), (dot(8), -1e-5)), EMPTY, [])
    assert found.truth.sizes.tolist() == [3]


@pytest.mark.parametrize(
    ("values", "kind"), [((0.5, 2.0), "auto"), ((0.5, 1.0), "labels"), ((-0.5, 1.0), "mask")]
)
def test_what_is_neither_mask_nor_labels_is_refused(
    tmp_path: Path, values: tuple[float, float], kind: str
) -> None:
    strange = chances((dot(2), values[0]), (dot(4), values[1]))
    with pytest.raises(ImageError, match=r"a\.nii: expected whole numbers"):
        read(tmp_path, strange, EMPTY, how=settings(truth_kind=kind))


def test_a_probability_map_is_cut_strictly_above_the_threshold(tmp_path: Path) -> None:
    # 0.5 is not above 0.5: 3 to 5 are left, with 3 x 1.296 = 3.888 mm3, and 9 with 1.296 mm3
    data = chances((bar(2, 6), 0.5), (bar(3, 5), 0.6), (dot(4), 0.875), (dot(9), 0.75))
    found = read(tmp_path, EMPTY, data)
    assert found.prediction.scores is not None
    assert sorted(zip(found.prediction.sizes, found.prediction.scores, strict=True)) == [
        (1, 0.75),
        (3, 0.875),
    ]
    assert found.probability is not None
    larger = settings(criteria=LesionCriteria(min_volume_mm3=2))
    assert read(tmp_path, EMPTY, data, how=larger).prediction.sizes.tolist() == [3]
    lower = settings(criteria=LesionCriteria(threshold=0.4, peak_threshold=0.8, min_volume_mm3=0))
    assert read(tmp_path, EMPTY, data, how=lower).prediction.sizes.tolist() == [5]  # 9 peaks at 0.75


def test_valdo_takes_the_threshold_itself(tmp_path: Path) -> None:
    data = chances((bar(2, 6), 0.5), (dot(9), 0.49))
    found = read(tmp_path, EMPTY, data, how=settings(rule=MatchRule("valdo")))
    assert found.prediction.sizes.tolist() == [5]
    assert strict_threshold(0.3, MatchRule()) == 0.3
    assert strict_threshold(0.0, MatchRule("valdo")) == 0.0
    for value in (0.05, 0.3, 0.55, 0.99):
        below = strict_threshold(value, MatchRule("valdo"))
        assert np.float32(value) > below
        assert not np.float32(value - 1e-6) > below


def test_a_map_of_whole_numbers_is_a_map_if_its_name_or_the_user_says_so(tmp_path: Path) -> None:
    data = chances((bar(2, 6), 1.0))
    path = tmp_path / "prediction" / "a.nii"
    by_name = read(tmp_path, EMPTY, data, probability=path)
    asked = read(tmp_path, EMPTY, data, how=settings(prediction_kind="probability"))
    for found in (by_name, asked):
        assert found.prediction.scores is not None
        assert found.prediction.scores.tolist() == [1.0]
        assert found.probability is not None
    assert read(tmp_path, EMPTY, data).probability is None  # nobody says so: a mask


def test_an_image_without_any_lesion_is_as_good_a_map_as_a_mask(tmp_path: Path) -> None:
    found = read(tmp_path, labels(dot(3)), EMPTY)
    assert len(found.prediction) == 0
    assert found.probability is not None


@pytest.mark.parametrize(
    ("side", "value"), [("truth", np.nan), ("truth", np.inf), ("prediction", np.inf), ("prediction", -np.inf)]
)
def test_what_is_not_finite_is_refused_and_the_file_named(tmp_path: Path, side: str, value: float) -> None:
    bad = chances((dot(3), value), (dot(8), np.nan))
    given = {"truth": EMPTY, "prediction": EMPTY} | {side: bad}
    with pytest.raises(ImageError, match=rf"{side}/a\.nii: holds NaN or infinite"):
        read(tmp_path, notes=[], **given)


@pytest.mark.parametrize("kind", ["auto", "mask", "labels", "probability"])
def test_nan_in_a_prediction_is_zero_and_that_is_said(tmp_path: Path, kind: str) -> None:
    # some tools write it outside the brain
    data = chances((bar(2, 4), 1.0), (dot(3), np.nan), (dot(9), np.nan))
    notes: list[str] = []
    found = read(tmp_path, EMPTY, data, notes, how=settings(prediction_kind=kind))
    # 2 and 4 do not touch; as labels they have one value
    pieces = [[(2, 5, 5), (4, 5, 5)]] if kind == "labels" else [[(2, 5, 5)], [(4, 5, 5)]]
    assert sorted(voxels(found.prediction)) == pieces
    assert "NaN was taken for 0" in notes[0]
    assert str(tmp_path / "prediction" / "a.nii") in notes[0]


def test_nan_in_a_map_is_zero_everywhere(tmp_path: Path) -> None:
    data = chances((bar(2, 4), 0.75), (dot(12), 0.25))
    data[0], data[12, 5, 5] = np.nan, np.nan
    notes: list[str] = []
    found = read(tmp_path, EMPTY, data, notes)
    assert found.judged == "probability map"
    assert found.probability is not None
    assert np.isfinite(found.probability.data).all()
    assert found.probability.data[12, 5, 5] == 0
    assert len(notes) == 1


def test_nan_in_a_map_beside_labels_is_zero(tmp_path: Path) -> None:
    beside = write(tmp_path / "prob.nii", chances((bar(2, 4), 0.75), (dot(3), np.nan), (dot(9), np.nan)))
    notes: list[str] = []
    found = read(tmp_path, EMPTY, labels(bar(2, 4), dot(9)), notes, probability=beside)
    assert found.prediction.scores is not None
    assert found.prediction.scores.tolist() == [0.75, 0]
    assert found.probability is not None
    assert found.probability.data.sum() == pytest.approx(2 * 0.75)
    assert notes == [f"{beside}: NaN was taken for 0"]


def test_a_map_that_leaves_the_unit_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.nii: expected probabilities"):
        read(tmp_path, EMPTY, chances((dot(3), 97.5)))


def test_a_missing_prediction_is_empty(tmp_path: Path) -> None:
    found = read(tmp_path, labels(dot(3), dot(6)), None)
    assert len(found.truth) == 2
    assert len(found.prediction) == 0
    assert found.prediction.grid.matches(found.truth.grid)
    assert found.judged == "nothing"
    assert found.probability is None


# A map beside a label map


def test_labels_take_their_scores_from_the_map_beside_them(tmp_path: Path) -> None:
    beside = write(tmp_path / "prob.nii", chances((bar(2, 4), 0.6), (dot(3), 0.875), (dot(9), 0.75)))
    found = read(tmp_path, EMPTY, labels(bar(2, 4), dot(9)), probability=beside)
    assert found.prediction.scores is not None
    assert found.prediction.scores.tolist() == [0.875, 0.75]
    assert found.probability is not None


@pytest.mark.parametrize(
    ("how", "judged"),
    [
        ({}, "labels"),
        ({"prediction_kind": "labels", "maps_first": True}, "labels"),
        ({"prediction_kind": "mask", "maps_first": True}, "labels"),
        ({"maps_first": True}, "probability map"),
        ({"prediction_kind": "probability"}, "probability map"),
    ],
)
def test_which_of_label_map_and_probability_map_is_judged(
    tmp_path: Path, how: dict[str, object], judged: str
) -> None:
    # the label map has 2-4 and 9; above 0.5 the map has 3 and 12
    path = write(tmp_path / "prob.nii", chances((bar(2, 4), 0.25), (dot(3), 0.75), (dot(12), 0.875)))
    found = read(
        tmp_path, EMPTY, (labels(bar(2, 4), dot(9)) > 0) * np.uint8(1), how=settings(**how), probability=path
    )
    assert found.judged == judged
    expected = {
        "labels": [([(2, 5, 5), (3, 5, 5), (4, 5, 5)], 0.75), ([(9, 5, 5)], 0.0)],
        "probability map": [([(3, 5, 5)], 0.75), ([(12, 5, 5)], 0.875)],
    }
    if how.get("prediction_kind") == "labels":  # both pieces have the value 1
        expected["labels"] = [([(2, 5, 5), (3, 5, 5), (4, 5, 5), (9, 5, 5)], 0.75)]
    assert found.prediction.scores is not None
    assert sorted(zip(voxels(found.prediction), found.prediction.scores, strict=True)) == expected[judged]
    assert found.probability is not None
    assert found.probability.data.max() == 0.875


def test_maps_first_takes_labels_where_there_is_no_map(tmp_path: Path) -> None:
    found = read(tmp_path, EMPTY, labels(bar(2, 4)), how=settings(maps_first=True))
    assert found.judged == "labels"
    assert found.prediction.sizes.tolist() == [3]


def test_a_map_to_judge_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"prob\.nii"):
        read(
            tmp_path,
            EMPTY,
            labels(dot(3)),
            how=settings(maps_first=True),
            probability=tmp_path / "prob.nii",
        )


# The brain mask


def half_outside() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Brain up to x = 9. Components of 4 voxels: wholly inside, a quarter outside, half outside; one of 2
    beyond."""
    brain = np.zeros(SHAPE, np.uint8)
    brain[:10] = 1
    chance = chances((bar(2, 5, 2), 0.6), (bar(7, 10, 6), 0.7), (bar(8, 11, 10), 0.8), (bar(20, 21, 14), 0.9))
    return brain, chance


def test_what_a_map_has_outside_the_brain_is_dropped(tmp_path: Path) -> None:
    brain, chance = half_outside()
    mask = write(tmp_path / "brain.nii", brain)
    found = read(tmp_path, EMPTY, chance, mask=mask)
    assert found.brain is not None
    assert (found.brain == (brain > 0)).all()
    # more than a quarter of the voxels outside: half of the third, all of the last
    assert found.prediction.scores is not None
    assert sorted(found.prediction.scores) == pytest.approx([0.6, 0.7])
    wider = settings(criteria=LesionCriteria(min_volume_mm3=0, max_outside_fraction=0.5))
    assert len(read(tmp_path, EMPTY, chance, mask=mask, how=wider).prediction) == 3
    assert len(read(tmp_path, EMPTY, chance).prediction) == 4


def test_labels_are_judged_in_and_outside_the_brain(tmp_path: Path) -> None:
    brain, chance = half_outside()
    mask = write(tmp_path / "brain.nii", brain)
    found = read(tmp_path, EMPTY, (chance > 0).astype(np.uint8), mask=mask)
    assert found.judged == "labels"
    assert len(found.prediction) == 4


def test_the_brain_is_dropped_from_maps_that_are_judged_first(tmp_path: Path) -> None:
    brain, chance = half_outside()
    mask, path = write(tmp_path / "brain.nii", brain), write(tmp_path / "prob.nii", chance)
    found = read(tmp_path, EMPTY, EMPTY, how=settings(maps_first=True), mask=mask, probability=path)
    assert len(found.prediction) == 2


@pytest.mark.parametrize("wrong", ["missing", "broken", "far away"])
@pytest.mark.parametrize("predicted", [True, False])
def test_a_mask_that_cannot_be_read_is_left_out(tmp_path: Path, wrong: str, predicted: bool) -> None:
    brain, chance = half_outside()
    mask = tmp_path / "brain.nii"
    if wrong == "broken":
        mask.write_bytes(b"no image")
    elif wrong == "far away":
        far = AFFINE.copy()
        far[:3, 3] += 5000
        write(mask, brain, far)
    notes: list[str] = []
    found = read(tmp_path, labels(dot(3)), chance if predicted else None, notes, mask=mask)
    assert found.brain is None
    assert len(found.prediction) == (4 if predicted else 0)
    assert found.judged == ("probability map" if predicted else "nothing")
    assert "left out" in notes[-1]
    assert "brain.nii" in notes[-1]


def test_the_brain_moves_with_a_grid_that_is_enlarged(tmp_path: Path) -> None:
    # the prediction has lost the first 6 planes along x, and a truth lesion lies there; brain up to x = 9
    brain, chance = half_outside()
    affine = AFFINE.copy()
    affine[:3, 3] = AFFINE[:3, :3] @ [6, 0, 0] + AFFINE[:3, 3]
    case = make_case(tmp_path, "a", labels(dot(1)), None, mask=write(tmp_path / "brain.nii", brain))
    path = write(tmp_path / "cut.nii", chance[6:], affine)
    notes: list[str] = []
    found = read_case(replace(case, prediction=path), settings(), note=notes.append)
    # voxel 1 is 5 planes before the first of 18
    assert found.truth.grid.shape == found.prediction.grid.shape == (23, 20, 24)
    assert found.brain is not None
    assert found.probability is not None
    assert found.brain.shape == found.probability.shape == (23, 20, 24)
    # planes 6 to 9 of the brain lie on the prediction's grid: 5 to 8 of the enlarged one
    assert np.flatnonzero(found.brain.any(axis=(1, 2))).tolist() == [5, 6, 7, 8]
    # what is left of the components in the brain: only 7 to 10 with a quarter outside
    assert found.prediction.scores is not None
    assert found.prediction.scores.tolist() == pytest.approx([0.7])
    # the same lesions as the sweep's, on the enlarged grid
    counts = sweep_case(
        found.probability, found.truth, settings=SweepSettings((0.5,), (0.0,)), brain=found.brain
    )
    assert counts.tolist() == [[[[0, 1, 1]]]]


@pytest.mark.parametrize("wrong", ["missing", "percent", "grid", "infinite"])
def test_a_map_that_cannot_be_used_does_not_harm_the_labels(tmp_path: Path, wrong: str) -> None:
    data = chances((dot(3), {"infinite": np.inf, "percent": 60.0}.get(wrong, 0.5)))
    beside = tmp_path / "prob.nii"
    if wrong != "missing":
        write(beside, data[:-1] if wrong == "grid" else data)
    notes: list[str] = []
    found = read(tmp_path, labels(dot(3)), labels(dot(3)), notes, probability=beside)
    assert match_lesions(found.truth, found.prediction).tp == 1
    assert found.probability is None
    assert found.prediction.scores is None
    assert len(notes) == 1
    assert "left out of the curves" in notes[0]
    assert "prob.nii" in notes[0]


# Sizes on thick voxels


def test_a_volume_that_is_exactly_reached_is_enough(tmp_path: Path) -> None:
    # an oblique voxel has 1.296 mm3 but for rounding: two have 2.592, three 3.888
    truth = labels(dot(2), bar(5, 6), bar(9, 11))
    how = settings(ignore_below_mm3=2 * VOXEL_MM3, criteria=LesionCriteria(min_volume_mm3=3 * VOXEL_MM3))
    found = read(tmp_path, truth, truth, how=how)
    assert found.ignored_truth.tolist() == [True, False, False]
    assert found.prediction.sizes.tolist() == [3]
    assert len(found.truth) == 3  # the truth is never dropped
    as_map = read(tmp_path, truth, 0.9 * (truth > 0).astype(np.float32), how=how)
    assert as_map.prediction.sizes.tolist() == [3]


def test_truth_is_too_small_by_its_volume_on_its_own_grid(tmp_path: Path) -> None:
    # 1 mm3 each on the truth's grid; on the prediction's voxels of 8 mm3 both take up one voxel
    case = make_case(tmp_path, "a", EMPTY, None)
    fine, coarse = np.eye(4), np.diag([2.0, 2.0, 2.0, 1.0])
    write(case.truth, labels(dot(4, 4, 4), bar(10, 11, 4, 4), shape=(20, 20, 20)), fine)
    prediction = write(tmp_path / "coarse.nii", np.zeros((10, 10, 10), np.uint8), coarse)
    found = read_case(replace(case, prediction=prediction), settings(ignore_below_mm3=2.0), note=[].append)
    assert found.truth.volumes_mm3.tolist() == pytest.approx([8.0, 8.0])
    assert found.ignored_truth.tolist() == [True, False]


# Other grids


def turned(data: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """The same image with its first axis reversed and its axes in another order: (x, y, z) -> (z, x', y)."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = data.shape[0] - 1
    order = np.eye(4)[:, [2, 0, 1, 3]]
    return np.ascontiguousarray(data[::-1].transpose(2, 0, 1)), AFFINE @ flip @ order


def test_another_order_of_axes_changes_no_voxel(tmp_path: Path) -> None:
    # lesions at the image's corners, touching ones, and a prediction that shares 2 of 3 voxels
    truth = labels(dot(0, 0, 0), dot(23, 19, 23), bar(5, 7), bar(8, 9))
    prediction, affine = turned(labels(bar(6, 7), dot(23, 19, 23)))
    case = make_case(tmp_path, "a", truth, None)
    case = replace(case, prediction=write(tmp_path / "turned.nii", prediction, affine))
    notes: list[str] = []
    found = read_case(case, settings(), note=notes.append)
    assert found.prediction.grid.shape == found.truth.grid.shape == prediction.shape  # nothing was added
    expected = lesions_of_labels(turned(truth)[0], found.truth.grid)
    assert voxels(found.truth) == voxels(expected)
    assert found.truth.names.tolist() == [1, 2, 3, 4]
    matching = match_lesions(found.truth, found.prediction)
    assert matching.truth_status.tolist() == ["FN", "TP", "TP", "FN"]
    assert matching.overlaps.max() == 2
    assert len(notes) == 1
    assert "another grid" in notes[0]


def moved(
    tmp_path: Path, truth: NDArray[np.generic], truth_affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> LesionSet:
    """The truth on an empty prediction's grid of 2 mm; voxel i reaches from 2i - 1 to 2i + 1 mm."""
    case = make_case(tmp_path, "a", EMPTY, None)
    write(case.truth, truth, truth_affine)
    path = write(tmp_path / "coarse.nii", np.zeros(shape, np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    return read_case(replace(case, prediction=path), settings(), note=[].append).truth


def test_two_lesions_that_want_the_same_voxel_are_both_kept(tmp_path: Path) -> None:
    # 0.5 mm voxels, two apart along x, in the voxel (2, 2, 2) of 2 mm that reaches from 3 to 5 mm
    truth = labels(dot(7, 8, 8), dot(9, 8, 8), shape=(20, 20, 20))
    found = moved(tmp_path, truth, np.diag([0.5, 0.5, 0.5, 1.0]), (10, 10, 10))
    assert found.sizes.tolist() == [1, 1]
    assert voxels(found)[0] == [(2, 2, 2)]
    (other,) = voxels(found)[1]
    assert np.abs(np.array(other) - 2).sum() == 1  # a face neighbour


def test_more_lesions_than_voxels_are_refused(tmp_path: Path) -> None:
    # 9 lesions of one 0.5 mm voxel each on a grid of 2 x 2 x 2 voxels of 2 mm, from -1 to 3 mm
    boxes = [dot(x, y, 0) for x in (0, 2, 4) for y in (0, 2, 4)]
    fine = np.diag([0.5, 0.5, 0.5, 1.0])
    assert (
        moved(tmp_path / "8", labels(*boxes[:8], shape=(6, 6, 6)), fine, (2, 2, 2)).sizes.tolist() == [1] * 8
    )
    with pytest.raises(ImageError, match="more lesions than"):
        moved(tmp_path / "9", labels(*boxes, shape=(6, 6, 6)), fine, (2, 2, 2))


def test_the_smaller_lesion_has_the_voxel_and_the_larger_the_rest(tmp_path: Path) -> None:
    # 1 mm voxels; 1 to 8 mm along x as a bar of 2 x 2 voxels across fills the 2 mm voxels 1 to 4 wholly or
    # in halves; the small one is inside of voxel (3, 2, 2), which reaches from 5 to 7 mm
    truth = labels((slice(3, 9), slice(4, 6), slice(4, 6)), dot(6, 4, 4), shape=(20, 20, 20))
    found = moved(tmp_path, truth, np.eye(4), (10, 10, 10))
    large, small = voxels(found)
    assert small == [(3, 2, 2)]
    assert (3, 2, 2) not in large
    # 6 x 2 x 2 - 1 = 23 mm3 are 2.9 voxels of 8 mm3, so 3 were wanted and one or none of them is taken
    assert len(large) in (2, 3)


def test_lesions_beyond_the_predictions_field_of_view_count(tmp_path: Path) -> None:
    # the prediction has lost the first 6 and last 4 planes along x; lesions lie in both, and across an edge
    truth = labels(bar(1, 2), bar(5, 7), dot(22))
    chance = chances((bar(6, 8), 0.9), (dot(12), 0.8))[6:20]
    affine = AFFINE.copy()
    affine[:3, 3] = AFFINE[:3, :3] @ [6, 0, 0] + AFFINE[:3, 3]
    case = make_case(tmp_path, "a", truth, None)
    path = write(tmp_path / "cut.nii", chance, affine)
    found = read_case(replace(case, prediction=path), settings(), note=[].append)
    assert found.truth.sizes.tolist() == [2, 3, 1]
    # voxel 1 is 5 planes before the cut image's first, voxel 22 is 3 behind its last: 14 + 5 + 3 planes
    assert found.truth.grid.shape == found.prediction.grid.shape == (22, 20, 24)
    assert found.probability is not None
    assert found.probability.shape == (22, 20, 24)
    matching = match_lesions(found.truth, found.prediction)
    assert (matching.tp, matching.fp, matching.fn) == (1, 1, 2)
    assert matching.overlaps.sum() == 2  # voxels 6 and 7
    whole = Grid(SHAPE, AFFINE)
    np.testing.assert_allclose(found.truth.centroids_mm, whole.to_world([[1.5, 5, 5], [6, 5, 5], [22, 5, 5]]))
    np.testing.assert_allclose(
        np.sort(found.prediction.centroids_mm, axis=0),
        np.sort(whole.to_world([[7, 5, 5], [12, 5, 5]]), axis=0),
    )
    assert found.probability.data.reshape(-1)[found.prediction.voxels].min() == np.float32(0.8)


@pytest.mark.parametrize("away_mm", [500.0, 5000.0])
def test_a_truth_far_away_is_refused(tmp_path: Path, away_mm: float) -> None:
    far = AFFINE.copy()
    far[:3, 3] += away_mm
    case = make_case(tmp_path, "a", labels(dot(3)), None)
    path = write(tmp_path / "far.nii", EMPTY, far)
    with pytest.raises(ImageError, match="far outside"):
        read_case(replace(case, prediction=path), settings(), note=[].append)


def test_an_empty_truth_may_lie_anywhere(tmp_path: Path) -> None:
    far = AFFINE.copy()
    far[:3, 3] += 500
    case = make_case(tmp_path, "a", EMPTY, None)
    path = write(tmp_path / "far.nii", labels(dot(3)), far)
    found = read_case(replace(case, prediction=path), settings(), note=[].append)
    assert (len(found.truth), len(found.prediction)) == (0, 1)
    assert found.truth.grid.matches(found.prediction.grid)


@examples(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.floats(0.4, 3.0)] * 3),
    st.tuples(*[st.floats(-8.0, 8.0)] * 3),
)
def test_no_lesion_is_lost_and_none_shares_a_voxel(
    seed: int, spacing: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    data = (rng.integers(1, 7, (8, 6, 8)) * (rng.random((8, 6, 8)) < 0.1)).astype(np.int16)
    truth = lesions_of_labels(data, Grid((8, 6, 8), AFFINE))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = truth.grid.to_world([4, 3, 4]) - 4.0 * np.array(spacing) + shift
    prediction = Volume(np.zeros((8, 8, 8), np.uint8), affine)
    grid = enlarged(prediction, missing_margins(truth, prediction.grid)).grid
    found = moved_to(truth, grid)
    assert found.names.tolist() == truth.names.tolist()
    assert found.sizes.min(initial=1) >= 1
    assert len(np.unique(found.voxels)) == len(found.voxels)
    for k in range(len(found)):
        own = found.voxels[found.starts[k] : found.starts[k + 1]]
        assert (np.diff(own) > 0).all()  # as a LesionSet promises
