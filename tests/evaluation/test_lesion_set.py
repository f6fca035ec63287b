import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.evaluation.lesion_set import (
    centre_distances,
    lesions_of_labels,
    lesions_of_mask,
    overlap_counts,
)
from shiva_cmb.imaging.volume import Grid
from tests.evaluation.boxes import bar, dot, grid, lesions, scattered


def test_lesions_of_a_label_map_are_its_values() -> None:
    labels = np.zeros((20, 16, 12), np.uint8)
    labels[2:6, 5, 5] = 7  # 4 voxels about x = 3.5
    labels[6, 5, 5] = 3  # touches the other and stays apart
    labels[9, 5, 5] = 3  # a second piece of it: (6 + 9) / 2 = 7.5
    found = lesions_of_labels(labels, grid(spacing=(0.5, 1.0, 2.0)))
    assert len(found) == 2
    assert found.names.tolist() == [3, 7]
    assert found.sizes.tolist() == [2, 4]
    assert found.volumes_mm3.tolist() == [2.0, 4.0]  # 0.5 x 1 x 2 mm is 1 mm3
    assert found.centroids.tolist() == [[7.5, 5.0, 5.0], [3.5, 5.0, 5.0]]
    assert found.centroids_mm.tolist() == [[3.75, 5.0, 10.0], [1.75, 5.0, 10.0]]
    assert found.indices(0).tolist() == [[6, 5, 5], [9, 5, 5]]
    assert found.scores is None


@pytest.mark.parametrize(("connectivity", "count"), [(6, 3), (18, 2), (26, 1)])
def test_lesions_of_a_mask_are_its_components(connectivity: int, count: int) -> None:
    mask = np.zeros((20, 16, 12), bool)
    mask[5, 5, 5] = mask[6, 6, 5] = mask[7, 7, 6] = True  # an edge, then a corner in common
    found = lesions_of_mask(mask, grid(), connectivity)  # type: ignore[arg-type]
    assert found.names.tolist() == list(range(1, count + 1))


def test_the_border_is_no_neighbour_of_the_other_border() -> None:
    mask = np.zeros((20, 16, 12), bool)
    mask[4, 4, 11] = mask[4, 5, 0] = True  # one after the other in memory, a row apart in the image
    mask[0, 0, 0] = mask[19, 15, 11] = True
    found = lesions_of_mask(mask, grid())
    assert found.sizes.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(found.labels() > 0, mask)


@given(seed=st.integers(0, 10**6), order=st.sampled_from("CF"), kind=st.sampled_from([bool, np.uint8, float]))
@settings(deadline=None, max_examples=30)
def test_masks_agree_with_scipy(seed: int, order: str, kind: type) -> None:
    mask = np.asarray(np.random.default_rng(seed).random((6, 7, 8)) < 0.15, kind, order=order)  # type: ignore[call-overload]
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found = lesions_of_mask(mask, grid(mask.shape))
    np.testing.assert_array_equal(found.labels(), labels)
    expected = np.reshape(ndimage.center_of_mass(mask, labels, range(1, count + 1)), (-1, 3))
    np.testing.assert_allclose(found.centroids, expected)


@given(seed=st.integers(0, 10**6), count=st.integers(0, 6), order=st.sampled_from("CF"))
@settings(deadline=None, max_examples=30)
def test_labels_come_back(seed: int, count: int, order: str) -> None:
    labels = np.asarray(scattered(np.random.default_rng(seed), (5, 6, 7), count), order=order)  # type: ignore[call-overload]
    found = lesions_of_labels(labels, grid(labels.shape))
    assert found.names.tolist() == [int(name) for name in np.unique(labels) if name]
    back = np.concatenate([[0], found.names])[found.labels()]
    np.testing.assert_array_equal(back, labels)
    for k in range(len(found)):
        own = found.voxels[found.starts[k] : found.starts[k + 1]]
        assert (np.diff(own) > 0).all()
        assert found.first_voxels[k] == own.min()
        np.testing.assert_array_equal(found.indices(k), np.argwhere(labels == found.names[k]))
        assert (found.owner[found.starts[k] : found.starts[k + 1]] == k).all()


def test_selecting_keeps_names_scores_and_order() -> None:
    probability = np.zeros((20, 16, 12), np.float32)
    probability[3, 5, 5], probability[8, 5, 5], probability[12, 5, 5] = 0.5, 0.75, 0.25
    found = lesions(bar(2, 4), bar(7, 8), dot(12)).with_scores(probability)
    assert found.scores is not None
    assert found.scores.tolist() == [0.5, 0.75, 0.25]
    kept = found.select([False, True, True])
    assert kept.names.tolist() == [2, 3]
    assert kept.scores is not None
    assert kept.scores.tolist() == [0.75, 0.25]
    assert kept.sizes.tolist() == [2, 1]
    assert kept.indices(1).tolist() == [[12, 5, 5]]
    assert len(kept.select([False, False])) == 0
    assert lesions().with_scores(probability).scores.tolist() == []  # type: ignore[union-attr]


@pytest.mark.parametrize("keep", [[True], [True, False, True], [1, 0]])
def test_selecting_takes_one_boolean_for_each(keep: list[bool]) -> None:
    with pytest.raises(UsageError, match="expected 2 booleans"):
        lesions(dot(1), dot(4)).select(keep)


