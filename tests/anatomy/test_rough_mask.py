import numpy as np
import pytest

from shiva_cmb.anatomy import rough_brain_mask
from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Volume
from tests.imaging.samples import make_grid, world_coordinates


def ellipsoid(grid, radii_mm):
    return (((world_coordinates(grid) - [3.0, -7.0, 11.0]) / radii_mm) ** 2).sum(axis=-1) < 1


def head(grid, stripped=False, scalp=600.0):
    """Scalp, dark skull, brain with a dark bleed and a dark vein, noise."""
    brain = ellipsoid(grid, (65, 82, 60))
    data = np.where(ellipsoid(grid, (78, 95, 73)), scalp, 10.0)
    data[ellipsoid(grid, (72, 89, 67))] = 30.0
    data[brain] = 700.0
    world = world_coordinates(grid) - [3.0, -7.0, 11.0]
    data[np.linalg.norm(world - [20, 10, 5], axis=-1) < 5] = 40.0
    data[np.linalg.norm((world - [-15, 0, 0])[..., :2], axis=-1) < 2] *= 0.3
    data += np.random.default_rng(1).normal(0, 25, grid.shape)
    data = np.where(brain | (not stripped), np.abs(data), 0)
    return Volume(data.astype(np.float32), grid.affine), brain


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("stripped", [False, True], ids=["skull", "stripped"])
@pytest.mark.parametrize(
    "grid",
    [
        make_grid((170, 200, 40), (1.0, 1.0, 4.0), "LPS", (9, -4, 6)),
        make_grid((130, 80, 90), (1.7, 2.1, 1.9), "PSR", (-12, 5, 8)),
    ],
    ids=["thick", "permuted"],
)
def test_brain_is_found_and_filled(grid, stripped):
    image, brain = head(grid, stripped)
    found = rough_brain_mask(image)
    assert found.dtype == bool
    assert dice(found, brain) > 0.95
    bleed = np.linalg.norm(world_coordinates(grid) - [23.0, 3.0, 16.0], axis=-1) < 5
    assert found[bleed].all()


def test_bright_scalp_does_not_hide_the_brain():
    image, brain = head(make_grid((130, 140, 60), (1.4, 1.5, 3.0)), scalp=2500.0)
    assert dice(rough_brain_mask(image), brain) > 0.95


def test_integers_and_offsets_make_no_difference():
    image, brain = head(make_grid((85, 100, 50), (2.0, 2.0, 3.5)))
    moved = image.with_data((image.data - 1000).astype(np.int16))
    assert dice(rough_brain_mask(moved), brain) > 0.95


def test_noise_is_no_brain():
    noise = np.random.default_rng(0).random((100, 100, 60), dtype=np.float32)
    with pytest.raises(ImageError, match="no brain found"):
        rough_brain_mask(Volume(noise, np.diag([2.0, 2.0, 3.0, 1.0])))


def test_a_small_crop_of_brain_gives_something():
    crop = np.random.default_rng(0).normal(500, 40, (40, 40, 20)).astype(np.float32)
    found = rough_brain_mask(Volume(crop, np.diag([0.5, 0.5, 1.0, 1.0])))
    assert found.mean() > 0.2
