import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import check_affine, read_volume
from tests.imaging.samples import make_grid

GRID = make_grid((7, 8, 9), (0.5, 0.7, 2.0), "LPS", (5, -8, 12))


def with_voxel_size(path, sizes, *, sform_code, qform_code):
    """A file whose raw voxel sizes are what no writer of ours or nibabel's would store."""
    image = nib.Nifti1Image(np.ones(GRID.shape, np.int16), GRID.affine)
    image.set_sform(GRID.affine, code=sform_code)
    image.set_qform(GRID.affine, code=qform_code)
    content = bytearray(image.to_bytes())
    content[80:92] = np.array(sizes, np.float32).tobytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("sizes", [(0, 0.7, 2), (0.5, -0.7, 2), (0.5, 0.7, np.nan), (np.inf, 0.7, 2)])
@pytest.mark.parametrize("qform_code", [0, 1])
def test_a_voxel_size_is_never_invented(tmp_path, sizes, qform_code):
    path = with_voxel_size(tmp_path / "a.nii", sizes, sform_code=0, qform_code=qform_code)
    with pytest.raises(ImageError, match=r"a\.nii: the voxel size in the header is .* repair the header"):
        read_volume(path)


def test_the_voxel_size_does_not_matter_beside_an_sform(tmp_path):
    path = with_voxel_size(tmp_path / "a.nii", (0, 0, 0), sform_code=1, qform_code=1)
    assert read_volume(path, note=pytest.fail).grid.matches(GRID)


def test_an_image_far_from_the_scanner_is_refused(tmp_path):
    affine = GRID.affine.copy()
    affine[1, 3] = 2e7
    nib.save(nib.Nifti1Image(np.ones(GRID.shape, np.int16), affine), tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"a\.nii: the image reaches 2e\+07 mm"):
        read_volume(tmp_path / "a.nii")


def test_the_far_corner_counts_too():
    affine = np.diag([20.0, 1, 1, 1])
    check_affine(affine, "scan", pytest.fail)
    with pytest.raises(ImageError, match="scan: the image reaches"):
        check_affine(affine, "scan", pytest.fail, (600, 10, 10))


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 1, 0, 1]),
        np.diag([1.0, 1, 1, 0]),
        np.diag([1e200, 1, 1, 1]),
        np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
)
def test_an_affine_in_memory_that_cannot_be_is_refused(affine):
    with pytest.raises(ImageError, match=r"^scan: "):
        check_affine(affine, "scan", pytest.fail)
