import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.bleeds.blooming import attenuation, union_volume_mm3
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.shapes import Ball

UP = np.array([0.0, 0.0, 1.0])


def grid_about_origin(
    spacing: tuple[float, float, float], size_mm: float, rotation: NDArray[np.float64] | None = None
) -> Grid:
    shape = [int(size_mm / step) | 1 for step in spacing]
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) * np.array(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def ball(radius_mm: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Ball:
    return Ball("microbleed", np.array([centre]), np.array([radius_mm]))


def factor(
    shape: Ball, chi: float, grid: Grid, te_s: float = 0.02, b0_t: float = 3.0
) -> NDArray[np.complex64]:
    box, values = attenuation(shape, chi, 200.0, grid, te_s, b0_t, UP)
    whole = np.ones(grid.shape, np.complex64)
    whole[box] = values
    return whole


def lost_mm3(values: NDArray[np.complex64], grid: Grid) -> float:
    return float((1 - np.abs(values) > 0.3).sum() * grid.voxel_volume_mm3)


def test_the_phase_around_a_ball_is_that_of_the_formula() -> None:
    grid = grid_about_origin((0.4, 0.4, 0.4), 12.0)
    values = factor(ball(0.8), 0.5, grid)
    middle = np.array(grid.shape) // 2
    surface = radians_per_ppm(0.02, 3.0) * 0.5 / 3
    for steps, pole in (((0, 0, 5), 2), ((5, 0, 0), -1), ((0, 6, 0), -1), ((0, 0, -6), 2)):
        distance = 0.4 * np.abs(steps).max()
        expected = pole * surface * (0.8 / distance) ** 3
        found = np.angle(values[tuple(middle + steps)])
        assert found == pytest.approx(expected, rel=0.06)


def test_far_away_nothing_happens_and_there_is_no_step() -> None:
    grid = grid_about_origin((0.6, 0.6, 1.0), 40.0)
    box, values = attenuation(ball(1.0, (0.3, 0.2, -0.4)), 1.5, 200.0, grid, 0.02, 3.0, UP)
    edges = [np.take(values, place, axis=axis) for axis in range(3) for place in (0, -1)]
    assert max(np.abs(edge - 1).max() for edge in edges) < 0.02
    assert values.size < np.prod(grid.shape) / 4
    assert np.abs(values).min() < 0.05
    assert all(s.stop - s.start == n for s, n in zip(box, values.shape, strict=True))


def test_inside_of_the_core_the_signal_decays() -> None:
    grid = grid_about_origin((0.5, 0.5, 0.5), 10.0)
    _, values = attenuation(ball(3.0), 0.01, 100.0, grid, 0.02, 3.0, UP)
    middle = tuple(n // 2 for n in values.shape)
    assert np.abs(values[middle]) == pytest.approx(np.exp(-2), rel=0.02)


def test_bleeds_grow_with_echo_time_and_field_and_only_with_their_product() -> None:
    grid = grid_about_origin((0.5, 0.5, 0.5), 24.0)
    sizes = [
        lost_mm3(factor(ball(0.6, (0.1, 0.05, 0.2)), 2.0, grid, te_s, b0_t), grid)
        for te_s, b0_t in ((0.01, 1.5), (0.02, 1.5), (0.01, 3.0), (0.04, 3.0))
    ]
    assert sizes[0] < sizes[1] < sizes[3]
    assert sizes[1] == pytest.approx(sizes[2], rel=0.01 if sizes[1] == sizes[2] else 0.1)
    # between the fourth root (dephasing in a voxel) and the cube root (phase) of the product
    growth = (sizes[3] / sizes[0]) ** (1 / 3)
    assert 8 ** (1 / 5) < growth < 8 ** (1 / 3)


def test_calcium_takes_as_much_signal_with_the_opposite_phase() -> None:
    grid = grid_about_origin((0.6, 0.6, 1.0), 16.0)
    iron, calcium = factor(ball(0.9), 1.0, grid), factor(ball(0.9), -1.0, grid)
    np.testing.assert_allclose(np.abs(iron), np.abs(calcium), atol=1e-5)
    np.testing.assert_allclose(np.conj(iron), calcium, atol=1e-5)


def test_thick_slices_show_less_of_a_small_bleed() -> None:
    thin = np.abs(factor(ball(0.7), 1.0, grid_about_origin((0.6, 0.6, 1.0), 20.0))).min()
    thick = np.abs(factor(ball(0.7), 1.0, grid_about_origin((0.6, 0.6, 5.0), 20.0))).min()
    assert thin < 0.2 < thick < 0.8


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_turning_everything_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    at = rng.uniform(-0.5, 0.5, (2, 3))
    radii = np.array([0.8, 0.6])
    whole = []
    for matrix in (np.eye(3), turn):
        grid = grid_about_origin((0.6, 0.6, 1.0), 14.0, matrix)
        box, values = attenuation(Ball("x", at @ matrix.T, radii), 1.0, 200.0, grid, 0.02, 3.0, matrix @ UP)
        left = np.ones(grid.shape)
        left[box] = np.abs(values)
        whole.append(left)
    # how much the balls overlap is measured on a lattice that does not turn along
    np.testing.assert_allclose(whole[0], whole[1], atol=0.08)


def test_axes_that_run_backwards_or_in_another_order_give_the_same_picture() -> None:
    grid = grid_about_origin((0.6, 0.8, 1.2), 16.0)
    shape = ball(0.9, (0.3, -0.2, 0.1))
    plain = factor(shape, 1.0, grid)
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, 0, -1], [1, 0, 0], [0, 1, 0]]
    matrix[0, 3] = grid.shape[0] - 1
    other = Grid((grid.shape[1], grid.shape[2], grid.shape[0]), grid.affine @ matrix)
    np.testing.assert_allclose(factor(shape, 1.0, other), plain[::-1].transpose(1, 2, 0), atol=1e-4)


def test_a_ball_off_the_grid_gives_an_empty_box() -> None:
    grid = grid_about_origin((1.0, 1.0, 1.0), 10.0)
    box, values = attenuation(ball(1.0, (300.0, 0.0, 0.0)), 1.0, 200.0, grid, 0.02, 3.0, UP)
    assert values.size == 0
    assert np.ones(grid.shape)[box].size == 0


def test_a_ball_at_the_edge_is_cut() -> None:
    grid = grid_about_origin((1.0, 1.0, 1.0), 11.0)
    values = factor(ball(1.5, (5.0, 0.0, 0.0)), 1.0, grid)
    assert np.abs(values[-1, 5, 5]) < 0.3
    assert np.abs(values[0, 5, 5] - 1) < 0.1


def test_overlapping_balls_count_once() -> None:
    one = ball(1.0)
    twice = Ball("x", np.zeros((2, 3)), np.ones(2))
    assert union_volume_mm3(twice) == pytest.approx(union_volume_mm3(one), rel=0.02)
    grid = grid_about_origin((0.6, 0.6, 0.6), 12.0)
    # the edge of the core is counted for each ball, hence not exactly
    np.testing.assert_allclose(factor(twice, 1.0, grid), factor(one, 1.0, grid), atol=0.1)