def test_sets_are_small_and_travel_between_processes() -> None:
    found = lesions_of_mask(np.pad(np.ones((2, 2, 2)), 60), grid((122, 122, 122)))
    sent = pickle.dumps(found)
    assert len(sent) < 2000
    back = pickle.loads(sent)
    assert back.indices(0).tolist() == found.indices(0).tolist()


def test_an_empty_image_has_no_lesions() -> None:
    for found in (lesions_of_mask(np.zeros((20, 16, 12)), grid()), lesions()):
        assert len(found) == 0
        assert found.centroids.shape == found.centroids_mm.shape == (0, 3)
        assert found.volumes_mm3.shape == found.first_voxels.shape == (0,)
        assert not found.labels().any()


def test_a_full_image_is_one_lesion() -> None:
    found = lesions_of_mask(np.ones((4, 5, 6)), grid((4, 5, 6)))
    assert found.sizes.tolist() == [120]
    assert found.centroids.tolist() == [[1.5, 2.0, 2.5]]


def test_what_is_no_mask_or_label_map_is_refused() -> None:
    data = np.zeros((20, 16, 12))
    data[3, 3, 3] = np.nan
    with pytest.raises(ImageError, match=r"expected finite values .* got nan"):
        lesions_of_mask(data, grid())
    for value in (np.nan, np.inf, 0.3):
        data[3, 3, 3] = value
        with pytest.raises(ImageError, match="expected whole numbers"):
            lesions_of_labels(data, grid())
    with pytest.raises(ImageError, match=r"expected a mask of shape \(20, 16, 12\), got \(3, 3, 3\)"):
        lesions_of_mask(np.zeros((3, 3, 3)), grid())
    with pytest.raises(ImageError, match="expected a label map of shape"):
        lesions_of_labels(np.zeros((20, 16, 12, 1)), grid())
    with pytest.raises(ImageError, match="expected a probability map of shape"):
        lesions(dot(1)).with_scores(np.zeros((3, 3, 3)))
    with pytest.raises(UsageError, match="connectivity of 6, 18 or 26, got 8"):
        lesions_of_mask(np.zeros((20, 16, 12)), grid(), 8)  # type: ignore[arg-type]


def test_overlaps_are_counted_voxel_by_voxel() -> None:
    truth = lesions(bar(0, 4), bar(6, 9))
    prediction = lesions(bar(3, 7), dot(15), bar(9, 11))
    # 3..7 shares 3, 4 with 0..4 and 6, 7 with 6..9; 9..11 shares 9 with 6..9
    assert overlap_counts(truth, prediction).tolist() == [[2, 0, 0], [2, 0, 1]]
    assert overlap_counts(prediction, truth).tolist() == [[2, 2], [0, 0], [0, 1]]
    assert overlap_counts(truth, lesions()).shape == (2, 0)
    assert overlap_counts(lesions(), lesions()).shape == (0, 0)


@given(seed=st.integers(0, 10**6), counts=st.tuples(st.integers(0, 5), st.integers(0, 5)))
@settings(deadline=None, max_examples=30)
def test_overlaps_agree_with_counting_in_the_image(seed: int, counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    a, b = (scattered(rng, (5, 4, 3), count) for count in counts)
    truth, prediction = (lesions_of_labels(x, grid(x.shape)) for x in (a, b))
    expected = [[((a == s) & (b == t)).sum() for t in prediction.names] for s in truth.names]
    np.testing.assert_array_equal(
        overlap_counts(truth, prediction), np.reshape(expected, (len(truth), len(prediction)))
    )


def test_other_grids_are_refused() -> None:
    other = lesions(dot(3), on=grid(spacing=(1.0, 1.0, 1.5)))
    with pytest.raises(ImageError, match="not on the grid of the truth"):
        overlap_counts(lesions(dot(3)), other)
    rounded = Grid((20, 16, 12), np.eye(4) * (1 + 1e-7))
    assert overlap_counts(lesions(dot(3)), lesions(dot(3), on=rounded)).tolist() == [[1]]


def test_distances_are_in_mm_whatever_the_axes() -> None:
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix() * (0.5, 2.0, 3.0)
    for affine in (np.diag([0.5, 2.0, 3.0, 1.0]), turned):
        on = Grid((20, 16, 12), affine)
        truth, prediction = lesions(dot(2), on=on), lesions(dot(8), dot(2, y=7, z=6), on=on)
        # 6 voxels of 0.5 mm are 3 mm; 2 of 2 mm and 1 of 3 mm are sqrt(16 + 9) = 5 mm
        np.testing.assert_allclose(centre_distances(truth, prediction), [[3.0, 5.0]])
        np.testing.assert_allclose(centre_distances(truth, prediction, voxels=True), [[6.0, 5**0.5]])


def test_one_lesion_cut_out() -> None:
    found = lesions((slice(3, 5), slice(6, 9), 2), dot(10))
    box = found.cut_out(0)
    assert box.shape == (2, 3, 1)
    assert box.all()
    assert found.cut_out(1).shape == (1, 1, 1)
    assert found.places.tolist() == [*found.indices(0).tolist(), [10, 5, 5]]
    # the voxels come in the order of `voxels`
    bent = lesions_of_mask(np.pad(np.eye(3, dtype=bool)[:, :, None], 4), grid((11, 11, 9)))
    assert (np.argwhere(bent.cut_out(0)) + 4 == bent.places).all()
