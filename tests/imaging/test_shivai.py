"""The preset against the published recipe, written out here with nibabel and scipy."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import conform
from scipy import ndimage

from shiva_cmb.imaging import Preprocessing, Scaling, Volume, to_model_grid
from tests.imaging.samples import ball, make_grid, smooth_image

NO_NOTE = pytest.fail
SHAPE = (48, 60, 52)
SETTINGS = Preprocessing("shivai", shape=SHAPE, scaling=Scaling("shivai"))


def recipe(image, brain):
    """Steps 2, 3, 5, 6 and 7 of the pipeline, for masks that need no padding beyond the conformed cube."""
    same = np.allclose(image.spacing_mm, 1)
    conformed = conform(nib.Nifti1Image(image.data, image.affine), order=0 if same else 3)
    values = np.clip(conformed.get_fdata(), image.data.min(), image.data.max())
    mask = conform(nib.Nifti1Image(brain.astype(np.uint8), image.affine), order=0).get_fdata() > 0.5
    centre = np.ceil(ndimage.center_of_mass(mask)).astype(int)
    low, high = centre - np.array(SHAPE) // 2, centre + np.array(SHAPE) // 2
    top = np.flatnonzero(mask.any(axis=(0, 1)))[-1]
    if high[2] <= top:
        shift = top - high[2] + 5
        low[2], high[2] = low[2] + shift, high[2] + shift
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    crop, mask_crop = np.maximum(values[window], 0), mask[window]
    scaled = np.clip(crop / np.percentile(crop[mask_crop], 99), None, 1.3) / 1.3
    affine = conformed.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(affine, low)
    return scaled, mask_crop, affine


# Voxel sizes that put no voxel just between two others: there the original rounds by chance.
@pytest.mark.parametrize(
    "grid",
    [
        make_grid((91, 80, 33), (0.71, 0.83, 2.13), "LPS", (7, 3, -9)),
        make_grid((60, 61, 62), (1.0, 1.0, 1.0), "PSR", (7, 3, -9)),
        make_grid((50, 48, 47), (1.41, 1.33, 1.27), "RAI"),
    ],
    ids=["anisotropic", "1 mm", "coarse"],
)
@pytest.mark.slow
def test_same_as_the_recipe(grid):
    noise = np.random.default_rng(0).normal(0, 0.05, grid.shape)
    image = Volume((1000 * (smooth_image(grid).data + noise)).astype(np.float32), grid.affine)
    brain = ball(grid, 17, (1.0, -5.0, 12.0))
    made = to_model_grid(image, brain, SETTINGS, note=NO_NOTE)
    scaled, mask, affine = recipe(image, brain)
    assert np.allclose(made.image.affine, affine, atol=1e-6)
    assert np.array_equal(made.brain, mask)
    assert np.abs(made.image.data - scaled).max() < 2e-4


@pytest.mark.slow
def test_a_top_heavy_mask_moves_the_window_up():
    grid = make_grid((60, 60, 100), (1.0, 1.0, 1.0))
    brain = np.zeros(grid.shape, bool)
    brain[15:45, 15:45, 10:40] = True
    brain[28:32, 28:32, 40:66] = True
    image = Volume(1000 * smooth_image(grid).data, grid.affine)
    notes = []
    made = to_model_grid(image, brain, SETTINGS, note=notes.append)
    _, mask, affine = recipe(image, brain)
    assert np.allclose(made.image.affine, affine, atol=1e-6)
    assert np.array_equal(made.brain, mask)
    assert np.flatnonzero(made.brain.any(axis=(0, 1)))[-1] == SHAPE[2] - 5
    assert "%" in notes[0]  # what the upward move cuts at the bottom is said


@pytest.mark.slow
def test_a_mask_under_the_top_of_the_volume_is_no_error():
    grid = make_grid((60, 60, 254), (1.0, 1.0, 1.0))
    brain = np.zeros(grid.shape, bool)
    brain[20:40, 20:40, 190:254] = True
    image = Volume(1000 * smooth_image(grid).data, grid.affine)
    made = to_model_grid(image, brain, SETTINGS, note=lambda _: None)
    top = np.flatnonzero(made.brain.any(axis=(0, 1)))[-1]
    assert made.image.data[:, :, top].max() > 0


def test_the_way_back_is_exact():
    grid = make_grid((91, 80, 33), (0.7, 0.8, 2.1), "LPS", (7, 3, -9))
    image = smooth_image(grid)
    chain = to_model_grid(image, ball(grid, 17), SETTINGS, note=NO_NOTE).chain
    back = chain.invert(chain.apply(image, 3), 3)
    inner = ball(grid, 17)
    assert np.array_equal(back.affine, grid.affine)
    assert np.abs(back.data - image.data)[inner].mean() < 0.01
