import numpy as np
import pytest

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Volume, check_image
from tests.imaging.samples import make_grid, smooth_image

GRID = make_grid((40, 42, 20), (1.0, 1.0, 2.0), "LPS", (10, 0, 5))
NO_NOTE = pytest.fail


def test_good_image_passes_untouched():
    image = smooth_image(GRID)
    assert check_image(image, "a.nii", note=NO_NOTE).data is image.data


def test_bad_voxels_take_the_nearest_value_in_mm():
    image = smooth_image(GRID)
    data = image.data.copy()
    data[10, 10, 10] = np.nan
    data[0, 0, 0] = np.inf
    data[39, 41, 19] = -np.inf
    notes = []
    repaired = check_image(image.with_data(data), "a.nii", note=notes.append)
    # 1 mm away along the first two axes, 2 mm along the third
    assert repaired.data[10, 10, 10] in image.data[[9, 11, 10, 10], [10, 10, 9, 11], 10]
    assert np.isfinite(repaired.data).all()
    good = np.isfinite(data)
    assert np.array_equal(repaired.data[good], image.data[good])
    assert "3 voxels" in notes[0]
    assert "a.nii" in notes[0]
    assert np.isnan(data[10, 10, 10])  # the caller's array is left alone


def test_nan_inside_the_brain_does_not_look_like_a_bleed():
    data = np.zeros(GRID.shape, np.float32)
    data[5:35, 5:35, 3:17] = 900
    data[20, 20, 8:11] = np.nan
    repaired = check_image(Volume(data, GRID.affine), "a.nii", note=lambda _: None)
    assert (repaired.data[20, 20, 8:11] == 900).all()


def test_too_many_bad_voxels():
    data = smooth_image(GRID).data.copy()
    data[:2] = np.nan
    with pytest.raises(ImageError, match=r"a\.nii: 5\.0 %"):
        check_image(Volume(data, GRID.affine), "a.nii")


@pytest.mark.parametrize(("value", "word"), [(0, "empty"), (7, "constant")])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_without_content(value, word, dtype):
    with pytest.raises(ImageError, match=word):
        check_image(Volume(np.full(GRID.shape, value, dtype), GRID.affine), "a.nii")


@pytest.mark.parametrize("dtype", [np.complex64, object])
def test_values_that_are_no_real_numbers(dtype):
    with pytest.raises(ImageError, match=r"a\.nii: values of type .* one real number"):
        check_image(Volume(smooth_image(GRID).data.astype(dtype), GRID.affine), "a.nii")


def test_a_mask_of_one_value_and_an_image_of_none():
    with pytest.raises(ImageError, match="constant"):
        check_image(Volume(np.ones(GRID.shape, bool), GRID.affine), "a.nii")
    with pytest.raises(ImageError, match="no voxels"):
        check_image(Volume(np.ones((0, 4, 4)), GRID.affine), "a.nii")
