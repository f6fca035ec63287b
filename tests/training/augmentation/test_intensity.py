"""Changes of values: each does what it says, and none touches brain or label."""

from dataclasses import fields, replace

import numpy as np
import pytest

from shiva_cmb.training.augmentation.settings import (
    AUGMENTATIONS,
    AugmentationSettings,
    BiasField,
    Blur,
    BrainMasking,
    ChannelLoss,
    Gamma,
    GaussianNoise,
    Inversion,
    Levels,
    RicianNoise,
    SaltPepper,
    ThickSlices,
)
from tests.training.augmentation.stacks import changed, noisy_stack, only, same_sample

SPATIAL = ("implant", "turn", "flip", "affine", "elastic", "brain_masking")
VALUES = [f.name for f in fields(AugmentationSettings) if f.name not in SPATIAL]


@pytest.mark.parametrize("name", VALUES)
def test_brain_and_label_stay_and_samples_differ(name: str) -> None:
    change = replace(getattr(AUGMENTATIONS["heavy"], name), probability=1.0)
    stack = same_sample(4, channels=2)
    result = changed(stack, only(**{name: change}), seed=2)
    np.testing.assert_array_equal(result[..., 2:], stack[..., 2:])
    assert np.isfinite(result).all()
    assert all(np.any(sample != stack[0]) for sample in result)
    if name != "inversion":
        assert any(np.any(sample != result[0]) for sample in result[1:])


def test_gamma_keeps_0_and_1_and_what_is_beyond() -> None:
    stack = noisy_stack(8)
    stack[:, 0, ..., 0], stack[:, 1, ..., 0], stack[:, 2, ..., 0], stack[:, 3, ..., 0] = 0.0, 1.0, -0.5, 1.7
    result = changed(stack, only(gamma=Gamma(1.0, exponent=(0.5, 2.0))))
    np.testing.assert_allclose(result[:, :4, ..., 0], stack[:, :4, ..., 0], atol=1e-6)
    exponents = np.log(result[:, 6, 6, 6, 0]) / np.log(stack[:, 6, 6, 6, 0])
    assert exponents.min() >= 0.499
    assert exponents.max() <= 2.001
    assert exponents.std() > 0.1


def test_levels_are_those_asked_for() -> None:
    stack = noisy_stack(1)
    how = Levels(1.0, contrast=(2.0, 2.0), gain=(0.5, 0.5), brightness=(0.1, 0.1))
    image = stack[..., 0]
    expected = ((image - image.mean()) * 2 + image.mean()) * 0.5 + 0.1
    np.testing.assert_allclose(changed(stack, only(levels=how))[..., 0], expected, atol=1e-5)


def test_inversion() -> None:
    stack = noisy_stack(1)
    np.testing.assert_allclose(changed(stack, only(inversion=Inversion(1.0)))[..., 0], 1 - stack[..., 0])


def test_noise_has_the_spread_asked_for() -> None:
    stack = np.full((4, 16, 16, 16, 3), 1.0, np.float32)
    for how in (
        only(gaussian_noise=GaussianNoise(1.0, (0.1, 0.1))),
        only(rician_noise=RicianNoise(1.0, (0.1, 0.1))),
    ):
        assert (changed(stack, how)[..., 0] - 1.0).std() == pytest.approx(0.1, rel=0.05)


def test_rician_noise_is_never_below_0_and_lifts_the_background() -> None:
    stack = np.zeros((2, 16, 16, 16, 3), np.float32)
    image = changed(stack, only(rician_noise=RicianNoise(1.0, (0.1, 0.1))))[..., 0]
    assert image.min() >= 0
    assert image.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)  # Rayleigh


def test_salt_and_pepper_are_as_many_as_asked_for() -> None:
    stack = np.full((2, 20, 20, 20, 3), 0.5, np.float32)
    image = changed(stack, only(salt_pepper=SaltPepper(1.0, (0.1, 0.1))))[..., 0]
    assert set(np.unique(image)) == {0.0, 0.5, 1.0}
    assert (image == 0).mean() == pytest.approx(0.05, abs=0.01)
    assert (image == 1).mean() == pytest.approx(0.05, abs=0.01)


