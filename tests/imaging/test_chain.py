import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Volume, chain_to_model_grid
from tests.imaging.samples import ball, centroid_mm, dot, grids, make_grid, smooth_image, world_coordinates

SHAPE = (72, 72, 72)
NO_NOTE = pytest.fail


@given(grid=grids())
@settings(max_examples=30, deadline=None)
def test_round_trip_of_a_smooth_image(grid):
    chain = chain_to_model_grid(grid, None, SHAPE, (1.0, 1.0, 1.0), note=NO_NOTE)
    image = smooth_image(grid)
    back = chain.invert(chain.apply(image, 3), 3)
    assert back.shape == image.shape
    assert np.array_equal(back.affine, image.affine)
    span = image.data.max() - image.data.min()
    assert np.abs(back.data - image.data).mean() < 0.01 * span


@given(grid=grids(), place=st.tuples(*[st.floats(-0.15, 0.15)] * 3))
@settings(max_examples=15, deadline=None)
def test_a_point_stays_where_it_is_in_the_world(grid, place):
    centre = (np.array(grid.shape) - 1) * (0.5 + np.array(place))
    point = grid.to_world(centre)
    chain = chain_to_model_grid(grid, ball(grid, 18), SHAPE, (1.0, 1.0, 1.0), note=NO_NOTE)
    there = chain.apply(dot(grid, point, 3.5), 3)
    assert np.linalg.norm(centroid_mm(there) - point) < 0.5
    back = chain.invert(dot(chain.target, point, 3.5), 1)
    assert np.linalg.norm(centroid_mm(back) - point) < 0.5


@given(
    grid=grids(),
    offset=st.tuples(*[st.floats(-8, 8)] * 3),
    radius=st.floats(8, 16),
    size=st.integers(36, 44),
)
@settings(max_examples=40, deadline=None)
def test_a_brain_that_can_fit_is_never_cut(grid, offset, radius, size):
    brain = ball(grid, radius, np.array([3.0, -7.0, 11.0]) + offset)
    assume(brain.any())
    chain = chain_to_model_grid(grid, brain, (size, size, size), (1.0, 1.0, 1.0), note=NO_NOTE)
    reach = chain.target.to_voxel(world_coordinates(grid)[brain])
    assert (reach >= -0.5 - 1e-6).all()
    assert (reach <= size - 0.5 + 1e-6).all()
    middle = (reach.min(axis=0) + reach.max(axis=0)) / 2
    assert np.abs(middle - (size - 1) / 2).max() <= 1.0 + 1e-6


def test_a_lopsided_brain_is_not_cut():
    """A window about the centre of mass would lose the thin end."""
    grid = make_grid((100, 30, 30), (1.0, 1.0, 1.0), centre_mm=(0, 0, 0))
    brain = np.zeros(grid.shape, bool)
    brain[20:40, 5:25, 5:25] = True
    brain[40:76, 14:16, 14:16] = True
    chain = chain_to_model_grid(grid, brain, (60, 30, 30), (1.0, 1.0, 1.0), note=NO_NOTE)
    assert chain.apply(Volume(brain, grid.affine), 0).data.sum() == brain.sum()


def test_a_brain_too_large_is_said_and_most_of_it_kept():
    grid = make_grid((100, 40, 40), (1.0, 1.0, 1.0), "LPS", (3, 0, 0))
    brain = np.zeros(grid.shape, bool)
    brain[10:90, 18:22, 18:22] = True
    brain[12:52, 5:35, 5:35] = True
    notes = []
    chain = chain_to_model_grid(grid, brain, (50, 40, 40), (1.0, 1.0, 1.0), note=notes.append)
    kept = chain.apply(Volume(brain, grid.affine), 0).data.sum()
    assert kept == brain[10:60].sum() or kept == brain[12:62].sum()
    percent = 100 * (1 - kept / brain.sum())
    assert f"{percent:.1f} %" in notes[0]
    assert "larger than the model grid" in notes[0]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SPR"])
def test_an_image_on_the_model_grid_keeps_its_values(orientation):
    shape = {"RAS": (20, 24, 22), "LPS": (20, 24, 22), "SPR": (22, 24, 20)}[orientation]
    grid = make_grid(shape, (1.0, 1.0, 1.0), orientation, (4, 4, 4))
    brain = np.zeros(shape, bool)
    brain[1:9, 1:9, 1:9] = True  # off the centre on purpose
    chain = chain_to_model_grid(grid, brain, (20, 24, 22), (1.0, 1.0, 1.0), note=NO_NOTE)
    image = smooth_image(grid)
    there = chain.apply(image, 3)
    assert np.array_equal(np.sort(there.data, axis=None), np.sort(image.data, axis=None))
    assert np.array_equal(chain.invert(there, 1).data, image.data)


def test_outside_the_model_grid_comes_back_as_0():
    grid = make_grid((40, 40, 40), (1.0, 1.0, 1.0))
    chain = chain_to_model_grid(grid, ball(grid, 8), (20, 20, 20), (1.0, 1.0, 1.0), note=NO_NOTE)
    back = chain.invert(Volume(np.ones((20, 20, 20), np.float32), chain.target.affine), 1)
    assert back.data.sum() == 20**3


def test_provenance_is_plain_json():
    grid = make_grid((40, 40, 12), (0.5, 0.5, 3.0), "LPI", (9, 2, 5))
    chain = chain_to_model_grid(grid, ball(grid, 8), (20, 20, 20), (1.0, 1.0, 1.0), note=NO_NOTE)
    record = json.loads(json.dumps(chain.as_dict()))
    assert [step["step"] for step in record["steps"]] == ["reorient", "resample", "crop_pad"]
    assert np.allclose(record["from"]["affine"], grid.affine)
    assert np.allclose(record["to"]["affine"], chain.target.affine)


def test_masks_that_cannot_be_used():
    grid = make_grid((10, 10, 10), (1.0, 1.0, 1.0))
    with pytest.raises(ImageError, match="empty"):
        chain_to_model_grid(grid, np.zeros(grid.shape, bool), (8, 8, 8))
    with pytest.raises(ImageError, match="shape"):
        chain_to_model_grid(grid, np.ones((9, 10, 10), bool), (8, 8, 8))
