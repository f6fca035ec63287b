import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import CropPad, Reorient, Resample, Volume
from tests.imaging.samples import ORIENTATIONS, grids, make_grid, smooth_image, world_coordinates


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_reorient_moves_values_with_their_place(orientation):
    grid = make_grid((5, 6, 7), (0.5, 1.0, 3.0), orientation, (8, -5, 11))
    volume = Volume(np.arange(210, dtype=np.int16).reshape(grid.shape), grid.affine)
    step = Reorient(grid)
    canonical = step.apply(volume, 3)
    assert canonical.grid.orientation == "RAS"
    assert canonical.grid.matches(step.target)
    place = dict(zip(volume.data.ravel(), world_coordinates(grid).reshape(-1, 3), strict=True))
    for value, where in zip(
        canonical.data.ravel(), world_coordinates(canonical.grid).reshape(-1, 3), strict=True
    ):
        assert np.allclose(place[value], where, atol=1e-9)
    back = step.invert(canonical, 3)
    assert np.array_equal(back.data, volume.data)
    assert back.grid.matches(grid, 1e-6)


@given(grid=grids(), spacing=st.tuples(*[st.floats(0.7, 2.0)] * 3))
@settings(max_examples=30, deadline=None)
def test_resampled_values_belong_to_their_place(grid, spacing):
    step = Resample.to_spacing(grid, spacing)
    result = step.apply(smooth_image(grid), 3)
    assert np.allclose(result.spacing_mm, spacing, rtol=2e-3)
    expected = smooth_image(step.target)
    covered = grid.to_voxel(world_coordinates(step.target))
    inner = ((covered > 1.5) & (covered < np.array(grid.shape) - 2.5)).all(axis=-1)
    assert np.abs(result.data - expected.data)[inner].max(initial=0) < 0.06  # 4 mm slices, 40 mm waves


@given(grid=grids(), spacing=st.tuples(*[st.floats(0.7, 2.0)] * 3))
@settings(max_examples=20, deadline=None)
def test_no_part_of_the_field_of_view_is_lost(grid, spacing):
    target = Resample.to_spacing(grid, spacing).target
    edges = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1).T
    reach = target.to_voxel(grid.to_world(edges))
    slack = 2e-3 * np.array(target.shape)
    assert (reach >= -0.5 - slack).all()
    assert (reach <= np.array(target.shape) - 0.5 + slack).all()
    centre = [(np.array(g.shape) - 1) / 2 for g in (grid, target)]
    assert np.allclose(grid.to_world(centre[0]), target.to_world(centre[1]), atol=1e-6)


def test_reduction_does_not_alias():
    grid = make_grid((60, 60, 60), (0.5, 0.5, 0.5))
    stripes = np.broadcast_to((np.arange(60) % 2).astype(np.float32)[:, None, None], grid.shape)
    result = Resample.to_spacing(grid, (1.3, 1.3, 1.3)).apply(Volume(stripes, grid.affine), 3)
    assert result.data[2:-2].std() < 0.02
    assert abs(result.data.mean() - 0.5) < 0.02


def test_small_dark_dot_survives_thick_slices():
    grid = make_grid((60, 60, 9), (0.45, 0.45, 4.0), "RAS", (0, 0, 0))
    data = np.full(grid.shape, 800.0, np.float32)
    data[28:33, 28:33, 4] = 100  # 2.25 mm across, one slice
    step = Resample.to_spacing(grid, (1.0, 1.0, 1.0))
    result = step.apply(Volume(data, grid.affine), 3)
    assert result.data.min() < 250
    assert result.data.max() <= 800  # no ringing beyond the image's own range
    lowest = step.target.to_world(np.unravel_index(result.data.argmin(), result.shape))
    assert np.linalg.norm(lowest - grid.to_world([30, 30, 4])) < 1.0


def test_order_0_keeps_labels():
    grid = make_grid((20, 21, 9), (0.6, 0.9, 3.0), "LPS", (5, 5, 5))
    labels = np.random.default_rng(0).integers(0, 5, grid.shape).astype(np.int16)
    step = Resample.to_spacing(grid, (1.0, 1.0, 1.0))
    result = step.apply(Volume(labels, grid.affine), 0)
    assert result.data.dtype == np.int16
    assert set(np.unique(result.data)) <= set(range(5))


def test_same_spacing_is_exact():
    grid = make_grid((20, 21, 22), (1.0002, 1.0, 0.9997), "RAS", (5, 5, 5))
    volume = smooth_image(grid)
    step = Resample.to_spacing(grid, (1.0, 1.0, 1.0))
    assert np.array_equal(step.apply(volume, 3).data, volume.data)
    assert step.target.matches(grid, 1e-9)


@given(
    start=st.tuples(*[st.integers(-15, 15)] * 3),
    shape=st.tuples(*[st.integers(2, 20)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_window_keeps_values_in_place(start, shape):
    grid = make_grid((9, 10, 11), (0.6, 0.9, 3.0), "RAS", (5, 5, 5))
    volume = Volume(np.arange(1, 991, dtype=np.int32).reshape(grid.shape), grid.affine)
    step = CropPad(grid, start, shape)
    window = step.apply(volume)
    assert window.shape == shape
    voxels = np.rint(grid.to_voxel(world_coordinates(window.grid))).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(grid.shape))).all(axis=-1)
    assert (window.data[~inside] == 0).all()
    assert np.array_equal(window.data[inside], volume.data[tuple(voxels[inside].T)])
    back = step.invert(window)
    assert back.grid.matches(grid, 1e-6)
    kept = np.isin(volume.data, window.data)
    assert np.array_equal(back.data, np.where(kept, volume.data, 0))


def test_steps_refuse_what_lies_elsewhere():
    grid = make_grid((9, 10, 11), (1.0, 1.0, 1.0))
    moved = make_grid((9, 10, 11), (1.0, 1.0, 1.0), centre_mm=(0, 0, 0))
    for step in (Reorient(grid), Resample.to_spacing(grid, (2, 2, 2)), CropPad(grid, (0, 0, 0), (4, 4, 4))):
        with pytest.raises(ImageError, match="grid"):
            step.apply(smooth_image(moved), 1)
