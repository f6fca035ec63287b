import numpy as np
import pytest

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.imaging import Preprocessing, Scaling, Volume, to_model_grid
from tests.imaging.samples import ball, make_grid, smooth_image, world_coordinates

NO_NOTE = pytest.fail
THICK = make_grid((130, 140, 20), (0.45, 0.45, 4.0), "LPS", (8, -5, 11))


def head(grid, dots_mm=()):
    """A bright, slightly uneven ball in even air, with dark dots."""
    data = np.where(ball(grid, 22), 650 + 100 * smooth_image(grid).data, 20.0)
    world = world_coordinates(grid)
    for place in dots_mm:
        data[np.linalg.norm(world - place, axis=-1) < 2.4] = 60
    return Volume(data.astype(np.int16), grid.affine)


def dark_mm(made):
    inner = made.brain & (made.image.data < 0.4)
    return made.image.grid.to_world(np.argwhere(inner).mean(axis=0))


@pytest.mark.parametrize("preset", ["shiva_cmb", "shivai"])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "IRA"])
def test_a_bleed_keeps_its_world_place(preset, orientation):
    grid = make_grid((80, 90, 30), (0.7, 0.7, 2.0), orientation, (8, -5, 11))
    place = grid.to_world([46, 36, 17])
    settings = Preprocessing(preset, shape=(64, 64, 64))
    made = to_model_grid(head(grid, [place]), ball(grid, 19), settings, note=NO_NOTE)
    assert made.image.shape == made.brain.shape == (64, 64, 64)
    assert made.image.data.dtype == np.float32
    assert made.image.grid.matches(made.chain.target)
    assert np.linalg.norm(dark_mm(made) - place) < 0.8
    back = made.chain.invert(made.image.with_data((made.image.data < 0.4) * made.brain.astype(np.float32)), 1)
    found = grid.to_world(np.argwhere((back.data > 0.5) & ball(grid, 12, place)).mean(axis=0))
    assert np.linalg.norm(found - place) < 1.0


def test_thick_slices_work():
    place = THICK.to_world([70, 60, 11])
    settings = Preprocessing(shape=(64, 72, 64))
    made = to_model_grid(head(THICK, [place]), ball(THICK, 19), settings, note=NO_NOTE)
    assert np.linalg.norm(dark_mm(made) - place) < 1.5
    expected = ball(made.image.grid, 19)
    assert 2 * (made.brain & expected).sum() / (made.brain.sum() + expected.sum()) > 0.95


@pytest.mark.parametrize("low", [-300, 0, 150])
@pytest.mark.parametrize("scheme", ["p99", "zscore"])
def test_padding_is_never_brighter_than_air(low, scheme):
    grid = make_grid((40, 40, 40), (1.0, 1.0, 1.0))
    image = Volume((head(grid).data + low).astype(np.float32), grid.affine)
    made = to_model_grid(
        image, ball(grid, 18), Preprocessing(shape=(60, 60, 60), scaling=Scaling(scheme)), note=NO_NOTE
    )
    assert made.image.data[0, 0, 0] == made.image.data.min()


def test_without_a_mask_the_field_of_view_is_taken():
    grid = make_grid((40, 40, 40), (1.0, 1.0, 1.0))
    made = to_model_grid(head(grid), None, Preprocessing(shape=(30, 30, 30)), note=NO_NOTE)
    assert made.brain is None
    centre = made.image.grid.to_world([14.5, 14.5, 14.5])
    assert np.linalg.norm(centre - [3.0, -7.0, 11.0]) < 1.0


def test_bad_input_is_named():
    grid = make_grid((20, 20, 20), (1.0, 1.0, 1.0))
    data = head(grid).data.astype(np.float32)
    with pytest.raises(ImageError, match="shape"):
        to_model_grid(Volume(data, grid.affine), np.ones((19, 20, 20), bool), Preprocessing())
    data[0, 0, 0] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        to_model_grid(Volume(data, grid.affine), None, Preprocessing())


def test_settings_are_checked():
    with pytest.raises(UsageError, match="shiva9"):
        Preprocessing("shiva9")
    with pytest.raises(UsageError, match="three axes"):
        Preprocessing(shape=(160, 214))
    with pytest.raises(UsageError, match="voxel sizes"):
        Preprocessing(spacing_mm=(1.0, 0.0, 1.0))
