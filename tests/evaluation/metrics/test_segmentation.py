"""Voxel and surface agreement: by hand, against scikit-learn, and against all pairs of surface voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels, lesions_of_mask, overlap_counts
from shiva_cmb.evaluation.metrics.segmentation import (
    DEFINITIONS,
    matched_dice,
    summary,
    surface_distances,
    voxel_metrics,
)
from shiva_cmb.imaging.volume import Grid

THICK = np.diag([1.0, 1.0, 2.0, 1.0])
"""Voxels of 2 mm3."""


def mask_of(*boxes: tuple[slice, slice, slice], shape: tuple[int, int, int] = (4, 4, 4)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def lesions(mask: NDArray[np.bool_], affine: NDArray[np.float64] = THICK) -> LesionSet:
    x, y, z = mask.shape
    return lesions_of_mask(mask, Grid((x, y, z), affine))


def box(x: int, y: int, z: int, *size: int) -> tuple[slice, slice, slice]:
    return slice(x, x + size[0]), slice(y, y + size[1]), slice(z, z + size[2])


NOTHING = mask_of()


def test_voxel_metrics_by_hand() -> None:
    truth = lesions(mask_of(box(0, 0, 0, 4, 1, 1)))  # voxels 0 to 3 of a row
    prediction = lesions(mask_of(box(2, 0, 0, 2, 1, 1), box(0, 3, 3, 1, 1, 1)))  # two of them, one elsewhere
    found = voxel_metrics(truth, prediction, region_voxels=64)
    # TP 2, FP 1, FN 2, TN 64 - 5 = 59.
    assert found["dice"] == pytest.approx(4 / 7)
    assert found["iou"] == pytest.approx(2 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["sensitivity"] == pytest.approx(2 / 4)
    assert found["specificity"] == pytest.approx(59 / 60)
    assert found["accuracy"] == pytest.approx(61 / 64)
    # Observed 61/64; by chance (3 * 4 + 61 * 60) / 64^2 = 3672 / 4096; (3904 - 3672) / (4096 - 3672).
    assert found["kappa"] == pytest.approx(232 / 424)
    assert found["truth_volume_mm3"] == pytest.approx(8)
    assert found["predicted_volume_mm3"] == pytest.approx(6)
    assert found["volume_difference_mm3"] == pytest.approx(-2)
    assert found["absolute_volume_difference_mm3"] == pytest.approx(2)
    # A smaller region has fewer true negatives: 13 - 5 = 8.
    assert voxel_metrics(truth, prediction, region_voxels=13)["specificity"] == pytest.approx(8 / 9)


def test_nothing_against_nothing_is_undefined_not_perfect() -> None:
    found = voxel_metrics(lesions(NOTHING), lesions(NOTHING), 64)
    for name in ("dice", "iou", "precision", "sensitivity", "kappa"):
        assert np.isnan(found[name]), name
    assert found["specificity"] == found["accuracy"] == 1.0
    assert found["truth_volume_mm3"] == found["volume_difference_mm3"] == 0.0


def test_nothing_against_something_is_zero() -> None:
    full, empty = lesions(mask_of(box(1, 1, 1, 2, 2, 2))), lesions(NOTHING)
    missed = voxel_metrics(full, empty, 64)
    assert missed["dice"] == missed["iou"] == missed["sensitivity"] == missed["kappa"] == 0.0
    assert np.isnan(missed["precision"])
    assert missed["specificity"] == 1.0
    invented = voxel_metrics(empty, full, 64)
    assert invented["dice"] == invented["iou"] == invented["precision"] == invented["kappa"] == 0.0
    assert np.isnan(invented["sensitivity"])
    assert invented["specificity"] == pytest.approx(56 / 64)


def test_masks_that_fill_the_region() -> None:
    full = lesions(np.ones((4, 4, 4), bool))
    found = voxel_metrics(full, full, 64)
    assert found["dice"] == found["accuracy"] == 1.0
    assert np.isnan(found["specificity"])
    assert np.isnan(found["kappa"])  # chance alone agrees everywhere
    with pytest.raises(UsageError, match="63 voxels"):
        voxel_metrics(full, full, 63)


def test_other_grids_are_refused() -> None:
    one, other = lesions(NOTHING), lesions(NOTHING, np.eye(4))
    for function in (surface_distances, lambda a, b: voxel_metrics(a, b, 64)):
        with pytest.raises(ImageError, match="grid"):
            function(one, other)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.05, 0.3, 0.8]))
def test_voxel_metrics_agree_with_scikit_learn(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = (rng.random((5, 4, 3)) < share for _ in range(2))
    truth[0, 0, 0] = prediction[1, 0, 0] = True
    truth[2, 2, 2] = prediction[2, 2, 2] = False
    found = voxel_metrics(lesions(truth), lesions(prediction), truth.size)
    y, z = truth.ravel(), prediction.ravel()
    assert found["dice"] == pytest.approx(f1_score(y, z))
    assert found["iou"] == pytest.approx(jaccard_score(y, z))
    assert found["precision"] == pytest.approx(precision_score(y, z))
    assert found["sensitivity"] == pytest.approx(recall_score(y, z))
    assert found["specificity"] == pytest.approx(recall_score(y, z, pos_label=False))
    assert found["accuracy"] == pytest.approx(accuracy_score(y, z))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(y, z))


def test_two_voxels_are_as_far_apart_as_they_are_in_mm() -> None:
    one, other = lesions(mask_of(box(0, 0, 0, 1, 1, 1))), lesions(mask_of(box(0, 0, 3, 1, 1, 1)))
    assert surface_distances(one, other) == {"hd95_mm": pytest.approx(6.0), "assd_mm": pytest.approx(6.0)}


def test_surface_distances_by_hand() -> None:
    shape = (7, 7, 7)
    cube = lesions(mask_of(box(1, 1, 1, 5, 5, 5), shape=shape), np.eye(4))
    centre = lesions(mask_of(box(3, 3, 3, 1, 1, 1), shape=shape), np.eye(4))
    found = surface_distances(cube, centre)
    # 125 - 27 = 98 surface voxels. Per face of 5 x 5, the distance is sqrt(4 + a^2 + b^2). Of the 98, the
    # 8 corners have sqrt(12), so sorted places 90 to 97; the 95th percentile is place 0.95 * 97 = 92.15.
    assert found["hd95_mm"] == pytest.approx(np.sqrt(12))
    # 6 face centres at 2; 6 * 4 at sqrt(5); 6 * 4 at sqrt(6); on the 12 edges 1 at sqrt(8), 2 at sqrt(9);
    # and the corners: 6 + 24 + 24 + 12 + 24 + 8 = 98. The centre is 2 from the surface: 99 distances in all.
    total = 6 * 2 + 24 * np.sqrt(5) + 24 * np.sqrt(6) + 12 * np.sqrt(8) + 24 * 3 + 8 * np.sqrt(12) + 2
    assert found["assd_mm"] == pytest.approx(total / 99)
    assert surface_distances(centre, cube) == pytest.approx(found)


def test_the_image_border_is_a_surface() -> None:
    everywhere = lesions(np.ones((3, 3, 3), bool), np.eye(4))
    centre = lesions(mask_of(box(1, 1, 1, 1, 1, 1), shape=(3, 3, 3)), np.eye(4))
    # 26 surface voxels, although the end of a row and the start of the next are neighbours in memory:
    # 6 at 1, 12 at sqrt(2), 8 at sqrt(3); and back, 1.
    expected = (6 + 12 * np.sqrt(2) + 8 * np.sqrt(3) + 1) / 27
    assert surface_distances(everywhere, centre)["assd_mm"] == pytest.approx(expected)


def test_empty_masks_have_no_distance() -> None:
    full, empty = lesions(mask_of(box(1, 1, 1, 1, 1, 1))), lesions(NOTHING)
    assert all(np.isnan(value) for value in surface_distances(empty, empty).values())
    for pair in ((full, empty), (empty, full)):
        assert set(surface_distances(*pair).values()) == {np.inf}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.05, 0.5, 0.9]))
def test_surface_distances_agree_with_all_pairs(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * rng.uniform(0.4, 4.0, 3)
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    masks = [rng.random((6, 5, 4)) < share for _ in range(2)]
    for mask in masks:
        mask[tuple(rng.integers(0, 4, 3))] = True
    distances = cdist(*(surface_mm(mask, affine) for mask in masks))
    there, back = distances.min(axis=1), distances.min(axis=0)
    found = surface_distances(*(lesions(mask, affine) for mask in masks))
    assert found["hd95_mm"] == pytest.approx(max(np.quantile(there, 0.95), np.quantile(back, 0.95)))
    assert found["assd_mm"] == pytest.approx(np.concatenate((there, back)).mean())


def surface_mm(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World places of the voxels that do not have all six face neighbours, one voxel at a time."""
    padded = np.pad(mask, 1)
    steps = np.concatenate((np.eye(3, dtype=int), -np.eye(3, dtype=int)))
    voxels = [v for v in np.argwhere(padded) if not all(padded[tuple(v + step)] for step in steps)]
    return (np.array(voxels) - 1) @ affine[:3, :3].T + affine[:3, 3]