def test_blur_is_gaussian_in_millimetres_and_keeps_constants() -> None:
    stack = np.zeros((1, 17, 17, 17, 4), np.float32)
    stack[0, 8, 8, 8, 0] = 1.0
    stack[..., 1] = 0.7
    result = changed(stack, only(blur=Blur(1.0, sigma_mm=(1.5, 1.5))), spacing_mm=(1.0, 1.5, 1.0))[0]
    np.testing.assert_allclose(result[..., 1], 0.7, atol=1e-5)
    spread = result[..., 0]
    assert spread.sum() == pytest.approx(1.0, abs=1e-3)
    x = np.arange(17) - 8
    assert (spread.sum((1, 2)) * x**2).sum() == pytest.approx(1.5**2, rel=0.02)
    assert (spread.sum((0, 2)) * x**2).sum() == pytest.approx(1.0, rel=0.02)


def test_thick_slices_are_constant_within_and_keep_the_mean() -> None:
    stack = noisy_stack(12)
    how = ThickSlices(1.0, thickness_mm=(4.0, 4.0), interpolated_fraction=0.0)
    result = changed(stack, only(thick_slices=how), spacing_mm=(2.0, 2.0, 2.0))
    seen = set()
    for before, after in zip(stack[..., 0], result[..., 0], strict=True):
        steps = [np.abs(np.diff(after, axis=axis)).max(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
        flat = [(step < 1e-6) for step in steps]
        (axis,) = [axis for axis in range(3) if flat[axis].any()]
        seen.add(axis)
        assert not (flat[axis][1:] & flat[axis][:-1]).any(), "slabs of two voxels"
        assert flat[axis].sum() >= 5
        assert after.mean() == pytest.approx(before.mean(), abs=1e-5)
    assert seen == {0, 1, 2}


def test_thick_slices_interpolated_have_no_steps() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32)[:, None, None, None], (24, 24, 24, 3))
    stack = np.repeat(ramp[None], 6, axis=0) / 24
    how = ThickSlices(1.0, thickness_mm=(4.0, 4.0), interpolated_fraction=1.0)
    result = changed(np.ascontiguousarray(stack), only(thick_slices=how))
    np.testing.assert_allclose(result[:, 6:-6, ..., 0], stack[:, 6:-6, ..., 0], atol=1e-5)


def test_bias_field_is_smooth_and_positive() -> None:
    stack = np.ones((4, 24, 24, 24, 3), np.float32)
    result = changed(stack, only(bias_field=BiasField(1.0, strength=(0.3, 0.3), smoothness_mm=12.0)))
    field = np.log(result[..., 0])
    np.testing.assert_allclose(field.mean(axis=(1, 2, 3)), 0.0, atol=1e-5)
    assert 0.1 < field.std() < 0.4
    assert np.abs(np.diff(field, axis=1)).max() < 0.25


def test_one_of_several_channels_is_lost() -> None:
    stack = np.full((40, 8, 8, 8, 4), 0.5, np.float32)
    result = changed(stack, only(channel_loss=ChannelLoss(1.0)))
    lost = (result[..., :2] != 0.5).any(axis=(1, 2, 3))
    assert (lost.sum(axis=1) == 1).all()
    assert 0.2 < lost[:, 0].mean() < 0.8
    alone = noisy_stack(2)
    np.testing.assert_array_equal(changed(alone, only(channel_loss=ChannelLoss(1.0))), alone)


def test_brain_masking_empties_the_outside() -> None:
    stack = np.ones((2, 16, 16, 16, 3), np.float32)
    stack[:, :5, ..., 1] = 0
    exact = changed(stack, only(brain_masking=BrainMasking(1.0, edge_mm=0.0)))
    np.testing.assert_array_equal(exact[..., 0], stack[..., 1])
    np.testing.assert_array_equal(exact[..., 1], stack[..., 1])
    np.testing.assert_array_equal(exact[..., 2], np.where(stack[..., 1] > 0, 1.0, 2.0))


def test_brain_masking_moves_the_edge() -> None:
    stack = np.ones((30, 16, 16, 16, 3), np.float32)
    stack[:, :8, ..., 1] = 0
    result = changed(stack, only(brain_masking=BrainMasking(1.0, edge_mm=2.0)))
    edges = 16 - result[:, :, 8, 8, 0].sum(axis=1)
    assert set(edges) <= {6.0, 7.0, 8.0, 9.0, 10.0}
    assert len(set(edges)) >= 3
