import numpy as np
import pytest

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Grid, Volume, align_image, align_mask, binary_mask
from tests.imaging.samples import ball, make_grid

GRID = make_grid((40, 42, 20), (1.0, 1.0, 2.0), "LPS", (10, 0, 5))
NO_NOTE = pytest.fail


def test_mask_on_the_same_grid_keeps_its_values():
    values = ball(GRID, 12) * np.float32(0.7)
    aligned = align_mask(Volume(values, GRID.affine), GRID, "m.nii", note=NO_NOTE)
    assert np.array_equal(aligned, values)


@pytest.mark.parametrize("top", [1, 255, 1000])
def test_mask_on_another_grid_is_moved_by_world_coordinates(top):
    other = make_grid((70, 30, 64), (0.8, 1.9, 0.9), "PSR", (-12, 7, 3), centre_mm=(0, 0, 8))
    mask = Volume(ball(other, 13).astype(np.int16) * top, other.affine)
    notes = []
    aligned = align_mask(mask, GRID, "m.nii", note=notes.append)
    brain, expected = binary_mask(aligned, "m.nii"), ball(GRID, 13)
    assert 2 * (brain & expected).sum() / (brain.sum() + expected.sum()) > 0.95
    assert 0 <= aligned.min() <= aligned.max() <= 1
    assert "m.nii" in notes[0]
    assert "resampled" in notes[0]


def test_mask_elsewhere_is_refused():
    far = GRID.affine.copy()
    far[0, 3] += 500
    with pytest.raises(ImageError, match=r"m\.nii: the mask does not overlap"):
        align_mask(Volume(ball(GRID, 12), far), GRID, "m.nii", note=lambda _: None)


@pytest.mark.parametrize(
    "values", [np.zeros(GRID.shape), np.full(GRID.shape, 0.3), np.full(GRID.shape, np.nan)]
)
def test_empty_mask_is_refused(values):
    with pytest.raises(ImageError, match=r"m\.nii: the mask is empty"):
        align_mask(Volume(values, GRID.affine), GRID, "m.nii")
    with pytest.raises(ImageError, match=r"m\.nii: the mask is empty"):
        binary_mask(values, "m.nii")


def test_another_channel_keeps_its_intensities_when_it_is_resampled():
    values = 100 + 50 * ball(GRID, 12).astype(np.float32)
    image = Volume(values, GRID.affine)
    notes = []
    shifted = Grid((30, 31, 32), GRID.affine @ np.diag([1.5, 1.5, 1.5, 1]))
    aligned = align_image(image, shifted, "t1.nii", note=notes.append)
    assert aligned.grid.matches(shifted)
    assert len(notes) == 1
    inside = aligned.data[tuple(np.array(GRID.to_voxel([0, 0, 0]) / 1.5).astype(int))]
    assert 100 <= inside <= 150
    assert aligned.data.max() > 140
    assert align_image(image, GRID, "t1.nii", note=notes.append) is image
