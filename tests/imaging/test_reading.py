import gzip

import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import read_shape, read_volume, write_volume
from tests.imaging.samples import make_grid, smooth_image

GRID = make_grid((7, 8, 9), (0.5, 0.7, 2.0), "LPS", (5, -8, 12))


def save(path, data, affine=GRID.affine, kind=nib.Nifti1Image, **forms):
    image = kind(data, affine, dtype=data.dtype)
    image.set_sform(forms.get("sform", affine), code=forms.get("sform_code", 1))
    image.set_qform(forms.get("qform", affine), code=forms.get("qform_code", 1))
    nib.save(image, path)
    return path


def refused(path, **options):
    with pytest.raises(ImageError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", ">i2", ">f4"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_any_type_keeps_values_and_place(tmp_path, dtype, name):
    values = np.arange(GRID.shape[0] * 8 * 9).reshape(GRID.shape) % 120
    kind = nib.Nifti2Image if dtype == "i8" else nib.Nifti1Image
    volume = read_volume(save(tmp_path / name, values.astype(dtype), kind=kind))
    assert np.array_equal(volume.data, values)
    assert volume.grid.matches(GRID)
    assert volume.data.dtype.isnative
    assert volume.data.dtype.itemsize <= 4


def test_scale_factor_and_offset_are_applied(tmp_path):
    raw = np.arange(7 * 8 * 9, dtype=np.int16).reshape(GRID.shape)
    image = nib.Nifti1Image(raw, GRID.affine)
    image.header.set_slope_inter(0.25, -3)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.data.dtype == np.float32
    assert np.allclose(volume.data, stored.get_fdata(), atol=1e-4)


@pytest.mark.parametrize("trailing", [(1,), (1, 1)])
def test_trailing_ones_are_dropped(tmp_path, trailing):
    data = np.random.default_rng(0).random((*GRID.shape, *trailing), dtype=np.float32)
    volume = read_volume(save(tmp_path / "a.nii", data))
    assert np.array_equal(volume.data, data.reshape(GRID.shape))


def test_several_volumes_need_a_choice(tmp_path):
    data = np.random.default_rng(0).random((*GRID.shape, 3), dtype=np.float32)
    path = save(tmp_path / "echoes.nii.gz", data)
    message = refused(path)
    assert "3 volumes" in message
    assert "expected one: split the file (predict, selftest and synthesize" in message
    assert "--volume N, 0 to 2" in message
    with pytest.raises(ImageError, match="3 volumes"):
        read_shape(path)
    assert np.array_equal(read_volume(path, index=2).data, data[..., 2])
    assert "no volume 3" in refused(path, index=3)
    assert "no volume -1" in refused(path, index=-1)


def test_five_dimensions_count_the_fourth_fastest(tmp_path):
    data = np.random.default_rng(0).random((*GRID.shape, 2, 3), dtype=np.float32)
    path = save(tmp_path / "a.nii", data)
    assert np.array_equal(read_volume(path, index=3).data, data[..., 1, 1])


def test_sform_wins_and_disagreement_is_said(tmp_path):
    other = GRID.affine.copy()
    other[0, 3] += 4
    notes = []
    path = save(tmp_path / "a.nii", np.ones(GRID.shape, np.int16), qform=other)
    assert read_volume(path, note=notes.append).grid.matches(GRID)
    assert "4.0 mm" in notes[0]
    assert str(path) in notes[0]


def test_small_disagreement_is_not_worth_a_word(tmp_path):
    other = GRID.affine.copy()
    other[0, 3] += 0.2
    read_volume(save(tmp_path / "a.nii", np.ones(GRID.shape, np.int16), qform=other))


def test_qform_alone_is_used(tmp_path):
    wrong = np.diag([9.0, 9, 9, 1])
    path = save(tmp_path / "a.nii", np.ones(GRID.shape, np.int16), sform=wrong, sform_code=0)
    assert read_volume(path).grid.matches(GRID)


def test_neither_form_is_said(tmp_path):
    notes = []
    path = save(tmp_path / "a.nii", np.ones(GRID.shape, np.int16), sform_code=0, qform_code=0)
    volume = read_volume(path, note=notes.append)
    assert np.allclose(volume.spacing_mm, GRID.spacing_mm)
    assert "left and right" in notes[0]


@pytest.mark.parametrize(
    ("affine", "word"),
    [
        (np.diag([1.0, 1, 0, 1]), "voxel size"),
        (np.diag([1.0, np.nan, 1, 1]), "finite"),
        (np.diag([0.001, 0.001, 0.001, 1]), "voxel size"),
        (np.diag([600.0, 600, 2000, 1]), "voxel size"),
        (np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "right angles"),
        (np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "right angles"),
    ],
)
def test_impossible_affine_is_refused(tmp_path, affine, word):
    image = nib.Nifti1Image(np.ones(GRID.shape, np.int16), np.eye(4))
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = affine[:3]
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    path = tmp_path / "a.nii"
    path.write_bytes(image.header.binaryblock + b"\0" * 4 + image.get_fdata().astype(np.int16).tobytes())
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.float32(352).tobytes()
    raw[344:348] = b"n+1\0"
    path.write_bytes(raw)
    assert word in refused(path)


def test_slight_shear_is_used_and_said(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.01
    notes = []
    volume = read_volume(
        save(tmp_path / "a.nii", np.ones(GRID.shape, np.int16), affine, qform_code=0), note=notes.append
    )
    assert np.allclose(volume.affine, affine)
    assert "sheared" in notes[0]


def test_missing_file_and_folder(tmp_path):
    assert "no such file" in refused(tmp_path / "none.nii.gz")
    assert "folder" in refused(tmp_path)


def test_not_a_nifti(tmp_path):
    for name, content in [
        ("text.nii", b"hello" * 200),
        ("text.nii.gz", b"hello" * 200),
        ("empty.nii.gz", b""),
        ("empty.nii", b""),
        ("x.txt", b"hello"),
        ("packed.nii.gz", gzip.compress(b"hello" * 200)),
    ]:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)


def test_other_format_is_named(tmp_path):
    nib.save(nib.MGHImage(np.ones(GRID.shape, np.float32), np.eye(4)), tmp_path / "a.mgz")
    assert "MGHImage" in refused(tmp_path / "a.mgz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.98])
def test_truncated_file(tmp_path, name, part):
    data = np.random.default_rng(0).random((20, 20, 20), dtype=np.float32)
    path = save(tmp_path / name, data)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path)


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_few_bytes_missing_at_the_end(tmp_path, cut):
    path = tmp_path / "a.nii.gz"
    write_volume(smooth_image(GRID), path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert "cut short or damaged" in refused(path)


def test_a_flipped_bit_is_never_other_voxels(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_volume(smooth_image(GRID), path)
    content = path.read_bytes()
    for place in range(20, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert "cut short or damaged" in refused(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_and_versions_compressed(tmp_path, kind, order):
    values = np.arange(7 * 8 * 9, dtype=np.int16).reshape(GRID.shape)
    image = kind(values, GRID.affine, kind.header_class(endianness=order))
    image.set_sform(GRID.affine, code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.data, values)
    assert volume.grid.matches(GRID)
    assert read_shape(tmp_path / "a.nii.gz") == GRID.shape


def test_a_plain_file_with_a_compressed_name(tmp_path):
    write_volume(smooth_image(GRID), tmp_path / "a.nii")
    path = (tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
    assert "not a readable NIfTI file" in refused(path)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (1, 20, 30), (20, 30, 1, 4)])
def test_two_dimensional(tmp_path, shape):
    assert "3-D" in refused(save(tmp_path / "a.nii", np.ones(shape, np.int16)))


def test_complex_and_rgb(tmp_path):
    assert "complex" in refused(save(tmp_path / "c.nii", np.ones(GRID.shape, np.complex64)))
    rgb = np.zeros(GRID.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "RGB" in refused(save(tmp_path / "rgb.nii", rgb))


def test_input_is_never_written(tmp_path):
    path = tmp_path / "a.nii"
    write_volume(smooth_image(GRID), path)
    before = path.read_bytes()
    volume = read_volume(path)
    volume.data[:] = 0
    assert path.read_bytes() == before


def test_header_oddities_are_mended_in_silence(tmp_path, capfd):
    path = save(tmp_path / "a.nii", np.ones(GRID.shape, np.int16), qform_code=0)
    content = bytearray(path.read_bytes())
    content[80:88] = np.array([0, -1], np.float32).tobytes()  # pixdim; the sform is fine
    path.write_bytes(content)
    assert read_volume(path).grid.matches(GRID)
    assert capfd.readouterr() == ("", "")


def test_a_header_that_claims_more_than_there_is(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_sform(np.eye(4), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    content = header.binaryblock + bytes(1000)
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    refused(tmp_path / "a.nii")
    refused(tmp_path / "a.nii.gz")
