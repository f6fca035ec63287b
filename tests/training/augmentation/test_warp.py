"""Affine and elastic changes: right places, image and label together, lesions not lost."""

import numpy as np
import pytest
from scipy import ndimage

from shiva_cmb.training.augmentation.fields import along_axes, spline_matrices
from shiva_cmb.training.augmentation.settings import Affine, Elastic
from shiva_cmb.training.augmentation.warp import resample
from tests.training.augmentation.stacks import ball_stack, changed, noisy_stack, only

STRONG = Affine(1.0, rotation_degrees=20.0, scale_fraction=0.15, shear_fraction=0.05)


def channels_first(stack: np.ndarray) -> np.ndarray:
    return np.moveaxis(stack, -1, 1)


def test_resampling_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    planes = channels_first(noisy_stack(2, (9, 8, 7)))
    places = rng.uniform(-2.0, 10.0, (3, 2, 9, 8, 7)).astype(np.float32)
    result = np.array(resample(planes, list(places)))
    outside = np.any([(p < -0.5) | (p > n - 0.5) for p, n in zip(places, (9, 8, 7), strict=True)], axis=0)
    for sample in range(2):
        image, brain, label = planes[sample]
        at = places[:, sample]
        linear = ndimage.map_coordinates(image, at, order=1, mode="nearest")
        np.testing.assert_allclose(result[sample, 0], linear, atol=1e-5)
        near = np.minimum(np.floor(np.clip(at, 0, None) + 0.5), np.array([8, 7, 6]).reshape(3, 1, 1, 1))
        index = tuple(near.astype(int))
        np.testing.assert_array_equal(result[sample, 1], brain[index])
        rescued = (result[sample, 2] == 1) & (label[index] != 1)
        expected = np.where(outside[sample], 2.0, np.where(rescued, 1.0, label[index]))
        np.testing.assert_array_equal(result[sample, 2], expected)
        assert rescued.mean() < 0.1


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0)])
def test_rotation_is_one_in_millimetres(spacing_mm: tuple[float, float, float]) -> None:
    """The layer's own affine, found from three ramps, is a rotation of the angles asked for."""
    size = 24
    ramps = np.stack(np.indices((size,) * 3), -1).astype(np.float32)
    rest = np.ones((size, size, size, 2), np.float32)
    stack = np.concatenate([ramps, rest], axis=-1)[None]
    how = Affine(1.0, rotation_degrees=15.0, scale_fraction=0.0, shear_fraction=0.0)
    result = changed(stack, only(affine=how), spacing_mm=spacing_mm, seed=3)[0]
    middle = slice(8, 16)
    places = result[middle, middle, middle, :3].astype(np.float64)
    steps = np.stack([np.diff(places, axis=axis).mean(axis=(0, 1, 2)) for axis in range(3)], axis=1)
    scale = np.array(spacing_mm)
    in_mm = steps * scale[:, None] / scale[None]
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-4)
    assert np.linalg.det(in_mm) == pytest.approx(1.0, abs=1e-4)
    angle = np.degrees(np.arccos((np.trace(in_mm) - 1) / 2))
    assert 2.0 < angle < 15.0 * np.sqrt(3)
    # and scipy, told this matrix, gives the same image of something else
    ball = ball_stack(size, 5.0, (12.0, 10.0, 13.0))
    moved = changed(ball, only(affine=how), spacing_mm=spacing_mm, seed=3)[0, ..., 0]
    middle_mm = np.full(3, (size - 1) / 2)
    expected = ndimage.affine_transform(ball[0, ..., 0], steps, middle_mm - steps @ middle_mm, order=1)
    np.testing.assert_allclose(moved[3:-3, 3:-3, 3:-3], expected[3:-3, 3:-3, 3:-3], atol=2e-4)


@pytest.mark.parametrize(
    "settings",
    [
        only(affine=STRONG),
        only(elastic=Elastic(1.0, displacement_mm=2.0, smoothness_mm=10.0)),
        only(affine=STRONG, elastic=Elastic(1.0)),
    ],
)
def test_image_and_label_move_together(settings: object) -> None:
    stack = ball_stack(24, 5.0, (13.0, 10.0, 12.0), batch=6)
    result = changed(stack, settings)
    image, label = result[..., 0] >= 0.5, result[..., 2] == 1
    dice = 2 * (image & label).sum((1, 2, 3)) / (image.sum((1, 2, 3)) + label.sum((1, 2, 3)))
    assert dice.min() > 0.88  # nearest neighbours are ragged
    assert all(np.any(sample != stack[0]) for sample in result)
    centres = np.array([ndimage.center_of_mass(sample) for sample in label])
    in_image = np.array([ndimage.center_of_mass(sample) for sample in image])
    np.testing.assert_allclose(centres, in_image, atol=0.3)
    assert centres.std(axis=0).max() > 0.2, "every sample draws its own"


def test_what_comes_from_outside_counts_neither_way() -> None:
    stack = np.ones((4, 16, 16, 16, 3), np.float32)
    stack[..., 2] = 0
    result = changed(stack, only(affine=Affine(1.0, rotation_degrees=30.0)))
    np.testing.assert_allclose(result[..., 0], 1.0, atol=1e-6)  # the border is repeated
    label = result[..., 2]
    assert set(np.unique(label)) == {0.0, 2.0}
    assert (label[:, 6:10, 6:10, 6:10] == 0).all()
    assert 0.02 < (label == 2).mean() < 0.5


@pytest.mark.parametrize(("voxels", "most_lost", "bias"), [(1, 0.02, 0.25), (2, 0.01, 0.12), (10, 0.0, 0.05)])
def test_small_lesions_stay_and_keep_their_volume(voxels: int, most_lost: float, bias: float) -> None:
    rng = np.random.default_rng(1)
    size, pitch = 40, 8
    stack = np.zeros((6, size, size, size, 3), np.float32)
    nearest_first = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    for sample in range(6):
        for corner in np.ndindex(3, 3, 3):
            centre = np.array(corner) * pitch + 12
            order = np.argsort(((nearest_first - rng.uniform(-0.4, 0.4, 3)) ** 2).sum(1))
            stack[(sample, *(centre + nearest_first[order[:voxels]]).T, 2)] = 1
    result = changed(stack, only(affine=STRONG), seed=4)
    before = after = volume = 0
    for sample in result:
        before += 27
        after += ndimage.label(sample[..., 2] == 1, np.ones((3, 3, 3)))[1]
        volume += (sample[..., 2] == 1).sum()
    assert before * (1 - most_lost) <= after <= before
    # scales differ by sample: the mean of 6 is not exactly 1
    assert volume / (before * voxels) == pytest.approx(1.0, abs=bias + 0.1)


def test_a_smooth_field_has_the_spread_asked_for_everywhere() -> None:
    splines = spline_matrices((20, 16, 12), (1.0, 1.0, 2.0), 6.0)
    rng = np.random.default_rng(0)
    knots = rng.standard_normal((400, 1, *(s.shape[1] for s in splines))).astype(np.float32)
    field = np.array(along_axes(knots, splines))
    assert field.shape == (400, 1, 20, 16, 12)
    assert field.std(axis=0).min() > 0.8
    assert field.std(axis=0).max() < 1.2
    assert np.abs(np.diff(field, axis=2)).mean() < 0.35
