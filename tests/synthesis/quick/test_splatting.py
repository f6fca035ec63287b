import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.quick.splatting import fill_tubes
from shiva_cmb.synthesis.shapes import Tube

MIDDLE = np.array([3.0, -20.0, 40.0])
Z = (0.0, 0.0, 1.0)


def grid_around(spacing: tuple[float, float, float], angles: tuple[float, float], size_mm: float) -> Grid:
    """A turned grid around `MIDDLE`."""
    a, b = angles
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    x, y, z = (int(np.ceil(size_mm / s)) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag(spacing)
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return Grid((x, y, z), affine)


def straight(
    radius_mm: float, length_mm: float, direction: tuple[float, float, float], end: float = 1.0
) -> Tube:
    n = int(length_mm / 0.5) + 1
    heading = np.array(direction) / np.linalg.norm(direction)
    along = np.linspace(-length_mm / 2, length_mm / 2, n)
    return Tube("vein", MIDDLE + np.outer(along, heading), np.linspace(radius_mm, end * radius_mm, n))


spacings = st.tuples(*[st.floats(0.4, 2.0)] * 3)
turns = st.tuples(st.floats(-3, 3), st.floats(-1, 1))
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1)


@settings(max_examples=25, deadline=None)
@given(spacings, turns, directions, st.floats(0.15, 1.5), st.floats(0.4, 1.0))
def test_a_tube_keeps_its_volume_place_and_angle_on_any_grid(spacing, turn, direction, radius, end) -> None:
    grid = grid_around(spacing, turn, 22.0)
    tube = straight(radius, 12.0, direction, end)
    filled, oriented = fill_tubes([tube], grid, Z)
    volume = np.pi * 12.0 * radius**2 * (1 + end + end**2) / 3
    assert filled.sum() * grid.voxel_volume_mm3 == pytest.approx(volume, rel=0.05)
    assert 0 <= filled.min() <= filled.max() <= 1
    cosine = direction[2] / np.linalg.norm(direction)
    np.testing.assert_allclose(oriented, filled * (cosine**2 - 1 / 3), atol=1e-4)
    where = np.argwhere(filled > 0)
    centre = np.average(grid.to_world(where), axis=0, weights=filled[filled > 0])
    expected = np.average(tube.points_mm, axis=0, weights=tube.radii_mm**2)
    np.testing.assert_allclose(centre, expected, atol=0.5 * max(spacing) + 0.02)


def test_a_thick_tube_fills_its_inside_and_nothing_further_out() -> None:
    grid = grid_around((0.5, 0.5, 0.5), (0.0, 0.0), 20.0)
    filled, _ = fill_tubes([straight(2.0, 10.0, (0, 0, 1))], grid, Z)
    offset = np.abs(
        np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3] - MIDDLE
    )
    from_axis = np.linalg.norm(offset[..., :2], axis=-1)
    assert filled[(from_axis < 1.4) & (offset[..., 2] < 4.5)].min() > 0.7
    assert filled[(from_axis < 1.4) & (offset[..., 2] < 4.5)].mean() > 0.95
    assert filled[(from_axis > 2.5) | (offset[..., 2] > 5.5)].max() == 0


def test_overlaps_count_once_and_what_leaves_the_grid_is_cut() -> None:
    grid = grid_around((1.0, 1.0, 1.0), (0.2, 0.3), 20.0)
    tube = straight(1.5, 12.0, (1, 0, 0))
    once, _ = fill_tubes([tube], grid, Z)
    thrice, oriented = fill_tubes([tube, tube, tube], grid, Z)
    assert thrice.max() <= 1
    assert thrice.sum() < 1.8 * once.sum()
    np.testing.assert_allclose(oriented, -thrice / 3, atol=1e-4)
    long, _ = fill_tubes([straight(0.5, 100.0, (1, 1, 1))], grid, Z)
    assert 0 < long.sum() < np.pi * 0.25 * 40


def test_nothing_fills_nothing() -> None:
    grid = grid_around((0.8, 0.8, 1.6), (0.1, 0.0), 20.0)
    empty, oriented = fill_tubes([], grid, Z)
    assert empty.shape == oriented.shape == grid.shape
    assert empty.dtype == oriented.dtype == np.float32
    assert not empty.any()
    assert not oriented.any()
