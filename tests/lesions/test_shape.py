import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from shiva_cmb.lesions import shape


def test_diameters_of_known_bodies() -> None:
    one = np.ones((1, 1, 1), bool)
    assert shape.max_diameter_mm(one, np.eye(4)) == pytest.approx(1.0)
    assert shape.max_diameter_mm(one, np.diag([0.5, 0.5, 3.0, 1.0])) == pytest.approx(3.0)
    assert shape.max_diameter_mm(np.ones((5, 1, 1), bool), np.eye(4)) == pytest.approx(5.0)
    assert shape.equivalent_diameter_mm(4 / 3 * np.pi) == pytest.approx(2.0)


def test_the_diameter_of_a_large_ball_is_right() -> None:
    ticks = np.arange(-12, 13) * 0.5
    x, y, z = np.meshgrid(ticks, ticks, ticks, indexing="ij")
    ball = x**2 + y**2 + z**2 <= 5.0**2
    assert shape.max_diameter_mm(ball, np.diag([0.5, 0.5, 0.5, 1.0])) == pytest.approx(10.0, abs=0.6)


@given(seed=st.integers(0, 10**6), angle=st.floats(0, 90))
def test_hull_and_all_pairs_agree(seed: int, angle: float) -> None:
    inside = np.random.default_rng(seed).random((9, 9, 9)) < 0.4  # far more than 300 exposed faces
    inside[4, 4, 4] = True
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", angle, degrees=True).as_matrix() * (0.5, 0.7, 2.0)
    padded = np.pad(inside, 1)
    faces = []
    for axis in range(3):
        for voxel in np.argwhere(padded[1:, 1:, 1:] != _before(padded, axis)):
            face = voxel.astype(float)
            face[axis] -= 0.5
            faces.append(face)
    expected = pdist(np.array(faces) @ affine[:3, :3].T).max()
    assert shape.max_diameter_mm(inside, affine) == pytest.approx(expected)


def _before(padded: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    window = [slice(1, None)] * 3
    window[axis] = slice(None, -1)
    return padded[tuple(window)]


@pytest.mark.parametrize(
    ("diameter", "flag"), [(1.99, "<2 mm"), (2.0, "2-10 mm"), (10.0, "2-10 mm"), (10.1, ">10 mm")]
)
def test_size_flags(diameter: float, flag: str) -> None:
    assert shape.size_flag(diameter) == flag


def test_elongation_is_one_for_round_and_small_for_lines() -> None:
    bodies = np.array([np.eye(3), np.diag([100.0, 1.0, 1.0]), np.diag([4.0, 4.0, 1e-9])])
    np.testing.assert_allclose(shape.elongation(bodies), [1.0, 0.1, 1.0])


def test_contrast_is_the_lost_part_of_the_signal() -> None:
    image = np.full((15, 15, 15), 200.0)
    lesion = np.zeros(image.shape, bool)
    lesion[6:9, 6:9, 6:9] = True
    image[lesion] = 50.0
    everywhere = np.ones(image.shape, bool)
    assert shape.contrast(image, lesion, everywhere, (1.0, 1.0, 1.0)) == pytest.approx(0.75)
    assert shape.contrast(image, lesion, lesion, (1.0, 1.0, 1.0)) is None
    assert shape.contrast(image * 0, lesion, everywhere, (1.0, 1.0, 1.0)) is None


def test_the_shell_box_stays_in_the_image() -> None:
    box = (slice(0, 2), slice(5, 6), slice(9, 10))
    assert shape.shell_box(box, (10, 20, 10), (1.0, 2.0, 5.0)) == (slice(0, 6), slice(3, 8), slice(8, 10))


def test_elongations_of_lesions_by_their_voxels() -> None:
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    one, row = np.array([[4, 4, 4]]), np.array([[1, 7, 2], [2, 7, 2], [3, 7, 2], [4, 7, 2]])
    found = shape.elongations(np.concatenate([one, row]), np.array([1, 4]), affine)
    # variances in mm2 of one voxel: 0.5^2 / 12, 1 / 12, 2^2 / 12: sqrt(1 / 4)
    # of four in a row along x: (1.5^2 + 0.5^2) / 2 x 0.5^2 + 0.5^2 / 12 = 1 / 3, then 1 / 12 and 4 / 12
    np.testing.assert_allclose(found, [0.5, 1.0])
    long = shape.elongations(row, np.array([4]), np.eye(4))
    np.testing.assert_allclose(long, [np.sqrt((1 / 12) / (1.25 + 1 / 12))])
    assert shape.elongations(np.zeros((0, 3), np.intp), np.zeros(0, np.intp), affine).shape == (0,)