def test_dice_of_matched_lesions_by_hand() -> None:
    truth, prediction = np.zeros((2, 6, 6, 6), int)
    truth[box(0, 0, 0, 4, 1, 1)] = 5
    truth[box(0, 3, 0, 2, 2, 2)] = 2  # comes first, by its value
    prediction[box(2, 0, 0, 3, 1, 1)] = 1
    prediction[box(0, 3, 0, 2, 2, 1)] = 2
    prediction[box(5, 5, 5, 1, 1, 1)] = 3
    grid = Grid((6, 6, 6), THICK)
    sets = lesions_of_labels(truth, grid), lesions_of_labels(prediction, grid)
    # Truth 0 (8 voxels) and prediction 1 (4) share 4: 8 / 12. Truth 1 (4) and prediction 0 (3) share 2:
    # 4 / 7. A match by distance shares nothing.
    found = matched_dice(np.array([[0, 1], [1, 0], [1, 2]]), overlap_counts(*sets), *sets)
    np.testing.assert_allclose(found, [8 / 12, 4 / 7, 0.0])
    assert matched_dice(np.zeros((0, 2), np.intp), overlap_counts(*sets), *sets).shape == (0,)


def test_summary_counts_failures_in_the_median_only() -> None:
    distances, overlaps = np.array([1.0, 3.0, np.inf, np.nan]), np.array([0.2, 0.4, 0.0, np.nan])
    figures = summary({"hd95_mm": distances, "dice": overlaps})
    assert figures["hd95_mm_mean"] == (2.0, 2)
    assert figures["hd95_mm_median"] == (3.0, 3)
    assert figures["dice_mean"].value == pytest.approx(0.2)
    assert figures["dice_median"] == (0.2, 3)
    assert figures["dice_mean"].n == 3


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([1.0, np.inf], np.inf),  # half-way to infinity
        ([np.inf, np.inf, np.inf, 1.0], np.inf),
        ([np.inf, np.inf], np.inf),
        ([np.nan, np.nan], np.nan),
        ([1.0, 2.0, np.inf, np.inf, 2.0], 2.0),
    ],
)
def test_medians_with_infinite_distances(values: list[float], median: float) -> None:
    figure = summary({"hd95_mm": np.array(values)})["hd95_mm_median"]
    np.testing.assert_equal(float(figure.value), median)


def test_summary_of_drawn_samples() -> None:
    values = np.array([1.0, np.inf, 4.0])
    weights = np.array([[1, 1, 1], [3, 0, 0], [0, 3, 0], [2, 0, 2]])
    figures = summary({"assd_mm": values}, weights)
    np.testing.assert_allclose(figures["assd_mm_median"].value, [4.0, 1.0, np.inf, 2.5])
    np.testing.assert_allclose(figures["assd_mm_mean"].value, [2.5, 1.0, np.nan, 2.5])
    np.testing.assert_array_equal(figures["assd_mm_mean"].n, [2, 3, 0, 4])
    np.testing.assert_array_equal(figures["assd_mm_median"].n, [3, 3, 3, 4])


def test_every_figure_has_a_definition() -> None:
    one = lesions(mask_of(box(1, 1, 1, 1, 1, 1)))
    assert set(voxel_metrics(one, one, 64)) | set(surface_distances(one, one)) == set(DEFINITIONS)
