import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import OutputError
from shiva_cmb.files import replacing
from shiva_cmb.imaging import Volume, read_volume, write_volume
from tests.imaging.samples import grids, make_grid, smooth_image

GRID = make_grid((11, 12, 13), (0.5, 0.7, 2.0), "RAI", (5, -8, 12))


@given(grid=grids(), packed=st.booleans())
@settings(max_examples=25, deadline=None)
def test_both_forms_give_the_same_place(tmp_path_factory, grid, packed):
    path = tmp_path_factory.mktemp("w") / ("a.nii.gz" if packed else "a.nii")
    volume = smooth_image(grid)
    write_volume(volume, path)
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    # NIfTI keeps three numbers of the quaternion in float32: near a half turn the fourth is known to 1e-3
    assert np.allclose(header.get_qform(), header.get_sform(), atol=2e-3)
    assert header.get_xyzt_units()[0] == "mm"
    back = read_volume(path)
    assert back.grid.matches(grid)
    assert np.array_equal(back.data, volume.data)


@pytest.mark.parametrize(
    ("given_type", "stored"),
    [("?", "u1"), ("u1", "u1"), ("i2", "i2"), ("i4", "i4"), ("f4", "f4"), ("f8", "f4"), ("i8", "i4")],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_types(tmp_path, given_type, stored, order):
    data = np.asarray(np.random.default_rng(0).integers(0, 2, GRID.shape), dtype=given_type, order=order)
    write_volume(Volume(data, GRID.affine), tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.dtype(stored)
    assert np.array_equal(np.asarray(image.dataobj), data)


def test_four_dimensional(tmp_path):
    volume = smooth_image(GRID)
    write_volume(volume, tmp_path / "a.nii", four_dimensional=True)
    image = nib.load(tmp_path / "a.nii")
    assert image.shape == (*GRID.shape, 1)
    assert np.array_equal(np.asarray(image.dataobj)[..., 0], volume.data)


def test_long_axis_becomes_nifti2(tmp_path):
    write_volume(Volume(np.ones((33000, 2, 2), np.uint8), np.diag([0.2, 1, 1, 1])), tmp_path / "a.nii.gz")
    assert isinstance(nib.load(tmp_path / "a.nii.gz"), nib.Nifti2Image)
    assert read_volume(tmp_path / "a.nii.gz").shape == (33000, 2, 2)


def test_same_volume_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(smooth_image(GRID), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_name_must_be_a_nifti(tmp_path):
    with pytest.raises(OutputError, match=r"\.nii"):
        write_volume(smooth_image(GRID), tmp_path / "a.mgz")
    assert list(tmp_path.iterdir()) == []


def test_complex_values_are_refused(tmp_path):
    with pytest.raises(OutputError, match="complex64"):
        write_volume(Volume(np.ones((3, 3, 3), np.complex64), np.eye(4)), tmp_path / "a.nii")


def test_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError), replacing() as pending:
        write_volume(smooth_image(GRID), pending.path(tmp_path / "none" / "a.nii.gz"))
