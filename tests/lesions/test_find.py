import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.imaging.volume import Volume
from shiva_cmb.lesions import LesionCriteria, find_lesions

ANY_SIZE = LesionCriteria(min_volume_mm3=0.0)


def volume(data: NDArray[np.generic], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(data, np.diag([*spacing, 1.0]))


def empty() -> NDArray[np.float32]:
    return np.zeros((20, 22, 24), np.float32)


def two_blobs() -> NDArray[np.float32]:
    data = empty()
    data[3:6, 3:6, 3:6] = 0.7
    data[12:14, 12:14, 12:14] = 0.9
    return data


def test_lesions_are_counted_labelled_and_sorted_by_peak() -> None:
    found = find_lesions(volume(two_blobs()), LesionCriteria())
    assert len(found.table) == 2
    first, second = found.table
    assert (first.lesion, first.n_voxels, second.lesion, second.n_voxels) == (1, 8, 2, 27)
    assert first.max_probability == pytest.approx(0.9)
    assert second.mean_probability == pytest.approx(0.7)
    assert found.labels.data.dtype == np.int16
    assert (found.labels.data == 1).sum() == 8
    assert found.labels.data[4, 4, 4] == 2
    assert (second.i, second.j, second.k) == (4.0, 4.0, 4.0)
    assert second.volume_mm3 == pytest.approx(27.0)
    assert second.equivalent_diameter_mm == pytest.approx(3.7221, abs=1e-3)
    assert second.elongation == pytest.approx(1.0)
    assert second.contrast is None
    assert second.folds_agreeing is None


def test_equal_peaks_put_the_larger_lesion_first() -> None:
    data = two_blobs()
    data[data > 0] = 0.8
    assert [lesion.n_voxels for lesion in find_lesions(volume(data)).table] == [27, 8]


@given(
    seed=st.integers(0, 10**6),
    angles=st.tuples(*[st.floats(-40, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 5.0)] * 3),
    flip=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_world_positions_hold_under_any_affine(
    seed: int, angles: tuple[float, ...], spacing: tuple[float, ...], flip: bool
) -> None:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 0] *= -1 if flip else 1
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    corner = rng.integers(0, 16, 3)
    data = empty()
    data[tuple(slice(c, c + 3) for c in corner)] = 0.9
    (lesion,) = find_lesions(Volume(data, affine), ANY_SIZE).table
    expected = affine[:3, :3] @ (corner + 1) + affine[:3, 3]
    np.testing.assert_allclose((lesion.x_mm, lesion.y_mm, lesion.z_mm), expected, atol=1e-6)
    assert lesion.volume_mm3 == pytest.approx(27 * np.prod(spacing))
    middle, longest = sorted(spacing)[1:]
    assert lesion.elongation == pytest.approx(middle / longest, rel=1e-6)


@given(seed=st.integers(0, 10**6), connectivity=st.sampled_from([6, 18, 26]))
@settings(deadline=None, max_examples=30)
def test_every_voxel_above_the_threshold_is_in_one_lesion(seed: int, connectivity: int) -> None:
    data = ndimage.gaussian_filter(np.random.default_rng(seed).random((14, 15, 16)), 0.7).astype(np.float32)
    criteria = LesionCriteria(0.55, min_volume_mm3=0.0, connectivity=connectivity)  # type: ignore[arg-type]
    found = find_lesions(volume(data), criteria)
    np.testing.assert_array_equal(found.labels.data > 0, data > 0.55)
    for lesion in found.table:
        mask = found.labels.data == lesion.lesion
        assert lesion.n_voxels == mask.sum()
        assert lesion.max_probability == data[mask].max()
        assert lesion.mean_probability == pytest.approx(data[mask].mean(), rel=1e-4)
        np.testing.assert_allclose((lesion.i, lesion.j, lesion.k), ndimage.center_of_mass(mask))
    peaks = [lesion.max_probability for lesion in found.table]
    assert peaks == sorted(peaks, reverse=True)


def test_the_threshold_is_strict() -> None:
    data = empty()
    data[5, 5, 5] = 0.5
    assert len(find_lesions(volume(data), ANY_SIZE).table) == 0
    data[5, 5, 5] = np.nextafter(np.float32(0.5), np.float32(1))
    assert len(find_lesions(volume(data), ANY_SIZE).table) == 1


@pytest.mark.parametrize(("connectivity", "count"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity(connectivity: int, count: int) -> None:
    data = empty()
    data[5, 5, 5] = data[6, 6, 5] = data[7, 7, 6] = 0.9
    criteria = LesionCriteria(min_volume_mm3=0.0, connectivity=connectivity)  # type: ignore[arg-type]
    assert len(find_lesions(volume(data), criteria).table) == count


def test_small_components_are_dropped_and_counted() -> None:
    data = empty()
    data[2, 2, 2] = 0.9
    data[8:10, 8, 8] = 0.9
    found = find_lesions(volume(data), LesionCriteria(min_volume_mm3=2.0))
    assert [lesion.n_voxels for lesion in found.table] == [2]
    assert found.dropped == {"small": 1, "low peak": 0, "outside the brain": 0}
    assert found.labels.data[2, 2, 2] == 0


def test_the_minimum_is_a_volume_not_a_count() -> None:
    data = empty()
    data[2, 2, 2] = 0.9
    assert len(find_lesions(volume(data, (0.9, 0.9, 5.0)), LesionCriteria(min_volume_mm3=4.0)).table) == 1
    assert len(find_lesions(volume(data, (0.5, 0.5, 0.5)), LesionCriteria(min_volume_mm3=4.0)).table) == 0


def test_a_second_threshold_asks_for_a_peak() -> None:
    criteria = LesionCriteria(threshold=0.3, peak_threshold=0.8)
    data = two_blobs()
    data[11, 12:14, 12:14] = 0.4
    found = find_lesions(volume(data), criteria)
    assert [lesion.n_voxels for lesion in found.table] == [12]
    assert found.dropped["low peak"] == 1


@pytest.mark.parametrize(("outside", "kept"), [(2, 1), (3, 0)])
def test_more_than_a_quarter_outside_the_brain_is_dropped(outside: int, kept: int) -> None:
    data = empty()
    data[4:8, 4:6, 4] = 0.9
    brain = np.ones(data.shape, np.uint8)
    brain.ravel()[np.flatnonzero(data)[:outside]] = 0
    found = find_lesions(volume(data), brain=brain)  # type: ignore[arg-type]
    assert len(found.table) == kept
    assert found.dropped["outside the brain"] == 1 - kept


def test_each_component_is_dropped_for_one_reason() -> None:
    data = empty()
    data[2, 2, 2] = 0.6
    criteria = LesionCriteria(peak_threshold=0.9, min_volume_mm3=4.0)
    found = find_lesions(volume(data), criteria, brain=np.zeros(data.shape, bool))
    assert found.dropped == {"small": 1, "low peak": 0, "outside the brain": 0}


def test_contrast_leaves_other_lesions_and_the_outside_out() -> None:
    data = empty()
    data[8:10, 8:10, 8:10] = 0.9
    data[13, 8:10, 8:10] = 0.8  # within the shell of the first
    image = np.full(data.shape, 100, np.int16)
    image[8:10, 8:10, 8:10] = 20
    image[13, 8:10, 8:10] = 0
    image[:, :, 12:] = 5000
    brain = np.ones(data.shape, bool)
    brain[:, :, 12:] = False
    found = find_lesions(volume(data), image=volume(image), brain=brain)
    assert found.table[0].contrast == pytest.approx(0.8)
    assert found.table[1].contrast == pytest.approx(1.0)


def test_agreement_is_the_most_folds_in_a_voxel() -> None:
    counts = np.zeros((20, 22, 24), np.uint8)
    counts[3:6, 3:6, 3:6] = 2
    counts[12, 12, 12] = 3
    found = find_lesions(volume(two_blobs()), agreement=volume(counts), folds=5)
    assert [(lesion.folds_agreeing, lesion.folds) for lesion in found.table] == [(3, 5), (2, 5)]
    with pytest.raises(UsageError, match="counts 3 folds, but there are 2"):
        find_lesions(volume(two_blobs()), agreement=volume(counts), folds=2)


def test_an_empty_map_gives_an_empty_table() -> None:
    found = find_lesions(volume(empty()))
    assert len(found.table) == 0
    assert found.labels.shape == (20, 22, 24)
    assert not found.labels.data.any()


def test_a_map_full_of_lesion_is_one() -> None:
    found = find_lesions(volume(np.ones((12, 12, 12), np.float32)), image=volume(np.ones((12, 12, 12))))
    assert [lesion.n_voxels for lesion in found.table] == [12**3]
    assert found.table[0].size_flag == ">10 mm"
    assert found.table[0].contrast is None


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.5, 255.0])
def test_maps_that_are_no_probabilities_are_refused(value: float) -> None:
    data = empty()
    data[3, 3, 3] = value
    with pytest.raises(ImageError, match=r"expected probabilities in \[0, 1\]"):
        find_lesions(volume(data))


def test_volumes_on_another_grid_are_refused() -> None:
    other = volume(empty(), (2.0, 1.0, 1.0))
    with pytest.raises(ImageError, match=r"the image .* is not on the grid"):
        find_lesions(volume(empty()), image=other)
    with pytest.raises(ImageError, match="the agreement map"):
        find_lesions(volume(empty()), agreement=other)
    with pytest.raises(ImageError, match="brain mask of shape"):
        find_lesions(volume(empty()), brain=np.ones((2, 2, 2), bool))


def test_the_inputs_are_left_alone() -> None:
    data = two_blobs()
    before = data.copy()
    find_lesions(volume(data), image=volume(data), brain=data > 0)
    np.testing.assert_array_equal(data, before)


def test_importing_the_room_is_light() -> None:
    code = (
        "import sys, shiva_cmb.lesions, shiva_cmb.reporting, shiva_cmb.synthesis;"
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'openvino', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
