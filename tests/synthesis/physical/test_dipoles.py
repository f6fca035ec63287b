"""The field of simple bodies against what theory gives."""

import numpy as np
import pytest
from scipy import ndimage

from shiva_cmb.synthesis.physical.dipoles import dipole_field, without_shim
from shiva_cmb.synthesis.physical.sampling import cubic_refinement, overlaps, smooth_noise

SIZE = 64


def _places() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(SIZE) - SIZE // 2] * 3, indexing="ij"), axis=-1).astype(float)


@pytest.mark.parametrize("direction", [(0, 0, 1), (0.6, 0, 0.8)])
def test_a_ball_makes_a_dipole_outside_and_nothing_inside(direction: tuple[float, float, float]) -> None:
    places, radius = _places(), 6.0
    distance = np.linalg.norm(places, axis=-1)
    chi = np.clip(radius - distance + 0.5, 0, 1).astype(np.float32)
    field = dipole_field(chi, np.array(direction), margin=SIZE)
    cosine = places @ direction / np.maximum(distance, 1)
    expected = (radius / np.maximum(distance, 1)) ** 3 * (3 * cosine**2 - 1) / 3
    outside = (distance > radius + 3) & (distance < 24)
    assert np.abs(field - expected)[outside].max() < 0.02
    assert np.abs(field[distance < radius - 3]).max() < 0.03


@pytest.mark.parametrize("degrees", [0, 90])
def test_a_cylinder_has_the_field_of_theory_inside_and_outside(degrees: float) -> None:
    places, radius = _places(), 5.0
    # along x, from end to end: periodic, so it has no ends
    across = np.hypot(places[..., 1], places[..., 2])
    chi = np.clip(radius - across + 0.5, 0, 1).astype(np.float32)
    angle = np.deg2rad(degrees)
    field = dipole_field(chi, np.array([np.cos(angle), 0, np.sin(angle)]))
    inside = (np.cos(angle) ** 2 - 1 / 3) / 2
    middle = field[:, SIZE // 2, SIZE // 2].mean()
    assert middle == pytest.approx(inside, abs=0.05)
    if degrees == 90:
        expected = 0.5 * (radius / 12) ** 2  # 12 voxels along the field
        assert field[:, SIZE // 2, SIZE // 2 + 12].mean() == pytest.approx(expected, abs=0.02)
        assert field[:, SIZE // 2 + 12, SIZE // 2].mean() == pytest.approx(-expected, abs=0.02)


def test_the_shim_takes_a_slope_away_and_leaves_what_is_small() -> None:
    x, _y, z = _places().transpose(3, 0, 1, 2).astype(np.float32)
    dot = ndimage.gaussian_filter((_places() ** 2).sum(axis=-1) < 4, 1.0, output=np.float32)
    shimmed = without_shim(0.02 * x - 0.001 * z * z + dot, np.ones(x.shape, bool))
    assert np.abs(shimmed - dot).max() < 0.02


def test_averages_keep_the_mean_and_refinement_keeps_a_slope() -> None:
    matrix = overlaps(np.arange(4) * 1.5, 1.5, 12, 0.5)
    np.testing.assert_allclose(matrix @ np.arange(12), [1, 4, 7, 10], atol=1e-5)
    assert (overlaps(np.array([-0.5]), 1.0, 12, 0.5).sum(axis=1) == 0.5).all()
    fine = cubic_refinement(8) @ np.arange(8, dtype=np.float32)
    np.testing.assert_allclose(fine[3:-3], (np.arange(16)[3:-3] - 0.5) / 2, atol=1e-5)


def test_smooth_noise_has_the_spread_that_is_asked_for() -> None:
    noise = smooth_noise(np.random.default_rng(0), (40, 40, 40), 4.0, 2.5)
    assert noise.std() == pytest.approx(2.5, rel=0.15)
    assert np.abs(np.diff(noise, axis=0)).mean() < 1.5
