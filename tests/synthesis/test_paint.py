import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shiva_cmb.imaging.volume import Grid
from shiva_cmb.synthesis.paint import ball_points, filled_fraction, smooth_field, tube_points, wandering_line


def grid(spacing: tuple[float, float, float], shape: tuple[int, int, int] = (40, 40, 40)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


@pytest.mark.parametrize("spacing", [(0.6, 0.6, 2.0), (1.0, 1.0, 1.0), (0.9, 0.9, 5.0)])
def test_a_ball_keeps_its_volume_and_place_on_any_grid(spacing: tuple[float, float, float]) -> None:
    place = grid(spacing)
    centre = np.array([0.7, -0.4, 0.9])
    filled = filled_fraction(*ball_points(centre, 4.0, edge_mm=0.2), place)
    assert filled.sum() * place.voxel_volume_mm3 == pytest.approx(np.pi / 6 * 4.0**3, rel=0.1)
    voxels = np.argwhere(filled > 0)
    mean = np.average(voxels, axis=0, weights=filled[filled > 0])
    # A slice thicker than the ball cannot say where in it the ball lies.
    assert np.linalg.norm(place.to_world(mean) - centre) < 0.15 * max(spacing)


def test_a_vein_keeps_its_volume() -> None:
    rng = np.random.default_rng(0)
    place = grid((0.5, 0.5, 0.5), (120, 120, 120))
    line = wandering_line(rng, np.zeros(3), 20.0)
    points, volumes = tube_points(rng, line, 0.8)
    filled = filled_fraction(points, volumes, place)
    radii = np.linspace(0.8, 0.48, len(line))
    assert filled.sum() * place.voxel_volume_mm3 == pytest.approx((np.pi * radii**2 * 0.5).sum(), rel=0.2)


def test_nothing_is_filled_twice_or_outside() -> None:
    place = grid((1.0, 1.0, 1.0), (5, 6, 7))
    points = np.concatenate([np.zeros((9, 3)), np.full((3, 3), 1e3)])
    filled = filled_fraction(points, np.ones(12), place)
    assert filled.shape == (5, 6, 7)
    assert filled.max() == 1.0
    assert filled.sum() == 1.0


def test_a_smooth_field_has_the_promised_spread_and_is_smooth() -> None:
    field = smooth_field(np.random.default_rng(1), grid((0.6, 0.6, 2.0)), 8.0)
    assert field.shape == (40, 40, 40)
    assert abs(field.mean()) < 1e-3
    assert field.std() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(np.diff(field, axis=0)).max() < 0.5
