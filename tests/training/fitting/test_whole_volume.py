"""Whole volumes are judged lesion by lesion, as `evaluate` would."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.errors import ImageError
from shiva_cmb.evaluation.lesion_set import lesions_of_labels
from shiva_cmb.evaluation.metrics.segmentation import voxel_metrics
from shiva_cmb.imaging.volume import Grid
from shiva_cmb.training.fitting.sliding import slide
from shiva_cmb.training.fitting.whole_volume import VOLUME_FIGURES, check_whole_volumes, judge_volume

SHAPE = (17, 13, 12)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
Boxes = list[tuple[int, int, int, float]]


def case_of(lesions: Boxes, answers: Boxes, ignored: Boxes = []) -> PreparedCase:  # noqa: B006
    """Boxes of 2 voxels each way; the image is what the network will answer."""
    numbers, label, image = np.zeros(SHAPE, int), np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32)
    for number, (x, y, z, _) in enumerate(lesions, start=1):
        numbers[x : x + 2, y : y + 2, z : z + 2] = number
    label[numbers > 0] = 1
    for x, y, z, _ in ignored:
        label[x : x + 2, y : y + 2, z : z + 2] = 2
    for x, y, z, value in answers:
        image[x : x + 2, y : y + 2, z : z + 2] = value
    box = np.array([[0, 0, 0], [n - 1 for n in SHAPE]], np.intp)
    return PreparedCase(
        name="a",
        patient="a",
        image=image[..., None],
        brain=np.ones(SHAPE, np.uint8),
        label=label,
        lesions=lesions_of_labels(numbers, GRID),
        brain_box=box,
        fingerprint="",
    )


def repeat(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return batch[..., 0]


def figures(*cases: PreparedCase) -> dict[str, float]:
    found = check_whole_volumes(cases, lambda case: slide(repeat, case.image[...], (8, 7, 9), batch_size=2))
    assert set(found) == set(VOLUME_FIGURES)
    return found


HIT, MISS, FALSE, FAINT = (2, 2, 2, 0.75), (9, 9, 8, 0.0), (9, 2, 8, 0.75), (2, 9, 2, 0.35)


def test_lesions_are_counted_at_the_best_threshold_over_all_cases() -> None:
    found = figures(case_of([HIT, MISS], [HIT, FAINT]), case_of([HIT], [HIT, FALSE]))
    # Above 0.3 there is a false alarm more, above 0.7 the same as above 0.5: the highest is taken.
    assert found["val_threshold"] == 0.7
    assert found["val_lesion_sensitivity"] == pytest.approx(2 / 3)
    assert found["val_lesion_precision"] == pytest.approx(2 / 3)
    assert found["val_lesion_f1"] == pytest.approx(2 / 3)
    assert found["val_fp_per_scan"] == 0.5
    assert found["val_dice"] == pytest.approx(2 / 3)


def test_a_network_that_is_less_sure_is_as_good() -> None:
    found = figures(case_of([FAINT], [FAINT]))
    assert found["val_threshold"] == 0.3
    assert found["val_lesion_f1"] == found["val_dice"] == 1


def test_ignored_voxels_count_neither_way() -> None:
    case = case_of([HIT], [HIT, FALSE], ignored=[FALSE, MISS])
    found = figures(case)
    assert found["val_lesion_f1"] == found["val_dice"] == 1
    assert found["val_fp_per_scan"] == 0


def test_what_lies_outside_the_brain_is_dropped_as_in_predictions() -> None:
    case = case_of([HIT], [HIT, FALSE])
    assert figures(case)["val_fp_per_scan"] == 1
    brain = np.ones(SHAPE, np.uint8)
    brain[FALSE[0] + 1 :] = 0  # half of the false alarm
    found = figures(replace(case, brain=brain))
    assert found["val_fp_per_scan"] == 0
    assert found["val_lesion_precision"] == found["val_lesion_f1"] == 1


def test_bleeds_that_touch_are_two() -> None:
    beside = (4, 2, 2, 0.75)
    found = figures(case_of([HIT, beside], [HIT]))
    assert found["val_lesion_sensitivity"] == 0.5


def test_without_any_lesion_the_choosing_figures_are_0() -> None:
    for answers in ([], [FALSE]):
        found = figures(case_of([], answers))
        assert found["val_lesion_f1"] == found["val_dice"] == 0
        assert math.isnan(found["val_lesion_sensitivity"])
        assert found["val_threshold"] == 0.5
    assert found["val_fp_per_scan"] == 1
    assert figures(case_of([HIT], []))["val_lesion_f1"] == 0


def test_voxels_are_counted_as_in_evaluations() -> None:
    rng = np.random.default_rng(0)
    case = case_of([HIT, MISS], [])
    probability = rng.random(SHAPE).astype(np.float32)
    _, voxels = judge_volume(case, probability)
    for row, threshold in ((0, 0.1), (6, 0.7)):
        tp, fp, fn = voxels[row]
        predicted = lesions_of_labels(probability > threshold, GRID)
        expected = voxel_metrics(case.lesions, predicted, probability.size)
        assert 2 * tp / (2 * tp + fp + fn) == pytest.approx(expected["dice"])


def test_logits_are_refused() -> None:
    with pytest.raises(ImageError, match="expected probabilities"):
        check_whole_volumes([case_of([], [HIT])], lambda case: case.image[..., 0] * 9 - 4)
